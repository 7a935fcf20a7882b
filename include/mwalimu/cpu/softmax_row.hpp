// cpu/softmax_row: what the losses and Sinkhorn share: exp in vector lanes, and the softmax of one
// row kept as (largest score, sum of exponentials).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "mwalimu/core/types.hpp"

namespace mwalimu::ops::detail {

/// e^x for x <= 0, within 2 units in the last place (Sinkhorn.ExpMatchesTheLibrary); 0 below -87,
/// where e^x leaves float's normal range. Branch-free, so that loops over it vectorise: the C
/// library's does not without -ffast-math.
///
/// x = k log 2 + r with |r| <= log(2) / 2: e^r by its Taylor polynomial (the next term is 5e-9),
/// 2^k by writing the exponent. Adding 1.5 2^23 rounds to an integer, which stands in the low bits.
inline float exp_nonpositive(float x) {
  constexpr float kShift = 0x1.8p23f;
  const float bounded = x < -87.0f ? -87.0f : x;
  const float shifted = bounded * 1.44269504f + kShift;
  const float k = shifted - kShift;
  // log 2 in two parts; the first has few bits, so that k times it is exact.
  const float r = (bounded - k * 0.693359375f) + k * 2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const float scale = std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) + 127u) << 23);
  return x < -87.0f ? 0.0f : p * scale;
}
inline double exp_nonpositive(double x) { return std::exp(x); }

/// The softmax of a row at inverse temperature f: exp(f (x[k] - peak)) / sum.
template <class A>
struct SoftmaxRow {
  A peak;      ///< the largest score; NaN if one is NaN
  double sum;  ///< at least 1

  A probability(A score, A f) const {
    return exp_nonpositive((score - peak) * f) * static_cast<A>(1.0 / sum);
  }
};

template <class T>
accumulate_t<T> row_maximum(const T* x, index_t n) {
  using A = accumulate_t<T>;
  A peak = convert<A>(x[0]);
#pragma omp simd reduction(max : peak)
  for (index_t k = 0; k < n; ++k) {
    const A v = convert<A>(x[k]);
    peak = v > peak ? v : peak;
  }
  return peak;
}

template <class T>
SoftmaxRow<accumulate_t<T>> softmax_row(const T* x, index_t n, accumulate_t<T> f) {
  using A = accumulate_t<T>;
  const A peak = row_maximum(x, n);
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (index_t k = 0; k < n; ++k) {
    sum += static_cast<double>(exp_nonpositive((convert<A>(x[k]) - peak) * f));
  }
  return {peak, sum};
}

}  // namespace mwalimu::ops::detail
