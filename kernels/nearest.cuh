// kernels/nearest: the k nearest rows of a matrix to each of its rows, by measuring all pairs.
//
// Computes   D_ij = sum_c (x_ic - x_jc)^2, and of each row i the k smallest (D_ij, j), j != i.
// Shapes     x (n, d); index, distance (n, k), ascending.
// Mapping    a block of 256 has 64 queries and goes over all rows, 64 at a time, 32 columns at a
// time
//            through shared memory; a thread has 4 x 4 distances in registers. A distance below its
//            query's k-th best so far goes into the query's buffer; a full buffer is sorted in
//            shared memory and cut to k. Nothing of the n^2 distances goes to memory.
// Moves      n^2 d / 32 floats, from cache: for each 64 rows the 64 queries as well; the buffers, 8
//            capacity bytes a query in flight; 8 n k.
// Roofline   n = 70 000, d = 784 on an H200 by its data sheet: 3.8 x 10^12 differences of two
//            instructions each: 0.23 s at 33 x 10^12 a second. The loads from shared memory, half a
//            word a difference, take as long.
// Resources  nvcc 13.0, sm_90: 90 registers; 17 KB of shared memory and 8 capacity bytes; no
//            spills.
// Measured   not yet.
// Numerics   differences in float, as the host's, summed over runs of 32 columns and the runs added
//            up. Pairs (distance, index) are ordered completely and a cut comes between two tiles
//            of rows: the same bits on every run and device.
// Requires   n < 2^31; 1 <= k < n, k <= 960; every D_ij finite.
// Source     embedding/brute_force.hpp. Sorting network: Batcher 1968.
#pragma once

#include "launch.cuh"
#include "mwalimu/embedding/device_neighbors.hpp"
#include "reduce.cuh"

namespace mwalimu {
namespace kernels {

inline constexpr int kNearestTile = 64;  // queries of a block, and rows that it measures at a time
inline constexpr int kNearestColumns = 32;  // at a time
inline constexpr int kNearestThreads = 256;

/// A distance and its row, ordered as pairs: distances are not negative, so their bits are ordered.
using NearestKey = unsigned long long;

__device__ __forceinline__ NearestKey nearest_key(float distance, index_t row) {
  return static_cast<NearestKey>(__float_as_uint(distance)) << 32 | static_cast<NearestKey>(row);
}
__device__ __forceinline__ float nearest_distance(NearestKey key) {
  return __uint_as_float(static_cast<unsigned>(key >> 32));
}

struct NearestProblem {
  const float* x;
  index_t n, d, stride;
  int k, capacity;      ///< of a buffer: a power of two, at least k + kNearestTile
  NearestKey* buffers;  ///< (blocks, kNearestTile, capacity)
  std::int32_t* index;
  float* distance;
};

/// keys[0, count) are sorted, with what follows up to the capacity filled up. All threads call it.
__device__ __forceinline__ void sort_keys(NearestKey* keys, const NearestKey* from, int count,
                                          int capacity) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e < capacity; e += kNearestThreads) keys[e] = e < count ? from[e] : ~0ull;
  for (int width = 2; width <= capacity; width *= 2) {
    for (int apart = width / 2; apart > 0; apart /= 2) {
      __syncthreads();
      for (int t = thread; t < capacity / 2; t += kNearestThreads) {
        const int a = t / apart * 2 * apart + t % apart, b = a + apart;
        const NearestKey first = keys[a], second = keys[b];
        if ((first > second) == ((a & width) == 0)) {
          keys[a] = second;
          keys[b] = first;
        }
      }
    }
  }
  __syncthreads();
}

/// tile[c][r] <- x[first + r][column + c]; zero outside.
template <class Problem>
__device__ __forceinline__ void load_tile(const Problem& p, index_t first, index_t column,
                                          float (*tile)[kNearestTile + 1]) {
  const int c = static_cast<int>(threadIdx.x) % kNearestColumns;
  constexpr int kRows = kNearestThreads / kNearestColumns;
  for (int r = static_cast<int>(threadIdx.x) / kNearestColumns; r < kNearestTile; r += kRows) {
    const bool inside = first + r < p.n && column + c < p.d;
    tile[c][r] = inside ? p.x[(first + r) * p.stride + column + c] : 0.0f;
  }
}

template <class Problem>
__global__ void __launch_bounds__(kNearestThreads, 2) nearest_kernel(Problem p) {
  constexpr int kSide = 16, kEach = kNearestTile / kSide;  // threads a side, distances a thread
  __shared__ float queries[kNearestColumns][kNearestTile + 1];
  __shared__ float rows[kNearestColumns][kNearestTile + 1];
  __shared__ float threshold[kNearestTile];
  __shared__ int count[kNearestTile];
  MWALIMU_DYNAMIC_SHARED(NearestKey, keys);
  const int thread = static_cast<int>(threadIdx.x), tx = thread % kSide, ty = thread / kSide;
  const index_t tiles = (p.n + kNearestTile - 1) / kNearestTile;
  NearestKey* buffers = p.buffers + static_cast<index_t>(blockIdx.x) * kNearestTile * p.capacity;
  for (index_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const index_t first = tile * kNearestTile;
    if (thread < kNearestTile) {
      threshold[thread] = __uint_as_float(0x7f800000u);  // infinity
      count[thread] = 0;
    }
    for (index_t begin = 0; begin < p.n; begin += kNearestTile) {
      float total[kEach][kEach] = {};
      for (index_t column = 0; column < p.d; column += kNearestColumns) {
        __syncthreads();  // the last columns have been read
        load_tile(p, first, column, queries);
        load_tile(p, begin, column, rows);
        __syncthreads();
        float run[kEach][kEach] = {};
#pragma unroll 4
        for (int c = 0; c < kNearestColumns; ++c) {
          float a[kEach], b[kEach];
#pragma unroll
          for (int i = 0; i < kEach; ++i) a[i] = queries[c][ty + kSide * i];
#pragma unroll
          for (int j = 0; j < kEach; ++j) b[j] = rows[c][tx + kSide * j];
#pragma unroll
          for (int i = 0; i < kEach; ++i) {
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
              const float difference = a[i] - b[j];
              run[i][j] += difference * difference;
            }
          }
        }
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
#pragma unroll
          for (int j = 0; j < kEach; ++j) total[i][j] += run[i][j];
        }
      }
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int q = ty + kSide * i;
        const float worst = threshold[q];
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
          const index_t row = begin + tx + kSide * j;
          // A later row loses a tie.
          if (total[i][j] < worst && row < p.n && row != first + q && first + q < p.n) {
            buffers[q * p.capacity + atomicAdd(&count[q], 1)] = nearest_key(total[i][j], row);
          }
        }
      }
      // A tile must fit into every buffer.
      __syncthreads();
      const int most = p.capacity - kNearestTile;
      if (!__syncthreads_or(thread < kNearestTile && count[thread] > most)) continue;
      for (int q = 0; q < kNearestTile; ++q) {
        const int have = count[q];
        if (have <= most) continue;
        NearestKey* buffer = buffers + q * p.capacity;
        sort_keys(keys, buffer, have, p.capacity);
        for (int e = thread; e < p.k; e += kNearestThreads) buffer[e] = keys[e];
        if (thread == 0) {
          count[q] = p.k;
          threshold[q] = nearest_distance(keys[p.k - 1]);
        }
        __syncthreads();
      }
    }
    for (int q = 0; q < kNearestTile && first + q < p.n; ++q) {
      sort_keys(keys, buffers + q * p.capacity, count[q], p.capacity);
      for (int e = thread; e < p.k; e += kNearestThreads) {
        p.index[(first + q) * p.k + e] = static_cast<std::int32_t>(keys[e] & 0xFFFFFFFFull);
        p.distance[(first + q) * p.k + e] = nearest_distance(keys[e]);
      }  // no barrier: who reads keys[e] here writes it next
    }
  }
}

}  // namespace kernels

namespace embedding {

template <class Place>
void nearest_rows(Place on, View<const float, 2> x, View<std::int32_t, 2> index,
                  View<float, 2> square_distance) {
  const index_t n = x.dim(0), k = index.dim(1);
  require<ValueError>(k >= 1 && k < n && k <= kDeviceNeighborsLimit,
                      "nearest_rows: want 1 <= k <= min(n - 1, ", kDeviceNeighborsLimit,
                      ") for n = ", n, ", got ", k);
  int capacity = 256;
  while (capacity < 2 * k + kernels::kNearestTile) capacity *= 2;
  const unsigned blocks = kernels::grid_blocks(on, n, kernels::kNearestTile, 4);
  auto buffers = Tensor<std::int64_t>::empty({blocks, kernels::kNearestTile, capacity},
                                             Device::cuda(on.device));
  const kernels::NearestProblem problem{x.data(),
                                        n,
                                        x.dim(1),
                                        x.stride(0),
                                        static_cast<int>(k),
                                        capacity,
                                        reinterpret_cast<kernels::NearestKey*>(buffers.data()),
                                        index.data(),
                                        square_distance.data()};
  kernels::launch(
      on, "nearest", kernels::nearest_kernel<kernels::NearestProblem>,
      {.grid = blocks,
       .block = kernels::kNearestThreads,
       .shared_bytes = sizeof(kernels::NearestKey) * static_cast<std::size_t>(capacity)},
      problem);
}

}  // namespace embedding
}  // namespace mwalimu
