#include "mwalimu/report/axis.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace mwalimu::report {
namespace {

std::vector<std::string> labels(const std::vector<Tick>& ticks) {
  std::vector<std::string> out;
  for (const Tick& t : ticks) out.push_back(t.label);
  return out;
}
using Labels = std::vector<std::string>;

TEST(LinearTicks, KnownRanges) {
  EXPECT_EQ(labels(linear_ticks(0, 1, 5)), (Labels{"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"}));
  EXPECT_EQ(labels(linear_ticks(0, 100, 5)), (Labels{"0", "20", "40", "60", "80", "100"}));
  EXPECT_EQ(labels(linear_ticks(0.83, 0.96, 5)),
            (Labels{"0.84", "0.86", "0.88", "0.90", "0.92", "0.94", "0.96"}));
  EXPECT_EQ(labels(linear_ticks(-3, 7, 4)), (Labels{"\xE2\x88\x92"
                                                    "2",
                                                    "0", "2", "4", "6"}));
  EXPECT_EQ(labels(linear_ticks(0, 20000, 4)), (Labels{"0", "5000", "10000", "15000", "20000"}));
  EXPECT_EQ(labels(linear_ticks(0, 3e-7, 3)), (Labels{"0",
                                                      "1e\xE2\x88\x92"
                                                      "7",
                                                      "2e\xE2\x88\x92"
                                                      "7",
                                                      "3e\xE2\x88\x92"
                                                      "7"}));
  EXPECT_EQ(labels(linear_ticks(0, 4e6, 4)), (Labels{"0", "1e6", "2e6", "3e6", "4e6"}));
}

TEST(LinearTicks, ValuesAreTheNumbersTheirLabelsSay) {
  for (const Tick& t : linear_ticks(0, 1, 10)) EXPECT_EQ(t.value, std::stod(t.label));
}

TEST(LinearTicks, AreInsideEvenAndAboutAsManyAsWanted) {
  for (const double low : {-1234.5, -1e-5, 0.0, 3.7, 1e8}) {
    for (const double range : {1e-5, 0.013, 1.0, 47.0, 8.5e7}) {
      for (const int wanted : {2, 5, 9}) {
        const auto ticks = linear_ticks(low, low + range, wanted);
        ASSERT_GE(ticks.size(), 1u) << low << " " << range << " " << wanted;
        EXPECT_LE(ticks.size(), 2u * static_cast<std::size_t>(wanted) + 1);
        const double rounding = 1e-6 * range + 1e-15 * std::abs(low);
        for (std::size_t i = 0; i < ticks.size(); ++i) {
          EXPECT_GE(ticks[i].value, low - rounding);
          EXPECT_LE(ticks[i].value, low + range + rounding);
          if (i > 1) {
            EXPECT_NEAR(ticks[i].value - ticks[i - 1].value, ticks[1].value - ticks[0].value,
                        2 * rounding);
            EXPECT_NE(ticks[i].label, ticks[i - 1].label);
          }
        }
      }
    }
  }
}

TEST(LogTicks, KnownRanges) {
  EXPECT_EQ(labels(log_ticks(0.01, 100, 5)), (Labels{"0.01", "0.1", "1", "10", "100"}));
  EXPECT_EQ(labels(log_ticks(1, 50, 5)), (Labels{"1", "2", "5", "10", "20", "50"}));
  EXPECT_EQ(labels(log_ticks(1e-6, 1e6, 4)), (Labels{"1e\xE2\x88\x92"
                                                     "6",
                                                     "0.001", "1", "1000", "1e6"}));
  EXPECT_EQ(labels(log_ticks(2, 3, 4)), labels(linear_ticks(2, 3, 4)));  // less than a decade
}

TEST(Ticks, Errors) {
  EXPECT_THROW(linear_ticks(1, 1, 5), ValueError);
  EXPECT_THROW(linear_ticks(0, std::numeric_limits<double>::infinity(), 5), ValueError);
  EXPECT_THROW(log_ticks(0, 1, 5), ValueError);
}

TEST(Axis, PlacesValuesLinearlyAndLogarithmically) {
  const std::vector<double> values{1, 100, std::nan("")};
  Axis linear(values, false, 0), logarithmic(values, true, 0);
  linear.place(10, 208);
  logarithmic.place(300, 100);  // upwards
  EXPECT_NEAR(linear.pixel(1), 10, 1e-9);
  EXPECT_NEAR(linear.pixel(50.5), 109, 1e-9);
  EXPECT_NEAR(logarithmic.pixel(10), 200, 1e-9);
  EXPECT_FALSE(logarithmic.usable(0));
  EXPECT_FALSE(linear.usable(std::nan("")));
}

TEST(Axis, DegenerateRangesHaveTicks) {
  for (const bool log : {false, true}) {
    for (const std::vector<double>& values :
         {std::vector<double>{}, {5.0}, {3.0, 3.0}, {1e-300}, {-4.0}, {0.0, 0.0}, {1e15, 1e15}}) {
      Axis axis(values, log, 0.05);
      axis.place(0, 100);
      EXPECT_GE(axis.ticks(5).size(), 1u);
      for (const double v : values) {
        if (!axis.usable(v)) continue;
        EXPECT_GT(axis.pixel(v), -1);
        EXPECT_LT(axis.pixel(v), 101);
      }
    }
  }
}

}  // namespace
}  // namespace mwalimu::report
