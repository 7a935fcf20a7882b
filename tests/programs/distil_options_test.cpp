// distil's options: that each of them changes a result.
#include <gtest/gtest.h>

#include "programs/option_changes.hpp"
#include "programs/program_suite.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::with;

class DistilOptions : public test::ProgramSuite {
 protected:
  static void SetUpTestSuite() {
    ProgramSuite::SetUpTestSuite();
    make_rice(18);
    ASSERT_EQ(run(finetune("teacher")), 0);
    ASSERT_EQ(run(finetune("other_teacher", {"--seed", "5"})), 0);
    ASSERT_EQ(run(distil("base")), 0);
  }
  /// One round of two epochs, which believes most plants.
  static Arguments distil(const std::string& out, const Arguments& more = {}) {
    return with({"distil", "--data", path("rice"), "--classifier",
                 path("teacher/classifier.safetensors"), "--out", path(out), "--rounds", "1",
                 "--threshold", "0.3", "--epochs", "2", "--batch", "8", "--seed", "3"},
                more);
  }
  static std::string result(const std::string& out) {
    return classifier_result(out + "/round1") + table(out);
  }
  static std::string table(const std::string& out) { return bytes(out + "/round1/Train.csv"); }
};

TEST_F(DistilOptions, EachChangesAResult) {
  test::Changes changes = test::finetuning_changes();
  changes["classifier"] = {{"--classifier", path("other_teacher/classifier.safetensors")}};
  changes["threshold"] = {{"--threshold", "0.99"}};
  test::expect_each_changes(changes, "base", run, distil, result);
  EXPECT_NE(table("changed_threshold"), table("base"));  // none is believed so much
  // Of how the work is done and not what it is.
  ASSERT_EQ(run(distil("same", {"--workers", "3", "--graph", "off", "--store", "host", "--device",
                                "cpu", "--profile"})),
            0);
  EXPECT_EQ(result("same"), result("base"));
  EXPECT_TRUE(fs::exists(path("same/round1/profile.txt")));
  EXPECT_FALSE(fs::exists(path("base/round1/profile.txt")));
}

// The first round is that of a run of one; the second starts from it.
TEST_F(DistilOptions, RoundsFollowEachOther) {
  ASSERT_EQ(run(distil("two", {"--rounds", "2"})), 0);
  EXPECT_EQ(result("two"), result("base"));
  EXPECT_TRUE(fs::exists(path("two/round2/classifier.safetensors")));
  EXPECT_FALSE(fs::exists(path("two/round3")));
  EXPECT_FALSE(fs::exists(path("base/round2")));
  EXPECT_NE(classifier_result("two/round2"), classifier_result("two/round1"));
}

TEST_F(DistilOptions, WrongOnesAreOneLineAndLeaveNothing) {
  for (const Arguments& wrong :
       {Arguments{"--rounds", "0"}, {"--threshold", "1.5"}, {"--threshold", "-1"},
        {"--rounds", "many"}, {"--classifier", path("rice/Train.csv")}}) {
    const bool file = wrong.front() == "--classifier";
    expect_refusal(distil("wrong", wrong), file ? "Train.csv" : wrong.front());
    EXPECT_FALSE(fs::exists(path("wrong"))) << wrong.front() << " " << wrong.back();
  }
}

}  // namespace
}  // namespace mwalimu
