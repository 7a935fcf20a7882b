// kernels/split_rows: rows less their mean, each number as two of bfloat16, for tensor cores.
//
// Computes   x_ic - m_c = high + low + rest with |rest| <= 2^-16 |x_ic - m_c|, and of each row
//            least_i = keep sum_c (x_ic - m_c)^2.
// Shapes     x (n, d), sums (d) with m = scale sums; split (rows, columns / 4) packs of 16 bytes;
//            least (rows). rows >= n and columns >= d are whole tiles of whoever reads them.
// Mapping    a warp a row, twice: its square, then its packs. A pack has four columns in four
//            words, highs 0 1, 2 3, lows 0 1, 2 3, the even column in the lower half.
// Moves      4 n d bytes twice, the second time from cache; writes 4 rows columns + 4 rows.
// Resources  nvcc 13.0, sm_90: 32 registers, no shared memory, no spills.
// Measured   not yet.
// Numerics   a row whose square passes 2^125 is written as zero with least = -infinity, rows behind
//            the n-th as zero with +infinity. Squares are summed in double.
// Requires   columns a multiple of 4.
#pragma once

#include "launch.cuh"
#include "numeric.cuh"
#include "reduce.cuh"

namespace mwalimu::kernels {

inline constexpr int kSplitThreads = 256;

/// Four columns of a row: high and low of each.
using SplitPack = Pack<std::uint32_t, 4>;

struct SplitProblem {
  const float* x;
  const float* sums;
  index_t n, d, stride;
  index_t rows, columns;  ///< of split
  float scale, keep;
  SplitPack* split;
  float* least;
};

/// x[row, column] less its column's mean; zero outside.
template <class Problem>
__device__ __forceinline__ float centred(const Problem& p, index_t row, index_t column) {
  if (row >= p.n || column >= p.d) return 0;
  return __fmaf_rn(-p.sums[column], p.scale, p.x[row * p.stride + column]);  // rounded once
}

template <class Problem>
__global__ void __launch_bounds__(kSplitThreads) split_rows_kernel(Problem p) {
  constexpr int kWarps = kSplitThreads / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const index_t first = static_cast<index_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  for (index_t row = first; row < p.rows; row += static_cast<index_t>(gridDim.x) * kWarps) {
    double square = 0;
    for (index_t c = lane; c < p.d; c += kWarp) {
      const double v = centred(p, row, c);
      square += v * v;
    }
    square = warp_reduce(square, Sum{});
    const bool fits = square < 0x1p125;  // no: infinite or NaN among them
    for (index_t pack = lane; pack < p.columns / 4; pack += kWarp) {
      SplitPack split;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float v = fits ? centred(p, row, 4 * pack + i) : 0.0f;
        const auto high = narrow<bfloat16>(v);
        const auto low = narrow<bfloat16>(v - widen(high));
        if (i % 2 == 0) split[i / 2] = split[2 + i / 2] = 0;
        split[i / 2] |= static_cast<std::uint32_t>(high.bits) << 16 * (i % 2);
        split[2 + i / 2] |= static_cast<std::uint32_t>(low.bits) << 16 * (i % 2);
      }
      p.split[row * (p.columns / 4) + pack] = split;
    }
    const float infinity = __uint_as_float(0x7f800000u);
    if (lane == 0) {
      p.least[row] = row >= p.n ? infinity : fits ? static_cast<float>(square) * p.keep : -infinity;
    }
  }
}

}  // namespace mwalimu::kernels
