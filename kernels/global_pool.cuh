// kernels/global_pool: mean, or maximum and mean, over all pixels of a sample, and their gradients.
//
// Computes   average = mean over p of x[n, p, c]; maximum, where = the largest and its pixel;
//            dx = daverage / P (+ dmaximum at the pixel of the maximum).
// Shapes     x, dx (N, P, C) dense; vectors (N, C), rows any distance apart.
// Mapping    channel_grid.cuh, blockIdx.y a sample: a thread holds 16 bytes of channels and walks down
//            the pixels; forward, the threads of one tile combine in shared memory.
// Moves      forward N P C sizeof(T) bytes, maximum and mean in one pass; backward as many. The
//            vectors are P times smaller.
// Roofline   (256, 16, 512) in bfloat16 on an H200 by its data sheet, 4.8 TB/s: 4 MB, below a
//            microsecond: the launch is what it costs.
// Resources  shared memory: 16 KiB a block for the mean, 32 KiB with the maximum (16-bit types); no
//            spills (-Xptxas=-v).
// Measured   not yet.
// Numerics   means in runs of 64 pixels in float, then in double. A NaN is larger than anything; of
//            several the last is named, otherwise the first maximum, as on the Cpu.
// Requires   P < 2^31.
#pragma once

#include <optional>

#include "channel_grid.cuh"
#include "mwalimu/ops/global_pool.hpp"

namespace mwalimu {
namespace kernels {

/// Whether (v, at) takes the place of (best, best_at).
template <class A>
__device__ __forceinline__ bool larger_or_earlier(A v, int at, A best, int best_at) {
  if (v != v) return best == best || at > best_at;
  return v > best || (v == best && at < best_at);
}

template <class T, int N, bool kMaximum>
__global__ void __launch_bounds__(256)
    global_pool_kernel(const T* __restrict__ x, index_t samples, int P, index_t C, ChannelGrid grid,
                       RowsOf<T> maximum, RowsOf<T> average, RowsOf<std::int32_t> where) {
  using A = accumulate_t<T>;
  constexpr int kThreads = ChannelGrid::kThreads, kMaxima = kMaximum ? N * kThreads : 1;
  __shared__ double sums[N * kThreads];
  __shared__ A best[kMaxima];
  __shared__ int best_at[kMaxima];
  const int t = static_cast<int>(threadIdx.x), row = grid.row();
  const index_t c = grid.channel<N>();
  const bool works = row < grid.depth && c < C;
  for (index_t n = blockIdx.y; n < samples; n += gridDim.y) {
    if (works) {
      A run[N] = {}, top[N] = {};
      double sum[N] = {};
      int top_at[N];  // -1: this thread saw no pixel
#pragma unroll
      for (int i = 0; i < N; ++i) top_at[i] = -1;
      const T* pixels = x + n * P * C + c;
      int in_run = 0;
      for (int p = row; p < P; p += grid.depth) {
        const auto in = hold<N>(pixels + p * C);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const A v = widen(in[i]);
          run[i] += v;
          if constexpr (kMaximum) {
            const bool wins = top_at[i] < 0 || v > top[i] || v != v;
            top[i] = wins ? v : top[i];
            top_at[i] = wins ? p : top_at[i];
          }
        }
        if (++in_run == 64) {
          in_run = 0;
#pragma unroll
          for (int i = 0; i < N; ++i) {
            sum[i] += static_cast<double>(run[i]);
            run[i] = 0;
          }
        }
      }
#pragma unroll
      for (int i = 0; i < N; ++i) {
        sums[i * kThreads + t] = sum[i] + static_cast<double>(run[i]);
        if constexpr (kMaximum) {
          best[i * kThreads + t] = top[i];
          best_at[i * kThreads + t] = top_at[i];
        }
      }
    }
    for (int half = grid.half; half > 0; half /= 2) {
      __syncthreads();
      if (!works || row >= half || row + half >= grid.depth) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const int mine = i * kThreads + t, other = mine + half * grid.lanes;
        sums[mine] += sums[other];
        if constexpr (kMaximum) {
          if (best_at[other] >= 0 &&
              (best_at[mine] < 0 ||
               larger_or_earlier(best[other], best_at[other], best[mine], best_at[mine]))) {
            best[mine] = best[other];
            best_at[mine] = best_at[other];
          }
        }
      }
    }
    if (works && row == 0) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        *average.at(n, c + i) = narrow<T>(static_cast<A>(sums[i * kThreads + t] * (1.0 / P)));
        if constexpr (kMaximum) {
          *maximum.at(n, c + i) = narrow<T>(best[i * kThreads + t]);
          *where.at(n, c + i) = best_at[i * kThreads + t];
        }
      }
    }
    __syncthreads();  // the next sample uses the same shared memory
  }
}

template <class T, int N>
__global__ void __launch_bounds__(256)
    global_pool_backward_kernel(RowsOf<const T> dmaximum, RowsOf<const T> daverage,
                                RowsOf<const std::int32_t> where, index_t samples, int P, index_t C,
                                ChannelGrid grid, T* __restrict__ dx) {
  using A = accumulate_t<T>;
  const index_t c = grid.channel<N>();
  if (grid.row() >= grid.depth || c >= C) return;
  const A weight = A{1} / static_cast<A>(P);
  for (index_t n = blockIdx.y; n < samples; n += gridDim.y) {
    A mean[N], peak[N];
    int at[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      mean[i] = widen(*daverage.at(n, c + i)) * weight;
      peak[i] = dmaximum.data != nullptr ? widen(*dmaximum.at(n, c + i)) : A{0};
      at[i] = dmaximum.data != nullptr ? *where.at(n, c + i) : -1;
    }
    for (int p = grid.row(); p < P; p += grid.depth) {
      Pack<T, N> out;
#pragma unroll
      for (int i = 0; i < N; ++i) out[i] = narrow<T>(mean[i] + (at[i] == p ? peak[i] : A{0}));
      store_pack<N>(dx + (n * P + p) * C + c, out);
    }
  }
}

/// Blocks for `samples` of (P, C): all tiles of each.
inline LaunchConfig launch_samples(const ChannelGrid& grid, index_t samples) {
  LaunchConfig config = grid.launch();
  config.grid.y = static_cast<unsigned>(std::min<index_t>(samples, 65535));
  return config;
}

template <class T>
void global_pool(Gpu on, const View<const T, 3>& x, RowsOf<T> maximum, RowsOf<T> average,
                 RowsOf<std::int32_t> where) {
  const index_t samples = x.dim(0), P = x.dim(1), C = x.dim(2);
  if (samples == 0 || C == 0) return;
  with_pack<T>(packs_fit(x.data(), C), [&](auto n) {
    constexpr int N = decltype(n)::value;
    const ChannelGrid grid(P, C, N, 1, 32, 1);
    launch(on, maximum.data != nullptr ? "concat_pool" : "global_average_pool",
           maximum.data != nullptr ? global_pool_kernel<T, N, true>
                                   : global_pool_kernel<T, N, false>,
           launch_samples(grid, samples), x.data(), samples, static_cast<int>(P), C, grid, maximum,
           average, where);
  });
}

template <class T>
void global_pool_backward(Gpu on, RowsOf<const T> dmaximum, RowsOf<const T> daverage,
                          RowsOf<const std::int32_t> where, const View<T, 3>& dx) {
  const index_t samples = dx.dim(0), P = dx.dim(1), C = dx.dim(2);
  if (samples == 0 || C == 0) return;
  with_pack<T>(packs_fit(dx.data(), C), [&](auto n) {
    constexpr int N = decltype(n)::value;
    const ChannelGrid grid(P, C, N, 1, 32, 1);
    launch(on, "global_pool_backward", global_pool_backward_kernel<T, N>,
           launch_samples(grid, samples), dmaximum, daverage, where, samples, static_cast<int>(P),
           C, grid, dx.data());
  });
}

}  // namespace kernels

namespace ops {

template <Real T>
void global_average_forward(Gpu on, View<const T, 3> x, View<T, 2> average) {
  kernels::global_pool<T>(on, x, {}, average, {});
}

template <Real T>
void concat_pool_forward(Gpu on, View<const T, 3> x, View<T, 2> maximum, View<T, 2> average,
                         View<std::int32_t, 2> where) {
  kernels::global_pool<T>(on, x, maximum, average, where);
}

template <Real T>
void global_average_backward(Gpu on, View<const T, 2> daverage, View<T, 3> dx) {
  kernels::global_pool_backward<T>(on, {}, daverage, {}, dx);
}

template <Real T>
void concat_pool_backward(Gpu on, View<const T, 2> dmaximum, View<const T, 2> daverage,
                          View<const std::int32_t, 2> where, View<T, 3> dx) {
  kernels::global_pool_backward<T>(on, dmaximum, daverage, where, dx);
}

}  // namespace ops
}  // namespace mwalimu
