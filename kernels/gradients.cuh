// kernels/gradients: the norm of all gradients, and what it decides about the step.
//
// Computes   sums[c] <- sum of gradients[i]^2 over chunk c; then the control's state from their sum:
//            norm, clipping, whether the step is taken, the loss scale of the next one.
// Shapes     gradients (n), any n >= 0 and alignment; sums (ceil(n / 8192)); state (8); loss_scale (1).
// Mapping    squares: one block of 256 a chunk of 8192 elements, packs of 16 bytes a thread.
//            control: one block of 256 adds the chunks, thread 0 decides.
// Moves      reads 4 n bytes; 16 a chunk beside.
// Roofline   21.3 M gradients on an H200 by its data sheet: 85 MB, 18 us at 4.8 TB/s. Memory-bound.
// Resources  sm_90, nvcc 13.0: squares 32 registers, control 31; 64 bytes of shared memory; no spills.
// Measured   not yet.
// Numerics   squares and sums in double: a float's square neither overflows nor vanishes there, so the
//            sum is finite exactly where all gradients are. No atomics; an order that n fixes.
// Requires   n < 2^31 * 8192.
// Source     Micikevicius et al. 2018, arXiv:1710.03740; clipping as PyTorch's clip_grad_norm_.
#pragma once

#include <algorithm>

#include "launch.cuh"
#include "mwalimu/optim/gradient_control.hpp"
#include "numeric.cuh"
#include "reduce.cuh"

namespace mwalimu::optim {
namespace detail {

struct AddNumbers {
  __device__ __forceinline__ double operator()(double a, double b) const { return a + b; }
};

template <int kThreads, class T, int N>
__global__ void __launch_bounds__(kThreads)
    gradient_squares_kernel(const T* __restrict__ gradients, index_t count,
                            double* __restrict__ sums) {
  __shared__ double partial[kThreads / 32];
  const index_t begin = static_cast<index_t>(blockIdx.x) * kSumChunk;
  const int here = static_cast<int>(count - begin < kSumChunk ? count - begin : kSumChunk);
  const T* x = gradients + begin;
  double sum = 0;
  const int packs = here / N;
  for (int i = static_cast<int>(threadIdx.x); i < packs; i += kThreads) {
    const auto pack = kernels::load_pack<N>(x + i * N);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += static_cast<double>(pack[k]) * pack[k];
  }
  for (int i = packs * N + static_cast<int>(threadIdx.x); i < here; i += kThreads) {
    sum += static_cast<double>(x[i]) * x[i];
  }
  sum = kernels::block_reduce<kThreads>(sum, AddNumbers{}, partial);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    gradient_control_kernel(const double* __restrict__ sums, int chunks,
                            GradientControlOptions options, GradientControlState* state,
                            float* loss_scale) {
  __shared__ double partial[kThreads / 32];
  double sum = 0;
  for (int c = static_cast<int>(threadIdx.x); c < chunks; c += kThreads) sum += sums[c];
  sum = kernels::block_reduce<kThreads>(sum, AddNumbers{}, partial);
  if (threadIdx.x != 0) return;
  state->measure(options, sum);
  *loss_scale = static_cast<float>(state->scale);
}

}  // namespace detail

/// Queued; nothing is waited for. The head of this file has the rest.
/// @throws ShapeError  the extents disagree, or the gradients are not contiguous.
template <class T>
void measure_gradients(Gpu on, View<const T, 1> gradients, const GradientControlOptions& options,
                       View<double, 1> sums, View<double, 1> state, View<float, 1> loss_scale) {
  constexpr int kThreads = 256, N = kernels::kPack<T>;
  const index_t n = gradients.count(), chunks = (n + kSumChunk - 1) / kSumChunk;
  require<ShapeError>(gradients.is_contiguous() && sums.count() >= chunks &&
                          state.count() == GradientControlState::kCount && loss_scale.count() == 1,
                      "measure_gradients: want contiguous gradients, ", chunks, " sums and ",
                      GradientControlState::kCount, " numbers, got ", n, ", ", sums.count(), " and ",
                      state.count());
  require<ShapeError>(chunks < (index_t{1} << 31), "measure_gradients: ", n, " gradients");
  if (chunks > 0) {
    const bool packs = kernels::packs_fit(gradients.data(), N);
    kernels::launch(on, "gradient_squares",
                    packs ? detail::gradient_squares_kernel<kThreads, T, N>
                          : detail::gradient_squares_kernel<kThreads, T, 1>,
                    {.grid = dim3(static_cast<unsigned>(chunks)), .block = dim3(kThreads)},
                    gradients.data(), n, sums.data());
  }
  kernels::launch(on, "gradient_control", detail::gradient_control_kernel<kThreads>,
                  {.grid = dim3(1), .block = dim3(kThreads)}, sums.data(),
                  static_cast<int>(chunks), options,
                  reinterpret_cast<GradientControlState*>(state.data()), loss_scale.data());
}

}  // namespace mwalimu::optim
