// kernels/add: the sum of two tensors of one shape.
//
// Computes   y = a + b, in float for half and bfloat16.
// Shapes     (rows, C), channels densest, rows of each tensor any distance apart; y may be a or b.
// Mapping    grid-stride over packs of 16 bytes, block.x = 256. Where all three are dense the matrix is
//            one long row and a warp moves 512 neighbouring bytes; else a division finds the row.
//            Rows that fill no pack, or begin off one, go one element a thread.
// Moves      3 n sizeof(T) bytes.
// Roofline   n = 2^26 in bfloat16 on an H200 by its data sheet, 4.8 TB/s: 84 us.
// Resources  no shared memory, no spills (-Xptxas=-v).
// Measured   not yet.
// Numerics   one rounding an element.
#pragma once

#include "channel_grid.cuh"
#include "mwalimu/ops/add.hpp"

namespace mwalimu {
namespace kernels {

template <class T, int N>
__global__ void __launch_bounds__(256)
    add_kernel(RowsOf<const T> a, RowsOf<const T> b, RowsOf<T> y, index_t rows, index_t C) {
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  const index_t first = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const index_t width = C / N, count = rows * width;
  for (index_t p = first; p < count; p += step) {
    const index_t row = rows == 1 ? 0 : p / width, c = (p - row * width) * N;
    const auto left = load_pack<N>(a.at(row, c)), right = load_pack<N>(b.at(row, c));
    Pack<T, N> sum;
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] = narrow<T>(widen(left[i]) + widen(right[i]));
    store_pack<N>(y.at(row, c), sum);
  }
  if (rows > 1) return;  // whole packs then
  for (index_t c = width * N + first; c < C; c += step) {
    *y.at(0, c) = narrow<T>(widen(*a.at(0, c)) + widen(*b.at(0, c)));
  }
}

}  // namespace kernels

namespace ops {

template <Real T>
void add_forward(Gpu on, View<const T, 2> a, View<const T, 2> b, View<T, 2> y) {
  index_t rows = a.dim(0), C = a.dim(1);
  if (rows == 0 || C == 0) return;
  const kernels::RowsOf<const T> left(a), right(b);
  const kernels::RowsOf<T> sum(y);
  if (left.stride == C && right.stride == C && sum.stride == C) {
    C *= rows;
    rows = 1;
  }
  // One long row may end with elements that fill no pack; several may not.
  constexpr int N = kernels::kPack<T>;
  const auto fits = [&](const auto& one) {
    return kernels::packs_fit(one.data, rows == 1 ? 0 : one.stride);
  };
  const bool packs = (rows == 1 || C % N == 0) && fits(left) && fits(right) && fits(sum);
  kernels::launch(
      on, "add", packs ? kernels::add_kernel<T, N> : kernels::add_kernel<T, 1>,
      {.grid = kernels::grid_blocks(on, rows * C, packs ? 256 * N : 256), .block = 256}, left, right,
      sum, rows, C);
}

}  // namespace ops
}  // namespace mwalimu
