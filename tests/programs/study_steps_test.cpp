// The programs one after another on a small data set, as the README shows them.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/npy.hpp"
#include "mwalimu/io/safetensors.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;

class StudySteps : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    ASSERT_EQ(run({"make_rice", "--out", path("rice"), "--pairs", "36", "--test-pairs", "12",
                   "--size", "48", "--seed", "1"}),
              0);
    ASSERT_EQ(run(pretrain("pretrained")), 0);
    ASSERT_EQ(run(finetune("finetuned")), 0);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }
  static std::string data() { return path("rice"); }
  static test::Outcome outcome(std::vector<std::string> arguments,
                               const std::function<bool()>& kill_when = {}) {
    return test::run(folder_->path(), std::move(arguments), kill_when);
  }
  static int run(std::vector<std::string> arguments) {
    const auto result = outcome(std::move(arguments));
    EXPECT_EQ(result.err, "") << result.out;
    return result.code;
  }
  static std::vector<std::string> pretrain(const std::string& out) {
    return {"pretrain", "--data", data(), "--out", path(out), "--arch", "xresnet18", "--width", "8",
            "--crops", "2x32,2x16", "--batch", "8", "--epochs", "6", "--prototypes", "16",
            "--hidden", "32", "--embedding", "16", "--queue-length", "16", "--queue-start", "0.5",
            "--optimizer", "adamw", "--lr", "2e-3", "--seed", "3"};
  }
  static std::vector<std::string> finetune(const std::string& out) {
    return {"finetune", "--data", data(), "--encoder", path("pretrained/encoder.safetensors"),
            "--out", path(out), "--size", "32", "--epochs", "3", "--batch", "16", "--seed", "3"};
  }
  static std::vector<std::string> with(std::vector<std::string> arguments,
                                       std::initializer_list<const char*> more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  static nlohmann::json json(const std::string& file) {
    return nlohmann::json::parse(io::read_file(path(file)));
  }
  static std::string bytes(const std::string& file) { return io::read_file(path(file)); }

  static inline test::TempDir* folder_ = nullptr;
};

TEST_F(StudySteps, PretrainWritesWhatIsPromised) {
  const io::SafetensorsFile encoder(path("pretrained/encoder.safetensors"));
  EXPECT_NE(encoder.find("4.0.convpath.0.0.weight"), nullptr);
  const io::SafetensorsFile whole(path("pretrained/swav.safetensors"));
  EXPECT_EQ(whole.at("prototypes.weight").shape, (std::vector<std::int64_t>{16, 16}));
  EXPECT_NE(whole.find("encoder.0.0.weight"), nullptr);
  EXPECT_TRUE(fs::exists(path("pretrained/config.toml")));
  const auto log = io::read_csv(path("pretrained/log.csv"));
  const std::vector<std::string> promised{"step", "epoch", "loss", "lr", "momentum",
                                          "gradient_norm", "images_per_second", "seconds"};
  EXPECT_TRUE(std::equal(promised.begin(), promised.end(), log.header.begin()));
  ASSERT_EQ(log.rows.size(), 24u);  // 36 pairs / 8, six epochs
  // The queue joins after more than half of the steps: steps are counted from 1 here.
  const auto queue = log.column("queue");
  for (std::size_t row = 0; row < 24; ++row) EXPECT_EQ(log.number(row, queue), row > 12 ? 1 : 0);
  const auto with_queue = log.column("loss"), without = log.column("loss_without_queue");
  EXPECT_EQ(log.number(12, with_queue), log.number(12, without));
  EXPECT_NE(log.number(13, with_queue), log.number(13, without));
}

TEST_F(StudySteps, PretrainKilledAnywhereEndsWithTheSameEncoder) {
  const auto longer = [](const std::string& out) { return with(pretrain(out), {"--epochs", "40"}); };
  ASSERT_EQ(run(longer("unbroken")), 0);
  const fs::path log = path("killed/log.csv");
  int kills = 0;
  for (const std::uintmax_t size : {500, 4000, 9000}) {  // early, in the middle, late
    const auto arguments = kills == 0 ? longer("killed") : with(longer("killed"), {"--resume"});
    const auto killed = outcome(arguments, [&] {
      std::error_code missing;
      return fs::exists(path("killed/checkpoint.safetensors"), missing) &&
             fs::file_size(log, missing) > size && !missing;
    });
    EXPECT_TRUE(killed.code == 0 || killed.code == 128 + SIGKILL) << killed.err;
    if (killed.code == 0) break;
    ++kills;
  }
  EXPECT_GE(kills, 1);
  EXPECT_EQ(run(with(longer("killed"), {"--resume"})), 0);
  EXPECT_EQ(bytes("killed/encoder.safetensors"), bytes("unbroken/encoder.safetensors"));
  EXPECT_EQ(bytes("killed/swav.safetensors"), bytes("unbroken/swav.safetensors"));
  EXPECT_EQ(io::read_csv(log).rows.size(), 160u);
}

TEST_F(StudySteps, ARefusedResumeLeavesTheRunAsItWas) {
  ASSERT_EQ(run(pretrain("kept")), 0);
  const auto config = bytes("kept/config.toml"), encoder = bytes("kept/encoder.safetensors");
  EXPECT_EQ(outcome(with(pretrain("kept"), {"--resume", "--gray", "0.9"})).code, 2);
  EXPECT_EQ(bytes("kept/config.toml"), config);
  EXPECT_EQ(run({"pretrain", "--data", data(), "--out", path("kept"), "--resume"}), 0);
  EXPECT_EQ(bytes("kept/encoder.safetensors"), encoder);
}

TEST_F(StudySteps, Bfloat16ComputesFromImagesToMetrics) {
  const auto in_bfloat16 = [](const std::vector<std::string>& arguments) {
    return with(arguments, {"--precision", "bfloat16"});
  };
  ASSERT_EQ(run(in_bfloat16(pretrain("narrow"))), 0);
  EXPECT_NE(bytes("narrow/encoder.safetensors"), bytes("pretrained/encoder.safetensors"));
  EXPECT_EQ(io::SafetensorsFile(path("narrow/encoder.safetensors"))
                .at("4.0.convpath.0.0.weight")
                .dtype,
            io::Dtype::f32);
  auto classifier = in_bfloat16(finetune("narrow_classifier"));
  ASSERT_EQ(run(classifier), 0);
  for (const char* precision : {"float32", "bfloat16"}) {
    const auto out = std::string("narrow_") + precision;
    ASSERT_EQ(run({"evaluate", "--data", data(), "--classifier",
                   path("narrow_classifier/classifier.safetensors"), "--out", path(out),
                   "--precision", precision}),
              0);
  }
  // The same weights: what differs is how many bits the images' path through them has.
  const auto wide = io::NpyFile(path("narrow_float32/logits.npy")).array().values<float>();
  const auto narrow = io::NpyFile(path("narrow_bfloat16/logits.npy")).array().values<float>();
  ASSERT_EQ(wide.size(), narrow.size());
  EXPECT_NE(wide, narrow);
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < wide.size(); ++i) {
    difference += (double{narrow[i]} - wide[i]) * (double{narrow[i]} - wide[i]);
    size += double{wide[i]} * wide[i];
  }
  EXPECT_LT(std::sqrt(difference / size), 0.05);  // some twenty roundings of 2^-8 each

  const auto refused = outcome(with(pretrain("narrow"), {"--resume", "--precision", "float32"}));
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("precision = bfloat16"), std::string::npos) << refused.err;
  EXPECT_EQ(outcome(in_bfloat16(with(pretrain("pretrained"), {"--resume"}))).code, 2);
  EXPECT_EQ(outcome(with(pretrain("half"), {"--device", "cpu", "--precision", "float16"})).code, 2);
  EXPECT_FALSE(fs::exists(path("half")));
}

TEST_F(StudySteps, PretrainIsAFunctionOfItsSeedAndNotOfItsWorkers) {
  EXPECT_EQ(run(with(pretrain("again"), {"--workers", "3"})), 0);
  EXPECT_EQ(bytes("again/encoder.safetensors"), bytes("pretrained/encoder.safetensors"));
  auto other = pretrain("other");
  other.back() = "4";
  EXPECT_EQ(run(other), 0);
  EXPECT_NE(bytes("other/encoder.safetensors"), bytes("pretrained/encoder.safetensors"));
}

TEST_F(StudySteps, SinglesAndAccumulationRun) {
  EXPECT_EQ(run(with(pretrain("singles"), {"--pairs", "off", "--accumulate", "2"})), 0);
  EXPECT_EQ(io::read_csv(path("singles/log.csv")).rows.size(), 24u);  // 72 images / 8 / 2 * 6
}

TEST_F(StudySteps, ResumeWithOtherOptionsIsRefused) {
  auto changed = with(pretrain("pretrained"), {"--resume"});
  for (auto& argument : changed) {
    if (argument == "2e-3") argument = "1e-3";
  }
  const auto result = outcome(changed);
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("lr = "), std::string::npos) << result.err;
}

TEST_F(StudySteps, FinetuneWritesWhatIsPromised) {
  const auto metrics = json("finetuned/metrics.json");
  for (const char* key : {"log_loss", "accuracy", "macro_f1", "roc_auc", "confusion", "classes",
                          "per_class", "by_sensor", "baseline"}) {
    EXPECT_TRUE(metrics.contains(key)) << key;
  }
  EXPECT_EQ(metrics["classes"], (std::vector<std::string>{"blast", "brown", "healthy"}));
  EXPECT_TRUE(metrics["by_sensor"].contains("rgb") && metrics["by_sensor"].contains("rgn"));
  const io::NpyFile logits(path("finetuned/logits.npy"));
  EXPECT_EQ(logits.array().shape, (std::vector<std::int64_t>{24, 3}));
  const auto table = io::read_csv(path("finetuned/logits.csv"));
  EXPECT_EQ(table.header,
            (std::vector<std::string>{"image_id", "sensor", "label", "predicted"}));
  EXPECT_EQ(table.rows.size(), 24u);
  const auto submission = io::read_csv(path("finetuned/submission.csv"));
  EXPECT_EQ(submission.header,
            (std::vector<std::string>{"Image_id", "blast", "brown", "healthy"}));
  ASSERT_EQ(submission.rows.size(), 12u);
  for (std::size_t row = 0; row < 12; ++row) {
    EXPECT_NEAR(submission.number(row, 1) + submission.number(row, 2) + submission.number(row, 3),
                1.0, 1e-6);
  }
  EXPECT_EQ(io::read_csv(path("finetuned/log.csv")).rows.size(), 3u);
  EXPECT_TRUE(fs::exists(path("finetuned/confusion.svg")));
}

TEST_F(StudySteps, FinetuneResumesBitForBit) {
  const auto killed = outcome(finetune("killed_finetune"), [&] {
    return fs::exists(path("killed_finetune/checkpoint.safetensors"));
  });
  EXPECT_TRUE(killed.code == 0 || killed.code == 128 + SIGKILL) << killed.err;
  EXPECT_EQ(run(with(finetune("killed_finetune"), {"--resume"})), 0);
  EXPECT_EQ(bytes("killed_finetune/classifier.safetensors"),
            bytes("finetuned/classifier.safetensors"));
}

TEST_F(StudySteps, EveryModeTrains) {
  for (const char* mode : {"mlp", "discriminative"}) {
    EXPECT_EQ(run(with(finetune(mode), {"--mode", mode})), 0);
  }
  // With the encoder frozen its weights and statistics are those that pretraining left.
  const io::SafetensorsFile before(path("pretrained/encoder.safetensors"));
  const io::SafetensorsFile frozen(path("mlp/classifier.safetensors"));
  const io::SafetensorsFile slow(path("discriminative/classifier.safetensors"));
  for (const char* name : {"0.0.weight", "7.1.convpath.1.0.weight", "0.1.running_mean"}) {
    const auto at = [&](const io::SafetensorsFile& file) {
      return file.at("0." + std::string(name)).values<float>();
    };
    EXPECT_EQ(before.at(name).values<float>(), at(frozen)) << name;
    EXPECT_NE(before.at(name).values<float>(), at(slow)) << name;
  }
}

TEST_F(StudySteps, DistilWritesItsRounds) {
  EXPECT_EQ(run({"distil", "--data", data(), "--classifier",
                 path("finetuned/classifier.safetensors"), "--out", path("distilled"),
                 "--threshold", "0.2", "--epochs", "2", "--batch", "16", "--seed", "3"}),
            0);
  for (const std::string round : {"round1", "round2"}) {
    const auto table = io::read_csv(path("distilled/" + round + "/Train.csv"));
    EXPECT_EQ(table.header, (std::vector<std::string>{"Image_id", "Label", "Source"}));
    EXPECT_TRUE(fs::exists(path("distilled/" + round + "/classifier.safetensors")));
    EXPECT_TRUE(json("distilled/" + round + "/metrics.json").contains("accuracy"));
  }
}

TEST_F(StudySteps, EvaluateAgreesWithFinetune) {
  EXPECT_EQ(run({"evaluate", "--data", data(), "--classifier",
                 path("finetuned/classifier.safetensors"), "--out", path("evaluated"),
                 "--bootstrap", "0"}),
            0);
  EXPECT_EQ(json("evaluated/metrics.json"), json("finetuned/metrics.json"));
  EXPECT_EQ(run({"evaluate", "--data", data(), "--classifier",
                 path("finetuned/classifier.safetensors"), "--out", path("evaluated_tta"),
                 "--bootstrap", "0", "--tta", "2"}),
            0);
  EXPECT_NE(json("evaluated_tta/metrics.json"), json("finetuned/metrics.json"));
}

TEST_F(StudySteps, TsneMapsTheLogits) {
  EXPECT_EQ(run({"tsne", "--logits", path("finetuned"), "--data", data(), "--out", path("map"),
                 "--perplexity", "5"}),
            0);
  const auto table = io::read_csv(path("map/embedding.csv"));
  EXPECT_EQ(table.header, (std::vector<std::string>{"image_id", "sensor", "label", "predicted",
                                                    "x", "y"}));
  EXPECT_EQ(table.rows.size(), 24u);
  for (const char* file : {"map/scatter.svg", "map/images.png", "map/tsne.json"}) {
    EXPECT_TRUE(fs::exists(path(file))) << file;
  }
}

}  // namespace
}  // namespace mwalimu
