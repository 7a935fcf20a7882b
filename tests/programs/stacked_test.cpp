// --input stacked: a pair of sensors as one image of four channels, through the programs: what each
// leaves behind tells the next one; and a killed run ends as one that was not.
#include <gtest/gtest.h>

#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/safetensors.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

class Stacked : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    ASSERT_EQ(run({"make_rice", "--out", path("rice"), "--pairs", "12", "--test-pairs", "6",
                   "--size", "32", "--seed", "1"}),
              0);
    ASSERT_EQ(run(pretrain("three")), 0);
    ASSERT_EQ(run(pretrain("four", {"--input", "stacked"})), 0);
    ASSERT_EQ(run(finetune("tuned", {"--encoder", path("four/encoder.safetensors")})), 0);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }
  static test::Outcome outcome(Arguments arguments, const std::function<bool()>& kill_when = {}) {
    return test::run(folder_->path(), std::move(arguments), kill_when);
  }
  static int run(Arguments arguments) {
    const auto result = outcome(std::move(arguments));
    EXPECT_EQ(result.err, "") << result.out;
    return result.code;
  }
  static Arguments with(Arguments all, const Arguments& more) {
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static Arguments pretrain(const std::string& out, const Arguments& more = {}) {
    return with({"pretrain", "--data", path("rice"), "--out", path(out), "--arch", "xresnet18",
                 "--width", "8", "--crops", "2x16,2x8", "--batch", "4", "--epochs", "2",
                 "--prototypes", "6", "--hidden", "12", "--embedding", "8", "--queue-length", "8",
                 "--seed", "3", "--device", "cpu"},
                more);
  }
  static Arguments finetune(const std::string& out, const Arguments& more = {}) {
    return with({"finetune", "--data", path("rice"), "--out", path(out), "--size", "16", "--batch",
                 "4", "--epochs", "2", "--seed", "3", "--device", "cpu"},
                more);
  }
  static std::string bytes(const std::string& file) { return io::read_file(path(file)); }
  static std::string channels(const std::string& file) {
    return io::SafetensorsFile(path(file)).metadata().at("channels");
  }
  static void expect_refusal(Arguments arguments, const std::string& words) {
    const auto refused = outcome(std::move(arguments));
    EXPECT_EQ(refused.code, 2) << refused.out;
    EXPECT_EQ(refused.error_lines(), 1) << refused.err;
    EXPECT_NE(refused.err.find(words), std::string::npos) << refused.err;
    EXPECT_FALSE(fs::exists(path("refused")));
  }

  static inline test::TempDir* folder_ = nullptr;
};

TEST_F(Stacked, WeightsSayHowManyChannelsTheyTake) {
  EXPECT_EQ(channels("three/encoder.safetensors"), "3");
  EXPECT_EQ(channels("four/encoder.safetensors"), "4");
  EXPECT_EQ(channels("tuned/classifier.safetensors"), "4");
  EXPECT_NE(bytes("four/config.toml").find("input = \"stacked\""), std::string::npos)
      << bytes("four/config.toml");
}

TEST_F(Stacked, APlantIsOneRowCalledAsItsRgbImage) {
  const auto csv = io::read_csv(path("tuned/logits.csv"));
  ASSERT_EQ(csv.rows.size(), 6u);  // the test part's plants
  for (const auto& row : csv.rows) {
    EXPECT_EQ(row[csv.column("sensor")], "stacked");
    EXPECT_EQ(row[csv.column("image_id")].find("_rgn"), std::string::npos);
  }
  EXPECT_EQ(io::read_csv(path("tuned/submission.csv")).rows.size(), 6u);
}

TEST_F(Stacked, WhatReadsAModelPicksItUpOrRefuses) {
  const std::string classifier = path("tuned/classifier.safetensors");
  ASSERT_EQ(run({"evaluate", "--data", path("rice"), "--classifier", classifier, "--out",
                 path("evaluated"), "--device", "cpu"}),
            0);
  EXPECT_EQ(bytes("evaluated/logits.npy"), bytes("tuned/logits.npy"));
  expect_refusal({"evaluate", "--data", path("rice"), "--classifier", classifier, "--out",
                  path("refused"), "--input", "images"},
                 "takes stacked (4 channels); leave --input out");
  expect_refusal({"distil", "--data", path("rice"), "--classifier", classifier, "--out",
                  path("refused"), "--input", "images"},
                 "takes stacked (4 channels); leave --input out");
  EXPECT_EQ(run({"distil", "--data", path("rice"), "--classifier", classifier, "--out",
                 path("taught"), "--rounds", "1", "--threshold", "0.3", "--epochs", "1", "--batch",
                 "4", "--seed", "3", "--device", "cpu"}),
            0);
  EXPECT_EQ(channels("taught/round1/classifier.safetensors"), "4");
  for (const char* model : {"--classifier", "--encoder"}) {
    const std::string file = *(model + 2) == 'c' ? classifier : path("four/encoder.safetensors");
    EXPECT_EQ(run({"tsne", "--data", path("rice"), model, file, "--out", path("map") + (model + 2),
                   "--part", "train", "--perplexity", "3", "--iterations", "20", "--device", "cpu"}),
              0);
    EXPECT_EQ(io::read_csv(path("map") + (model + 2) + "/embedding.csv").rows.size(), 12u);
  }
}

TEST_F(Stacked, AnEncoderOfOneInputBeginsTheOther) {
  const auto up = outcome(finetune("up", {"--encoder", path("three/encoder.safetensors"), "--input",
                                          "stacked"}));
  EXPECT_EQ(up.code, 0) << up.err;
  EXPECT_NE(up.out.find("of 3 channels, are spread over 4"), std::string::npos) << up.out;
  EXPECT_EQ(channels("up/classifier.safetensors"), "4");
  const auto down = outcome(finetune("down", {"--encoder", path("four/encoder.safetensors"),
                                              "--input", "images"}));
  EXPECT_EQ(down.code, 0) << down.err;
  EXPECT_EQ(channels("down/classifier.safetensors"), "3");
  EXPECT_NE(bytes("up/logits.npy"), bytes("tuned/logits.npy"));
}

TEST_F(Stacked, KilledItEndsAsIfItHadNotBeen) {
  const Arguments stacked{"--input", "stacked", "--epochs", "12", "--sizes", "8@4,12@4,16"};
  ASSERT_EQ(run(pretrain("unbroken", stacked)), 0);
  int kills = 0;
  for (const std::size_t rows : {6, 16, 28}) {  // of 36: one in each size
    const auto killed = outcome(
        pretrain("killed", with(stacked, kills == 0 ? Arguments{} : Arguments{"--resume"})), [&] {
          if (!fs::exists(path("killed/checkpoint.safetensors"))) return false;
          const std::string log = bytes("killed/log.csv");
          return static_cast<std::size_t>(std::count(log.begin(), log.end(), '\n')) > rows;
        });
    ASSERT_TRUE(killed.code == 0 || killed.code == 128 + SIGKILL) << killed.err;
    kills += killed.code != 0 ? 1 : 0;
  }
  EXPECT_GE(kills, 1);
  expect_refusal({"pretrain", "--resume", "--out", path("killed"), "--input", "images"}, "--resume");
  expect_refusal({"pretrain", "--resume", "--out", path("killed"), "--pool", "max"}, "pool = max");
  expect_refusal({"pretrain", "--resume", "--out", path("killed"), "--sizes", "8@4,12@3,16"},
                 "sizes = ");
  ASSERT_EQ(run({"pretrain", "--resume", "--out", path("killed")}), 0);
  for (const char* file : {"/encoder.safetensors", "/swav.safetensors", "/checkpoint.safetensors"}) {
    EXPECT_EQ(bytes(std::string("killed") + file), bytes(std::string("unbroken") + file)) << file;
  }

  const Arguments tune{"--encoder", path("four/encoder.safetensors"), "--epochs", "10"};
  ASSERT_EQ(run(finetune("tune_unbroken", tune)), 0);
  const auto killed = outcome(finetune("tune_killed", tune), [] {
    return fs::exists(path("tune_killed/checkpoint.safetensors"));
  });
  ASSERT_TRUE(killed.code == 0 || killed.code == 128 + SIGKILL) << killed.err;
  ASSERT_EQ(run({"finetune", "--resume", "--out", path("tune_killed")}), 0);
  EXPECT_EQ(bytes("tune_killed/classifier.safetensors"), bytes("tune_unbroken/classifier.safetensors"));
  EXPECT_EQ(bytes("tune_killed/logits.npy"), bytes("tune_unbroken/logits.npy"));
}

TEST_F(Stacked, AResumedFinetuneMustHaveTheSameOptions) {
  const Arguments adam{"--optimizer", "adam", "--arch", "xresnet18", "--width", "8"};
  ASSERT_EQ(run(finetune("adam", adam)), 0);
  for (const Arguments& other :
       {Arguments{"--optimizer", "adamw"}, {"--weight-decay", "0.3"}, {"--tta", "1"},
        {"--pool", "max"}, {"--input", "stacked"}}) {
    expect_refusal(with(finetune("adam", adam), with(other, {"--resume"})), "--resume");
  }
}

TEST_F(Stacked, WantsPairsAndSaysSoInOneLine) {
  fs::copy(path("rice"), path("single"), fs::copy_options::recursive);
  for (const char* table : {"Train.csv", "Test.csv", "TestLabels.csv"}) {
    const auto rows = io::read_csv(path("rice/") + table);
    std::string kept;
    for (std::size_t i = 0; i < rows.header.size(); ++i) {
      kept.append(i > 0 ? "," : "").append(rows.header[i]);
    }
    kept += '\n';
    for (const auto& row : rows.rows) {
      if (row[0].find("_rgn") != std::string::npos) continue;
      for (std::size_t i = 0; i < row.size(); ++i) kept.append(i > 0 ? "," : "").append(row[i]);
      kept += '\n';
    }
    io::write_file(path("single/") + table, kept);
  }
  expect_refusal(pretrain("refused", {"--data", path("single"), "--input", "stacked"}),
                 "has no partner of the other sensor");
  expect_refusal({"finetune", "--data", path("single"), "--out", path("refused"), "--encoder",
                  path("four/encoder.safetensors")},
                 "has no partner of the other sensor");
  expect_refusal(pretrain("refused", {"--pairs", "on", "--input", "stacked"}), "--pairs on");
  expect_refusal(pretrain("refused", {"--reference-quirks", "--input", "stacked"}),
                 "--reference-quirks");
  expect_refusal(pretrain("refused", {"--sizes", "8@1,24"}), "--sizes: ends on 24");
  expect_refusal(pretrain("refused", {"--sizes", "8@2,16"}), "--epochs are 2");

  // One side missing: an error, or left out.
  fs::copy(path("rice"), path("broken"), fs::copy_options::recursive);
  const auto train = io::read_csv(path("rice/Train.csv"));
  for (const auto& row : train.rows) {
    if (row[0].find("_rgn") == std::string::npos) continue;
    fs::remove(path("broken/images/") + row[0]);
    break;
  }
  expect_refusal(pretrain("refused", {"--data", path("broken"), "--input", "stacked"}),
                 "pair with one side missing");
  const auto skipped =
      outcome(pretrain("skipped", {"--data", path("broken"), "--input", "stacked", "--skip-bad"}));
  EXPECT_EQ(skipped.code, 0) << skipped.err;
  EXPECT_NE(skipped.out.find("11 stacked pairs"), std::string::npos) << skipped.out;
}

}  // namespace
}  // namespace mwalimu
