// embedding/lanes: sixteen floats that the compiler keeps in vector registers (one with AVX-512,
// two with AVX, four with SSE). Operators are the built-in ones, so the same source is portable.
//
// Lanes are passed by reference only: by value their ABI would depend on the processor flags.
#pragma once

#include <cstring>

#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding::detail {

inline constexpr index_t kLanes = 16;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

inline void load(Lanes& to, const float* from) { std::memcpy(&to, from, sizeof to); }
inline void store(float* to, const Lanes& from) { std::memcpy(to, &from, sizeof from); }

/// Sum of the sixteen, in double and in the order of the lanes.
inline double sum(const Lanes& lanes) {
  float v[kLanes];
  store(v, lanes);
  double total = 0;
  for (const float x : v) total += x;
  return total;
}

/// Rows that are worth a thread of their own when each costs so many visits to a pair of points:
/// about a tenth of a millisecond. Below that a thread costs more than it brings, on a busy machine
/// far more.
constexpr index_t rows_a_thread(index_t visits_a_row) {
  return index_t{1} + (index_t{1} << 19) / (visits_a_row < 1 ? 1 : visits_a_row);
}

constexpr index_t round_up(index_t n, index_t step) { return (n + step - 1) / step * step; }

}  // namespace mwalimu::embedding::detail
