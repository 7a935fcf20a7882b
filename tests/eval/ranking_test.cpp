#include "mwalimu/eval/ranking.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "mwalimu/core/random.hpp"

namespace mwalimu::eval {
namespace {

struct Scored {
  std::vector<double> scores;
  std::vector<bool> positive;
};

// Scores in tenths: many ties. The first is positive, the second is not.
Scored random_case(std::size_t n, std::uint64_t step) {
  RandomStream random(4, Purpose::test, step);
  Scored c;
  for (std::size_t i = 0; i < n; ++i) {
    c.scores.push_back(static_cast<double>(random.below(10)) / 10);
    c.positive.push_back(i == 0 || (i != 1 && random.chance(0.4f)));
  }
  return c;
}

TEST(Ranking, CountsNeverTellTiesApart) {
  const auto counts =
      ranked_counts(std::vector<double>{.5, .9, .5, .1}, {true, true, false, false});
  ASSERT_EQ(counts.size(), 3u);
  EXPECT_EQ(counts[0].threshold, .9);
  EXPECT_EQ(counts[1].true_positives, 2);
  EXPECT_EQ(counts[1].false_positives, 1);
  EXPECT_EQ(counts[2].false_positives, 2);
}

TEST(Ranking, AveragePrecisionOfAHandMadeRanking) {
  // Precisions 1, 2/3 at the positives; recall grows by 1/2 each.
  EXPECT_DOUBLE_EQ(
      average_precision(std::vector<double>{.9, .8, .7, .1}, {true, false, true, false}),
      0.5 + 0.5 * 2 / 3);
  // All tied: the share of the positives.
  EXPECT_DOUBLE_EQ(average_precision(std::vector<double>{1, 1, 1, 1}, {true, false, false, false}),
                   0.25);
}

TEST(Ranking, AreasDoNotDependOnTheOrderOfRows) {
  const Scored c = random_case(40, 1);
  const auto order = random_permutation(40, RandomStream(5, Purpose::test));
  Scored shuffled;
  for (const auto i : order) {
    shuffled.scores.push_back(c.scores[static_cast<std::size_t>(i)]);
    shuffled.positive.push_back(c.positive[static_cast<std::size_t>(i)]);
  }
  EXPECT_EQ(roc_auc(c.scores, c.positive), roc_auc(shuffled.scores, shuffled.positive));
  EXPECT_EQ(average_precision(c.scores, c.positive),
            average_precision(shuffled.scores, shuffled.positive));
}

// The number written into the legend is the area of what is drawn.
TEST(Ranking, AreaOfTheDrawnCurveIsTheReportedOne) {
  for (const std::size_t n : {2u, 3u, 17u, 64u}) {
    const Scored c = random_case(n, n);
    const Curve roc = roc_curve(c.scores, c.positive);
    EXPECT_EQ(roc.x.front(), 0);
    EXPECT_EQ(roc.y.front(), 0);
    EXPECT_EQ(roc.x.back(), 1);
    EXPECT_EQ(roc.y.back(), 1);
    double trapezoids = 0;
    for (std::size_t i = 1; i < roc.x.size(); ++i) {
      trapezoids += (roc.x[i] - roc.x[i - 1]) * 0.5 * (roc.y[i] + roc.y[i - 1]);
    }
    EXPECT_NEAR(trapezoids, roc.area, 1e-14);
    EXPECT_EQ(roc.area, roc_auc(c.scores, c.positive));

    const Curve precision_recall = precision_recall_curve(c.scores, c.positive);
    EXPECT_EQ(precision_recall.x.back(), 1);
    double steps = 0, before = 0;
    for (std::size_t i = 0; i < precision_recall.x.size(); ++i) {
      steps += (precision_recall.x[i] - before) * precision_recall.y[i];
      before = precision_recall.x[i];
    }
    EXPECT_NEAR(steps, precision_recall.area, 1e-14);
    EXPECT_EQ(precision_recall.area, average_precision(c.scores, c.positive));
  }
}

TEST(Ranking, WhatIsNotDefinedIsNaNAndDrawsNothing) {
  const std::vector<double> scores{.5, .2};
  EXPECT_TRUE(std::isnan(roc_auc(scores, {true, true})));
  EXPECT_TRUE(std::isnan(roc_auc(scores, {false, false})));
  EXPECT_EQ(average_precision(scores, {true, true}), 1);
  EXPECT_TRUE(std::isnan(average_precision(scores, {false, false})));
  EXPECT_TRUE(roc_curve(scores, {true, true}).x.empty());
  EXPECT_TRUE(precision_recall_curve(scores, {false, false}).x.empty());
  EXPECT_TRUE(std::isnan(roc_auc(std::vector<double>{}, {})));
  EXPECT_THROW(roc_auc(scores, {true}), ShapeError);
}

}  // namespace
}  // namespace mwalimu::eval
