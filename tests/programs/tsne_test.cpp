// The tsne program: what it writes, and that every option changes something.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "mwalimu/core/random.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/npy.hpp"
#include "programs/option_coverage.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

class Tsne : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    ok({"make_rice", "--out", path("rice"), "--pairs", "12", "--test-pairs", "20", "--size", "32",
        "--seed", "1"});
    for (const char* epochs : {"1", "3"}) {
      ok({"finetune", "--data", path("rice"), "--out", path(std::string("tuned").append(epochs)),
          "--arch", "xresnet18", "--width", "8", "--size", "32", "--epochs", epochs, "--batch", "12",
          "--valid", "0", "--seed", "2"});
    }
    ok({"pretrain", "--data", path("rice"), "--out", path("pretrained"), "--arch", "xresnet18",
        "--width", "8", "--crops", "2x32", "--batch", "8", "--epochs", "1", "--prototypes", "8",
        "--hidden", "16", "--embedding", "8", "--queue-length", "0"});
    write_matrix("blobs", 60, 5);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }
  static test::Outcome outcome(Arguments arguments) {
    return test::run(folder_->path(), std::move(arguments));
  }
  static void ok(Arguments arguments) {
    const auto result = outcome(arguments);
    ASSERT_EQ(result.code, 0) << arguments[0] << ": " << result.err;
  }
  /// Three blobs of n rows, and a CSV that names their classes, sensors and predictions.
  static void write_matrix(const std::string& name, index_t n, index_t d) {
    std::vector<float> x;
    RandomStream random(3, Purpose::test);
    io::CsvWriter csv(path(name + ".csv"), {"Image_id", "Label", "sensor", "predicted", "probability"});
    const char* classes[] = {"a", "b", "c"};
    for (index_t i = 0; i < n; ++i) {
      const index_t plant = i / 2, c = plant % 3;
      for (index_t k = 0; k < d; ++k) x.push_back(random.normal() + (k == c ? 8.0f : 0.0f));
      const std::string id = std::string("p").append(std::to_string(plant));
      csv.row(id + (i % 2 == 0 ? ".jpg" : "_rgn.jpg"), classes[c], i % 2 == 0 ? "rgb" : "rgn",
              classes[i % 7 == 0 ? (c + 1) % 3 : c], 0.75);
    }
    csv.commit();
    io::write_npy<float>(path(name + ".npy"), {n, d}, x);
  }
  /// Runs on the blobs with their labels into a fresh folder, and returns it.
  static std::string map(Arguments more, bool labels = true) {
    static int runs = 0;
    const std::string out = path(std::string("map").append(std::to_string(runs++)));
    Arguments arguments{"tsne", "--input", path("blobs.npy"), "--out", out, "--perplexity", "8",
                        "--threads", "1"};
    if (labels) arguments.insert(arguments.end(), {"--labels", path("blobs.csv")});
    arguments.insert(arguments.end(), more.begin(), more.end());
    ok(arguments);
    return out;
  }
  /// Runs on a model's outputs.
  static std::string model_map(Arguments more) {
    static int runs = 0;
    const std::string out = path(std::string("model").append(std::to_string(runs++)));
    Arguments arguments{"tsne", "--out", out, "--perplexity", "5", "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    ok(arguments);
    return out;
  }
  static std::string read(const std::string& folder, const std::string& file) {
    return io::read_file(fs::path(folder) / file);
  }
  static nlohmann::json json(const std::string& folder) {
    return nlohmann::json::parse(read(folder, "tsne.json"));
  }
  static std::string coordinates(const std::string& folder) { return read(folder, "embedding.csv"); }
  static void refused(Arguments more, const std::string& text) {
    const std::string out = path("refused");
    Arguments arguments{"tsne", "--out", out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = outcome(arguments);
    EXPECT_EQ(result.code, 2) << result.out;
    EXPECT_EQ(result.error_lines(), 1) << result.err;
    EXPECT_NE(result.err.find(text), std::string::npos) << result.err;
    EXPECT_FALSE(fs::exists(out)) << text;
  }

  static inline test::TempDir* folder_ = nullptr;
};

TEST_F(Tsne, WritesWhatIsPromised) {
  const std::string out = model_map({"--logits", path("tuned3"), "--data", path("rice")});
  for (const char* file : {"embedding.csv", "scatter.svg", "images.png", "map.html", "tsne.json",
                           "config.toml"}) {
    EXPECT_TRUE(fs::exists(fs::path(out) / file)) << file;
  }
  EXPECT_FALSE(fs::exists(fs::path(out) / "perplexities.svg"));
  const auto table = io::read_csv(fs::path(out) / "embedding.csv");
  EXPECT_EQ(table.header, (std::vector<std::string>{"image_id", "sensor", "label", "predicted", "x", "y"}));
  EXPECT_EQ(table.rows.size(), 40u);
  const auto measured = json(out);
  EXPECT_EQ(measured["settings"]["points"], 40);
  EXPECT_EQ(measured["settings"]["dimensions"], 3);
  const auto& machine = measured["machine"];
  EXPECT_EQ(machine["device"], "cpu");
  EXPECT_EQ(machine["threads"], 1);
  EXPECT_FALSE(machine["mwalimu"].get<std::string>().empty());
  EXPECT_NE(machine["onednn"].get<std::string>().find('.'), std::string::npos);
  EXPECT_TRUE(machine["hnswlib"].is_boolean() && machine["compiler"].is_string());
  EXPECT_GT(measured["kl"], 0);
  EXPECT_EQ(measured["maps"][0]["kl_is_exact"], true);
  EXPECT_EQ(measured["maps"][0]["repulsion"], "exact");  // 40 points
  EXPECT_GT(measured["trustworthiness"], 0.5);
  EXPECT_LE(measured["trustworthiness"], 1.0);
  EXPECT_TRUE(measured["knn_accuracy_by_sensor"].contains("rgn"));
  EXPECT_TRUE(measured["maps"][0]["seconds"].is_number());
  EXPECT_TRUE(measured["sensors"]["error"].contains("sign_test_p"));
  // The sentences stand in the JSON and in the page.
  const std::string text = measured["sensors"]["text"][0];
  EXPECT_NE(text.find("The model is wrong on"), std::string::npos) << text;
  EXPECT_NE(read(out, "map.html").find(text), std::string::npos);
}

TEST_F(Tsne, ThePrintedTextIsTheFindings) {
  const std::string out = path("printed");
  const auto result = outcome({"tsne", "--input", path("blobs.npy"), "--labels", path("blobs.csv"),
                               "--out", out, "--perplexity", "8"});
  ASSERT_EQ(result.code, 0) << result.err;
  for (const auto& paragraph : json(out)["sensors"]["text"]) {
    EXPECT_NE(result.out.find(paragraph.get<std::string>()), std::string::npos) << paragraph;
  }
  EXPECT_NE(result.out.find("beyond noise"), std::string::npos);
}

TEST_F(Tsne, SeveralPerplexitiesAreOneMapEach) {
  const std::string out = map({"--perplexity", "2,8,15"});
  const auto measured = json(out);
  ASSERT_EQ(measured["maps"].size(), 3u);
  EXPECT_EQ(measured["maps"][2]["perplexity"], 15);
  EXPECT_GT(measured["maps"][0]["kl"], measured["maps"][2]["kl"]);
  EXPECT_NE(measured["perplexity"], 2);  // below 5 only where nothing else is given
  const std::string panels = read(out, "perplexities.svg");
  for (const char* title : {"perplexity 2<", "perplexity 8<", "perplexity 15<"}) {
    EXPECT_NE(panels.find(title), std::string::npos) << title;
  }
  // Alone it is the same map, found with neighbours for itself alone.
  EXPECT_DOUBLE_EQ(json(map({"--perplexity", "15"}))["kl"], measured["maps"][2]["kl"]);
  EXPECT_EQ(json(map({"--perplexity", "auto"}))["maps"].size(), 2u);  // 5 and 10 of 60 points
}

TEST_F(Tsne, MultiscaleIsOneMapOverAllPerplexities) {
  const std::string out = map({"--perplexity", "5,15", "--multiscale"});
  const auto told = json(out);
  EXPECT_EQ(told["maps"].size(), 1u);
  EXPECT_EQ(told["settings"]["multiscale"], nlohmann::json({5, 15}));
  EXPECT_NE(read(out, "scatter.svg").find("perplexity 5, 15"), std::string::npos);
  EXPECT_FALSE(fs::exists(fs::path(out) / "perplexities.svg"));
  EXPECT_NE(coordinates(out), coordinates(map({"--perplexity", "15"})));
}

TEST_F(Tsne, EveryOptionOfTheMapChangesIt) {
  const std::string plain = coordinates(map({}));
  EXPECT_EQ(coordinates(map({})), plain);
  const std::vector<Arguments> changes{{"--seed", "5"},          {"--start", "random"},
                                       {"--metric", "cosine"},   {"--iterations", "300"},
                                       {"--pca", "2"},           {"--perplexity", "9"},
                                       {"--schedule", "classic"}, {"--late-exaggeration", "2"}};
  for (const Arguments& change : changes) {
    EXPECT_NE(coordinates(map(change)), plain) << change[0];
  }
  EXPECT_EQ(json(map({"--pca", "2"}))["settings"]["pca_dims"], 2);
  EXPECT_EQ(json(map({"--iterations", "300"}))["settings"]["iterations"], 550);
  EXPECT_EQ(json(map({"--metric", "cosine"}))["settings"]["metric"], "cosine");
  EXPECT_EQ(json(map({"--start", "random"}))["settings"]["start"], "random");
  EXPECT_EQ(json(map({"--schedule", "classic"}))["settings"]["schedule"], "classic");
  EXPECT_EQ(json(map({"--late-exaggeration", "2"}))["settings"]["late_exaggeration"], 2);
}

TEST_F(Tsne, EveryOptionOfThePicturesChangesThem) {
  const std::string plain = map({});
  const auto differs = [&](const Arguments& change, const std::string& file) {
    const std::string out = map(change);
    EXPECT_NE(read(out, file), read(plain, file)) << change[0];
    EXPECT_EQ(coordinates(out), coordinates(plain)) << change[0];
  };
  differs({"--color", "prediction"}, "scatter.svg");
  differs({"--color", "sensor"}, "scatter.svg");
  differs({"--pair-lines"}, "scatter.svg");
  differs({"--pair-lines"}, "map.html");
  differs({"--title", "Another"}, "scatter.svg");
  EXPECT_EQ(json(plain)["measured_neighbors"], 12);
  const auto measured = json(map({"--neighbors", "3"}));
  EXPECT_EQ(measured["measured_neighbors"], 3);
  EXPECT_NE(measured["trustworthiness"], json(plain)["trustworthiness"]);
}

TEST_F(Tsne, LabelsNameTheRowsOfAMatrix) {
  const std::string with = map({}), without = map({}, false);
  EXPECT_NE(read(with, "embedding.csv").find("p0_rgn.jpg,rgn,a,"), std::string::npos);
  EXPECT_NE(read(with, "map.html").find("\"probability\":[0.75"), std::string::npos);
  EXPECT_NEAR(json(with)["sensors"]["error"]["rgb"].get<double>(), 5.0 / 30, 1e-9);  // i = 0, 14, ...
  EXPECT_FALSE(json(without).contains("knn_accuracy"));
  EXPECT_NE(read(without, "scatter.svg"), read(with, "scatter.svg"));
}

TEST_F(Tsne, TheFilmEndsWithTheMap) {
  const std::string out = map({"--animate"});
  const std::string page = read(out, "animation.html");
  const std::string head = "<script type=\"application/json\" id=\"map-data\">";
  const std::size_t at = page.find(head) + head.size();
  const auto data = nlohmann::json::parse(page.substr(at, page.find("</script>", at) - at));
  ASSERT_EQ(data["frames"].size(), 75u);  // every 10 of 750
  EXPECT_EQ(data["frames"][0]["iteration"], 10);
  EXPECT_EQ(data["frames"][74]["iteration"], 750);
  EXPECT_NEAR(data["frames"][74]["kl"].get<double>(), json(out)["kl"].get<double>(), 1e-3);
  EXPECT_EQ(data["frames"][74]["xy"], data["views"][0]["xy"]);
  EXPECT_EQ(coordinates(out), coordinates(map({})));
}

TEST_F(Tsne, ModelsAreRunOnTheData) {
  const std::string classifier = path("tuned3/classifier.safetensors"), rice = path("rice");
  const std::string logits = model_map({"--classifier", classifier, "--data", rice});
  EXPECT_EQ(json(logits)["settings"]["dimensions"], 3);
  // The same outputs as finetune's own file, up to how batches round.
  EXPECT_NEAR(json(logits)["sensors"]["error"]["rgb"].get<double>(),
              json(model_map({"--logits", path("tuned3")}))["sensors"]["error"]["rgb"].get<double>(), 0.051);
  const std::string features =
      model_map({"--classifier", classifier, "--data", rice, "--of", "features"});
  EXPECT_GT(json(features)["settings"]["dimensions"], 100);
  EXPECT_NE(read(features, "map.html").find("\"probability\""), std::string::npos);
  const std::string train = model_map({"--classifier", classifier, "--data", rice, "--part", "train"});
  EXPECT_EQ(json(train)["settings"]["points"], 24);
  EXPECT_NE(coordinates(model_map({"--classifier", classifier, "--data", rice, "--size", "24"})),
            coordinates(logits));
  const std::string encoder = model_map({"--encoder", path("pretrained/encoder.safetensors"), "--data",
                                         rice, "--size", "32"});
  EXPECT_GT(json(encoder)["settings"]["dimensions"], 100);
  EXPECT_TRUE(json(encoder)["sensors"]["error"].is_null());
  EXPECT_NE(read(model_map({"--logits", path("tuned3"), "--data", rice, "--thumbnail", "20"}), "images.png"),
            read(model_map({"--logits", path("tuned3"), "--data", rice}), "images.png"));
}

TEST_F(Tsne, SkipBadLeavesOutABrokenImage) {
  fs::copy(path("rice"), path("broken"), fs::copy_options::recursive);
  const auto listed = io::read_csv(path("broken/Test.csv"));
  io::write_file(path("broken/images/" + listed.rows[0][0]), std::string("no image"));
  const Arguments common{"--classifier", path("tuned3/classifier.safetensors"), "--data", path("broken")};
  refused(common, "does not decode");
  Arguments skipping = common;
  skipping.push_back("--skip-bad");
  EXPECT_EQ(json(model_map(skipping))["settings"]["points"], 38);  // a plant less
}

TEST_F(Tsne, CheckpointsAreSideBySideEachFromTheOneBefore) {
  const std::string list = "early=" + path("tuned1") + "," + path("tuned3") + "/";
  const std::string out = model_map({"--checkpoints", list, "--data", path("rice")});
  const auto measured = json(out);
  ASSERT_EQ(measured["maps"].size(), 2u);
  EXPECT_EQ(measured["maps"][0]["checkpoint"], "early");
  EXPECT_EQ(measured["maps"][1]["checkpoint"], "tuned3");
  EXPECT_GE(measured["maps"][1]["disparity_to_previous"], 0);
  EXPECT_LE(measured["maps"][1]["disparity_to_previous"], 1);
  const auto rows = io::read_csv(fs::path(out) / "checkpoints.csv");
  EXPECT_EQ(rows.header, (std::vector<std::string>{"checkpoint", "image_id", "predicted", "x", "y"}));
  EXPECT_EQ(rows.rows.size(), 80u);
  const std::string panels = read(out, "checkpoints.svg");
  EXPECT_NE(panels.find(">early<"), std::string::npos);
  const std::string page = read(out, "map.html");
  EXPECT_NE(page.find("\"together\":true"), std::string::npos);
  // The first map is what it is alone; the last started elsewhere.
  EXPECT_DOUBLE_EQ(measured["maps"][0]["kl"], json(model_map({"--logits", path("tuned1")}))["kl"]);
  EXPECT_NE(coordinates(out), coordinates(model_map({"--logits", path("tuned3")})));
  // Models do as well as folders.
  const std::string models = model_map({"--checkpoints", path("tuned1/classifier.safetensors") + "," +
                                        path("tuned3/classifier.safetensors"), "--data", path("rice")});
  EXPECT_EQ(json(models)["maps"][0]["checkpoint"], "tuned1");
}

TEST_F(Tsne, OverwriteReplacesAnEarlierRun) {
  const std::string out = map({"--perplexity", "5,8", "--animate"});
  const Arguments again{"tsne", "--input", path("blobs.npy"), "--out", out, "--perplexity", "8"};
  EXPECT_EQ(outcome(again).code, 2);
  Arguments overwriting = again;
  overwriting.push_back("--overwrite");
  EXPECT_EQ(outcome(overwriting).code, 0);
  EXPECT_FALSE(fs::exists(fs::path(out) / "perplexities.svg"));
  EXPECT_FALSE(fs::exists(fs::path(out) / "animation.html"));
}

TEST_F(Tsne, PrecisionReachesTheModel) {
  const Arguments common{"--classifier", path("tuned3/classifier.safetensors"), "--data", path("rice")};
  Arguments half = common;
  half.insert(half.end(), {"--precision", "bfloat16"});
  EXPECT_NE(coordinates(model_map(half)), coordinates(model_map(common)));
}

TEST_F(Tsne, ConfigAndThreadsAreRead) {
  io::write_file(path("run.toml"), std::string("perplexity = \"6\"\ntitle = \"From a file\"\n"));
  const std::string out = path("configured");
  const auto result = outcome({"tsne", "--input", path("blobs.npy"), "--out", out, "--config",
                               path("run.toml"), "--threads", "2", "--device", "cpu"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(json(out)["perplexity"], 6);
  EXPECT_EQ(json(out)["machine"]["threads"], 2);
  EXPECT_NE(read(out, "scatter.svg").find("From a file, perplexity 6"), std::string::npos);
  EXPECT_NE(result.out.find("device: cpu, 2 threads"), std::string::npos) << result.out;
}

TEST_F(Tsne, NoOptionIsWithoutATest) {
  // Those that the tests of this file set; an option added to the program has to be added here.
  const std::set<std::string> tested{
      "animate", "checkpoints", "classifier", "color", "config", "data", "device", "encoder",
      "help", "input", "iterations", "labels", "late-exaggeration", "logits", "math", "metric",
      "multiscale", "neighbors", "of", "out", "overwrite", "pair-lines", "part", "pca", "perplexity",
      "plans", "precision", "schedule", "seed", "size", "skip-bad", "start", "threads", "thumbnail",
      "title", "version"};
  EXPECT_EQ(test::options_in_help(outcome({"tsne", "--help"}).out), tested);
}

TEST_F(Tsne, BadInputIsOneLineAndNothingWritten) {
  const std::string blobs = path("blobs.npy"), labels = path("blobs.csv");
  refused({}, "--checkpoints: what to map");
  refused({"--input", blobs, "--logits", path("tuned3")}, "want one of");
  refused({"--input", path("none.npy")}, "none.npy");
  refused({"--input", blobs, "--perplexity", "many"}, "--perplexity: want auto or positive numbers");
  refused({"--input", blobs, "--perplexity", "5,5"}, "--perplexity: 5 is given twice");
  refused({"--input", blobs, "--perplexity", "100"}, "perplexity 100 needs at least");
  refused({"--input", blobs, "--neighbors", "40"}, "--neighbors: want 1 to 29");
  refused({"--input", blobs, "--color", "mood"}, "--color");
  refused({"--input", blobs, "--late-exaggeration", "0.5"}, "--late-exaggeration");
  refused({"--input", blobs, "--schedule", "slow"}, "--schedule");
  refused({"--logits", path("tuned3"), "--labels", labels}, "--labels: names the rows of --input");
  refused({"--classifier", path("tuned3/classifier.safetensors")}, "--classifier: needs --data");
  refused({"--encoder", path("pretrained/encoder.safetensors")}, "--encoder: needs --data");
  refused({"--encoder", path("rice/Train.csv"), "--data", path("rice")}, "Train.csv");
  refused({"--checkpoints", path("tuned3")}, "--checkpoints: want two or more");
  const std::string both = path("tuned1") + "," + path("tuned3");
  refused({"--checkpoints", both, "--perplexity", "5,8"}, "one perplexity for all of them");
  refused({"--checkpoints", both, "--animate"}, "leave out --checkpoints");
  refused({"--checkpoints", both + ",,"}, "--checkpoints: want paths");
  write_matrix("short", 3, 2);
  refused({"--input", path("short.npy")}, "want at least 4 points");
  refused({"--input", blobs, "--labels", path("short.csv")}, "3 rows");
  io::write_file(path("colours.csv"), std::string("colour\nred\n"));
  refused({"--input", blobs, "--labels", path("colours.csv")}, "want a column image_id, label");
  // Other images than the data set's, and checkpoints of other images.
  write_matrix("other", 60, 3);
  fs::create_directories(path("elsewhere"));
  std::ostringstream csv;
  csv << "image_id,sensor,label,predicted\n";
  for (int i = 0; i < 40; ++i) csv << "x" << i << ".jpg,rgb,a,a\n";
  io::write_file(path("elsewhere/logits.csv"), csv.str());
  io::write_npy<float>(path("elsewhere/logits.npy"), {40, 3}, std::vector<float>(120, 1.0f));
  refused({"--logits", path("elsewhere"), "--data", path("rice")}, "x0.jpg is not in the data set");
  refused({"--checkpoints", path("tuned1") + "," + path("elsewhere")}, "holds other images than tuned1");
}

}  // namespace
}  // namespace mwalimu
