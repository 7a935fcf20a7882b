#include "mwalimu/data/mixup.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

namespace mwalimu::data {
namespace {

Tensor<std::int64_t> count_up(index_t n) {
  auto labels = Tensor<std::int64_t>::empty({n});
  std::iota(labels.span().begin(), labels.span().end(), 100);
  return labels;
}

/// Largest distance between the drawn shares' distribution and that of max(x, 1 - x), x with the
/// distribution function `beta`: the statistic of Kolmogorov and Smirnov.
template <class Beta>
double distance(double alpha, Beta&& beta) {
  constexpr int n = 4000;
  std::vector<double> shares;
  for (std::uint64_t i = 0; i < n; ++i) {
    shares.push_back(static_cast<double>(mixup_lambda(alpha, 3, 4, i)));
  }
  std::sort(shares.begin(), shares.end());
  double worst = 0;
  for (int i = 0; i < n; ++i) {
    const double x = shares[static_cast<std::size_t>(i)];
    const double want = beta(x) - beta(1 - x);
    worst = std::max({worst, std::abs(want - i / double{n}), std::abs(want - (i + 1) / double{n})});
  }
  return worst * std::sqrt(double{n});
}

// Two shapes whose distribution function is known; 1.95 is exceeded once in 1000 by chance.
TEST(MixUpShare, IsTheLargerSideOfABetaDraw) {
  EXPECT_LT(distance(1.0, [](double x) { return x; }), 1.95);
  EXPECT_LT(distance(0.5, [](double x) { return 2 / std::numbers::pi * std::asin(std::sqrt(x)); }),
            1.95);
  EXPECT_LT(distance(2.0, [](double x) { return x * x * (3 - 2 * x); }), 1.95);
}

TEST(MixUpShare, StaysInRangeForAnyShape) {
  for (const double alpha : {1e-4, 0.01, 0.4, 30.0, 1e6}) {
    double deviation = 0;  // E (x - 1/2)^2 = 1 / (4 (2 alpha + 1))
    constexpr int n = 3000;
    for (std::uint64_t i = 0; i < n; ++i) {
      const float share = mixup_lambda(alpha, 1, 2, i);
      ASSERT_GE(share, 0.5f) << alpha;
      ASSERT_LE(share, 1.0f) << alpha;
      deviation += std::pow(static_cast<double>(share) - 0.5, 2) / n;
    }
    const double want = 1 / (4 * (2 * alpha + 1));
    EXPECT_NEAR(deviation, want, 0.1 * want) << alpha;
  }
}

TEST(MixUp, PartnersAreAPermutationThatChangesWithTheStep) {
  const auto draw = [](std::uint64_t seed, double step, index_t first, index_t n) {
    MixUpBatch<float> mixed;
    mix_up(0.4, seed, Scalar(step), Tensor<float>::zeros({n, 1, 1, 1}), count_up(n), mixed, first);
    return mixed.partners.to_vector();
  };
  for (const index_t n : {1, 2, 7, 64}) {
    auto partners = draw(1, 2, 0, n);
    std::sort(partners.begin(), partners.end());
    for (index_t i = 0; i < n; ++i) ASSERT_EQ(partners[static_cast<std::size_t>(i)], i);
  }
  EXPECT_EQ(draw(1, 2, 0, 64), draw(1, 2, 0, 64));
  EXPECT_NE(draw(1, 2, 0, 64), draw(1, 3, 0, 64));
  EXPECT_NE(draw(1, 2, 0, 64), draw(2, 2, 0, 64));
  EXPECT_NE(draw(1, 2, 0, 64), draw(1, 2, 64, 64));
  // Every row is equally likely to be the first one's partner: 5 standard deviations.
  int first_is_own = 0;
  for (int step = 0; step < 4000; ++step) first_is_own += draw(1, step, 0, 5)[0] == 0;
  EXPECT_NEAR(first_is_own, 800, 5 * std::sqrt(4000 * 0.2 * 0.8));
}

TEST(MixUp, BlendsImagesAndNamesTheirLabels) {
  constexpr index_t B = 6;
  auto images = Tensor<float>::empty({B, 2, 3, 3});
  std::iota(images.span().begin(), images.span().end(), 0.0f);
  const auto labels = count_up(B);
  MixUpBatch<float> mixed;
  mixed.images = Tensor<float>::full(images.shape(), NAN);
  const float* kept = mixed.images.data();
  mix_up(0.4, 5, Scalar(6), images, labels, mixed);
  EXPECT_EQ(mixed.images.data(), kept);
  for (index_t b = 0; b < B; ++b) {
    const index_t partner = mixed.partners.span()[static_cast<std::size_t>(b)];
    const float share = mixed.lambda.span()[static_cast<std::size_t>(b)];
    EXPECT_EQ(share, mixup_lambda(0.4, 5, 6, static_cast<std::uint64_t>(b)));
    EXPECT_EQ(mixed.partner_labels.span()[static_cast<std::size_t>(b)], 100 + partner);
    for (index_t i = 0; i < 18; ++i) {
      const double own = static_cast<double>(b * 18 + i),
                   other = static_cast<double>(partner * 18 + i);
      ASSERT_NEAR(mixed.images.data()[b * 18 + i],
                  static_cast<double>(share) * own + (1 - static_cast<double>(share)) * other,
                  1e-5);
    }
  }
}

TEST(MixUp, RefusesNonsense) {
  MixUpBatch<float> mixed;
  const auto images = Tensor<float>::zeros({2, 1, 1, 1});
  EXPECT_THROW(mix_up(0.0, 1, Scalar(2), images, count_up(2), mixed), ValueError);
  EXPECT_THROW(mix_up(NAN, 1, Scalar(2), images, count_up(2), mixed), ValueError);
  EXPECT_THROW(mix_up(0.4, 1, Scalar(2), images, count_up(3), mixed), ShapeError);
}

}  // namespace
}  // namespace mwalimu::data
