// Every option of pretrain, each seen to change what a run gives; its recipes; its quirks.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "programs/option_coverage.hpp"
#include "programs/program_suite.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::with;

class PretrainOptions : public test::ProgramSuite {
 protected:
  static void SetUpTestSuite() {
    ProgramSuite::SetUpTestSuite();
    make_rice(12);
    ASSERT_EQ(run(pretrain("base")), 0);
    ASSERT_EQ(run(pretrain("probed", {"--probe", "knn", "--probe-epochs", "1"})), 0);
  }
  /// What scales a run down to a second: 12 pairs, three steps an epoch.
  static Arguments tiny(const std::string& out) {
    return {"pretrain", "--data", path("rice"), "--out", path(out), "--arch", "xresnet18", "--width",
            "8", "--crops", "2x16,2x8", "--batch", "4", "--epochs", "2", "--prototypes", "6",
            "--hidden", "12", "--embedding", "8", "--queue-length", "8", "--seed", "3"};
  }
  static Arguments pretrain(const std::string& out, const Arguments& more = {}) {
    return with(with(tiny(out), {"--lr", "1e-2", "--queue-start", "0.3"}), more);
  }
  static void expect_line(const std::string& file, const std::string& line) {
    const std::string text = std::string("\n").append(bytes(file));
    EXPECT_NE(text.find(std::string("\n").append(line).append("\n")), std::string::npos)
        << line << " is not in " << file;
  }
  static void expect_refusal(const Arguments& more, const std::string& words) {
    ProgramSuite::expect_refusal(pretrain("refused", more), words);
    EXPECT_FALSE(fs::exists(path("refused")));
  }
};

TEST_F(PretrainOptions, EveryOptionChangesTheLog) {
  const std::map<std::string, Arguments> changes{
      {"seed", {"--seed", "4"}},
      {"precision", {"--precision", "bfloat16"}},
      {"arch", {"--arch", "xresnet34"}},
      {"width", {"--width", "16"}},
      {"input", {"--input", "stacked"}},
      {"pool", {"--pool", "max"}},
      {"size", {"--size", "24"}},
      {"sizes", {"--sizes", "8@1,16"}},
      {"crops", {"--crops", "2x16,3x8"}},
      {"sizes", {"--sizes", "8@1,16"}},
      {"input", {"--input", "stacked"}},
      {"pool", {"--pool", "max"}},
      {"augment", {"--augment", "facebook"}},
      {"large-scale", {"--large-scale", "0.5-1"}},
      {"small-scale", {"--small-scale", "0.5-1"}},
      {"jitter", {"--jitter", "0"}},
      {"gray", {"--gray", "1"}},
      {"rotate", {"--rotate", "90"}},
      {"pairs", {"--pairs", "off"}},
      {"images", {"--images", "all"}},
      {"batch", {"--batch", "8"}},
      {"accumulate", {"--accumulate", "2"}},
      {"epochs", {"--epochs", "3"}},
      {"optimizer", {"--optimizer", "sgd"}},
      {"weight-decay", {"--weight-decay", "0.9"}},
      {"schedule", {"--schedule", "constant"}},
      {"lr", {"--lr", "1e-1"}},
      {"warmup", {"--schedule", "cosine", "--warmup", "0.5"}},
      {"lr-final", {"--schedule", "cosine", "--lr-final", "1e-3"}},
      {"encoder", {"--encoder", path("base/encoder.safetensors")}},
      {"prototypes", {"--prototypes", "7"}},
      {"hidden", {"--hidden", "16"}},
      {"embedding", {"--embedding", "12"}},
      {"freeze-prototypes", {"--freeze-prototypes", "-1"}},
      {"epsilon", {"--epsilon", "0.2"}},
      {"temperature", {"--temperature", "0.2"}},
      {"sinkhorn-iterations", {"--sinkhorn-iterations", "1"}},
      {"code-crops", {"--code-crops", "1,3"}},
      {"queue-length", {"--queue-length", "12"}},
      {"queue-start", {"--queue-start", "0.6"}},
      {"queues", {"--queues", "per-crop"}},
      {"queue-begin", {"--queue-begin", "empty"}},
      {"enqueue", {"--enqueue", "after"}},
      {"reference-quirks", {"--reference-quirks"}},
      {"recipe", {"--recipe", "swav"}},  // of it, what is not given
      {"probe", {"--probe", "knn"}},
  };
  // What may not change a number, and what another test of this file or the next ones shows.
  const std::set<std::string> elsewhere{
      "help", "version", "config", "data", "out", "overwrite", "resume", "skip-bad", "device",
      "threads", "workers", "graph", "store", "profile", "checkpoint-epochs", "probe-epochs",
      "probe-held-out", "math", "plans"};
  std::set<std::string> seen = elsewhere;
  ASSERT_EQ(run(pretrain("cosine", {"--schedule", "cosine"})), 0);
  const std::string base = log("base"), cosine = log("cosine");
  for (const auto& [name, arguments] : changes) {
    ASSERT_EQ(run(pretrain(name, arguments)), 0) << name;
    const bool of_cosine = arguments.front() == "--schedule" && arguments.size() > 2;
    EXPECT_NE(log(name), of_cosine ? cosine : base) << "--" << name << " changed nothing";
    seen.insert(name);
  }
  for (const std::string& name : test::options_in_help(outcome({"pretrain", "--help"}).out)) {
    EXPECT_TRUE(seen.contains(name)) << "--" << name << " is not tested";
  }
}

// Each of the recipe's settings that are not given: as if they were given, and in config.toml.
TEST_F(PretrainOptions, ARecipeGivesWhatIsNotGiven) {
  const std::map<std::string, std::map<std::string, std::string>> expected{
      {"study",
       {{"augment", "study"}, {"epsilon", "0.05"}, {"temperature", "0.1"},
        {"sinkhorn-iterations", "3"}, {"code-crops", "0,1"}, {"queue-start", "0.5"},
        {"queues", "single"}, {"queue-begin", "random"}, {"enqueue", "before"},
        {"freeze-prototypes", "0"}, {"optimizer", "lamb"}, {"weight-decay", "1e-6"},
        {"schedule", "one-cycle"}, {"lr", "1e-4"}}},
      {"swav",
       {{"augment", "facebook"}, {"epsilon", "0.05"}, {"temperature", "0.1"},
        {"sinkhorn-iterations", "3"}, {"code-crops", "0,1"}, {"queue-start", "0.0375"},
        {"queues", "per-crop"}, {"queue-begin", "empty"}, {"enqueue", "after"},
        {"freeze-prototypes", "313"}, {"optimizer", "lars"}, {"weight-decay", "1e-6"},
        {"schedule", "cosine"}, {"lr", "0.6"}, {"lr-final", "0.0006"}, {"warmup", "0.025"}}}};
  for (const auto& [recipe, values] : expected) {
    SCOPED_TRACE(recipe);
    const std::string by_name = std::string("recipe_").append(recipe);
    const std::string by_hand = std::string("values_of_").append(recipe);
    ASSERT_EQ(run(with(tiny(by_name), {"--recipe", recipe})), 0);
    Arguments given;
    for (const auto& [option, value] : values) {
      given.push_back(std::string("--").append(option));
      given.push_back(value);
      const bool bare = value.find_first_not_of("0123456789.e-") == std::string::npos;
      const std::string quote = bare ? "" : "\"";
      expect_line(by_name + "/config.toml",
                  std::string(option).append(" = ").append(quote).append(value).append(quote));
    }
    ASSERT_EQ(run(with(tiny(by_hand), given)), 0);
    EXPECT_EQ(bytes(by_name + "/swav.safetensors"), bytes(by_hand + "/swav.safetensors"));
    EXPECT_EQ(log(by_name), log(by_hand));
    // The run that was recorded, again.
    ASSERT_EQ(run({"pretrain", "--config", path(by_name + "/config.toml"), "--out",
                   path(by_name + "_again")}),
              0);
    EXPECT_EQ(bytes(by_name + "_again/swav.safetensors"), bytes(by_name + "/swav.safetensors"));
  }
  EXPECT_NE(bytes("recipe_swav/swav.safetensors"), bytes("recipe_study/swav.safetensors"));
  expect_refusal({"--recipe", "pie"}, "--recipe");
}

TEST_F(PretrainOptions, AGivenValueWinsOverTheRecipes) {
  std::ofstream(path("mine.toml")) << "epsilon = 0.03\n";
  ASSERT_EQ(run(with(tiny("mine"), {"--lr", "2e-3", "--config", path("mine.toml"), "--recipe",
                                    "study"})),
            0);
  for (const char* line : {"lr = 2e-3", "epsilon = 0.03", "prototypes = 6", "optimizer = \"lamb\"",
                           "temperature = 0.1"}) {
    expect_line("mine/config.toml", line);
  }
}

TEST_F(PretrainOptions, HelpShowsRecipesAtTheirRealSizes) {
  const std::string help = outcome({"pretrain", "--help"}).out;
  for (const char* words :
       {"--prototypes 3000", "--crops 2x128,6x96", "--crops 2x224,6x96", "--batch 256",
        "--optimizer lars", "--queue-length 3840", "--epochs 600", "--optimizer lamb",
        "Not repeated:"}) {
    EXPECT_NE(help.find(words), std::string::npos) << words;
  }
}

TEST_F(PretrainOptions, QuirksRefuseWhatContradictsThem) {
  const auto quirks = [](const Arguments& more) { return with({"--reference-quirks"}, more); };
  expect_refusal(quirks({"--pairs", "on"}), "--pairs");
  expect_refusal(quirks({"--pairs", "off"}), "--pairs");
  expect_refusal(quirks({"--rotate", "10"}), "--rotate");
  expect_refusal(quirks({"--code-crops", "0,2"}), "--code-crops");
  expect_refusal(quirks({"--queues", "per-crop"}), "--queues");
  expect_refusal(quirks({"--queue-begin", "empty"}), "--queue-begin");
  expect_refusal(quirks({"--enqueue", "after"}), "--enqueue");
  expect_refusal(quirks({"--recipe", "swav"}), "--queues");
}

// One sample a plant, of its RGB image: the other sensor's pictures might as well not be there.
TEST_F(PretrainOptions, QuirksLookAtRgbAlone) {
  const auto result = outcome(pretrain("quirks", {"--reference-quirks"}));
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find("12 single images"), std::string::npos) << result.out;
  fs::copy(path("rice"), path("rice_other_rgn"), fs::copy_options::recursive);
  int replaced = 0;
  fs::path last;
  for (const auto& entry : fs::recursive_directory_iterator(path("rice_other_rgn"))) {
    if (entry.path().filename().string().find("_rgn") == std::string::npos) continue;
    if (!last.empty()) fs::copy_file(last, entry.path(), fs::copy_options::overwrite_existing);
    if (last.empty()) last = entry.path();
    ++replaced;
  }
  ASSERT_GE(replaced, 12);
  auto arguments = pretrain("quirks_other_rgn", {"--reference-quirks"});
  arguments[2] = path("rice_other_rgn");
  ASSERT_EQ(run(arguments), 0);
  EXPECT_EQ(bytes("quirks_other_rgn/encoder.safetensors"), bytes("quirks/encoder.safetensors"));
}

TEST_F(PretrainOptions, CodeCropsMustBeCrops) {
  expect_refusal({"--code-crops", "0,4"}, "--code-crops: want different crops from 0 to 3, got 4");
  expect_refusal({"--code-crops", "1,1"}, "--code-crops: want different crops");
  expect_refusal({"--code-crops", "first"}, "--code-crops: want crops such as 0,1");
  expect_refusal({"--code-crops", ""}, "--code-crops");
  expect_refusal({"--queues", "two"}, "--queues");
}

TEST_F(PretrainOptions, AProbeIsLoggedEveryFewEpochs) {
  const auto values = [](const std::string& out) {
    const auto table = io::read_csv(path(out) + "/log.csv");
    const auto column = table.column("probe_accuracy");
    int count = 0;
    for (const auto& row : table.rows) count += row[column].empty() ? 0 : 1;
    return count;
  };
  EXPECT_EQ(values("probed"), 2);
  EXPECT_TRUE(fs::exists(path("probed/best_encoder.safetensors")));
  EXPECT_FALSE(fs::exists(path("base/best_encoder.safetensors")));
  EXPECT_EQ(bytes("probed/encoder.safetensors"), bytes("base/encoder.safetensors"));
  ASSERT_EQ(run(pretrain("rare", {"--probe", "linear", "--probe-epochs", "2"})), 0);
  EXPECT_EQ(values("rare"), 1);
  const auto more = outcome(pretrain("half", {"--probe", "knn", "--probe-held-out", "0.5"}));
  EXPECT_NE(more.out.find("probe: 12 labelled images by 12 others"), std::string::npos) << more.out;
  expect_refusal({"--probe", "knn", "--probe-epochs", "0"}, "--probe-epochs");
  expect_refusal({"--probe", "knn", "--probe-held-out", "1"}, "--probe-held-out");
}

TEST_F(PretrainOptions, AProbeWantsLabels) {
  fs::create_directories(path("unlabelled/train/leaf"));
  // One class of one image each: nothing can be held out of it.
  int i = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path("rice"))) {
    if (entry.path().extension() != ".jpg" || i++ >= 1) continue;
    fs::copy_file(entry.path(), path("unlabelled/train/leaf/one.jpg"));
  }
  ASSERT_GE(i, 1);
  auto arguments = pretrain("refused", {"--probe", "knn", "--batch", "1", "--queue-length", "0"});
  arguments[2] = path("unlabelled");
  const auto result = outcome(arguments);
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("--probe"), std::string::npos) << result.err;
}

TEST_F(PretrainOptions, CheckpointsComeAsOftenAsAsked) {
  for (const auto& [epochs, comes] : {std::pair{"1", true}, {"20000", false}}) {
    const std::string out = std::string("checkpoint") + epochs;
    bool there = false;
    const auto killed = outcome(
        pretrain(out, {"--epochs", "20000", "--checkpoint-epochs", epochs}), [&] {
          std::error_code missing;
          const auto size = fs::file_size(path(out) + "/log.csv", missing);
          there = fs::exists(path(out) + "/checkpoint.safetensors", missing);
          return size > 3000 && size != static_cast<std::uintmax_t>(-1);
        });
    ASSERT_EQ(killed.code, 128 + SIGKILL) << killed.err;
    EXPECT_EQ(there, comes) << epochs;
  }
}

// They say how a device works; the CPU takes them and has no use for them.
TEST_F(PretrainOptions, GraphAndStoreAreOfADevice) {
  ASSERT_EQ(run(pretrain("same", {"--graph", "off", "--store", "host"})), 0);
  EXPECT_EQ(log("same"), log("base"));
  expect_refusal({"--graph", "maybe"}, "--graph");
  expect_refusal({"--store", "disk"}, "--store");
}

TEST_F(PretrainOptions, AProfileIsWritten) {
  ASSERT_EQ(run(pretrain("profiled", {"--epochs", "8", "--profile"})), 0);
  EXPECT_TRUE(fs::exists(path("profiled/profile.txt")));
  EXPECT_FALSE(fs::exists(path("base/profile.txt")));
}

}  // namespace
}  // namespace mwalimu
