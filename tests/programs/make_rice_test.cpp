// make_rice's options: that each of them changes the data set.
#include <gtest/gtest.h>

#include <algorithm>

#include "programs/option_changes.hpp"
#include "programs/program_suite.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using test::Arguments;
using test::with;

class MakeRice : public test::ProgramSuite {
 protected:
  static Arguments rice(const std::string& out, const Arguments& more = {}) {
    return with({"make_rice", "--out", path(out), "--pairs", "3", "--test-pairs", "2", "--size",
                 "24", "--seed", "1"},
                more);
  }
  /// Names and bytes of all files but config.toml, which says what was asked for.
  static std::string files(const std::string& out) {
    std::vector<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(path(out))) {
      if (!entry.is_regular_file() || entry.path().filename() == "config.toml") continue;
      all.push_back(entry.path().lexically_relative(path(out)).string() + "\n" +
                    io::read_file(entry.path()));
    }
    std::sort(all.begin(), all.end());
    std::string text;
    for (const std::string& file : all) text += file;
    return text;
  }
};

TEST_F(MakeRice, EveryOptionChangesTheFiles) {
  ASSERT_EQ(run(rice("base")), 0);
  test::expect_each_changes({{"pairs", {{"--pairs", "4"}}},
                             {"test-pairs", {{"--test-pairs", "3"}}},
                             {"size", {{"--size", "32"}}},
                             {"difficulty", {{"--difficulty", "1"}}},
                             {"closeup", {{"--closeup", "1"}}},
                             {"quality", {{"--quality", "30"}}},
                             {"seed", {{"--seed", "2"}}}},
                            "base", run, rice, files);
  ASSERT_EQ(run(rice("same", {"--threads", "2"})), 0);
  EXPECT_EQ(files("same"), files("base"));
}

TEST_F(MakeRice, AnEarlierSetIsReplacedWhereAsked) {
  ASSERT_EQ(run(rice("replaced")), 0);
  const std::string before = files("replaced");
  expect_refusal(rice("replaced", {"--seed", "2"}), "holds an earlier run");
  EXPECT_EQ(files("replaced"), before);
  EXPECT_EQ(run(rice("replaced", {"--seed", "2", "--overwrite"})), 0);
  EXPECT_NE(files("replaced"), before);
}

TEST_F(MakeRice, WrongOnesAreOneLineAndLeaveNothing) {
  for (const Arguments& wrong :
       {Arguments{"--pairs", "0"}, {"--test-pairs", "-1"}, {"--size", "15"}, {"--size", "4096"},
        {"--difficulty", "2"}, {"--closeup", "-0.5"}, {"--quality", "101"}, {"--threads", "-1"}}) {
    expect_refusal(rice("wrong", wrong), wrong.front());
    EXPECT_FALSE(fs::exists(path("wrong"))) << wrong.front() << " " << wrong.back();
  }
}

}  // namespace
}  // namespace mwalimu
