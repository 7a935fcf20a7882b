// The sets of reference numbers for t-SNE, made in double precision.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/io/npy.hpp"
#include "support/golden.hpp"

namespace mwalimu::embedding::test {

namespace golden = mwalimu::test::golden;

/// One set: its folder, its golden.json, and its arrays as doubles.
class Set {
 public:
  explicit Set(std::filesystem::path folder) : folder_(std::move(folder)) {
    std::ifstream(folder_ / "golden.json") >> json;
    x_ = floats(array("X"));
    n = json.at("n");
    d = json.at("d");
    perplexity = json.at("perplexity");
  }
  std::string name() const { return folder_.filename().string(); }
  Points points() const { return Points(x_, n, d); }

  std::filesystem::path file(const std::string& name) const { return folder_ / (name + ".npy"); }
  /// An array of the set as doubles.
  std::vector<double> array(const std::string& name) const {
    return golden::to_array(io::NpyFile(file(name)).array()).values;
  }
  static std::vector<float> floats(const std::vector<double>& values) {
    return {values.begin(), values.end()};
  }

  nlohmann::json json;
  index_t n = 0, d = 0;
  double perplexity = 0;

 private:
  std::filesystem::path folder_;
  std::vector<float> x_;
};

inline std::vector<std::filesystem::path> set_folders() {
  std::vector<std::filesystem::path> found;
  const auto root = golden::folder() / "tsne";
  if (!std::filesystem::is_directory(root)) return found;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (std::filesystem::exists(entry.path() / "golden.json")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// Runs body on every set, or skips the test with the reason.
#define FOR_EACH_SET(set)                                                          \
  const auto folders = mwalimu::embedding::test::set_folders();                    \
  if (folders.empty())                                                             \
    GTEST_SKIP() << "no sets in " << mwalimu::test::golden::folder() / "tsne"      \
                 << "; name their parent folder in MWALIMU_GOLDEN";                \
  std::vector<mwalimu::embedding::test::Set> sets(folders.begin(), folders.end()); \
  for (const mwalimu::embedding::test::Set& set : sets)                            \
    if (testing::ScopedTrace trace(__FILE__, __LINE__, set.name()); true)

}  // namespace mwalimu::embedding::test
