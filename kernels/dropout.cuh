// kernels/dropout: elements set to zero at random, the others scaled.
//
// Computes   y[i] = x[i] / (1 - p) where draw i of the stream (seed, dropout, step, layer) is at least
//            p, else 0.
// Shapes     dense vectors of one length; y may be x.
// Mapping    grid-stride, block.x = 256: a Philox block, four draws, for four elements; a thread takes
//            16 bytes, the last elements four at a time.
// Moves      2 n sizeof(T) bytes.
// Roofline   n = 2^22 in bfloat16 on an H200 by its data sheet: 17 MB, 3.5 us at 4.8 TB/s; 2^20 Philox
//            blocks of about 80 integer instructions, 3 us at 64 lanes a clock and 132
//            multiprocessors: near balance, and the launch costs as much.
// Resources  no shared memory, no spills (-Xptxas=-v).
// Measured   not yet.
// Numerics   the mask is the Cpu's bit for bit; one rounding an element.
// Requires   n <= 2^34: a stream has 2^32 blocks.
#pragma once

#include "launch.cuh"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/dropout.hpp"
#include "numeric.cuh"

namespace mwalimu {
namespace kernels {

/// The Philox counter of block `block` of a dropout stream.
__device__ __forceinline__ PhiloxBlock dropout_bits(index_t block, std::uint32_t step,
                                                    const ops::DropoutKey& key) {
  return philox({static_cast<std::uint32_t>(block), step, static_cast<std::uint32_t>(key.layer),
                 (static_cast<std::uint32_t>(Purpose::dropout) << 16) |
                     (static_cast<std::uint32_t>(key.layer >> 32) & 0xFFu)},
                key.seed);
}

template <class T, int N>
__global__ void __launch_bounds__(256)
    dropout_kernel(const T* x, index_t count, float threshold, accumulate_t<T> scale,
                   ops::DropoutKey key, T* y) {
  using A = accumulate_t<T>;
  const index_t stride = static_cast<index_t>(gridDim.x) * blockDim.x;
  const index_t first = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const auto step = static_cast<std::uint32_t>(static_cast<std::uint64_t>(key.step.load()));
  const auto apply = [&](T value, std::uint32_t bits) {
    const bool kept = uniform_from_bits(bits) >= threshold;
    return narrow<T>(kept ? widen(value) * scale : A{0});
  };
  const index_t packs = N % 4 == 0 ? count / N : 0;
  if constexpr (N % 4 == 0) {
    for (index_t p = first; p < packs; p += stride) {
      auto values = load_pack<N>(x + p * N);
#pragma unroll
      for (int block = 0; block < N / 4; ++block) {
        const PhiloxBlock bits = dropout_bits(p * (N / 4) + block, step, key);
#pragma unroll
        for (int i = 0; i < 4; ++i) values[4 * block + i] = apply(values[4 * block + i], bits[i]);
      }
      store_pack<N>(y + p * N, values);
    }
  }
  const index_t begin = packs * N / 4;
  for (index_t block = begin + first; 4 * block < count; block += stride) {
    const PhiloxBlock bits = dropout_bits(block, step, key);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (4 * block + i < count) y[4 * block + i] = apply(x[4 * block + i], bits[i]);
    }
  }
}

}  // namespace kernels

namespace ops {

template <Real T>
void dropout_apply(Gpu on, View<const T, 1> x, double p, const DropoutKey& key, View<T, 1> y) {
  const index_t n = x.dim(0);
  if (n == 0) return;
  const bool packs = kernels::packs_fit(x.data(), 0) && kernels::packs_fit(y.data(), 0);
  kernels::with_pack<T>(packs, [&](auto size) {
    constexpr int N = decltype(size)::value, kPerThread = N < 4 ? 4 : N;
    kernels::launch(on, "dropout", kernels::dropout_kernel<T, N>,
                    {.grid = kernels::grid_blocks(on, n, 256 * kPerThread), .block = 256}, x.data(),
                    n, static_cast<float>(p), static_cast<accumulate_t<T>>(1 / (1 - p)), key,
                    y.data());
  });
}

}  // namespace ops
}  // namespace mwalimu
