// kernels/mixup: partners and shares of a batch, and its images blended.
//
// Computes   draw_mixup: lambda and key of every row; partners[b] = the rank of key b.
//            mix_images: lambda[b] images[b] + (1 - lambda[b]) images[partners[b]].
// Shapes     images (B, H, W, C) of T, V = H W C values each; lambda, partners, labels (B).
// Mapping    draw_mixup: one block; keys lie in shared memory, and every thread counts how many are
//            smaller than its own. mix_images: grid.y over images, grid.x over packs of 16 bytes.
// Moves      reads 2 B V sizeof(T), writes B V sizeof(T) bytes. draw_mixup: 8 B of labels in, 20 B
//            out.
// Roofline   B = 128, 128 x 128 x 3 in bfloat16 on an H200 by its data sheet: 37.7 MB, 8 us at 4.8
//            TB/s (the second read of an image mostly comes from L2).
// Resources  nvcc 13.0, sm_90: mix_images 26 to 40 registers, draw_mixup 64 and a stack frame of 88
//            bytes (the stream's block of four numbers, indexed); no spills.
// Measured   not yet.
// Numerics   float, one rounding to T. lambda is the host's but for the last bits of log and exp.
// Requires   draw_mixup: B <= 12288, whose keys fill 48 KB.
// Source     Zhang et al. 2018, arXiv:1710.09412.
#pragma once

#include "launch.cuh"
#include "mwalimu/data/mixup.hpp"
#include "numeric.cuh"

namespace mwalimu {
namespace kernels {

template <class Place>
__global__ void __launch_bounds__(256)
    draw_mixup_kernel(double alpha, std::uint64_t seed, Scalar step, index_t first_sample,
                      const std::int64_t* __restrict__ labels, float* __restrict__ lambda,
                      index_t* __restrict__ partners, std::int64_t* __restrict__ partner_labels,
                      int B) {
  MWALIMU_DYNAMIC_SHARED(std::uint32_t, keys);
  const auto now = static_cast<std::uint64_t>(step.load());
  const int first = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  for (int b = first; b < B; b += threads) {
    const auto sample = static_cast<std::uint64_t>(first_sample + b);
    keys[b] = data::mixup_key(seed, now, sample);
    lambda[b] = data::mixup_lambda(alpha, seed, now, sample);
  }
  __syncthreads();
  for (int b = first; b < B; b += threads) {
    const std::uint32_t own = keys[b];
    int rank = 0;
    for (int j = 0; j < B; ++j) rank += keys[j] < own || (keys[j] == own && j < b) ? 1 : 0;
    partners[b] = rank;
    partner_labels[b] = labels[rank];
  }
}

template <class T, int N>
__global__ void __launch_bounds__(256)
    mix_images_kernel(const T* __restrict__ images, const float* __restrict__ lambda,
                      const index_t* __restrict__ partners, index_t B, index_t values,
                      T* __restrict__ mixed) {
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  for (index_t b = blockIdx.y; b < B; b += gridDim.y) {
    const T* own = images + b * values;
    const T* other = images + partners[b] * values;
    const float share = lambda[b], rest = 1.0f - share;
    for (index_t p = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < values / N;
         p += step) {
      const auto x = load_pack<N>(own + p * N), y = load_pack<N>(other + p * N);
      Pack<T, N> out;
#pragma unroll
      for (int i = 0; i < N; ++i) out[i] = narrow<T>(share * widen(x[i]) + rest * widen(y[i]));
      store_pack<N>(mixed + b * values + p * N, out);
    }
  }
}

}  // namespace kernels

namespace data {

/// Queued on on.stream and not waited for. The head of this file has the rest.
template <class Place>
void draw_mixup(Place on, double alpha, std::uint64_t seed, Scalar step, index_t first_sample,
                View<const std::int64_t, 1> labels, View<float, 1> lambda,
                View<index_t, 1> partners, View<std::int64_t, 1> partner_labels) {
  detail::check_draw_mixup(alpha, labels, lambda, partners, partner_labels);
  const index_t B = labels.dim(0);
  if (B == 0) return;
  require<ShapeError>(B <= 12288, "mixup: want a batch of at most 12288 images, got ", B);
  kernels::launch(on, "draw_mixup", kernels::draw_mixup_kernel<Place>,
                  {.grid = 1, .block = 256, .shared_bytes = 4 * static_cast<std::size_t>(B)}, alpha,
                  seed, step, first_sample, labels.data(), lambda.data(), partners.data(),
                  partner_labels.data(), static_cast<int>(B));
}

template <Real T>
void mix_images(Gpu on, View<const T, 4> images, View<const float, 1> lambda,
                View<const index_t, 1> partners, View<T, 4> mixed) {
  detail::check_mix_images(images, lambda, partners, mixed);
  const index_t B = images.dim(0), values = images.dim(1) * images.dim(2) * images.dim(3);
  if (B * values == 0) return;
  constexpr int N = kernels::kPack<T>;
  const bool packs =
      kernels::packs_fit(images.data(), values) && kernels::packs_fit(mixed.data(), values);
  const dim3 grid(kernels::grid_blocks(on, values, packs ? 256 * N : 256),
                  static_cast<unsigned>(std::min<index_t>(B, 65535)));
  kernels::launch(on, "mix_images",
                  packs ? kernels::mix_images_kernel<T, N> : kernels::mix_images_kernel<T, 1>,
                  {.grid = grid, .block = 256}, images.data(), lambda.data(), partners.data(), B,
                  values, mixed.data());
}

}  // namespace data
}  // namespace mwalimu
