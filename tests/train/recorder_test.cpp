#include "mwalimu/train/recorder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

constexpr const char* kHeader =
    "step,epoch,loss,lr,momentum,gradient_norm,images_per_second,seconds,entropy,knn\n";

class RecorderTest : public ::testing::Test {
 protected:
  std::string text() const { return io::read_file(path_); }
  void append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  // The log's lines without images_per_second and seconds.
  std::vector<std::string> lines_without_times() const {
    const io::CsvTable table = io::parse_csv(text(), "log");
    std::vector<std::string> lines;
    for (const auto& row : table.rows) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (i != 6 && i != 7) line += row[i] + ",";
      }
      lines.push_back(line);
    }
    return lines;
  }
  // Steps [first, last] of an imagined run.
  static void run(Recorder& recorder, int first, int last) {
    for (int step = first; step <= last; ++step) {
      LogRow row{.step = step,
                 .epoch = step / 8.0,
                 .loss = 1.0f / step,
                 .lr = 1e-3,
                 .momentum = 0.9,
                 .gradient_norm = 1.5,
                 .images = 32};
      if (step % 2 == 0) {
        recorder.record(row, {{"knn", 0.98f}, {"entropy", step}});
      } else {
        recorder.record(row, {{"entropy", std::nan("")}});
      }
    }
  }
  test::TempDir folder_;
  std::filesystem::path path_ = folder_ / "log.csv";
  const std::vector<std::string> own_{"entropy", "knn"};
};

TEST_F(RecorderTest, WritesTheColumnsInOrderAndReadsThemBack) {
  {
    Recorder recorder(path_, own_);
    EXPECT_EQ(text(), kHeader);  // a run's log is there from the start
    run(recorder, 1, 3);
  }
  EXPECT_EQ(
      lines_without_times(),
      (std::vector<std::string>{"1,0.125,1,0.001,0.9,1.5,nan,,", "2,0.25,0.5,0.001,0.9,1.5,2,0.98,",
                                "3,0.375,0.33333334,0.001,0.9,1.5,nan,,"}));
  const Log log = read_log(path_);
  EXPECT_EQ(log.size(), 3u);
  EXPECT_EQ(log.column("step"), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(static_cast<float>(log.column("loss")[2]), 1.0f / 3);
  EXPECT_TRUE(std::isnan(log.column("knn")[0]));
  EXPECT_FLOAT_EQ(static_cast<float>(log.column("knn")[1]), 0.98f);
  EXPECT_TRUE(log.has("entropy"));
  EXPECT_FALSE(log.has("queue"));
  EXPECT_THROW(log.column("queue"), ValueError);
}

TEST_F(RecorderTest, TimesRiseAndRatesArePositive) {
  {
    Recorder recorder(path_, own_);
    run(recorder, 1, 5);
  }
  const Log log = read_log(path_);
  EXPECT_TRUE(std::is_sorted(log.column("seconds").begin(), log.column("seconds").end()));
  for (const double rate : log.column("images_per_second")) EXPECT_GT(rate, 0);
}

TEST_F(RecorderTest, AResumedLogEqualsThatOfAnUnbrokenRun) {
  {
    Recorder recorder(path_, own_);
    run(recorder, 1, 20);
  }
  const auto unbroken = lines_without_times();
  for (const int killed_after : {12, 13, 20}) {
    {
      Recorder recorder(path_, own_);
      run(recorder, 1, killed_after);
    }
    append("14,1.75,0.07");  // the kill came in the middle of a line
    {
      Recorder recorder(path_, own_, 12);  // the last checkpoint
      run(recorder, 13, 20);
    }
    EXPECT_EQ(lines_without_times(), unbroken) << killed_after;
  }
}

TEST_F(RecorderTest, SecondsContinue) {
  append(std::string(kHeader) + "1,0,0,0,0,0,10,100.000,,\n2,0,0,0,0,0,10,250.500,,\n");
  Recorder recorder(path_, own_, 1);
  EXPECT_EQ(recorder.seconds(), 100.0);
  run(recorder, 2, 2);
  recorder.flush();
  const double seconds = read_log(path_).column("seconds")[1];
  EXPECT_GE(seconds, 100.0);
  EXPECT_LT(seconds, 250.0);
}

TEST_F(RecorderTest, ANewRunReplacesAndAResumedOneMayBeginAnew) {
  {
    Recorder recorder(path_, own_);
    run(recorder, 1, 4);
  }
  { const Recorder recorder(path_, own_); }
  EXPECT_EQ(text(), kHeader);
  std::filesystem::remove(path_);
  {
    Recorder recorder(path_, own_, 7);
    run(recorder, 8, 9);
  }
  EXPECT_EQ(read_log(path_).column("step"), (std::vector<double>{8, 9}));
}

TEST_F(RecorderTest, FlushedRowsAreVisibleWhileTheRunGoesOn) {
  Recorder recorder(path_, own_);
  run(recorder, 1, 2);
  recorder.flush();
  EXPECT_EQ(read_log(path_).size(), 2u);
  append("3,0.3");
  EXPECT_EQ(read_log(path_).size(), 2u);
}

TEST_F(RecorderTest, MistakesAreErrors) {
  EXPECT_THROW(Recorder(path_, {"loss"}), ValueError);
  EXPECT_THROW(Recorder(path_, {"a", "a"}), ValueError);
  EXPECT_THROW(Recorder(path_, {"a,b"}), ValueError);
  EXPECT_THROW(Recorder(folder_ / "no/log.csv"), FileError);
  {
    Recorder recorder(path_, own_);
    run(recorder, 1, 2);
    EXPECT_THROW(recorder.record({.step = 2}), ValueError);
    EXPECT_THROW(recorder.record({.step = 3}, {{"queue", 1.0}}), ValueError);
    EXPECT_THROW(recorder.record({.step = 3}, {{"knn", 1.0}, {"knn", 2.0}}), ValueError);
  }
  EXPECT_EQ(read_log(path_).size(), 2u);  // a refused row leaves nothing behind
  EXPECT_THROW(Recorder(path_, {"entropy"}, 2), FileError);
  EXPECT_EQ(read_log(path_).size(), 2u);
  EXPECT_THROW(read_log(folder_ / "none.csv"), FileError);
}

TEST_F(RecorderTest, AFullDiskIsAFileError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  EXPECT_THROW(Recorder("/dev/full", own_), FileError);
}

}  // namespace
}  // namespace mwalimu::train
