// cpu/keep_if: a choice between a number and zero that does not touch how the number is loaded.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "mwalimu/core/types.hpp"

namespace mwalimu::ops::detail {

/// `keep ? value : 0`. Of that choice alone compilers make a load under a mask, and streams that
/// such loads alone read were not prefetched on an AMD EPYC (Zen 5): batch norm's gradient took 2.5
/// times as long. So what is not widened is masked as bits; what is widened is loaded anyway.
template <class T>
accumulate_t<T> keep_if(bool keep, T value) {
  using A = accumulate_t<T>;
  if constexpr (sizeof(T) < sizeof(A)) {
    return keep ? convert<A>(value) : A{0};
  } else {
    using Bits = std::conditional_t<sizeof(A) == 8, std::uint64_t, std::uint32_t>;
    const Bits mask = Bits{0} - static_cast<Bits>(keep);
    return std::bit_cast<A>(std::bit_cast<Bits>(value) & mask);
  }
}

}  // namespace mwalimu::ops::detail
