#include "mwalimu/embedding/pca.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "embedding/embedding_support.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/embedding/symmetric_eigen.hpp"

namespace mwalimu::embedding {
namespace {

using test::normal_points;

std::vector<double> random_symmetric(index_t m, std::uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  std::vector<double> a(m * m);
  for (index_t i = 0; i < m; ++i) {
    for (index_t j = 0; j <= i; ++j) a[i * m + j] = a[j * m + i] = random.normal();
  }
  return a;
}

/// Worst |a v - lambda v| and |v_r . v_s - [r == s]|.
double worst_residual(const std::vector<double>& a, const SymmetricEigen& e, index_t m) {
  double worst = 0;
  for (index_t r = 0; r < m; ++r) {
    const double* v = e.vector.data() + r * m;
    for (index_t i = 0; i < m; ++i) {
      double product = 0;
      for (index_t j = 0; j < m; ++j) product += a[i * m + j] * v[j];
      worst = std::max(worst, std::abs(product - e.value[r] * v[i]));
    }
    for (index_t s = 0; s < m; ++s) {
      double dot = 0;
      for (index_t i = 0; i < m; ++i) dot += v[i] * e.vector[s * m + i];
      worst = std::max(worst, std::abs(dot - (r == s ? 1.0 : 0.0)));
    }
  }
  return worst;
}

TEST(SymmetricEigen, ResidualAndOrthogonalityAreRounding) {
  for (const index_t m : {1, 2, 3, 7, 16, 60}) {
    const std::vector<double> a = random_symmetric(m, 5);
    const SymmetricEigen e = symmetric_eigen(a, m);
    EXPECT_LT(worst_residual(a, e, m), 1e-12) << "m = " << m;
    EXPECT_TRUE(std::is_sorted(e.value.rbegin(), e.value.rend()));
  }
}

TEST(SymmetricEigen, KnownSpectrum) {
  // Path graph's second difference: 2 - 2 cos(pi k / (m + 1)).
  constexpr index_t m = 20;
  std::vector<double> a(m * m, 0.0);
  for (index_t i = 0; i < m; ++i) {
    a[i * m + i] = 2;
    if (i + 1 < m) a[i * m + i + 1] = a[(i + 1) * m + i] = -1;
  }
  const SymmetricEigen e = symmetric_eigen(a, m);
  for (index_t r = 0; r < m; ++r) {
    const double angle = std::numbers::pi * static_cast<double>(m - r) / (m + 1);
    EXPECT_NEAR(e.value[r], 2 - 2 * std::cos(angle), 1e-13);
  }
}

TEST(SymmetricEigen, RankDeficientZeroAndDiagonal) {
  constexpr index_t m = 12;
  std::vector<double> zero(m * m, 0.0);
  EXPECT_EQ(worst_residual(zero, symmetric_eigen(zero, m), m), 0);
  std::vector<double> one(m * m, 1.0);  // eigenvalue m once, 0 otherwise
  const SymmetricEigen e = symmetric_eigen(one, m);
  EXPECT_NEAR(e.value[0], m, 1e-12);
  EXPECT_NEAR(e.value[1], 0, 1e-12);
  EXPECT_LT(worst_residual(one, e, m), 1e-12);
}

TEST(SymmetricEigen, WrongSizeIsAnError) {
  const std::vector<double> a(5);
  EXPECT_THROW(symmetric_eigen(a, 2), ShapeError);
}

// Points whose axes have standard deviations 10, 5, 2.5, ..., so that components are well
// separated.
std::vector<float> stretched(index_t n, index_t d, std::uint64_t seed) {
  std::vector<float> x = normal_points(n, d, seed);
  for (index_t i = 0; i < n; ++i) {
    for (index_t c = 0; c < d; ++c) {
      x[i * d + c] = 3 + x[i * d + c] * 10 * std::pow(0.5f, static_cast<float>(c));
    }
  }
  return x;
}

TEST(Pca, AxesAreOrthonormalAndScoresAreUncorrelated) {
  const std::vector<float> x = stretched(100, 6, 1);
  const Pca p = pca(Points(x, 100, 6), 3);
  for (int s = 0; s < 3; ++s) {
    for (int t = 0; t < 3; ++t) {
      double dot = 0, covariance = 0;
      for (int c = 0; c < 6; ++c) dot += p.axes[s * 6 + c] * p.axes[t * 6 + c];
      for (int i = 0; i < 100; ++i) covariance += p.scores[i * 3 + s] * p.scores[i * 3 + t] / 100;
      EXPECT_NEAR(dot, s == t ? 1 : 0, 1e-12);
      EXPECT_NEAR(covariance, s == t ? p.variance[s] : 0, 1e-10);
    }
  }
  EXPECT_GT(p.variance[0], p.variance[1]);
  EXPECT_GT(p.variance[1], p.variance[2]);
}

TEST(Pca, LargestLoadingIsPositive) {
  std::vector<float> x = stretched(80, 4, 2);
  const Pca p = pca(Points(x, 80, 4), 2);
  for (float& v : x) v = -v;
  const Pca q = pca(Points(x, 80, 4), 2);
  for (int c = 0; c < 8; ++c) EXPECT_NEAR(p.axes[c], q.axes[c], 1e-12);  // signs do not follow
  EXPECT_GT(p.axes[0], 0.9);
}

TEST(Pca, GramRouteEqualsCovarianceRoute) {
  // The same 40 x 60 data: n < d goes by the Gram matrix; with every row twice n > d.
  const std::vector<float> x = normal_points(40, 60, 3);
  std::vector<float> twice = x;
  twice.insert(twice.end(), x.begin(), x.end());
  const Pca gram = pca(Points(x, 40, 60), 3);
  const Pca covariance = pca(Points(twice, 80, 60), 3);
  for (int c = 0; c < 180; ++c) EXPECT_NEAR(gram.axes[c], covariance.axes[c], 1e-9);
  for (int t = 0; t < 3; ++t) EXPECT_NEAR(gram.variance[t], covariance.variance[t], 1e-9);
}

TEST(Pca, RandomisedRouteFindsTheLeadingAxes) {
  // 600 x 520 with a spectrum that falls off: min(n, d) > 512 takes the randomised route.
  const index_t n = 600, d = 520;
  std::vector<float> x = normal_points(n, d, 4);
  for (index_t i = 0; i < n; ++i) {
    x[i * d + 7] *= 30;
    x[i * d + 11] *= 20;
  }
  const Pca p = pca(Points(x, n, d), 2);
  EXPECT_GT(p.axes[7], 0.99);
  EXPECT_GT(p.axes[d + 11], 0.99);
  EXPECT_NEAR(std::sqrt(p.variance[0]), 30, 3);
  const Pca same = pca(Points(x, n, d), 2);
  EXPECT_EQ(p.scores, same.scores);
}

TEST(Pca, ComponentsBeyondTheRankAreZero) {
  const std::vector<float> line{0, 1, 2, 3};
  const Pca p = pca(Points(line, 4, 1), 2);
  EXPECT_NEAR(p.variance[0], 1.25, 1e-12);
  EXPECT_EQ(p.variance[1], 0);
  EXPECT_EQ(p.scores[1], 0);
}

TEST(PcaStart, FirstColumnHasStandardDeviation1e4) {
  const std::vector<float> x = stretched(200, 5, 6);
  const Pca p = pca(Points(x, 200, 5), 2);
  const std::vector<float> y = pca_start(p);
  double square[2] = {};
  for (int i = 0; i < 200; ++i) {
    for (int c = 0; c < 2; ++c) square[c] += double{y[i * 2 + c]} * y[i * 2 + c] / 200;
  }
  EXPECT_NEAR(std::sqrt(square[0]), 1e-4, 1e-10);
  EXPECT_NEAR(std::sqrt(square[1] / square[0]), std::sqrt(p.variance[1] / p.variance[0]), 1e-5);
}

TEST(PcaStart, ConstantDataGiveZeros) {
  const std::vector<float> x(30, 0.1f);
  for (const float v : pca_start(pca(Points(x, 10, 3), 2))) EXPECT_EQ(v, 0);
}

}  // namespace
}  // namespace mwalimu::embedding
