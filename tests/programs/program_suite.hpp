// programs/program_suite: a fixture for tests that run the programs one after another in a folder of
// their suite.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/io/csv.hpp"
#include "programs/run_program.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::test {

using Arguments = std::vector<std::string>;

/// `all`, then `more`: where an option is given twice, the last one counts.
inline Arguments with(Arguments all, const Arguments& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// A suite that makes files in its SetUpTestSuite calls this one's first.
class ProgramSuite : public testing::Test {
 protected:
  static void SetUpTestSuite() { folder_ = std::make_unique<TempDir>(); }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::filesystem::path folder() { return folder_->path(); }
  /// A name in the folder.
  static std::string path(const std::string& name) { return (folder() / name).string(); }
  static std::string bytes(const std::string& name) { return io::read_file(path(name)); }

  static Outcome outcome(Arguments arguments, const std::function<bool()>& kill_when = {}) {
    return test::run(folder(), std::move(arguments), kill_when);
  }
  /// The exit code of a program that has nothing to complain of.
  static int run(Arguments arguments) {
    const auto result = outcome(std::move(arguments));
    EXPECT_EQ(result.err, "") << result.out;
    return result.code;
  }
  /// Exit code 2 and one line that says `words`.
  static void expect_refusal(Arguments arguments, const std::string& words) {
    const auto result = outcome(std::move(arguments));
    EXPECT_EQ(result.code, 2) << words << ": " << result.out;
    EXPECT_EQ(result.error_lines(), 1) << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
  }

  /// Leaves of 32 x 32 pixels by two sensors, in the folder "rice".
  static void make_rice(int pairs, const Arguments& more = {}) {
    ASSERT_EQ(run(with({"make_rice", "--out", path("rice"), "--pairs", std::to_string(pairs),
                        "--test-pairs", "6", "--size", "32", "--seed", "1"},
                       more)),
              0);
  }
  /// An encoder of "rice" that has seen it once, in the folder "pretrained".
  static void pretrain_small() {
    ASSERT_EQ(run({"pretrain", "--data", path("rice"), "--out", path("pretrained"), "--arch",
                   "xresnet18", "--width", "8", "--crops", "2x16,2x16", "--batch", "8", "--epochs",
                   "1", "--prototypes", "8", "--hidden", "16", "--embedding", "8",
                   "--queue-length", "0", "--seed", "3"}),
              0);
  }
  /// A training of three epochs of three steps on 18 pairs.
  static Arguments finetune(const std::string& out, const Arguments& more = {}) {
    return with({"finetune", "--data", path("rice"), "--out", path(out), "--arch", "xresnet18",
                 "--width", "8", "--size", "16", "--batch", "8", "--epochs", "3", "--seed", "3"},
                more);
  }
  /// log.csv of a run without what depends on the clock.
  static std::string log(const std::string& out) {
    const auto table = io::read_csv(path(out) + "/log.csv");
    std::string text;
    for (const auto& row : table.rows) {
      for (std::size_t c = 0; c < row.size(); ++c) {
        const std::string& name = table.header[c];
        if (name != "images_per_second" && name != "seconds") text.append(row[c]).append(",");
      }
      text += '\n';
    }
    return text;
  }
  /// What a classifier's training is judged by: its logits, and its log.
  static std::string classifier_result(const std::string& out) {
    return bytes(out + "/logits.npy") + log(out);
  }

 private:
  static inline std::unique_ptr<TempDir> folder_;
};

}  // namespace mwalimu::test
