// kernels/cast_add: a weight gradient as a library wrote it, into or onto the parameters' float gradient.
//
// Computes   to[i] <- from[i], or to[i] <- to[i] + from[i].
// Shapes     from (n) of T, to (n) of float (double for double), both dense.
// Mapping    grid-stride, block.x = 256; a thread takes as many neighbours as fill 16 bytes of the
//            wider type, so a warp reads and writes 512 neighbouring bytes of it; elements that fill no
//            pack, and operands that do not start at a multiple of it, go one a thread.
// Moves      reads n sizeof(T), and 4 n where it adds; writes 4 n bytes.
// Roofline   the largest layer of xresnet34 (2.36 M weights), bfloat16, adding, on an H200 by its data
//            sheet: 23.6 MB, 4.9 us at 4.8 TB/s; in truth it mostly stays in the second-level cache.
// Resources  see the compiler's report (-Xptxas=-v): no shared memory.
// Measured   not yet.
// Numerics   exact but for the one rounding of the sum; the same bits on every run.
// Requires   from and to do not overlap.
#pragma once

#include "launch.cuh"
#include "mwalimu/gpu/cast_add.hpp"
#include "numeric.cuh"

namespace mwalimu {
namespace kernels {

template <class T, bool kAccumulate, int N>
__global__ void __launch_bounds__(256)
    cast_add_kernel(const T* __restrict__ from, accumulate_t<T>* __restrict__ to, index_t count) {
  using A = accumulate_t<T>;
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  const index_t first = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const index_t packs = count / N;
  for (index_t p = first; p < packs; p += step) {
    const Pack<T, N> value = load_pack<N>(from + p * N);
    Pack<A, N> sum;
    if constexpr (kAccumulate) sum = load_pack<N>(to + p * N);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if constexpr (kAccumulate) {
        sum[i] += widen(value[i]);
      } else {
        sum[i] = widen(value[i]);
      }
    }
    store_pack<N>(to + p * N, sum);
  }
  for (index_t i = packs * N + first; i < count; i += step) {
    const A value = widen(from[i]);
    to[i] = kAccumulate ? to[i] + value : value;
  }
}

}  // namespace kernels

template <class T>
void cast_add(Gpu on, View<const T, 1> from, bool accumulate, View<accumulate_t<T>, 1> to) {
  const index_t n = to.count();
  require<ShapeError>(from.count() == n && from.is_contiguous() && to.is_contiguous(),
                      "cast_add: want two dense ranges of one size, got ", from.count(),
                      " elements a stride of ", from.stride(0), " apart, and ", n, " a stride of ",
                      to.stride(0), " apart");
  if (n == 0) return;
  using namespace kernels;
  constexpr int N = kPack<accumulate_t<T>>;
  const bool packs = reinterpret_cast<std::uintptr_t>(from.data()) % (N * sizeof(T)) == 0 &&
                     packs_fit(to.data(), N);
  const auto start = [&](auto kernel, index_t per_thread) {
    launch(on, "cast_add", kernel,
           {.grid = grid_blocks(on, n, 256 * per_thread), .block = 256}, from.data(), to.data(), n);
  };
  if (accumulate) {
    packs ? start(cast_add_kernel<T, true, N>, N) : start(cast_add_kernel<T, true, 1>, 1);
  } else {
    packs ? start(cast_add_kernel<T, false, N>, N) : start(cast_add_kernel<T, false, 1>, 1);
  }
}

}  // namespace mwalimu
