// kernels/queue: rows put into a ring at a place that the device knows.
//
// Computes   queue[(cursor + b) mod L, :] = batch[b, :]; then cursor = (cursor + B) mod L.
// Shapes     batch (B, D), queue (L, D), rows any distance apart; cursor a scalar in [0, L).
// Mapping    a block of 128 a row of the batch, packs of 16 bytes of float; a second launch of one
//            thread moves the cursor, which all blocks of the first have read by then.
// Moves      B D (s + 4) bytes.
// Roofline   B = 32, D = 128 (a SwAV step): 33 KB; the two launches are the cost.
// Resources  float: 40 registers, no shared memory; no spills (sm_90).
// Measured   not yet.
// Numerics   converted to float; the same bits as on the Cpu.
// Requires   B <= L.
#pragma once

#include "mwalimu/ops/queue.hpp"
#include "rows.cuh"

namespace mwalimu {
namespace kernels {

template <class T, int N>
__global__ void __launch_bounds__(128)
    queue_push_kernel(Rows<const T> batch, const std::int64_t* __restrict__ cursor,
                      Rows<float> queue, index_t D, index_t L) {
  const index_t b = blockIdx.x;
  const T* from = batch[b];
  const index_t row = *cursor + b;
  float* to = queue[row < L ? row : row - L];
  for_each_piece<N>(0, D, static_cast<int>(threadIdx.x), 128, [&](index_t at, auto width) {
    constexpr int W = width;
    const auto v = load_pack<W>(from + at);
    Pack<float, W> out;
#pragma unroll
    for (int i = 0; i < W; ++i) out[i] = static_cast<float>(widen(v[i]));
    store_pack<W>(to + at, out);
  });
}

template <class T>
__global__ void __launch_bounds__(32)
    queue_advance_kernel(std::int64_t* cursor, index_t B, index_t L) {
  if (threadIdx.x == 0) *cursor = (*cursor + B) % L;
}

}  // namespace kernels

namespace ops {

template <Real T>
void queue_push(Gpu on, View<const T, 2> batch, View<std::int64_t, 0> cursor,
                View<float, 2> queue) {
  const index_t B = batch.dim(0), L = queue.dim(0);
  if (B == 0) return;
  constexpr int N = kernels::kRowPack<T>;
  const kernels::Rows<const T> from(batch);
  const kernels::Rows<float> to(queue);
  const bool packs = from.fit(N) && to.fit(N);
  kernels::launch(on, "queue_push",
                  packs ? kernels::queue_push_kernel<T, N> : kernels::queue_push_kernel<T, 1>,
                  {.grid = kernels::row_blocks(B), .block = 128}, from,
                  static_cast<const std::int64_t*>(cursor.data()), to, batch.dim(1), L);
  kernels::launch(on, "queue_advance", kernels::queue_advance_kernel<std::int64_t>,
                  {.grid = 1, .block = 32}, cursor.data(), B, L);
}

}  // namespace ops
}  // namespace mwalimu
