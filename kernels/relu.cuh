// kernels/relu: max(x, 0) and its gradient.
//
// Computes   y = x where x > 0 or NaN, else 0; dx = dy where y > 0 or NaN, else 0.
// Shapes     dense vectors of one length; results may take the place of an input.
// Mapping    grid-stride over packs of 16 bytes, block.x = 256: a warp moves 512 neighbouring bytes;
//            the last elements that fill no pack go one a thread.
// Moves      forward 2 n sizeof(T) bytes, backward 3 n sizeof(T).
// Roofline   n = 2^26 in bfloat16 on an H200 by its data sheet, 4.8 TB/s: 56 us and 84 us.
// Resources  no shared memory, no spills (-Xptxas=-v).
// Measured   not yet.
// Numerics   exact.
#pragma once

#include "launch.cuh"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/relu.hpp"
#include "numeric.cuh"

namespace mwalimu {
namespace kernels {

/// to[i] <- from[i] where gate[i] > 0 or NaN, else 0. Arrays may coincide, so none is __restrict__.
template <class T, int N>
__global__ void __launch_bounds__(256)
    relu_kernel(const T* gate, const T* from, T* to, index_t count) {
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  const index_t first = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const index_t packs = count / N;
  const auto pass = [](T g, T value) {
    return widen(g) <= accumulate_t<T>{0} ? narrow<T>(accumulate_t<T>{0}) : value;
  };
  for (index_t p = first; p < packs; p += step) {
    const auto g = load_pack<N>(gate + p * N);
    auto v = g;
    if (from != gate) v = load_pack<N>(from + p * N);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = pass(g[i], v[i]);
    store_pack<N>(to + p * N, v);
  }
  for (index_t i = packs * N + first; i < count; i += step) to[i] = pass(gate[i], from[i]);
}

template <class T>
void relu(Gpu on, const char* name, const T* gate, const T* from, T* to, index_t count) {
  if (count == 0) return;
  constexpr int N = kPack<T>;
  const bool packs = packs_fit(gate, N) && packs_fit(from, N) && packs_fit(to, N);
  launch(on, name, packs ? relu_kernel<T, N> : relu_kernel<T, 1>,
         {.grid = grid_blocks(on, count, packs ? 256 * N : 256), .block = 256}, gate, from, to,
         count);
}

}  // namespace kernels

namespace ops {

template <Real T>
void relu_forward(Gpu on, View<const T, 1> x, View<T, 1> y) {
  kernels::relu(on, "relu", x.data(), x.data(), y.data(), x.dim(0));
}

template <Real T>
void relu_backward(Gpu on, View<const T, 1> y, View<const T, 1> dy, View<T, 1> dx) {
  kernels::relu(on, "relu_backward", y.data(), dy.data(), dx.data(), y.dim(0));
}

}  // namespace ops
}  // namespace mwalimu
