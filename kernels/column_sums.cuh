// kernels/column_sums: the sum of each column: the gradient of a linear layer's bias.
//
// Computes   sums[o] <- sum_b x[b, o], added to what is there where asked.
// Shapes     x (B, O), any strides; sums (O), any stride.
// Mapping    a block of 32 x 8 threads a tile of 32 columns: thread (x, y) adds rows y, y + 8, ... of
//            column x, so a warp reads 32 neighbours; then the eight sums of a column in order.
// Moves      B O sizeof(T) + 4 O bytes, and 4 O more where it adds (8 for double).
// Roofline   B = 192, O = 2048 in bfloat16: 0.8 MB; a launch costs more.
// Resources  see the compiler's report (-Xptxas=-v); 1 KB of shared memory (2 KB for double).
// Measured   not yet.
// Numerics   float (double for double); an order that B alone fixes: the same bits on every run.
// Requires   O < 2^36.
#pragma once

#include "launch.cuh"
#include "mwalimu/gpu/column_sums.hpp"
#include "numeric.cuh"

namespace mwalimu {
namespace kernels {

inline constexpr int kSumColumns = 32, kSumRows = 8;

template <class T>
__global__ void __launch_bounds__(kSumColumns* kSumRows)
    column_sums_kernel(const T* __restrict__ x, index_t B, index_t O, index_t row_stride,
                       index_t column_stride, bool accumulate, accumulate_t<T>* __restrict__ sums,
                       index_t sums_stride) {
  using A = accumulate_t<T>;
  __shared__ A partial[kSumRows][kSumColumns];
  const index_t o = static_cast<index_t>(blockIdx.x) * kSumColumns + threadIdx.x;
  A sum = 0;
  if (o < O) {
    for (index_t b = threadIdx.y; b < B; b += kSumRows) {
      sum += widen(x[b * row_stride + o * column_stride]);
    }
  }
  partial[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || o >= O) return;
#pragma unroll
  for (int y = 1; y < kSumRows; ++y) sum += partial[y][threadIdx.x];
  A* const into = sums + o * sums_stride;
  *into = accumulate ? *into + sum : sum;
}

}  // namespace kernels

template <class T>
void column_sums(Gpu on, View<const T, 2> x, bool accumulate, View<accumulate_t<T>, 1> sums) {
  const index_t B = x.dim(0), O = x.dim(1);
  require<ShapeError>(sums.dim(0) == O, "column_sums: want (", O, ") sums of (", B, ", ", O,
                      "), got (", sums.dim(0), ")");
  if (O == 0) return;
  using namespace kernels;
  launch(on, "column_sums", column_sums_kernel<T>,
         {.grid = static_cast<unsigned>((O + kSumColumns - 1) / kSumColumns),
          .block = dim3(kSumColumns, kSumRows)},
         x.data(), B, O, x.stride(0), x.stride(1), accumulate, sums.data(), sums.stride(0));
}

}  // namespace mwalimu
