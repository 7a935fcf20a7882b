#include "mwalimu/optim/lr_find.hpp"

#include <gtest/gtest.h>

#include "support/golden.hpp"

namespace mwalimu::optim {
namespace {

TEST(LrFindGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "lr_find");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto raw = c.tensor("raw_loss").values;
    LrFinder finder;
    for (const double loss : raw) {
      ASSERT_FALSE(finder.finished());
      finder.observe(loss);
    }
    EXPECT_TRUE(test::near_max(finder.rates(), c.tensor("lrs").values, 1e-12));
    EXPECT_TRUE(test::near_max(finder.smoothed_losses(), c.tensor("smooth_loss").values, 1e-12));
    const LrSuggestions found = finder.suggestions();
    EXPECT_NEAR(found.valley / c.scalar("valley"), 1, 1e-12);
    EXPECT_NEAR(found.steep / c.scalar("steep"), 1, 1e-12);
    EXPECT_NEAR(found.minimum / c.scalar("minimum"), 1, 1e-12);
    EXPECT_NEAR(found.slide / c.scalar("slide"), 1, 1e-12);
  }
}

TEST(SmoothedLoss, ForgetsItsStart) {
  SmoothedLoss smoothed;
  EXPECT_TRUE(std::isnan(smoothed.value()));
  EXPECT_NEAR(smoothed.add(3), 3, 1e-14);
  EXPECT_NEAR(smoothed.add(3), 3, 1e-14);
  // (0.98 * 0.02 * 1 + 0.02 * 2) / (1 - 0.98^2)
  SmoothedLoss other;
  other.add(1);
  EXPECT_NEAR(other.add(2), (0.98 * 0.02 + 0.02 * 2) / (1 - 0.98 * 0.98), 1e-14);
}

TEST(LrFinder, SweepsFromStartTowardsEnd) {
  LrFinder finder({.start = 1e-4, .end = 1, .steps = 4});
  std::vector<double> rates;
  while (!finder.finished()) {
    rates.push_back(finder.rate());
    finder.observe(1);
  }
  EXPECT_TRUE(test::near_max(rates, std::vector<double>{1e-4, 1e-3, 1e-2, 1e-1}, 1e-13));
  EXPECT_THROW(finder.observe(1), ValueError);
}

TEST(LrFinder, StopsWhereTheSmoothedLossIsFourTimesItsBest) {
  LrFinder finder;
  for (int i = 0; i < 50; ++i) finder.observe(1);
  int more = 0;
  SmoothedLoss by_hand;
  for (int i = 0; i < 50; ++i) by_hand.add(1);
  while (!finder.finished()) {
    finder.observe(20);
    by_hand.add(20);
    ++more;
    EXPECT_EQ(finder.finished(), by_hand.value() > 4);
  }
  EXPECT_LT(more, 50);
  EXPECT_EQ(finder.rates().size(), 50u + static_cast<std::size_t>(more));
}

TEST(LrFinder, ANanEndsTheTestAndOnlyTheLossesBeforeItCount) {
  LrFinder finder;
  for (int i = 0; i < 40; ++i) finder.observe(2 - 0.01 * i);
  EXPECT_FALSE(finder.finished());
  finder.observe(std::nan(""));
  EXPECT_TRUE(finder.finished());
  // The rate of the last number, not one five points earlier: those five are NaNs.
  EXPECT_DOUBLE_EQ(finder.suggestions().minimum, finder.rates()[39] / 10);
}

TEST(LrSuggestions, FollowTheirDefinitionsOnAPlainValley) {
  // 60 points used: flat, a descent from 20 to 40, flat, then up.
  const int steps = 60;
  std::vector<double> rates, losses;
  for (int i = 0; i < steps + 6 + 5; ++i) {
    const double x = i - 6;
    rates.push_back(std::pow(10, 0.1 * i));
    losses.push_back(x < 20 ? 1 : x <= 40 ? 1 - 0.04 * (x - 20) : 0.25);
  }
  const LrSuggestions found = suggest_rates(rates, losses, steps);
  // The descent has 21 points and ends at 40: start 19, then 7 + 3.
  EXPECT_DOUBLE_EQ(found.valley, rates[6 + 19 + 7 + 3]);
  EXPECT_DOUBLE_EQ(found.minimum, rates[6 + 40] / 10);
  EXPECT_GE(found.steep, rates[6 + 20]);
  EXPECT_LT(found.steep, rates[6 + 40]);
}

TEST(LrSuggestions, WorkOnDescentsRisesAndTheFewestPoints) {
  std::vector<double> rates(7), falling = {7, 6, 5, 4, 3, 2, 1}, rising = {1, 2, 3, 4, 5, 6, 7};
  for (std::size_t i = 0; i < rates.size(); ++i) rates[i] = static_cast<double>(i + 1);
  // Two points are used.
  EXPECT_EQ(suggest_rates(rates, falling, 0).valley, 1);
  EXPECT_EQ(suggest_rates(rates, falling, 0).minimum, 0.2);
  EXPECT_EQ(suggest_rates(rates, rising, 0).valley, 1);
  EXPECT_EQ(suggest_rates(rates, rising, 0).slide, 1);
  EXPECT_THROW(suggest_rates(rates, rising, 10), ValueError) << "one point";
  EXPECT_THROW(suggest_rates(std::span(rates).first(3), std::span(rising).first(3), 0), ValueError);
  EXPECT_THROW(suggest_rates(rates, std::span(rising).first(3), 0), ShapeError);
  EXPECT_THROW(LrFinder().suggestions(), ValueError);
}

TEST(LrFinder, RejectsOptionsOutOfRange) {
  EXPECT_THROW(LrFinder({.start = 0}), ValueError);
  EXPECT_THROW(LrFinder({.start = 1, .end = 1}), ValueError);
  EXPECT_THROW(LrFinder({.steps = 0}), ValueError);
  EXPECT_THROW(LrFinder({.divergence = 1}), ValueError);
}

}  // namespace
}  // namespace mwalimu::optim
