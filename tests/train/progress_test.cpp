#include "mwalimu/train/progress.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace mwalimu::train {
namespace {

// A progress on a string, with a clock of its own.
struct Scene {
  double now = 100;
  int columns = 80;
  std::ostringstream stream;

  ProgressOptions options(bool terminal) {
    ProgressOptions result;
    result.terminal = terminal;
    result.stream = &stream;
    result.clock = [this] { return now; };
    result.width = [this] { return columns; };
    return result;
  }
  std::string take() {
    std::string text = stream.str();
    stream.str("");
    return text;
  }
};

TEST(FormatDuration, ReadsAsPeopleWriteIt) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(754), "12:34");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(INFINITY), "?");
  EXPECT_EQ(format_duration(-1), "?");
}

TEST(Progress, PlainLinesComeNowAndThenAndAtTheEnd) {
  Scene scene;
  ProgressOptions options = scene.options(false);
  options.items_per_step = 32;
  options.unit = "images";
  Progress progress("pretrain", 100, options);
  for (int step = 1; step <= 30; ++step) {
    scene.now += 0.5;  // 15 s in all: one line
    progress.update(step, "loss 2.5");
  }
  EXPECT_EQ(scene.take(), "pretrain 20/100 (20%), 64.0 images/s, 0:40 left, loss 2.5\n");
  progress.update(100);
  EXPECT_EQ(scene.take(), "");
  scene.now += 10;
  progress.finish();
  EXPECT_EQ(scene.take(), "pretrain 100/100 (100%), 128 images/s, took 0:25, loss 2.5\n");
  progress.finish();
  EXPECT_EQ(scene.take(), "");
}

TEST(Progress, RedrawsOneLineOnATerminalTenTimesASecond) {
  Scene scene;
  Progress progress("train", 1000, scene.options(true));
  int draws = 0;
  for (int step = 1; step <= 500; ++step) {
    scene.now += 0.01;
    progress.update(step);
    const std::string text = scene.take();
    if (text.empty()) continue;
    ++draws;
    EXPECT_EQ(text.front(), '\r');
    EXPECT_EQ(text.find('\n'), text.npos);
    EXPECT_NE(text.find("\x1b[K"), text.npos);  // what a longer line left behind
  }
  EXPECT_GE(draws, 40);
  EXPECT_LE(draws, 50);
  progress.finish();
  EXPECT_EQ(scene.take().back(), '\n');
}

TEST(Progress, FitsAnyWidth) {
  for (const int columns : {12, 20, 40, 60, 80, 200}) {
    Scene scene;
    scene.columns = columns;
    Progress progress("pretrain", 123456, scene.options(true));
    for (const int step : {1, 61728, 123456}) {
      scene.now += 7;
      progress.update(step, "loss 2.3456 lr 0.001 and more than anybody wants to know");
      std::string text = scene.take();
      text.erase(0, 1);
      text.erase(text.find("\x1b[K"));
      EXPECT_LT(static_cast<int>(text.size()), columns) << text;
      EXPECT_EQ(text.rfind("pretrain", 0), 0u);
    }
  }
  Scene scene;
  scene.columns = 100;
  Progress progress("t", 4, scene.options(true));
  scene.now += 1;
  progress.update(2);
  EXPECT_NE(scene.take().find("t  50% [====================                    ] 2/4"),
            std::string::npos);
}

TEST(Progress, RateIsOfThisProcessAlone) {
  Scene scene;
  ProgressOptions options = scene.options(false);
  options.start = 900;
  Progress progress("train", 1000, options);
  scene.now += 10;
  progress.update(950);
  EXPECT_EQ(scene.take(), "train 950/1000 (95%), 5.00 steps/s, 0:10 left\n");
  EXPECT_EQ(progress.rate(), 5);
}

TEST(Progress, AnExceptionLeavesTheCursorOnANewLine) {
  Scene scene;
  {
    Progress progress("train", 10, scene.options(true));
    scene.now += 1;
    progress.update(1);
    scene.take();
  }
  EXPECT_EQ(scene.take(), "\n");
}

TEST(Progress, MessagesStandAboveTheBar) {
  Scene scene;
  Progress progress("train", 10, scene.options(true));
  scene.now += 1;
  progress.update(1);
  scene.take();
  progress.message("epoch 1: 93 %");
  const std::string text = scene.take();
  EXPECT_EQ(text.rfind("\r\x1b[Kepoch 1: 93 %\n\rtrain", 0), 0u) << text;
}

TEST(Progress, NothingToDoIsDone) {
  Scene scene;
  Progress progress("train", 0, scene.options(false));
  progress.finish();
  EXPECT_EQ(scene.take(), "train 0/0 (100%), 0.00 steps/s, took 0:00\n");
}

}  // namespace
}  // namespace mwalimu::train
