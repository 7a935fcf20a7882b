#include "mwalimu/optim/early_stopping.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace mwalimu::optim {
namespace {

TEST(EarlyStopping, StopsAfterPatienceEpochsWithoutImprovement) {
  EarlyStopping stopping(3);
  EXPECT_TRUE(stopping.observe(5).improved);
  EXPECT_TRUE(stopping.observe(4).improved);
  EXPECT_FALSE(stopping.observe(4).improved) << "equal is no improvement";
  EXPECT_FALSE(stopping.observe(4.5).stop);
  EXPECT_TRUE(stopping.observe(4.1).stop);
  EXPECT_EQ(stopping.best(), 4);
}

TEST(EarlyStopping, AnImprovementStartsPatienceAnew) {
  EarlyStopping stopping(2);
  stopping.observe(5);
  EXPECT_FALSE(stopping.observe(6).stop);
  EXPECT_FALSE(stopping.observe(4).stop);
  EXPECT_FALSE(stopping.observe(6).stop);
  EXPECT_TRUE(stopping.observe(6).stop);
}

TEST(EarlyStopping, NanNeverImproves) {
  EarlyStopping stopping(2);
  EXPECT_FALSE(stopping.observe(std::nan("")).improved);
  EXPECT_TRUE(stopping.observe(3).improved);
  EXPECT_FALSE(stopping.observe(std::nan("")).improved);
  EXPECT_TRUE(stopping.observe(std::nan("")).stop);
  EXPECT_EQ(stopping.best(), 3);
}

TEST(EarlyStopping, NeverComparesAcrossRegimes) {
  EarlyStopping stopping(2);
  EXPECT_TRUE(stopping.observe(1.0, 0).improved);
  stopping.observe(1.5, 0);
  // The queue switches on: a larger loss is the best of the new regime, with patience unspent.
  const auto first = stopping.observe(2.5, 1);
  EXPECT_TRUE(first.improved);
  EXPECT_FALSE(first.stop);
  EXPECT_FALSE(stopping.observe(2.6, 1).stop);
  EXPECT_TRUE(stopping.observe(2.4, 1).improved);
  EXPECT_EQ(stopping.best(), 2.4);
}

TEST(EarlyStopping, RestoredStateGoesOnAsBefore) {
  EarlyStopping stopping(3), resumed(3);
  stopping.observe(2, 1);
  stopping.observe(3, 1);
  stopping.observe(3, 1);
  resumed.restore(stopping.state());
  EXPECT_TRUE(stopping.observe(3, 1).stop);
  EXPECT_TRUE(resumed.observe(3, 1).stop);
  EXPECT_EQ(stopping.state(), resumed.state());
  EXPECT_THROW(EarlyStopping(0), ValueError);
}

}  // namespace
}  // namespace mwalimu::optim
