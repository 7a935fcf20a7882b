#include "mwalimu/optim/gradients.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "mwalimu/core/random.hpp"

namespace mwalimu::optim {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_gradients(index_t n) {
  std::vector<float> gradients(static_cast<std::size_t>(n));
  RandomStream random(5, Purpose::test, static_cast<std::uint64_t>(n));
  for (float& g : gradients) g = random.normal();
  return gradients;
}

TEST(GradientNorm, MatchesFp64Reference) {
  for (const index_t n :
       {index_t{1}, index_t{13}, kChunk - 1, kChunk, kChunk + 1, 5 * kChunk + 3}) {
    const auto g = random_gradients(n);
    long double sum = 0;
    for (const float value : g) sum += static_cast<long double>(value) * value;
    // Sums in double: n roundings of 1e-16, and no cancellation.
    EXPECT_NEAR(gradient_norm(g) / std::sqrt(static_cast<double>(sum)), 1, 1e-13) << n;
  }
  EXPECT_EQ(gradient_norm({}), 0);
}

TEST(GradientNorm, IsExactForIntegersAndOneBitPatternForAnyThreads) {
  const int before = num_threads();
  const auto g = random_gradients(7 * kChunk + 11);
  const std::vector<float> ones(4 * kChunk, 3.0f);
  set_num_threads(1);
  const double first = gradient_norm(g);
  for (const int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(gradient_norm(g)), std::bit_cast<std::uint64_t>(first));
    EXPECT_EQ(gradient_norm(ones), 3 * std::sqrt(4.0 * kChunk));
  }
  set_num_threads(before);
}

TEST(GradientNorm, IsFiniteExactlyWhereAllGradientsAre) {
  std::vector<float> g(1000, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(gradient_norm(g)));
  g[999] = kInfinity;
  EXPECT_FALSE(std::isfinite(gradient_norm(g)));
  g[999] = kNan;
  EXPECT_FALSE(std::isfinite(gradient_norm(g)));
  const std::vector<float> tiny(4, std::numeric_limits<float>::denorm_min());
  EXPECT_DOUBLE_EQ(gradient_norm(tiny), 2 * double{tiny[0]});
}

TEST(ClipGradientNorm, ScalesToTheBoundAndReturnsTheNormBefore) {
  auto g = random_gradients(3 * kChunk + 5);
  const auto before = g;
  const double norm = gradient_norm(g);
  EXPECT_EQ(clip_gradient_norm(g, 2.0), norm);
  EXPECT_NEAR(gradient_norm(g), 2.0, 1e-5);
  const float factor = static_cast<float>(2.0 / (norm + 1e-6));
  for (std::size_t i = 0; i < g.size(); i += 97) EXPECT_EQ(g[i], before[i] * factor);
}

TEST(ClipGradientNorm, LeavesSmallAndNonfiniteGradientsAlone) {
  auto g = random_gradients(100);
  const auto same = [&](const std::vector<float>& want) {
    return std::memcmp(g.data(), want.data(), g.size() * sizeof(float)) == 0;
  };
  auto before = g;
  clip_gradient_norm(g, 1000);
  EXPECT_TRUE(same(before));
  g[3] = kNan;
  before = g;
  EXPECT_TRUE(std::isnan(clip_gradient_norm(g, 1)));
  EXPECT_TRUE(same(before));
  g[3] = kInfinity;
  before = g;
  EXPECT_EQ(clip_gradient_norm(g, 1), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(same(before));
  EXPECT_THROW(clip_gradient_norm(g, 0), ValueError);
  EXPECT_THROW(clip_coefficient(1, kNan), ValueError);
}

TEST(HasNonfinite, FindsOneValueAnywhere) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{17}, std::size_t{2 * kChunk + 1}}) {
    std::vector<float> g(n, -std::numeric_limits<float>::max());
    EXPECT_FALSE(has_nonfinite(g));
    for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
      for (const float bad : {kInfinity, -kInfinity, kNan, -kNan}) {
        const float kept = std::exchange(g[at], bad);
        EXPECT_TRUE(has_nonfinite(g)) << bad << " at " << at << " of " << n;
        g[at] = kept;
      }
    }
  }
  EXPECT_FALSE(has_nonfinite({}));
}

}  // namespace
}  // namespace mwalimu::optim
