// find_lr as a user runs it: what it writes, what it refuses, and that every option counts.
#include <gtest/gtest.h>

#include <map>

#include "programs/option_coverage.hpp"
#include "programs/program_suite.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::with;

class FindLrProgram : public test::ProgramSuite {
 protected:
  static void SetUpTestSuite() {
    ProgramSuite::SetUpTestSuite();
    make_rice(18);
    pretrain_small();
  }
  /// A test of 16 steps; `more` may replace any of its options.
  static Arguments find_lr(const std::string& task, const std::string& out,
                           const Arguments& more = {}) {
    const Arguments all{"find_lr", "--data", path("rice"), "--out", path(out), "--task", task, "--arch",
                  "xresnet18", "--width", "8", "--batch", "8", "--steps", "16", "--start", "1e-4",
                  "--end", "1e-1", "--seed", "3"};
    const Arguments own = task == "swav"
                              ? Arguments{"--crops", "2x16,2x16", "--prototypes", "8", "--hidden",
                                          "16", "--embedding", "8"}
                              : Arguments{"--size", "24"};
    return with(with(all, own), more);
  }
  static std::string table(const std::string& out) { return bytes(out + "/lr.csv"); }
};

TEST_F(FindLrProgram, WritesATableAPlotAndFourSuggestions) {
  for (const std::string task : {"classifier", "swav"}) {
    const auto result = outcome(find_lr(task, task));
    ASSERT_EQ(result.code, 0) << result.err;
    const auto lr = io::read_csv(path(task) + "/lr.csv");
    EXPECT_EQ(lr.header, (Arguments{"step", "lr", "loss", "smoothed_loss"}));
    EXPECT_GE(lr.rows.size(), 8u);
    EXPECT_EQ(lr.number(0, 1), 1e-4);
    const std::string svg = io::read_file(path(task) + "/lr.svg");
    for (const char* name : {"valley ", "steep ", "minimum ", "slide "}) {
      EXPECT_NE(result.out.find(name), std::string::npos) << result.out;
      EXPECT_NE(svg.find(name), std::string::npos);
    }
    EXPECT_TRUE(fs::exists(path(task) + "/config.toml"));
  }
}

TEST_F(FindLrProgram, RefusesASweepThatCannotBeAndLeavesNothing) {
  for (const Arguments& wrong :
       {Arguments{"--start", "1"}, {"--start", "0"}, {"--divergence", "1"}, {"--steps", "0"},
        {"--steps", "4"}, {"--batch", "1000"}, {"--task", "tsne"}, {"--resume"}}) {
    const auto result = outcome(find_lr("classifier", "wrong", wrong));
    EXPECT_EQ(result.code, 2) << wrong.front() << result.out;
    EXPECT_EQ(result.error_lines(), 1) << result.err;
    EXPECT_FALSE(fs::exists(path("wrong"))) << wrong.front();
  }
  ASSERT_EQ(run(find_lr("classifier", "kept")), 0);
  const auto again = outcome(find_lr("classifier", "kept"));
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("holds an earlier run"), std::string::npos) << again.err;
  EXPECT_EQ(run(find_lr("classifier", "kept", {"--overwrite"})), 0);
}

// What each option is set to beside the base runs, and of which task its effect is seen.
struct Change {
  const char* task;
  Arguments arguments;
};

TEST_F(FindLrProgram, EveryOptionChangesTheLosses) {
  const std::multimap<std::string, Change> changes{
      {"seed", {"classifier", {"--seed", "4"}}},
      {"precision", {"classifier", {"--precision", "bfloat16"}}},
      {"start", {"classifier", {"--start", "1e-3"}}},
      {"end", {"classifier", {"--end", "1"}}},
      {"steps", {"classifier", {"--steps", "17"}}},
      {"divergence", {"classifier", {"--end", "1e3", "--divergence", "1.5"}}},
      {"batch", {"classifier", {"--batch", "4"}}},
      {"accumulate", {"classifier", {"--accumulate", "2"}}},
      {"accumulate", {"swav", {"--accumulate", "2"}}},
      {"optimizer", {"classifier", {"--optimizer", "sgd"}}},
      {"optimizer", {"swav", {"--optimizer", "sgd"}}},
      {"weight-decay", {"classifier", {"--weight-decay", "0.5"}}},
      {"weight-decay", {"swav", {"--weight-decay", "0.5"}}},
      {"encoder", {"classifier", {"--encoder", path("pretrained/encoder.safetensors")}}},
      {"encoder", {"swav", {"--encoder", path("pretrained/encoder.safetensors")}}},
      {"arch", {"classifier", {"--arch", "xresnet34"}}},
      {"arch", {"swav", {"--arch", "xresnet34"}}},
      {"width", {"classifier", {"--width", "16"}}},
      {"width", {"swav", {"--width", "16"}}},
      {"pool", {"classifier", {"--pool", "max"}}},
      {"pool", {"swav", {"--pool", "max"}}},
      {"input", {"classifier", {"--input", "stacked"}}},
      {"input", {"swav", {"--input", "stacked"}}},
      {"size", {"classifier", {"--size", "16"}}},
      {"size", {"swav", {"--size", "24"}}},
      {"mode", {"classifier", {"--mode", "mlp"}}},
      {"encoder-lr-ratio",
       {"classifier", {"--mode", "discriminative", "--encoder-lr-ratio", "0.5"}}},
      {"valid", {"classifier", {"--valid", "0.5"}}},
      {"labels-per-class", {"classifier", {"--labels-per-class", "4"}}},
      {"label-smoothing", {"classifier", {"--label-smoothing", "0.2"}}},
      {"mixup", {"classifier", {"--mixup", "0.4"}}},
      {"class-weights", {"classifier", {"--class-weights", "1,2,3"}}},
      {"balanced", {"classifier", {"--balanced", "on"}}},
      {"dropout", {"classifier", {"--dropout", "0"}}},
      {"clip-norm", {"classifier", {"--optimizer", "sgd", "--clip-norm", "0.01"}}},
      {"crops", {"swav", {"--crops", "2x16,3x16"}}},
      {"augment", {"swav", {"--augment", "facebook"}}},
      {"large-scale", {"swav", {"--large-scale", "0.5-1"}}},
      {"small-scale", {"swav", {"--small-scale", "0.5-1"}}},
      {"jitter", {"swav", {"--jitter", "0"}}},
      {"gray", {"swav", {"--gray", "1"}}},
      {"rotate", {"swav", {"--rotate", "90"}}},
      {"pairs", {"swav", {"--pairs", "off"}}},
      {"images", {"swav", {"--images", "all"}}},
      {"prototypes", {"swav", {"--prototypes", "9"}}},
      {"hidden", {"swav", {"--hidden", "24"}}},
      {"embedding", {"swav", {"--embedding", "12"}}},
      {"epsilon", {"swav", {"--epsilon", "0.2"}}},
      {"temperature", {"swav", {"--temperature", "0.2"}}},
      {"sinkhorn-iterations", {"swav", {"--sinkhorn-iterations", "1"}}},
      {"code-crops", {"swav", {"--code-crops", "1,3"}}},
      {"freeze-prototypes", {"swav", {"--freeze-prototypes", "-1"}}},
  };
  // What may not change a loss on this machine, what the other tests show, and what ends early.
  const std::set<std::string> elsewhere{"help", "version", "config", "data", "out", "overwrite",
                                        "skip-bad", "device", "threads", "workers", "graph",
                                        "store", "task", "math", "plans"};
  // Two options only count beside another: compared with that one alone.
  const std::map<std::string, Arguments> beside{
      {"encoder-lr-ratio", {"--mode", "discriminative"}},
      {"clip-norm", {"--optimizer", "sgd"}},
      {"divergence", {"--end", "1e3"}}};

  std::set<std::string> covered = elsewhere;
  for (const auto& change : changes) covered.insert(change.first);
  const auto help = outcome({"find_lr", "--help"});
  EXPECT_EQ(test::options_in_help(help.out), covered);
  EXPECT_NE(help.out.find("A test that was interrupted starts again"), std::string::npos);

  std::map<std::string, std::string> base;
  for (const std::string task : {"classifier", "swav"}) {
    ASSERT_EQ(run(find_lr(task, task + "_base")), 0);
    base[task] = table(task + "_base");
  }
  int count = 0;
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    std::string out = "changed" + std::to_string(++count);
    ASSERT_EQ(run(find_lr(change.task, out, change.arguments)), 0);
    std::string without = base[change.task];
    if (const auto other = beside.find(name); other != beside.end()) {
      ASSERT_EQ(run(find_lr(change.task, "beside" + std::to_string(count), other->second)), 0);
      without = table("beside" + std::to_string(count));
    }
    EXPECT_NE(table(out), without);
  }
  // These say how the work is done, not what it is.
  ASSERT_EQ(run(find_lr("classifier", "workers", {"--workers", "3", "--graph", "off", "--store",
                                                  "host", "--device", "cpu"})),
            0);
  EXPECT_EQ(table("workers"), base["classifier"]);
}

}  // namespace
}  // namespace mwalimu
