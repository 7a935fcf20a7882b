#include "mwalimu/gpu/plan_file.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "mwalimu/gpu/conv_problem.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::gpu {
namespace {

using test::TempDir;

const MeasuredEngine kFirst{{62, {{2, 24}, {14, -1}}}, 0.125};
const MeasuredEngine kSecond{{0, {}}, 3.5};

void write(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path) << text;
}
std::string read(const std::filesystem::path& path) { return io::read_file(path); }

/// What a PlanFile made from this text says on stderr.
std::string complaint(std::string_view text) {
  const TempDir folder;
  write(folder / "plans.json", text);
  testing::internal::CaptureStderr();
  const PlanFile file(folder / "plans.json");
  EXPECT_FALSE(file.find("device", "problem"));
  return testing::internal::GetCapturedStderr();
}

TEST(PlanFile, KeepsWhatWasPut) {
  const TempDir folder;
  const auto path = folder / "not/there/yet/plans.json";
  {
    PlanFile file(path);
    EXPECT_FALSE(file.find("H200", "forward"));
    file.put("H200", "forward", kFirst);
    file.put("H200", "backward \"quoted\"", kSecond);
    EXPECT_EQ(file.find("H200", "forward"), kFirst);
  }
  const PlanFile again(path);
  EXPECT_EQ(again.find("H200", "forward"), kFirst);
  EXPECT_EQ(again.find("H200", "backward \"quoted\""), kSecond);
  EXPECT_FALSE(again.find("H100", "forward"));
}

TEST(PlanFile, KeepsWhatOtherRunsWrote) {
  const TempDir folder;
  const auto path = folder / "plans.json";
  {
    PlanFile one(path), other(path);
    one.put("A", "x", kFirst);
    one.save();
    other.put("A", "y", kSecond);
    other.save();
  }
  const PlanFile both(path);
  EXPECT_EQ(both.find("A", "x"), kFirst);
  EXPECT_EQ(both.find("A", "y"), kSecond);
}

TEST(PlanFile, IsNotTouchedWhereNothingIsNew) {
  const TempDir folder;
  { PlanFile file(folder / "plans.json"); }
  EXPECT_FALSE(std::filesystem::exists(folder / "plans.json"));
  write(folder / "plans.json", R"({"version": 1, "devices": {}})");
  { PlanFile file(folder / "plans.json"); }
  EXPECT_EQ(read(folder / "plans.json"), R"({"version": 1, "devices": {}})");
}

TEST(PlanFile, IgnoresDamageInOneLine) {
  const auto expect = [](std::string_view text, std::string_view reason) {
    const std::string said = complaint(text);
    EXPECT_NE(said.find("plans.json: " + std::string(reason) + "; convolutions are measured anew\n"),
              std::string::npos)
        << "of " << text << ": " << said;
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  };
  expect("", "not JSON");
  expect(R"({"version": 1, "devi)", "not JSON");
  expect("[1, 2]", "not JSON");
  expect("{}", "its version is null, want 1");
  expect(R"({"version": 2, "devices": {}})", "its version is 2, want 1");
  expect(R"({"version": 1})", "not a list of plans");
  expect(R"({"version": 1, "devices": {"device": {"problem": {}}}})", "not a list of plans");
  expect(R"({"version": 1, "devices": {"device": {"problem":
            {"engine": "x", "knobs": {}, "milliseconds": 1}}}})", "not a list of plans");
  expect(R"({"version": 1, "devices": {"device": {"problem":
            {"engine": 1, "knobs": {"x": 1}, "milliseconds": 1}}}})", "not a list of plans");
  EXPECT_EQ(complaint(R"({"version": 1, "devices": {}})"), "");
}

TEST(PlanFile, DamageIsReplaced) {
  const TempDir folder;
  write(folder / "plans.json", "half a fi");
  testing::internal::CaptureStderr();
  {
    PlanFile file(folder / "plans.json");
    file.put("A", "x", kFirst);
  }
  const PlanFile again(folder / "plans.json");
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(again.find("A", "x"), kFirst);
}

TEST(PlanFile, AFolderThatCannotBeMadeIsReportedOnce) {
  const TempDir folder;
  write(folder / "file", "");
  testing::internal::CaptureStderr();
  {
    PlanFile file(folder / "file/plans.json");
    file.put("A", "x", kFirst);
    file.save();
    file.save();
    EXPECT_EQ(file.find("A", "x"), kFirst);
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_NE(said.find("plans are not kept"), std::string::npos) << said;
}

TEST(PlanFile, WithoutAPathNothingIsKept) {
  PlanFile file{{}};
  file.put("A", "x", kFirst);
  file.save();
  EXPECT_EQ(file.find("A", "x"), kFirst);
}

TEST(PlanFile, LivesWhereTheEnvironmentSays) {
  const auto with = [](const char* cache, const char* home) {
    const auto set = [](const char* name, const char* value) {
      value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
    };
    const char* before = std::getenv("HOME");
    const std::string kept = before != nullptr ? before : "";
    set("MWALIMU_CACHE", cache);
    set("HOME", home);
    const auto path = PlanFile::default_path().string();
    set("MWALIMU_CACHE", nullptr);
    set("HOME", kept.c_str());
    return path;
  };
  EXPECT_EQ(with("/cache", "/home/me"), "/cache/conv_plans.json");
  EXPECT_EQ(with("", "/home/me"), "/home/me/.cache/mwalimu/conv_plans.json");
  EXPECT_EQ(with(nullptr, "/home/me"), "/home/me/.cache/mwalimu/conv_plans.json");
  EXPECT_EQ(with(nullptr, nullptr), "");
}

const ConvProblem kProblem{.pass = ConvPass::backward_data,
                           .type = "bfloat16",
                           .x = {32, 16, 16, 64},
                           .weight = {128, 8, 3, 3},
                           .out = {32, 8, 8, 128},
                           .stride = 2,
                           .padding = 1,
                           .groups = 8};

TEST(ConvProblem, KeyHoldsAllThatDecides) {
  EXPECT_EQ(kProblem.key(),
            "backward_data bfloat16 32x16x16x64 * 128x8x3x3 stride 2 padding 1 groups 8");
  const auto changed = [](auto&& change) {
    ConvProblem p = kProblem;
    change(p);
    EXPECT_FALSE(p == kProblem);
    return p.key();
  };
  std::set<std::string> keys{kProblem.key()};
  keys.insert(changed([](ConvProblem& p) { p.pass = ConvPass::forward; }));
  keys.insert(changed([](ConvProblem& p) { p.type = "float16"; }));
  keys.insert(changed([](ConvProblem& p) { p.x[0] = 64; }));
  keys.insert(changed([](ConvProblem& p) { p.x[1] = 15; }));
  keys.insert(changed([](ConvProblem& p) { p.weight[0] = 64; }));
  keys.insert(changed([](ConvProblem& p) { p.weight[3] = 1; }));
  keys.insert(changed([](ConvProblem& p) { p.stride = 1; }));
  keys.insert(changed([](ConvProblem& p) { p.padding = 0; }));
  keys.insert(changed([](ConvProblem& p) { p.groups = 1; }));
  keys.insert(changed([](ConvProblem& p) { p.deterministic = false; }));
  keys.insert(changed([](ConvProblem& p) { p.alignment = 4; }));
  EXPECT_EQ(keys.size(), 12u);
  ConvProblem wide = kProblem;
  wide.type = "float32";
  const std::string ieee = wide.key();
  wide.float32 = Float32Math::tf32;
  EXPECT_EQ(wide.key(), ieee + " tf32");
}

TEST(ConvProblem, StridesPutChannelsLast) {
  EXPECT_EQ(nchw_extents({2, 5, 7, 3}), (std::array<std::int64_t, 4>{2, 3, 5, 7}));
  EXPECT_EQ(channels_last_strides({2, 3, 5, 7}),
            (std::array<std::int64_t, 4>{3 * 5 * 7, 1, 3 * 7, 3}));
}

TEST(ConvProblem, AlignmentIsThatOfTheWorstAddress) {
  const auto at = [](std::uintptr_t address) { return reinterpret_cast<const void*>(address); };
  EXPECT_EQ(common_alignment({at(256), at(512), at(0)}), 16);
  EXPECT_EQ(common_alignment({at(256), at(520), at(0)}), 8);
  EXPECT_EQ(common_alignment({at(256), at(520), at(2)}), 2);
  EXPECT_EQ(common_alignment({at(255)}), 1);
}

}  // namespace
}  // namespace mwalimu::gpu
