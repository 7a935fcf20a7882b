#include "mwalimu/eval/tta.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/golden.hpp"

namespace mwalimu::eval {
namespace {

// float64 of the same formulas: only the order of the sums differs.
TEST(TtaGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "tta");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto augmented = c.tensor("aug"), plain = c.tensor("plain");
    const index_t N = plain.shape[0], C = plain.shape[1];
    EXPECT_TRUE(
        test::near_abs(tta_mean(augmented.values, plain.values), c.tensor("tta").values, 1e-14));
    EXPECT_TRUE(
        test::near_abs(tta_max(augmented.values, plain.values), c.tensor("tta_max").values, 1e-14));
    std::vector<data::Plant> plants;
    for (index_t i = 0; i < N; i += 2) plants.push_back({i, i + 1});
    const auto mean = tta_mean(augmented.values, plain.values);
    EXPECT_TRUE(test::near_abs(pair_mean(mean, C, plants), c.tensor("pair_mean").values, 1e-14));
  }
}

TEST(Tta, MeanWeighsThePlainPassByBeta) {
  const std::vector<double> augmented{.2, .8, .6, .4}, plain{1, 0};
  EXPECT_TRUE(test::near_abs(tta_mean(augmented, plain), std::vector<double>{.55, .45}, 1e-15));
  EXPECT_TRUE(test::near_abs(tta_mean(augmented, plain, 0), std::vector<double>{.4, .6}, 1e-15));
  EXPECT_EQ(tta_mean(augmented, plain, 1), plain);
  EXPECT_EQ(tta_max(augmented, plain), (std::vector<double>{1, .8}));
}

TEST(Tta, PairMeanTakesTheOnlySideThatIsThere) {
  const std::vector<double> p{.2, .8, .6, .4, 1, 0};
  const std::vector<data::Plant> plants{{2, 0}, {-1, 1}, {1, -1}};
  EXPECT_TRUE(
      test::near_abs(pair_mean(p, 2, plants), std::vector<double>{.6, .4, .6, .4, .6, .4}, 1e-15));
}

TEST(Tta, RefusesExtentsThatDisagree) {
  const std::vector<double> three{1, 2, 3}, two{1, 2}, none;
  EXPECT_THROW(tta_mean(three, two), ShapeError);
  EXPECT_THROW(tta_mean(none, two), ShapeError);
  EXPECT_THROW(tta_mean(two, none), ShapeError);
  EXPECT_THROW(tta_max(three, two), ShapeError);
  EXPECT_THROW(tta_mean(two, two, 1.1), ValueError);
  EXPECT_THROW(pair_mean(three, 2, {}), ShapeError);
  EXPECT_THROW(pair_mean(two, 2, std::vector<data::Plant>{{0, 1}}), ValueError);
  EXPECT_THROW(pair_mean(two, 2, std::vector<data::Plant>{{-1, -1}}), ValueError);
}

}  // namespace
}  // namespace mwalimu::eval
