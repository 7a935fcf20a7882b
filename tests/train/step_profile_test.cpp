// `--profile` of long runs and of short ones.
#include "mwalimu/train/step_profile.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

namespace fs = std::filesystem;

/// What a run of `steps` steps tells its user. A loop may announce a step that it does not take.
std::vector<std::string> run(const fs::path& folder, int steps, bool announces_one_more = false,
                             bool on = true) {
  StepProfile profile({.on = on}, folder, Device::cpu());
  std::vector<std::string> told;
  const auto tell = [&](const std::string& text) {
    if (!text.empty()) told.push_back(text);
  };
  for (int i = 0; i < steps; ++i) {
    profile.before_step();
    { const ProfileScope scope("a step's work", Cpu{}); }
    tell(profile.after_step());
  }
  if (announces_one_more) profile.before_step();
  tell(profile.finish());
  EXPECT_FALSE(Profiler::active());
  return told;
}

std::string table(const fs::path& folder) { return io::read_file(folder / "profile.txt"); }

TEST(StepProfile, RecordsTenStepsAfterTheFifth) {
  const test::TempDir folder;
  EXPECT_EQ(run(folder.path(), 30).size(), 1u);
  EXPECT_NE(table(folder.path()).find("Times of 10 steps;"), std::string::npos);
  EXPECT_NE(table(folder.path()).find("a step's work"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder / "profile.json"));
}

TEST(StepProfile, OfAShortRunTheStepsThereAre) {
  for (const bool one_more : {false, true}) {
    const test::TempDir folder;
    EXPECT_EQ(run(folder.path(), 8, one_more).size(), 1u);
    EXPECT_NE(table(folder.path()).find("Times of 3 steps;"), std::string::npos);
  }
}

TEST(StepProfile, ARunTooShortIsToldSo) {
  for (const bool one_more : {false, true}) {
    const test::TempDir folder;
    EXPECT_EQ(run(folder.path(), 5, one_more),
              std::vector<std::string>{"no profile was written: the run ended after 5 steps, and "
                                       "the first recorded is the 6th"});
    EXPECT_TRUE(fs::is_empty(folder.path()));
  }
  const test::TempDir folder;
  EXPECT_NE(run(folder.path(), 1).at(0).find("after 1 step,"), std::string::npos);
}

TEST(StepProfile, SaysNothingUnlessAsked) {
  const test::TempDir folder;
  EXPECT_TRUE(run(folder.path(), 30, false, false).empty());
  EXPECT_TRUE(run(folder.path(), 3, false, false).empty());
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace mwalimu::train
