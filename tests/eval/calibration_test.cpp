#include "mwalimu/eval/calibration.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "mwalimu/core/random.hpp"

namespace mwalimu::eval {
namespace {

TEST(Calibration, OfAHandMadeTable) {
  // Confidences .9 (right), .9 (wrong), .6 (right): gaps .4 over two images and .4 over one.
  const std::vector<double> p{.9, .1, .1, .9, .6, .4};
  const std::vector<int> y{0, 0, 0};
  const Calibration c = compute_calibration(p, y, 2, 10);
  ASSERT_EQ(c.bins.size(), 10u);
  EXPECT_EQ(c.bins[8].count, 2);  // (0.8, 0.9]
  EXPECT_EQ(c.bins[5].count, 1);  // (0.5, 0.6]
  EXPECT_DOUBLE_EQ(c.bins[8].accuracy, 0.5);
  EXPECT_DOUBLE_EQ(c.bins[8].confidence, 0.9);
  EXPECT_TRUE(std::isnan(c.bins[0].accuracy));
  EXPECT_NEAR(c.ece, 0.4, 1e-15);
  EXPECT_NEAR(c.mce, 0.4, 1e-15);
  EXPECT_DOUBLE_EQ(c.bins[9].low, 0.9);
  EXPECT_DOUBLE_EQ(c.bins[9].high, 1);
}

TEST(Calibration, MceIsTheWorstBinAndEceTheMean) {
  // Three images right at confidence 1, one wrong at confidence .75.
  const std::vector<double> p{1, 0, 1, 0, 1, 0, .75, .25};
  const std::vector<int> y{0, 0, 0, 1};
  const Calibration c = compute_calibration(p, y, 2);
  EXPECT_DOUBLE_EQ(c.ece, 0.75 / 4);
  EXPECT_DOUBLE_EQ(c.mce, 0.75);
}

TEST(Calibration, ABinOwnsItsUpperEdge) {
  EXPECT_EQ(calibration_bin(0, 15), 0u);
  EXPECT_EQ(calibration_bin(0.2, 10), 1u);
  EXPECT_EQ(calibration_bin(0.2000001, 10), 2u);
  EXPECT_EQ(calibration_bin(1, 15), 14u);
  EXPECT_EQ(calibration_bin(1 + 1e-12, 15), 14u);
}

// Labels drawn from the model's own probabilities: the error goes to 0 with the number of images.
TEST(Calibration, OfAModelThatIsRightAsOftenAsItSaysVanishes) {
  RandomStream random(8, Purpose::test);
  std::vector<double> p;
  std::vector<int> y;
  const int count = 200'000;
  for (int i = 0; i < count; ++i) {
    const double a = random.uniform();
    p.insert(p.end(), {a, 1 - a});
    y.push_back(random.uniform() < static_cast<float>(a) ? 0 : 1);
  }
  // Half of the 15 bins are used; a gap is about 0.4 / sqrt(count / 7.5) = 0.0025.
  const Calibration honest = compute_calibration(p, y, 2);
  EXPECT_LT(honest.ece, 0.006);
  EXPECT_GT(honest.ece, 0);
  // The same answers said with certainty: right 3 times of 4, on average over a.
  for (std::size_t i = 0; i < p.size(); i += 2) {
    const bool first = p[i] >= p[i + 1];
    p[i] = first ? 1 : 0;
    p[i + 1] = first ? 0 : 1;
  }
  const Calibration loud = compute_calibration(p, y, 2);
  EXPECT_NEAR(loud.ece, 0.25, 0.01);
  EXPECT_NEAR(loud.mce, loud.ece, 1e-12);  // all in one bin
}

TEST(Calibration, RowsAreScaledToSumToOne) {
  const std::vector<int> y{0, 1};
  const Calibration scaled = compute_calibration(std::vector<double>{.9, .6, .2, .8}, y, 2);
  const Calibration same = compute_calibration(std::vector<double>{.6, .4, .2, .8}, y, 2);
  EXPECT_NEAR(scaled.ece, same.ece, 1e-15);
  EXPECT_DOUBLE_EQ(confidences(std::vector<double>{0, 0, 0}, 3)[0], 1.0 / 3);
}

TEST(Calibration, RefusesWhatCannotBeMeasured) {
  const std::vector<double> p{.5, .5};
  EXPECT_NO_THROW(compute_calibration(p, std::vector<int>{0}, 2));
  EXPECT_THROW(compute_calibration(p, std::vector<int>{0}, 2, 0), ValueError);
  EXPECT_THROW(compute_calibration(p, std::vector<int>{2}, 2), ValueError);
  EXPECT_THROW(compute_calibration(p, std::vector<int>{0, 1}, 2), ShapeError);
  EXPECT_THROW(compute_calibration(std::vector<double>{}, std::vector<int>{}, 2), ValueError);
}

}  // namespace
}  // namespace mwalimu::eval
