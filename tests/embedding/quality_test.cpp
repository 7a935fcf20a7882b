#include "mwalimu/embedding/quality.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "embedding/embedding_support.hpp"

namespace mwalimu::embedding {
namespace {

using test::normal_points;

/// 1-based rank of j seen from i, ties by the smaller index.
index_t rank(const Points& x, index_t i, index_t j) {
  index_t rank = 1;
  const double limit = test::square_distance(x, i, j);
  for (index_t l = 0; l < x.n(); ++l) {
    if (l == i || l == j) continue;
    const double distance = test::square_distance(x, i, l);
    rank += distance < limit || (distance == limit && l < j);
  }
  return rank;
}

double reference(const Points& x, const Points& y, index_t k) {
  double excess = 0;
  const index_t n = x.n();
  for (index_t i = 0; i < n; ++i) {
    for (index_t j = 0; j < n; ++j) {
      if (i != j && rank(y, i, j) <= k)
        excess += static_cast<double>(std::max<index_t>(0, rank(x, i, j) - k));
    }
  }
  return 1 - 2 * excess / static_cast<double>(n * k * (2 * n - 3 * k - 1));
}

TEST(Trustworthiness, MatchesFp64Reference) {
  // Whole numbers, so that ties are exact and frequent.
  for (const index_t n : {5, 33, 70}) {
    std::vector<float> x = normal_points(n, 5, 40), y = normal_points(n, 2, 41);
    for (float& v : x) v = std::round(3 * v);
    for (float& v : y) v = std::round(6 * v);
    for (const index_t k : {index_t{1}, index_t{2}, (n - 1) / 2}) {
      EXPECT_NEAR(trustworthiness(Points(x, n, 5), Points(y, n, 2), k),
                  reference(Points(x, n, 5), Points(y, n, 2), k), 1e-12)
          << n << " " << k;
    }
  }
}

TEST(Trustworthiness, IsOneForTheSamePointsAndLowForShuffledOnes) {
  const index_t n = 200;
  const std::vector<float> x = normal_points(n, 3, 42), other = normal_points(n, 3, 43);
  EXPECT_EQ(trustworthiness(Points(x, n, 3), Points(x, n, 3), 10), 1);
  EXPECT_NEAR(trustworthiness(Points(x, n, 3), Points(other, n, 3), 10), 0.5, 0.05);
}

TEST(Trustworthiness, SampledRowsEstimateTheWhole) {
  const index_t n = 400;
  const std::vector<float> x = normal_points(n, 3, 44);
  std::vector<float> y;
  for (index_t i = 0; i < n; ++i) y.insert(y.end(), {x[i * 3], x[i * 3 + 1]});
  const double all = trustworthiness(Points(x, n, 3), Points(y, n, 2), 8);
  EXPECT_LT(all, 1);
  EXPECT_EQ(trustworthiness(Points(x, n, 3), Points(y, n, 2), 8, n), all);
  EXPECT_NEAR(trustworthiness(Points(x, n, 3), Points(y, n, 2), 8, 150, 7), all, 0.02);
}

TEST(Trustworthiness, Errors) {
  const std::vector<float> x(12, 1.0f);
  EXPECT_THROW(trustworthiness(Points(x, 6, 2), Points(x, 6, 2), 3), ValueError);
  EXPECT_THROW(trustworthiness(Points(x, 6, 2), Points(x, 12, 1), 1), ShapeError);
}

TEST(KnnAccuracy, CountsTheMajorityAndBreaksTiesDownwards) {
  const std::vector<float> x{0, 1, 2, 10, 11, 12};
  const std::vector<int> labels{5, 5, 5, 3, 3, 3};
  EXPECT_EQ(knn_accuracy(Points(x, 6, 1), labels, 1), 1);
  EXPECT_EQ(knn_accuracy(Points(x, 6, 1), labels, 2), 1);
  // Four neighbours: two of the own label, two or more of the other; 3 wins every tie.
  EXPECT_EQ(knn_accuracy(Points(x, 6, 1), labels, 4), 0.5);
  EXPECT_EQ(knn_accuracy(Points(x, 6, 1), labels, 5), 0);
  EXPECT_THROW(knn_accuracy(Points(x, 6, 1), {labels.data(), 5}, 1), ShapeError);
}

}  // namespace
}  // namespace mwalimu::embedding
