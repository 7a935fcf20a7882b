// finetune --folds: from images to out-of-fold predictions, and on after an interruption.
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "mwalimu/data/folds.hpp"
#include "mwalimu/eval/logits_csv.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;

constexpr int kFolds = 3;

// 24 training plants in three folds, 6 test plants.
class CrossValidation : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<test::TempDir>();
    ASSERT_EQ(run({"make_rice", "--out", path("rice"), "--pairs", "24", "--test-pairs", "6",
                   "--size", "32", "--closeup", "1", "--seed", "5"})
                  .code,
              0);
    const auto outcome = run(finetune("run"));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    printed_ = outcome.out;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::vector<std::string> finetune(const std::string& out,
                                           const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{
        "finetune", "--data", path("rice"), "--out", path(out), "--arch", "xresnet18", "--width",
        "8", "--size", "32", "--epochs", "2", "--batch", "8", "--seed", "3", "--device", "cpu",
        "--folds", std::to_string(kFolds)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  static std::string path(const std::string& name) { return (*folder_ / name).string(); }
  static test::Outcome run(const std::vector<std::string>& arguments,
                           const std::function<bool()>& kill_when = {}) {
    return test::run(folder_->path(), arguments, kill_when);
  }
  static std::string bytes(const std::string& file) { return io::read_file(path(file)); }
  static nlohmann::json json(const std::string& file) {
    return nlohmann::json::parse(bytes(file));
  }
  static std::string fold(int k) { return "fold" + std::to_string(k); }

  static inline std::unique_ptr<test::TempDir> folder_;
  static inline std::string printed_;
};

TEST_F(CrossValidation, EveryImageIsHeldOutOnceWithTheOtherOfItsPlant) {
  const auto table = data::read_folds(path("run/folds.csv"));
  const auto oof = eval::read_logits(path("run"), "oof_logits");
  ASSERT_EQ(table.size(), 48u);
  ASSERT_EQ(oof.rows(), 48);
  std::map<std::string, std::set<int>> folds_of_plant;
  std::map<int, int> images;
  for (std::size_t i = 0; i < table.size(); ++i) {
    EXPECT_EQ(table[i].id, oof.id[i]);
    folds_of_plant[table[i].id.substr(0, table[i].id.find_first_of("_.", 3))].insert(table[i].fold);
    ++images[table[i].fold];
  }
  EXPECT_EQ(folds_of_plant.size(), 24u);
  for (const auto& [plant, folds] : folds_of_plant) EXPECT_EQ(folds.size(), 1u) << plant;
  EXPECT_EQ(images, (std::map<int, int>{{1, 16}, {2, 16}, {3, 16}}));
}

// The rows are those of the fold's own classifier, as another program finds them.
TEST_F(CrossValidation, OutOfFoldPredictionsAreOfTheModelThatHasNotSeenTheImage) {
  const auto table = data::read_folds(path("run/folds.csv"));
  const auto oof = eval::read_logits(path("run"), "oof_logits");
  for (int k = 1; k <= kFolds; ++k) {
    const std::string out = "all_by_" + fold(k);
    ASSERT_EQ(run({"evaluate", "--data", path("rice"), "--part", "train", "--classifier",
                   path("run/" + fold(k) + "/classifier.safetensors"), "--out", path(out),
                   "--device", "cpu", "--bootstrap", "0"})
                  .code,
              0);
    const auto all = eval::read_logits(path(out));
    ASSERT_EQ(all.id, oof.id);
    for (std::size_t i = 0; i < table.size(); ++i) {
      for (std::size_t c = 0; c < 3; ++c) {
        const float want = all.logits[i * 3 + c], got = oof.logits[i * 3 + c];
        // Other batches: sums of float32 in another order.
        if (table[i].fold == k) {
          EXPECT_NEAR(got, want, 1e-4 * (1 + std::abs(want))) << i;
        } else {
          EXPECT_NE(got, want) << i;
        }
      }
    }
  }
}

TEST_F(CrossValidation, FoldsJsonHoldsMeanAndDeviationOfWhatTheFoldsMeasured) {
  const auto summary = json("run/folds.json");
  EXPECT_EQ(summary["folds"], kFolds);
  EXPECT_EQ(summary["plants"], 24);
  EXPECT_EQ(summary["best_epoch"].size(), 3u);
  std::vector<nlohmann::json> folds;
  for (int k = 1; k <= kFolds; ++k) folds.push_back(json("run/" + fold(k) + "/metrics.json"));
  for (const char* pointer :
       {"/accuracy", "/log_loss", "/macro_f1", "/roc_auc", "/average_precision",
        "/calibration/ece", "/per_class/f1/2", "/by_sensor/rgn/log_loss",
        "/by_sensor/rgb/per_class/recall/0", "/baseline/majority_accuracy"}) {
    const nlohmann::json::json_pointer at(pointer);
    const auto& got = summary["metrics"][at];
    double mean = 0, squares = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(got["folds"][k], folds[k][at]) << pointer;
      mean += folds[k][at].get<double>() / 3;
    }
    for (const auto& fold : folds) {
      squares += std::pow(fold[at].get<double>() - mean, 2);
    }
    EXPECT_NEAR(got["mean"], mean, 1e-12) << pointer;
    EXPECT_NEAR(got["sd"], std::sqrt(squares / 2), 1e-12) << pointer;
  }
  EXPECT_FALSE(summary["metrics"].contains("confusion"));
  // All together: the counts of the folds add up.
  const auto together = json("run/metrics.json");
  EXPECT_EQ(together, summary["out_of_fold"]);
  EXPECT_TRUE(together.contains("confidence"));
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t c = 0; c < 3; ++c) {
      int sum = 0;
      for (const auto& fold : folds) sum += fold["confusion"][r][c].get<int>();
      EXPECT_EQ(together["confusion"][r][c], sum);
    }
  }
}

TEST_F(CrossValidation, WritesAndPrintsTheRest) {
  for (const char* file : {"config.toml", "confusion.svg", "roc.svg", "precision_recall.svg",
                           "reliability.svg", "fold3/log.csv", "fold3/checkpoint.safetensors"}) {
    EXPECT_TRUE(fs::exists(path("run/" + std::string(file)))) << file;
  }
  for (const char* text : {"fold 3 of 3", "mean", "sd", "macro F1", "RGN accuracy", "class balance",
                           "majority class: ", "test part, mean of the folds' models"}) {
    EXPECT_NE(printed_.find(text), std::string::npos) << text << " in\n" << printed_;
  }
  EXPECT_EQ(json("run/folds.json")["test"]["confusion"].size(), 3u);
  const auto submission = io::read_csv(path("run/submission.csv"));
  ASSERT_EQ(submission.rows.size(), 6u);
  EXPECT_FALSE(fs::exists(path("run/fold1/submission.csv")));  // about its held-out part alone
}

TEST_F(CrossValidation, GoesOnAtTheFoldThatWasInterrupted) {
  const auto killed = run(finetune("killed"), [] {
    return fs::exists(path("killed/fold2/checkpoint.safetensors"));
  });
  ASSERT_TRUE(killed.code == 0 || killed.code == 128 + SIGKILL) << killed.err;
  const auto first = bytes("killed/fold1/classifier.safetensors");
  const auto resumed =
      run({"finetune", "--data", path("rice"), "--out", path("killed"), "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  // Neither the complete fold nor the interrupted one begins again.
  EXPECT_EQ(resumed.out.find("resuming after epoch 2\n"),
            resumed.out.find("resuming after epoch "));
  EXPECT_LT(resumed.out.find("resuming after epoch", resumed.out.find("fold 2 of 3")),
            resumed.out.find("fold 3 of 3"))
      << resumed.out;
  for (const char* file : {"fold1/classifier.safetensors", "fold2/classifier.safetensors",
                           "fold3/classifier.safetensors", "oof_logits.npy", "folds.json",
                           "submission.csv", "folds.csv"}) {
    EXPECT_EQ(bytes("killed/" + std::string(file)), bytes("run/" + std::string(file))) << file;
  }
  EXPECT_EQ(bytes("killed/fold1/classifier.safetensors"), first);
  EXPECT_EQ(io::read_csv(path("killed/fold1/log.csv")).rows.size(), 2u);
}

TEST_F(CrossValidation, ResumeWithOtherFoldsOrOptionsIsRefused) {
  const auto oof = bytes("run/oof_logits.npy");
  const std::map<std::string, std::vector<std::string>> changed{
      {"--folds", {"--folds", "4"}}, {"lr = ", {"--lr", "0.5"}}, {"epochs = ", {"--epochs", "3"}}};
  for (const auto& [text, more] : changed) {
    std::vector<std::string> arguments = finetune("run", {"--resume"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2) << text;
    EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
  }
  EXPECT_EQ(bytes("run/oof_logits.npy"), oof);
}

TEST_F(CrossValidation, RefusesTooManyFoldsBeforeAnythingIsWritten) {
  const auto refused = run(finetune("refused", {"--folds", "9"}));  // 8 plants a class
  EXPECT_EQ(refused.code, 2);
  EXPECT_EQ(refused.error_lines(), 1) << refused.err;
  EXPECT_NE(refused.err.find("has 8 plants, too few for 9 folds"), std::string::npos)
      << refused.err;
  EXPECT_EQ(run(finetune("refused", {"--folds", "1"})).code, 2);
  EXPECT_EQ(run(finetune("refused", {"--batch", "40"})).code, 2);  // 32 images train
  EXPECT_FALSE(fs::exists(path("refused")));
}

TEST_F(CrossValidation, TheSeedDividesAndLabelsPerClassLimits) {
  ASSERT_EQ(run(finetune("other", {"--seed", "4", "--epochs", "1"})).code, 0);
  EXPECT_NE(data::read_folds(path("other/folds.csv")), data::read_folds(path("run/folds.csv")));
  ASSERT_EQ(run(finetune("few", {"--labels-per-class", "4", "--epochs", "1"})).code, 0);
  EXPECT_EQ(data::read_folds(path("few/folds.csv")).size(), 24u);
}

}  // namespace
}  // namespace mwalimu
