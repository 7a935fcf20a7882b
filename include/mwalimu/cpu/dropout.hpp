// cpu/dropout: four elements a Philox block, any block on its own.
#pragma once

#include <algorithm>
#include <cstdint>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/dropout.hpp"

namespace mwalimu::ops {

template <Real T>
void dropout_apply(Cpu, View<const T, 1> x, double p, const DropoutKey& key, View<T, 1> y) {
  using A = accumulate_t<T>;
  const A scale = static_cast<A>(1 / (1 - p));
  const float threshold = static_cast<float>(p);
  const auto step = static_cast<std::uint32_t>(static_cast<std::uint64_t>(key.step.load()));
  const index_t n = x.dim(0);
  parallel_for((n + 3) / 4, detail::kGrain / 16, [&](index_t begin, index_t end) {
    for (index_t block = begin; block < end; ++block) {
      // The counter of RandomStream after `block` blocks (Dropout.MaskIsTheStream).
      const PhiloxBlock bits =
          philox({static_cast<std::uint32_t>(block), step,
                  static_cast<std::uint32_t>(key.layer),
                  (static_cast<std::uint32_t>(Purpose::dropout) << 16) |
                      (static_cast<std::uint32_t>(key.layer >> 32) & 0xFFu)},
                 key.seed);
      for (index_t i = 4 * block; i < std::min(n, 4 * block + 4); ++i) {
        const bool kept = uniform_from_bits(bits[static_cast<std::size_t>(i % 4)]) >= threshold;
        y(i) = convert<T>(kept ? convert<A>(x(i)) * scale : A{0});
      }
    }
  });
}

}  // namespace mwalimu::ops
