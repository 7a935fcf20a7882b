#include "support/golden.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

#include "mwalimu/io/atomic_file.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::io {
namespace {

// FNV-1a's published test vectors: the empty string, "a" and "foobar".
TEST(Fill, SeedIsFnv1a) {
  EXPECT_EQ(golden::fill_seed(""), 0xcbf29ce484222325u);
  EXPECT_EQ(golden::fill_seed("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(golden::fill_seed("foobar"), 0x85944171f73967e8u);
}

TEST(FillGolden, RebuildsTheManifestsTensorsToTheBit) {
  if (const auto why = golden::why_absent(""); !why.empty()) GTEST_SKIP() << why;
  const auto& check = golden::manifest().at("fill").at("check");
  EXPECT_GE(check.size(), 1u);
  for (const auto& [name, want] : check.items()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(std::to_string(golden::fill_seed(name)), want.at("seed").get<std::string>());
    const auto kind = golden::fill_kind(want.at("kind").get<std::string>());
    const auto shape = want.at("shape").get<golden::Shape>();
    const auto values = golden::fill(name, shape, kind);
    const auto first = want.at("first4").get<std::vector<double>>();
    ASSERT_GE(values.size(), first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(static_cast<double>(values[i]), first[i]) << "element " << i;
    }
    if (kind != golden::Fill::input) {
      EXPECT_EQ(golden::fill_kind_of(name, shape), kind);
    }
  }
}

TEST(Manifest, OfAnotherVersionIsAnError) {
  const test::TempDir dir;
  write_file(dir / "m.json", R"({"version": 1, "cases": []})");
  EXPECT_NO_THROW(golden::read_manifest(dir / "m.json"));
  write_file(dir / "m.json", R"({"version": 2, "cases": []})");
  EXPECT_THROW(golden::read_manifest(dir / "m.json"), ValueError);
  write_file(dir / "m.json", R"({"cases": []})");
  EXPECT_THROW(golden::read_manifest(dir / "m.json"), ValueError);
  write_file(dir / "m.json", "{");
  EXPECT_THROW(golden::read_manifest(dir / "m.json"), FileError);
}

TEST(CaseGolden, EveryFileHoldsTheTensorsThatTheManifestNames) {
  if (const auto why = golden::why_absent(""); !why.empty()) GTEST_SKIP() << why;
  for (const auto& fields : golden::manifest().at("cases")) {
    const golden::Case c(fields);
    SCOPED_TRACE(c.id());
    for (const auto& [name, shape] : c.at("tensors").items()) {
      ASSERT_TRUE(c.has_tensor(name)) << name;
      EXPECT_EQ(c.tensor(name).shape, shape.get<golden::Shape>()) << name;
    }
    EXPECT_EQ(c.file().tensors().size(), c.at("tensors").size());
  }
}

// A kind without a test is a hole that nobody sees: say so, by name.
TEST(KindGolden, EveryKindHasATest) {
  if (const auto why = golden::why_absent(""); !why.empty()) GTEST_SKIP() << why;
  std::set<std::string> open;
  for (const auto& fields : golden::manifest().at("cases")) open.insert(fields.at("kind"));
  const auto tests = std::filesystem::path(MWALIMU_SOURCE_DIR) / "tests";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(tests)) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string text = read_file(entry.path());
    std::erase_if(open, [&](const std::string& kind) {
      const auto use = text.find(", \"" + kind + "\")");
      return use != std::string::npos &&
             text.rfind("MWALIMU_GOLDEN_CASES(", use) > text.rfind('\n', use);
    });
  }
  std::string names;
  for (const std::string& kind : open) names += " " + kind;
  if (!open.empty()) GTEST_SKIP() << "no test reads the kinds" << names;
}

golden::Case example() {
  return golden::Case(nlohmann::json::parse(R"({"id": "example", "kind": "none",
      "zero_grads": ["grad.bias"], "sens": {"y": 1e-5, "z": 1e-9, "grad.loose": 0.01},
      "fp32_rel_err": {"w": 1e-6}})"));
}

TEST(Case, ToleranceFollowsWhatTheCaseStates) {
  const golden::Case c = example();
  const std::vector<double> want{3, 4};  // norm 5, largest 4
  const auto near = [&](const char* name, double first) {
    const std::vector<double> got{first, 4};
    return static_cast<bool>(c.near(name, got, want, name));
  };
  EXPECT_TRUE(near("y", 3 + 5 * 0.9e-4));  // ten times sens
  EXPECT_FALSE(near("y", 3 + 5 * 1.1e-4));
  EXPECT_TRUE(near("z", 3 + 5 * 1.9e-5));  // the floor, 2e-5
  EXPECT_FALSE(near("z", 3 + 5 * 2.1e-5));
  EXPECT_TRUE(near("w", 3 + 4 * 1.9e-5));  // twenty times fp32_rel_err
  EXPECT_FALSE(near("w", 3 + 4 * 2.1e-5));
  EXPECT_TRUE(near("grad.bias", 3 + 0.9e-4));
  EXPECT_FALSE(near("grad.bias", 3 + 1.1e-4));
  EXPECT_TRUE(near("grad.loose", 3.5));
  EXPECT_FALSE(near("grad.loose", 4.5));  // 15 % longer
  EXPECT_FALSE(near("grad.loose", std::nan("")));
  EXPECT_FALSE(near("grad.loose", -3));
  EXPECT_FALSE(near("y", std::nan("")));
  EXPECT_FALSE(near("unstated", 3));
}

}  // namespace
}  // namespace mwalimu::io
