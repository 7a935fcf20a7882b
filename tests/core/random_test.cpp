#include "mwalimu/core/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace mwalimu {
namespace {

// The three vectors of the authors' kat_vectors file, for philox4x32 with ten rounds.
TEST(Philox, MatchesThePublishedVectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0),
            (PhiloxBlock{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, ~0ull),
            (PhiloxBlock{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0x299f31d0a4093822ull),
            (PhiloxBlock{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(RandomStream, IsAFunctionOfItsFourCounters) {
  const auto first = [](std::uint64_t seed, Purpose purpose, std::uint64_t step, std::uint64_t i) {
    return RandomStream(seed, purpose, step, i).bits();
  };
  const std::uint32_t here = first(1, Purpose::crops, 2, 3);
  EXPECT_EQ(here, first(1, Purpose::crops, 2, 3));
  EXPECT_NE(here, first(2, Purpose::crops, 2, 3));
  EXPECT_NE(here, first(1, Purpose::dropout, 2, 3));
  EXPECT_NE(here, first(1, Purpose::crops, 3, 3));
  EXPECT_NE(here, first(1, Purpose::crops, 2, 4));
  EXPECT_NE(here, first(1, Purpose::crops, 2, 3 + (std::uint64_t{1} << 32)));
}

TEST(RandomStream, UniformStaysInRangeWithTheRightMoments) {
  RandomStream random(7, Purpose::test);
  double sum = 0, squares = 0;
  constexpr int n = 100000;
  for (int i = 0; i < n; ++i) {
    const float u = random.uniform();
    ASSERT_GE(u, 0.0f);
    ASSERT_LT(u, 1.0f);
    sum += u;
    squares += u * u;
  }
  EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(squares / n, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / n));
}

TEST(RandomStream, NormalHasTheRightMoments) {
  RandomStream random(7, Purpose::test, 1);
  double sum = 0, squares = 0;
  constexpr int n = 100000;
  for (int i = 0; i < n; ++i) {
    const float x = random.normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += double{x} * x;
  }
  EXPECT_NEAR(sum / n, 0.0, 5 / std::sqrt(double{n}));
  EXPECT_NEAR(squares / n, 1.0, 5 * std::sqrt(2.0 / n));
}

TEST(RandomStream, BelowReachesEveryValueAndNoOther) {
  RandomStream random(7, Purpose::test, 2);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.below(7));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
  EXPECT_EQ(random.below(1), 0u);
}

TEST(RandomPermutation, HoldsEachIndexOnce) {
  auto order = random_permutation(101, RandomStream(3, Purpose::shuffle, 5));
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(order, random_permutation(101, RandomStream(3, Purpose::shuffle, 5)));
  EXPECT_NE(order, random_permutation(101, RandomStream(3, Purpose::shuffle, 6)));
  std::sort(order.begin(), order.end());
  for (std::int64_t i = 0; i < 101; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

}  // namespace
}  // namespace mwalimu
