#include "mwalimu/eval/statistics.hpp"

#include <gtest/gtest.h>

namespace mwalimu::eval {
namespace {

TEST(Statistics, MeanAndSampleDeviation) {
  const std::vector<double> values{2, 4, 4, 4, 5, 5, 7, 9};  // squares about 5 sum to 32
  EXPECT_EQ(mean(values), 5);
  EXPECT_DOUBLE_EQ(standard_deviation(values), std::sqrt(32.0 / 7));
}

TEST(Statistics, WhatIsNotDefinedIsNoNumber) {
  EXPECT_TRUE(std::isnan(mean({})));
  EXPECT_TRUE(std::isnan(standard_deviation({})));
  EXPECT_TRUE(std::isnan(standard_deviation(std::vector<double>{3})));
  EXPECT_TRUE(std::isnan(mean(std::vector<double>{1, std::nan("")})));
}

TEST(Statistics, FiniteLeavesOutTheRest) {
  EXPECT_EQ(finite(std::vector<double>{1, std::nan(""), 3, HUGE_VAL, -HUGE_VAL}),
            (std::vector<double>{1, 3}));
}

}  // namespace
}  // namespace mwalimu::eval
