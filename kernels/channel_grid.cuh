// kernels/channel_grid: how blocks cover a (rows, C) matrix, channels densest, for work per channel.
//
// A thread holds N neighbouring channels and walks down the rows, so what belongs to a channel stays
// in its registers. `lanes` threads side by side cover a tile of lanes * N channels; `depth` such rows
// of threads make a block, each of `unroll` rows a step. Steps are dealt to the blocks of a tile in
// turn: together they sweep the matrix once from its first row to its last, or back, and what was
// touched last is still in the second-level cache for whoever comes next from that side.
//
// The grid is a function of the shape alone, so the order of every sum is, too.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "launch.cuh"
#include "mwalimu/core/tensor.hpp"
#include "numeric.cuh"

namespace mwalimu::kernels {

/// Rows of a view: where they begin and how far they are apart, in elements. Null: absent.
template <class T>
struct RowsOf {
  T* data = nullptr;
  index_t stride = 0;

  RowsOf() = default;
  RowsOf(const View<T, 2>& view) : data(view.data()), stride(view.stride(0)) {}  // NOLINT
  __device__ __forceinline__ T* at(index_t row, index_t c) const { return data + row * stride + c; }
};

/// N neighbouring elements as they came from memory: two of 16 bits share a register until they are
/// used. (An array of them would take a register each: ptxas, sm_90.)
template <class T, int N>
struct alignas(N * sizeof(T)) Held {
  static constexpr bool kPairs = sizeof(T) == 2 && N > 1;
  using Word = std::conditional_t<kPairs, std::uint32_t, T>;
  Word words[kPairs ? N / 2 : N];

  __device__ __forceinline__ T operator[](int i) const {
    if constexpr (kPairs) {
      T element;
      element.bits = static_cast<std::uint16_t>(words[i / 2] >> (i % 2 * 16));
      return element;
    } else {
      return words[i];
    }
  }
};
template <int N, class T>
__device__ __forceinline__ Held<T, N> hold(const T* p) {
  return *reinterpret_cast<const Held<T, N>*>(p);
}

struct ChannelGrid {
  static constexpr int kThreads = 256;

  int lanes, depth;
  int half;       ///< the largest power of two below depth; 0 where that is 1
  int unroll;     ///< rows a thread and step
  index_t steps;  ///< of depth * unroll rows
  unsigned tiles, chunks;

  /// @param N            channels a thread, 1, 2, 4 or 8
  /// @param most_lanes   a multiple of 8, up to 32
  /// @param most_blocks  more only where the tiles alone are more
  ChannelGrid(index_t rows, index_t C, int N, int rows_a_step, index_t most_lanes,
              index_t most_blocks)
      : unroll(rows_a_step) {
    // Threads that share a byte of a bit mask are neighbours of one warp.
    const index_t group = 8 / N, slots = (C + 7) / 8 * group;
    const index_t wanted = (slots + most_lanes - 1) / most_lanes;
    const index_t across = ((slots + wanted - 1) / wanted + group - 1) / group * group;
    lanes = static_cast<int>(across);
    tiles = static_cast<unsigned>((slots + across - 1) / across);
    depth = kThreads / lanes;
    half = static_cast<int>(std::bit_ceil(static_cast<unsigned>(depth)) / 2);
    const index_t step = depth * unroll;
    steps = (rows + step - 1) / step;
    const index_t most_chunks = std::max<index_t>(steps, 1);
    chunks = static_cast<unsigned>(std::clamp<index_t>(most_blocks / tiles, 1, most_chunks));
  }
  LaunchConfig launch() const { return {.grid = dim3(tiles, chunks), .block = dim3(kThreads)}; }

  __device__ __forceinline__ int lane() const { return static_cast<int>(threadIdx.x) % lanes; }
  __device__ __forceinline__ int row() const { return static_cast<int>(threadIdx.x) / lanes; }
  /// The first of this thread's N channels; C or more: it has none.
  template <int N>
  __device__ __forceinline__ index_t channel() const {
    return (static_cast<index_t>(blockIdx.x) * lanes + lane()) * N;
  }
  /// This thread's first row of a step; the others follow `depth` apart.
  __device__ __forceinline__ index_t first_row(index_t step) const {
    return step * (depth * unroll) + row();
  }
};

/// 2 N sums a thread, kept in shared memory: they change every 64 rows, and in registers they would
/// halve the warps that wait for memory.
template <int N>
struct ThreadSums {
  static constexpr int kSize = 2 * N * ChannelGrid::kThreads;  ///< of the block's shared memory
  double* mine;

  __device__ __forceinline__ explicit ThreadSums(double* shared) : mine(shared + threadIdx.x) {
#pragma unroll
    for (int m = 0; m < 2 * N; ++m) (*this)[m] = 0;
  }
  __device__ __forceinline__ double& operator[](int m) const {
    return mine[m * ChannelGrid::kThreads];
  }
  /// Moves two runs of N sums here, and starts them again.
  template <class A>
  __device__ __forceinline__ void take(A (&s0)[N], A (&s1)[N]) const {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      (*this)[i] += static_cast<double>(s0[i]);
      (*this)[N + i] += static_cast<double>(s1[i]);
      s0[i] = s1[i] = 0;
    }
  }
  /// Adds up the threads of each lane into that of row 0. All threads of the block come here. Halves
  /// are added, so the order depends on the grid alone.
  __device__ __forceinline__ void over_depth(const ChannelGrid& grid) const {
    const int row = grid.row();
    for (int half = grid.half; half > 0; half /= 2) {
      __syncthreads();
      if (row < half && row + half < grid.depth) {
#pragma unroll 4
        for (int m = 0; m < 2 * N; ++m) {
          (*this)[m] += mine[m * ChannelGrid::kThreads + half * grid.lanes];
        }
      }
    }
  }
};

/// Adds the two sums of every chunk, (chunks, 2, C), and hands each channel's to finish(c, s0, s1).
/// 32 threads share a channel, 8 channels a block; their order depends on `chunks` alone.
template <class Finish>
__global__ void __launch_bounds__(256)
    finish_channels_kernel(const double* __restrict__ partial, unsigned chunks, index_t C,
                           Finish finish) {
  constexpr int kAcross = 8, kSlices = 32;
  __shared__ double scratch[2][kAcross * kSlices];
  const int t = static_cast<int>(threadIdx.x), slice = t / kAcross;
  const index_t c = static_cast<index_t>(blockIdx.x) * kAcross + t % kAcross;
  double s0 = 0, s1 = 0;
  if (c < C) {
#pragma unroll 4
    for (unsigned k = static_cast<unsigned>(slice); k < chunks; k += kSlices) {
      s0 += partial[2 * k * C + c];
      s1 += partial[(2 * k + 1) * C + c];
    }
  }
  scratch[0][t] = s0;
  scratch[1][t] = s1;
  for (int half = kSlices / 2; half > 0; half /= 2) {
    __syncthreads();
    if (slice < half) {
      scratch[0][t] = s0 += scratch[0][t + half * kAcross];
      scratch[1][t] = s1 += scratch[1][t + half * kAcross];
    }
  }
  if (slice == 0 && c < C) finish(c, s0, s1);
}

/// Adds up a block's sums, sums[i] and sums[N + i] for channel() + i, and hands them to `finish`
/// where this block has seen all rows, else puts them in this chunk's place of `partial`.
template <int N, class Finish>
__device__ __forceinline__ void hand_over(const ChannelGrid& grid, index_t C,
                                          const ThreadSums<N>& sums, double* partial,
                                          const Finish& finish) {
  sums.over_depth(grid);
  const index_t c = grid.channel<N>();
  if (grid.row() != 0 || c >= C) return;
  double* to = partial + static_cast<index_t>(blockIdx.y) * 2 * C + c;
#pragma unroll 1  // finish takes many registers
  for (int i = 0; i < N; ++i) {
    if (gridDim.y == 1) {
      finish(c + i, sums[i], sums[N + i]);
    } else {
      to[i] = sums[i];
      to[C + i] = sums[N + i];
    }
  }
}

/// The grid of a pass that sums over rows. Where a block can see all rows of a narrow tile in a few
/// steps, it does: no second launch. Else about four blocks a multiprocessor of 132.
inline ChannelGrid summing_grid(index_t rows, index_t C, int N, int unroll) {
  const ChannelGrid narrow(rows, C, N, unroll, 8, 1);
  const bool few = narrow.steps * unroll <= 16;
  return few ? narrow : ChannelGrid(rows, C, N, unroll, 32, 528);
}

/// The grid of a pass that writes. What it needs per channel is read once a thread, so a thread should
/// see several rows; 16 blocks a multiprocessor of 132 are enough to balance.
inline ChannelGrid writing_grid(index_t rows, index_t C, int N, int unroll) {
  return ChannelGrid(rows, C, N, unroll, 32, 2112);
}

}  // namespace mwalimu::kernels
