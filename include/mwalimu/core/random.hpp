// core/random: randomness as a function of counters. No generator state exists anywhere: a draw is
// determined by (seed, purpose, step, sample, position), so any number of threads gives the same
// run, and a resumed run goes on as if nothing had happened.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>
#include <vector>

#include "mwalimu/core/config.hpp"

namespace mwalimu {

/// What a draw is for. Two purposes never share a random number.
/// Values are part of every checkpoint's meaning: append, never renumber.
enum class Purpose : std::uint32_t {
  initialisation = 1,
  shuffle = 2,
  crops = 3,
  pairs = 4,
  dropout = 5,
  queue = 6,
  split = 7,
  augment = 8,
  mixup = 9,
  embedding = 10,
  synthesis = 11,
  bootstrap = 12,
  test = 1000,
};

using PhiloxBlock = std::array<std::uint32_t, 4>;

/// Philox4x32-10: ten rounds that turn a 128-bit counter and a 64-bit key into 128 random bits.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", and its test vectors.
constexpr PhiloxBlock philox(PhiloxBlock counter, std::uint64_t key) {
  std::uint32_t k0 = static_cast<std::uint32_t>(key);
  std::uint32_t k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(a)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

/// The top 24 bits as a float in [0, 1): every value is exact, 1 is never reached.
constexpr float uniform_from_bits(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1.0p-24f;
}

/// The draws of one (seed, purpose, step, sample), in order. Cheap to make (no warm-up), cheap to
/// copy; two streams that differ in any of the four are independent.
///
///     RandomStream random(seed, Purpose::crops, step, sample);
///     const float scale = random.uniform(0.25f, 1.0f);
class RandomStream {
 public:
  /// @param step    32 bits are used: a run has fewer than 2^32 steps.
  /// @param sample  40 bits are used: fewer than 2^40 samples; the stream is 2^26 draws long.
  constexpr RandomStream(std::uint64_t seed, Purpose purpose, std::uint64_t step = 0,
                         std::uint64_t sample = 0)
      : key_(seed),
        counter_{0, static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(sample),
                 (static_cast<std::uint32_t>(purpose) << 16) |
                     (static_cast<std::uint32_t>(sample >> 32) & 0xFFu)} {}

  /// 32 random bits.
  constexpr std::uint32_t bits() {
    if (used_ == 4) {
      block_ = philox(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return block_[used_++];
  }
  /// [0, 1).
  constexpr float uniform() { return uniform_from_bits(bits()); }
  /// [low, high); `low` where they are equal. The product is exact in double, so that compilers that
  /// fuse it with the sum, and those that do not, draw the same number: a device draws what a host does.
  constexpr float uniform(float low, float high) {
    const double width = static_cast<double>(high - low);
    return static_cast<float>(width * static_cast<double>(uniform()) + static_cast<double>(low));
  }
  /// An integer in [0, n), 1 <= n < 2^32. The bias of multiply-shift over 64 bits is below n / 2^64.
  constexpr std::uint64_t below(std::uint64_t n) {
    const std::uint64_t high = bits(), low = bits();
    return (high * n + ((low * n) >> 32)) >> 32;
  }
  /// True with probability p.
  constexpr bool chance(float p) { return uniform() < p; }
  /// Standard normal (Box and Muller 1958); two uniform draws each, the second value is not kept.
  MWALIMU_HOST_DEVICE float normal() {
    const double u = (static_cast<double>(bits()) + 0.5) * 0x1.0p-32;  // in (0, 1): log is finite
    const double v = static_cast<double>(bits()) * 0x1.0p-32;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) *
                              std::cos(2.0 * std::numbers::pi * v));
  }

 private:
  std::uint64_t key_;
  PhiloxBlock counter_;
  PhiloxBlock block_{};
  int used_ = 4;
};

/// A permutation of 0..n-1 (Fisher and Yates), a function of the stream alone.
inline std::vector<std::int64_t> random_permutation(std::int64_t n, RandomStream random) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) order[static_cast<std::size_t>(i)] = i;
  for (std::int64_t i = n - 1; i > 0; --i) {
    const auto j = random.below(static_cast<std::uint64_t>(i) + 1);
    std::swap(order[static_cast<std::size_t>(i)], order[j]);
  }
  return order;
}

}  // namespace mwalimu
