// cpu/dropout: four elements a Philox block, any block on its own; blocks in vector lanes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/dropout.hpp"

namespace mwalimu::ops {
namespace detail {

inline constexpr index_t kPhiloxLanes = 16;  // one AVX-512 register of counters

/// philox({first + l, counter[1], counter[2], counter[3]}, key) for l < kPhiloxLanes, one behind the
/// other. Written out by lanes, for the compiler makes vectors of loops, not of calls.
inline void philox_blocks(std::uint32_t first, const PhiloxBlock& counter, std::uint64_t key,
                          std::uint32_t* bits) {
  alignas(64) std::uint32_t c0[kPhiloxLanes], c1[kPhiloxLanes], c2[kPhiloxLanes], c3[kPhiloxLanes];
  for (index_t l = 0; l < kPhiloxLanes; ++l) {
    c0[l] = first + static_cast<std::uint32_t>(l);
    c1[l] = counter[1];
    c2[l] = counter[2];
    c3[l] = counter[3];
  }
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
#pragma omp simd
    for (index_t l = 0; l < kPhiloxLanes; ++l) {
      const std::uint64_t a = std::uint64_t{0xD2511F53u} * c0[l];
      const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * c2[l];
      c0[l] = static_cast<std::uint32_t>(b >> 32) ^ c1[l] ^ k0;
      c1[l] = static_cast<std::uint32_t>(b);
      c2[l] = static_cast<std::uint32_t>(a >> 32) ^ c3[l] ^ k1;
      c3[l] = static_cast<std::uint32_t>(a);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
#pragma omp simd
  for (index_t l = 0; l < kPhiloxLanes; ++l) {
    bits[4 * l] = c0[l];
    bits[4 * l + 1] = c1[l];
    bits[4 * l + 2] = c2[l];
    bits[4 * l + 3] = c3[l];
  }
}

template <class T, class A>
void drop_elements(const T* from, const std::uint32_t* bits, index_t count, float p, A scale,
                   T* to) {
#pragma omp simd
  for (index_t i = 0; i < count; ++i) {
    const A value = convert<A>(from[i]);  // read in any case: else the loop has a branch
    to[i] = convert<T>(uniform_from_bits(bits[i]) >= p ? value * scale : A{0});
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
      detail::philox_blocks(static_cast<std::uint32_t>(group * detail::kPhiloxLanes), counter,
                            key.seed, bits);
      const index_t first = group * kElements;
      detail::drop_elements(from + first, bits, std::min(kElements, n - first), threshold, scale,
                            to + first);
    }
  });
}

}  // namespace mwalimu::ops
