// cpu/dropout: four elements a Philox block, any block on its own; blocks in vector lanes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/cpu/keep_if.hpp"
#include "mwalimu/cpu/prefetch.hpp"
#include "mwalimu/ops/dropout.hpp"

namespace mwalimu::ops {
namespace detail {

inline constexpr index_t kPhiloxLanes = 64;  // several registers: one's rounds overlap another's

/// philox({first + l, counter[1], counter[2], counter[3]}, key) for l < kPhiloxLanes, one behind the
/// other. Written out by lanes, for the compiler makes vectors of loops, not of calls.
inline void philox_blocks(std::uint32_t first, const PhiloxBlock& counter, std::uint64_t key,
                          std::uint32_t* bits) {
  // Words of 32 bits in lanes of 64: a product's halves are then where the next round wants them.
  const std::uint64_t c1_first = counter[1], c2_first = counter[2], c3_first = counter[3];
#pragma omp simd
  for (index_t l = 0; l < kPhiloxLanes; ++l) {
    std::uint64_t c0 = first + static_cast<std::uint32_t>(l);
    std::uint64_t c1 = c1_first, c2 = c2_first, c3 = c3_first;
    auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t a = 0xD2511F53u * c0, b = 0xCD9E8D57u * c2;
      c0 = (b >> 32) ^ c1 ^ k0;
      c1 = b & 0xFFFFFFFFu;
      c2 = (a >> 32) ^ c3 ^ k1;
      c3 = a & 0xFFFFFFFFu;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    bits[4 * l] = static_cast<std::uint32_t>(c0);
    bits[4 * l + 1] = static_cast<std::uint32_t>(c1);
    bits[4 * l + 2] = static_cast<std::uint32_t>(c2);
    bits[4 * l + 3] = static_cast<std::uint32_t>(c3);
  }
}

template <class T, class A>
void drop_elements(const T* from, const std::uint32_t* bits, index_t count, float p, A scale,
                   T* to) {
#pragma omp simd
  for (index_t i = 0; i < count; ++i) {
    to[i] = convert<T>(keep_if(uniform_from_bits(bits[i]) >= p, from[i]) * scale);
  }
}

}  // namespace detail

template <Real T>
void dropout_apply(Cpu, View<const T, 1> x, double p, const DropoutKey& key, View<T, 1> y) {
  using A = accumulate_t<T>;
  constexpr index_t kElements = 4 * detail::kPhiloxLanes;
  const A scale = static_cast<A>(1 / (1 - p));
  const float threshold = static_cast<float>(p);
  const auto step = static_cast<std::uint32_t>(static_cast<std::uint64_t>(key.step.load()));
  // The counter of RandomStream after its first blocks (Dropout.MaskIsTheStream).
  const PhiloxBlock counter{0, step, static_cast<std::uint32_t>(key.layer),
                            (static_cast<std::uint32_t>(Purpose::dropout) << 16) |
                                (static_cast<std::uint32_t>(key.layer >> 32) & 0xFFu)};
  const index_t n = x.dim(0);
  const T* from = x.data();
  T* to = y.data();
  const index_t groups = (n + kElements - 1) / kElements;
  parallel_for(groups, detail::kGrain / kElements / 4, [&](index_t begin, index_t end) {
    alignas(64) std::uint32_t bits[kElements];
    for (index_t group = begin; group < end; ++group) {
      const index_t first = group * kElements;
      detail::prefetch(from, first + kElements, kElements);  // while the rounds run
      detail::prefetch_to_write(to, first + kElements, kElements);
      detail::philox_blocks(static_cast<std::uint32_t>(group * detail::kPhiloxLanes), counter,
                            key.seed, bits);
      detail::drop_elements(from + first, bits, std::min(kElements, n - first), threshold, scale,
                            to + first);
    }
  });
}

}  // namespace mwalimu::ops
