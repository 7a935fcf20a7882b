// finetune's options: that each of them changes a result, and that a killed run with all of the craft
// ends as one that was not.
#include <gtest/gtest.h>

#include <map>

#include "programs/option_changes.hpp"
#include "programs/option_coverage.hpp"
#include "programs/program_suite.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::with;

class FinetuneOptions : public test::ProgramSuite {
 protected:
  static void SetUpTestSuite() {
    ProgramSuite::SetUpTestSuite();
    make_rice(18);
    pretrain_small();
    ASSERT_EQ(run(finetune("base")), 0);
  }
  static std::string result(const std::string& out) { return classifier_result(out); }
};

TEST_F(FinetuneOptions, EachChangesAResult) {
  test::Changes changes = test::finetuning_changes();
  changes["encoder"] = {{"--encoder", path("pretrained/encoder.safetensors")}};
  changes["arch"] = {{"--arch", "xresnet34"}};
  changes["width"] = {{"--width", "16"}};
  changes["pool"] = {{"--pool", "max"}};
  changes["input"] = {{"--input", "stacked"}};
  // Shown by the other tests of the programs, or of how the work is done and not what it is.
  const std::set<std::string> elsewhere{
      "help",   "version", "config",  "data",    "out",   "overwrite", "resume", "skip-bad",
      "device", "threads", "workers", "graph",   "store", "profile",   "folds",
      "math",   "plans"};
  std::set<std::string> covered = elsewhere;
  for (const auto& change : changes) covered.insert(change.first);
  const auto listed = test::options_in_help(outcome({"finetune", "--help"}).out);
  for (const std::string& name : covered) EXPECT_TRUE(listed.contains(name)) << name;
  for (const std::string& name : listed) EXPECT_TRUE(covered.contains(name)) << name;

  test::expect_each_changes(changes, "base", run, finetune, result);
  ASSERT_EQ(run(finetune("same", {"--workers", "3", "--graph", "off", "--store", "host", "--device",
                                  "cpu", "--profile"})),
            0);
  EXPECT_EQ(result("same"), result("base"));
  EXPECT_TRUE(fs::exists(path("same/profile.txt")));
  EXPECT_FALSE(fs::exists(path("base/profile.txt")));
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
    EXPECT_EQ(outcome(finetune("killed", with(resumed, other))).code, 2) << other.front();
  }
}

TEST_F(FinetuneOptions, DistilKilledInAnyRoundEndsAsIfItHadNotBeen) {
  const auto distil = [](const std::string& out, const Arguments& more = {}) {
    return with({"distil", "--data", path("rice"), "--classifier",
                 path("base/classifier.safetensors"), "--out", path(out), "--threshold", "0.3",
                 "--epochs", "5", "--batch", "8", "--seed", "3", "--mixup", "0.4", "--ema", "0.5"},
                more);
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
