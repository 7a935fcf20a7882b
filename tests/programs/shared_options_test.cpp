// The options that programs share (examples/common/options.hpp), in each program that takes them.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "programs/program_suite.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::with;

const std::vector<std::string> kPrograms{"make_rice", "pretrain", "find_lr", "finetune",
                                         "distil",    "evaluate", "tsne",    "study",
                                         "inspect",   "convert"};

class SharedOptions : public test::ProgramSuite {
 protected:
  static void SetUpTestSuite() {
    ProgramSuite::SetUpTestSuite();
    make_rice(18);
    ASSERT_EQ(run(finetune("teacher")), 0);
    fs::copy(path("rice"), path("broken"), fs::copy_options::recursive);
    for (const char* table : {"broken/Train.csv", "broken/Test.csv"}) {
      const auto listed = io::read_csv(path(table));
      std::ofstream(path("broken/images/" + listed.rows.at(0).at(0))) << "no image";
    }
  }
  /// The shortest run of each program that computes, but for --data and --out.
  static std::map<std::string, Arguments> programs() {
    const Arguments network{"--arch", "xresnet18", "--width", "8"};
    const Arguments views{"--crops", "2x16,2x16", "--prototypes", "8", "--hidden", "16",
                          "--embedding", "8"};
    const Arguments small{"--size", "16", "--batch", "8", "--epochs", "1"};
    const Arguments teacher{"--classifier", path("teacher/classifier.safetensors")};
    return {
        {"pretrain", with(with({"pretrain", "--batch", "8", "--epochs", "1", "--queue-length", "0"},
                               network), views)},
        {"find_lr", with({"find_lr", "--size", "16", "--batch", "8", "--steps", "16"}, network)},
        {"finetune", with(with({"finetune"}, small), network)},
        {"distil", with(with({"distil", "--rounds", "1"}, small), teacher)},
        {"evaluate", with({"evaluate", "--bootstrap", "0"}, teacher)},
        {"tsne", with({"tsne", "--perplexity", "2", "--iterations", "10"}, teacher)},
        {"study", with(with({"study", "--seeds", "1", "--size", "32", "--batch", "8", "--epochs",
                             "1", "--finetune-epochs", "1", "--finetune-batch", "4", "--rounds",
                             "0", "--labels-per-class", "4", "--valid", "0.5"},
                            network), views)}};
  }
  static Arguments on(const Arguments& program, const std::string& data, const std::string& out) {
    return with(program, {"--data", path(data), "--out", path(out)});
  }
};

TEST_F(SharedOptions, EveryProgramAnswersHelpAndVersion) {
  for (const std::string& name : kPrograms) {
    const auto help = outcome({name, "--help"}), version = outcome({name, "--version"});
    EXPECT_EQ(help.code, 0) << name;
    EXPECT_NE(help.out.find("Example:"), std::string::npos) << name;
    EXPECT_EQ(version.code, 0) << name;
    EXPECT_TRUE(version.out.starts_with(name + " ")) << version.out;
    expect_refusal({name, "--no-such-option"}, name + " --help lists the options");
  }
}

// A run that is refused says first what it would have computed with: threads that share few cores
// slow a training down many times.
TEST_F(SharedOptions, DeviceThreadsConfigAndOverwriteAreHeeded) {
  std::ofstream(path("run.toml")) << "threads = 1\ndevice = \"cpu\"\n";
  for (const auto& [name, program] : programs()) {
    SCOPED_TRACE(name);
    const Arguments arguments = on(program, "rice", "of_" + name);
    const auto first = outcome(with(arguments, {"--threads", "1"}));
    ASSERT_EQ(first.code, 0) << first.err;
    EXPECT_NE(first.out.find(", 1 thread, float32"), std::string::npos) << first.out;
    expect_refusal(arguments, "earlier run");
    expect_refusal(with(arguments, {"--overwrite", "--device", "cuda"}), "--device cuda");
    expect_refusal(with(arguments, {"--overwrite", "--math", "tf32"}), "--math tf32: only a GPU");
    expect_refusal(with(arguments, {"--overwrite", "--plans", "measured"}), "--plans measured");
    const auto refused = outcome(with(arguments, {"--device", "cpu", "--threads", "3"}));
    EXPECT_EQ(refused.code, 2);
    EXPECT_NE(refused.out.find("device: cpu, 3 threads, float32"), std::string::npos)
        << refused.out;
    const auto second = outcome(with(arguments, {"--overwrite", "--config", path("run.toml")}));
    EXPECT_EQ(second.code, 0) << second.err;
    EXPECT_NE(second.out.find("device: cpu, 1 thread, float32"), std::string::npos) << second.out;
  }
}

TEST_F(SharedOptions, SkipBadLeavesOutWhatIsBroken) {
  for (const auto& [name, program] : programs()) {
    SCOPED_TRACE(name);
    const Arguments arguments = on(program, "broken", "skipping_" + name);
    expect_refusal(arguments, "decode");
    EXPECT_FALSE(fs::exists(path("skipping_" + name)));
    EXPECT_EQ(run(with(arguments, {"--skip-bad"})), 0);
  }
}

}  // namespace
}  // namespace mwalimu
