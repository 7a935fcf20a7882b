// finetune's options: that each of them changes a result, and that a killed run with all of the craft
// ends as one that was not.
#include <gtest/gtest.h>

#include <map>

#include "mwalimu/io/csv.hpp"
#include "programs/option_coverage.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

class FinetuneOptions : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    ASSERT_EQ(run({"make_rice", "--out", path("rice"), "--pairs", "18", "--test-pairs", "6",
                   "--size", "32", "--seed", "1"}),
              0);
    ASSERT_EQ(run({"pretrain", "--data", path("rice"), "--out", path("pretrained"), "--arch",
                   "xresnet18", "--width", "8", "--crops", "2x16,2x16", "--batch", "8", "--epochs",
                   "1", "--prototypes", "8", "--hidden", "16", "--embedding", "8",
                   "--queue-length", "0", "--seed", "3"}),
              0);
    ASSERT_EQ(run(finetune("base")), 0);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }
  static test::Outcome outcome(Arguments arguments, const std::function<bool()>& kill_when = {}) {
    return test::run(folder_->path(), std::move(arguments), kill_when);
  }
  static int run(Arguments arguments) {
    const auto result = outcome(std::move(arguments));
    EXPECT_EQ(result.err, "") << result.out;
    return result.code;
  }
  /// Three epochs of three steps.
  static Arguments finetune(const std::string& out, const Arguments& more = {}) {
    Arguments all{"finetune", "--data", path("rice"), "--out", path(out), "--arch", "xresnet18",
                  "--width", "8", "--size", "16", "--batch", "8", "--epochs", "3", "--seed", "3"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  /// What a run is judged by: its logits, and what its log says but for times.
  static std::string result(const std::string& out) {
    std::string all = io::read_file(path(out) + "/logits.npy");
    const auto log = io::read_csv(path(out) + "/log.csv");
    for (std::size_t row = 0; row < log.rows.size(); ++row) {
      for (std::size_t c = 0; c < log.header.size(); ++c) {
        const std::string& name = log.header[c];
        if (name != "seconds" && name != "images_per_second") all += log.rows[row][c] + ",";
      }
    }
    return all;
  }

  static inline test::TempDir* folder_ = nullptr;
};

TEST_F(FinetuneOptions, EachChangesAResult) {
  const Arguments fine_tune{"--schedule", "fine-tune"};
  struct Change {
    Arguments arguments;
    Arguments beside = {};  ///< what it is compared with in place of the plain run
  };
  const std::map<std::string, Change> changes{
      {"seed", {{"--seed", "4"}}},
      {"precision", {{"--precision", "bfloat16"}}},
      {"epochs", {{"--epochs", "4"}}},
      {"schedule", {{"--schedule", "flat-cos"}}},
      {"freeze-epochs",
       {{"--schedule", "fine-tune", "--freeze-epochs", "2"}, fine_tune}},
      {"lr", {{"--lr", "1e-2"}}},
      {"batch", {{"--batch", "4"}}},
      {"accumulate", {{"--accumulate", "2"}}},
      {"optimizer", {{"--optimizer", "ranger"}}},
      {"weight-decay", {{"--weight-decay", "0.5"}}},
      {"encoder", {{"--encoder", path("pretrained/encoder.safetensors")}}},
      {"arch", {{"--arch", "xresnet34"}}},
      {"width", {{"--width", "16"}}},
      {"size", {{"--size", "24"}}},
      {"sizes", {{"--sizes", "12@1,16"}}},
      {"mode", {{"--mode", "mlp"}}},
      {"encoder-lr-ratio",
       {{"--mode", "discriminative", "--encoder-lr-ratio", "0.5"}, {"--mode", "discriminative"}}},
      {"valid", {{"--valid", "0.5"}}},
      {"labels-per-class", {{"--labels-per-class", "5"}}},
      {"label-smoothing", {{"--label-smoothing", "0.2"}}},
      {"mixup", {{"--mixup", "0.4"}}},
      {"class-weights", {{"--class-weights", "1,2,3"}}},
      {"balanced", {{"--balanced", "on"}}},
      {"dropout", {{"--dropout", "0"}}},
      {"clip-norm",
       {{"--optimizer", "sgd", "--clip-norm", "0.01"}, {"--optimizer", "sgd"}}},
      {"ema", {{"--ema", "0.5"}}},
      // At a rate so high an epoch without improvement comes soon.
      {"patience",
       {{"--lr", "1", "--optimizer", "sgd", "--epochs", "8", "--patience", "1"},
        {"--lr", "1", "--optimizer", "sgd", "--epochs", "8"}}},
      {"tta", {{"--tta", "2"}}},
  };
  // Shown by the other tests of the programs, or of how the work is done and not what it is.
  const std::set<std::string> elsewhere{
      "help",   "version", "config",  "data",    "out",   "overwrite", "resume", "skip-bad",
      "device", "threads", "workers", "graph",   "store", "profile",   "folds"};
  std::set<std::string> covered = elsewhere;
  for (const auto& change : changes) covered.insert(change.first);
  const auto listed = test::options_in_help(outcome({"finetune", "--help"}).out);
  for (const std::string& name : covered) EXPECT_TRUE(listed.contains(name)) << name;
  for (const std::string& name : listed) EXPECT_TRUE(covered.contains(name)) << name;

  const std::string base = result("base");
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    ASSERT_EQ(run(finetune("changed_" + name, change.arguments)), 0);
    std::string without = base;
    if (!change.beside.empty()) {
      ASSERT_EQ(run(finetune("beside_" + name, change.beside)), 0);
      without = result("beside_" + name);
    }
    EXPECT_NE(result("changed_" + name), without);
  }
  ASSERT_EQ(run(finetune("same", {"--workers", "3", "--graph", "off", "--store", "host", "--device",
                                  "cpu", "--profile"})),
            0);
  EXPECT_EQ(result("same"), base);
}

TEST_F(FinetuneOptions, EveryScheduleAndEveryOptimiserTrains) {
  std::set<std::string> results;
  for (const char* schedule : {"one-cycle", "flat-cos", "cosine", "sgdr", "constant", "fine-tune"}) {
    ASSERT_EQ(run(finetune(std::string("schedule_") + schedule, {"--schedule", schedule})), 0);
    results.insert(result(std::string("schedule_") + schedule));
  }
  EXPECT_EQ(results.size(), 6u);
  results.clear();
  for (const char* optimizer :
       {"lamb", "lars", "larc", "larc-apex", "sgd", "adam", "adamw", "radam", "ranger"}) {
    ASSERT_EQ(run(finetune(std::string("optimizer_") + optimizer,
                           {"--optimizer", optimizer, "--lr", "1e-2"})),
              0);
    results.insert(result(std::string("optimizer_") + optimizer));
  }
  EXPECT_EQ(results.size(), 9u);
}

TEST_F(FinetuneOptions, SizesGrowInTheLogAndTheLastIsTheClassifiers) {
  ASSERT_EQ(run(finetune("grown", {"--sizes", "8@1,12@1,24"})), 0);
  const auto log = io::read_csv(path("grown/log.csv"));
  const auto size = log.column("size");
  ASSERT_EQ(log.rows.size(), 3u);
  EXPECT_EQ(log.number(0, size), 8);
  EXPECT_EQ(log.number(1, size), 12);
  EXPECT_EQ(log.number(2, size), 24);
  EXPECT_EQ(run({"evaluate", "--data", path("rice"), "--classifier",
                 path("grown/classifier.safetensors"), "--out", path("grown_evaluated")}),
            0);
  EXPECT_EQ(io::read_file(path("grown_evaluated/logits.npy")),
            io::read_file(path("grown/logits.npy")));
}

TEST_F(FinetuneOptions, KilledWithAllTheCraftItEndsAsIfItHadNotBeen) {
  const Arguments craft{"--epochs", "12",  "--schedule", "fine-tune", "--freeze-epochs", "3",
                        "--mixup",  "0.4", "--class-weights", "balanced", "--balanced", "on",
                        "--sizes",  "12@5,16", "--ema", "0.9"};
  ASSERT_EQ(run(finetune("unbroken", craft)), 0);
  Arguments resumed = craft;
  resumed.push_back("--resume");
  int kills = 0;
  for (const std::size_t lines : {2, 4, 7, 10}) {  // the header, and the epochs that are done
    const auto killed = outcome(finetune("killed", kills == 0 ? craft : resumed), [&] {
      const fs::path log = path("killed/log.csv");
      if (!fs::exists(path("killed/checkpoint.safetensors")) || !fs::exists(log)) return false;
      const std::string text = io::read_file(log);
      return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) > lines;
    });
    ASSERT_TRUE(killed.code == 0 || killed.code == 128 + SIGKILL) << killed.err;
    if (killed.code == 0) break;
    ++kills;
  }
  EXPECT_GE(kills, 1);
  ASSERT_EQ(run(finetune("killed", resumed)), 0);
  EXPECT_EQ(result("killed"), result("unbroken"));
  EXPECT_EQ(io::read_file(path("killed/classifier.safetensors")),
            io::read_file(path("unbroken/classifier.safetensors")));
  for (const Arguments& other :
       {Arguments{"--mixup", "0.2"}, {"--class-weights", "none"}, {"--balanced", "off"},
        {"--sizes", "12@4,16"}, {"--ema", "0.8"}, {"--freeze-epochs", "2"}}) {
    Arguments changed = resumed;
    changed.insert(changed.end(), other.begin(), other.end());
    EXPECT_EQ(outcome(finetune("killed", changed)).code, 2) << other.front();
  }
}

TEST_F(FinetuneOptions, DistilKilledInAnyRoundEndsAsIfItHadNotBeen) {
  const auto distil = [](const std::string& out, const Arguments& more = {}) {
    Arguments all{"distil", "--data", path("rice"), "--classifier",
                  path("base/classifier.safetensors"), "--out", path(out), "--threshold", "0.3",
                  "--epochs", "5", "--batch", "8", "--seed", "3", "--mixup", "0.4", "--ema", "0.5"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  ASSERT_EQ(run(distil("taught")), 0);
  int kills = 0;
  for (const std::string round : {"round1", "round2"}) {
    const auto killed =
        outcome(distil("killed_teacher", kills == 0 ? Arguments{} : Arguments{"--resume"}), [&] {
          return fs::exists(path("killed_teacher/" + round + "/checkpoint.safetensors"));
        });
    ASSERT_TRUE(killed.code == 0 || killed.code == 128 + SIGKILL) << killed.err;
    kills += killed.code != 0 ? 1 : 0;
  }
  EXPECT_GE(kills, 1);
  ASSERT_EQ(run(distil("killed_teacher", {"--resume"})), 0);
  for (const std::string round : {"/round1", "/round2"}) {
    EXPECT_EQ(result("killed_teacher" + round), result("taught" + round));
    EXPECT_EQ(io::read_file(path("killed_teacher" + round) + "/Train.csv"),
              io::read_file(path("taught" + round) + "/Train.csv"));
  }
}

TEST_F(FinetuneOptions, WrongOnesAreOneLineAndLeaveNothing) {
  for (const Arguments& wrong :
       {Arguments{"--mixup", "-1"}, {"--class-weights", "1,2"}, {"--class-weights", "often"},
        {"--balanced", "maybe"}, {"--sizes", "16@3,24"}, {"--sizes", "16,24"}, {"--ema", "1"},
        {"--freeze-epochs", "3", "--schedule", "fine-tune"},
        {"--schedule", "fine-tune", "--mode", "mlp"}, {"--schedule", "exponential"}}) {
    const auto refused = outcome(finetune("wrong", wrong));
    EXPECT_EQ(refused.code, 2) << wrong.front() << " " << wrong.back();
    EXPECT_EQ(refused.error_lines(), 1) << refused.err;
    EXPECT_NE(refused.err.find(wrong.front().substr(2)), std::string::npos) << refused.err;
    EXPECT_FALSE(fs::exists(path("wrong"))) << wrong.front() << " " << wrong.back();
  }
}

}  // namespace
}  // namespace mwalimu
