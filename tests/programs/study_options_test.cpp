// study's options: that each of them changes its table or what pretraining logged.
#include <gtest/gtest.h>

#include "programs/option_changes.hpp"
#include "programs/program_suite.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::with;

class StudyOptions : public test::ProgramSuite {
 protected:
  static void SetUpTestSuite() {
    ProgramSuite::SetUpTestSuite();
    make_rice(9);
    ASSERT_EQ(run(study("base")), 0);
  }
  /// One seed; two steps of pretraining, one of finetuning, one round.
  static Arguments study(const std::string& out, const Arguments& more = {}) {
    return with({"study", "--out", path(out), "--seeds", "1", "--seed", "3", "--rice-pairs", "9",
                 "--rice-test-pairs", "6", "--size", "32", "--crops", "2x16,2x16", "--width", "8",
                 "--batch", "4", "--epochs", "1", "--prototypes", "6", "--hidden", "16",
                 "--embedding", "8", "--labels-per-class", "3", "--valid", "0.4",
                 "--finetune-epochs", "1", "--finetune-batch", "4", "--rounds", "1", "--threshold",
                 "0.2"},
                more);
  }
  static std::string result(const std::string& out) {
    std::string text = bytes(out + "/results.csv");
    for (int seed = 3; seed < 6; ++seed) {
      const std::string folder = out + "/seed" + std::to_string(seed) + "/pretrain";
      if (fs::exists(path(folder))) text += log(folder);
    }
    return text;
  }
};

TEST_F(StudyOptions, EachChangesAResult) {
  const Arguments queue{"--epochs", "3", "--queue-length", "8"};
  const auto beside_queue = [&](const Arguments& more) {
    return test::Change{with(queue, more), queue};
  };
  test::expect_each_changes(
      {{"seed", {{"--seed", "4"}}},
       {"seeds", {{"--seeds", "2"}}},
       {"precision", {{"--precision", "bfloat16"}}},
       {"data", {{"--data", path("rice")}}},
       {"rice-pairs", {{"--rice-pairs", "12"}}},
       {"rice-test-pairs", {{"--rice-test-pairs", "9"}}},
       {"difficulty", {{"--difficulty", "1"}}},
       {"closeup", {{"--closeup", "0"}}},
       {"arch", {{"--arch", "xresnet34"}}},
       {"width", {{"--width", "16"}}},
       {"size", {{"--size", "24"}}},
       {"crops", {{"--crops", "2x16,3x16"}}},
       {"augment", {{"--augment", "facebook"}}},
       {"large-scale", {{"--large-scale", "0.1-0.2"}}},
       {"small-scale", {{"--small-scale", "0.8-1"}}},
       {"jitter", {{"--jitter", "0"}}},
       {"gray", {{"--gray", "0"}}},
       {"rotate", {{"--rotate", "0"}}},
       {"pairs", {{"--pairs", "off"}}},
       {"epochs", {{"--epochs", "2"}}},
       {"batch", {{"--batch", "3"}}},
       {"lr", {{"--lr", "1e-4"}}},
       {"optimizer", {{"--optimizer", "sgd"}}},
       {"prototypes", {{"--prototypes", "7"}}},
       {"hidden", {{"--hidden", "24"}}},
       {"embedding", {{"--embedding", "12"}}},
       {"freeze-prototypes", {{"--freeze-prototypes", "0"}}},
       {"epsilon", {{"--epsilon", "0.2"}}},
       {"temperature", {{"--temperature", "0.2"}}},
       {"sinkhorn-iterations", {{"--sinkhorn-iterations", "1"}}},
       {"code-crops", {{"--code-crops", "1,3"}}},
       {"queue-length", {queue, {"--epochs", "3"}}},
       {"queue-start", beside_queue({"--queue-start", "0"})},
       {"queues", beside_queue({"--queues", "per-crop"})},
       {"queue-begin", beside_queue({"--queue-begin", "empty"})},
       {"enqueue", beside_queue({"--enqueue", "after"})},
       {"labels-per-class", {{"--labels-per-class", "2"}}},
       {"valid", {{"--valid", "0.7"}}},
       {"mode", {{"--mode", "mlp"}}},
       {"finetune-epochs", {{"--finetune-epochs", "3"}}},
       {"finetune-batch", {{"--finetune-batch", "2"}}},
       {"finetune-lr", {{"--finetune-lr", "1e-2"}}},
       {"finetune-optimizer", {{"--finetune-optimizer", "sgd"}}},
       {"rounds", {{"--rounds", "2"}}},
       {"threshold", {{"--threshold", "0.99"}}}},
      "base", run, study, result);
  EXPECT_FALSE(fs::exists(path("changed_data/data")));
  // Of how the work is done; and there is one preset, which is the default.
  ASSERT_EQ(run(study("same", {"--workers", "3", "--device", "cpu", "--preset", "demo"})), 0);
  EXPECT_EQ(result("same"), result("base"));
}

TEST_F(StudyOptions, WrongOnesAreOneLineAndLeaveNothing) {
  for (const Arguments& wrong :
       {Arguments{"--threshold", "2"}, {"--rounds", "10"}, {"--seeds", "0"}, {"--preset", "large"},
        {"--mode", "half"}, {"--code-crops", "0,9"}, {"--epsilon", "0"}}) {
    expect_refusal(study("wrong", with({"--data", path("rice")}, wrong)), wrong.front());
    EXPECT_FALSE(fs::exists(path("wrong"))) << wrong.front() << " " << wrong.back();
  }
}

}  // namespace
}  // namespace mwalimu
