// kernels/nearest: the k nearest rows of a matrix to each of its rows, by products of matrices.
//
// Computes   D_ij = sum_c (x_ic - x_jc)^2, and of each row i the k smallest (D_ij, j), j != i.
// Shapes     x (n, d); index, distance (n, k), ascending.
// Mapping    a block of 256 has 128 queries and goes over all rows, 128 at a time, 32 columns a
//            step, which is copied to shared memory while tensor cores multiply the step before.
//            Each of its 8 warps has 32 x 64 products. |q|^2 + |c|^2 - 2 q.c of rows less their
//            mean, less the bound on its error, is at most D: only where that is below the query's
//            limit does the row go into the query's buffer. Where another tile might not fit into
//            one, the buffers are sorted, some at a time, and cut: the new limit is what k rows
//            surely do not exceed. What is left is measured, eight lanes a pair: at the end, or
//            earlier where the bound parts too few. Of the n^2 values nothing goes to memory.
// Moves      of split rows, 4 bytes a number with d rounded up to 32, n^2 / 64 rows, from L2. Of x
//            8 d a pair that is measured, half of it the same query's again; k and a few pairs a
//            query. Buffers: 8 capacity bytes a query in flight; 8 n k.
// Roofline   an H200 by its data sheet (989 x 10^12 operations and 4.8 x 10^12 bytes a second),
//            three products a pair. n = 70 000, d = 784: 2.4 x 10^13 operations, 24 ms; 20 GB of
//            rows to be measured at k = 90, 4 ms. n = 10^6, d = 50: 3.8 x 10^14 operations, 0.39 s.
//            From L2, whose rate the sheet does not give, 0.25 and 4.1 x 10^12 bytes.
// Resources  nvcc 13.0, sm_90: 214 registers, so that a multiprocessor has one block (two
//            would have to spill); 98 KB of shared memory; no spills.
// Measured   not yet.
// Numerics   x = high + low + rest (split_rows.cuh), and high.high + high.low + low.high leaves out
//            at most 3 x 2^-16 |q_c c_c| a column. A tensor core adds 16 products to the sum so
//            far in at least single precision, in no order that is told: taken as 20 terms cut to
//            24 bits of the largest, three times for every 16 columns. As 2 |q| |c| is at most
//            |q|^2 + |c|^2, all of it is a share of the latter: nearest_error(). The distances that
//            decide are measured in float, from differences of x itself, and pairs (distance,
//            index) are ordered completely: exact in float, the same bits on every run.
// Requires   n < 2^31; 1 <= k < n, k <= 960; d < 2^20; every D_ij finite.
// Source     embedding/product_search.hpp. Sums: Higham, "Accuracy and Stability of Numerical
//            Algorithms", 3.5. Tensor cores: Fasi, Higham, Mikaitis and Pranesh 2021, "Numerical
//            behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330. Sorting network:
//            Batcher 1968.
#pragma once

#include "column_sums.cuh"
#include "launch.cuh"
#include "mwalimu/embedding/device_neighbors.hpp"
#include "reduce.cuh"
#include "split_rows.cuh"

namespace mwalimu {
namespace kernels {

inline constexpr int kNearestThreads = 256;
inline constexpr int kNearestTile = 128;                   // queries of a block, and rows at a time
inline constexpr int kNearestColumns = 32;                 // of a step
inline constexpr int kNearestPacks = kNearestColumns / 4;  // of a row in a step
inline constexpr int kNearestStage = 2 * kNearestTile * kNearestPacks;  // packs of a step
inline constexpr int kNearestKeys = 4096;                               // that are sorted at a time
inline constexpr std::size_t kNearestShared =
    sizeof(unsigned long long) * kNearestKeys + 2 * sizeof(SplitPack) * kNearestStage;

/// A distance and its row, ordered as pairs: distances are not negative, so their bits are ordered.
/// A row that is marked has not been measured: the distance is at least this.
using NearestKey = unsigned long long;
inline constexpr NearestKey kNearestMark = 1ull << 31, kNearestNobody = ~0ull;

__device__ __forceinline__ NearestKey nearest_key(float distance, index_t row) {
  return static_cast<NearestKey>(__float_as_uint(distance)) << 32 | static_cast<NearestKey>(row);
}
__device__ __forceinline__ float nearest_distance(NearestKey key) {
  return __uint_as_float(static_cast<unsigned>(key >> 32));
}
__device__ __forceinline__ index_t nearest_row(NearestKey key) {
  return static_cast<index_t>(key & (kNearestMark - 1));
}

/// Bound on |D - (|q|^2 + |c|^2 - 2 q.c)| / (|q|^2 + |c|^2), D that of the rows themselves. 2^-14:
/// what the split leaves out, 0.76 of it; 60 cut terms for columns that do not fill 16, 0.12;
/// centring, squares and single sums, 20 half units in the last place, 0.02. d 2^-21: 60 terms for
/// 16 columns, 3.75 d 2^-23.
inline double nearest_error(index_t d) { return 0x1p-14 + static_cast<double>(d) * 0x1p-21; }

struct NearestProblem {
  const float* x;
  index_t n, d, stride;
  const SplitPack* split;
  const float* least;   ///< of each row: what its square surely contributes
  int tiles;            ///< that the rows of split are
  int packs;            ///< of a row of split, whole steps
  float spread;         ///< an upper bound of D is beyond its lower by this share of the leasts
  float grow, tiny;     ///< of distances: errors of measuring them, and what underflows
  int k, capacity;      ///< of a buffer: a power of two, kNearestKeys at most
  NearestKey* buffers;  ///< (blocks, kNearestTile, capacity)
  std::int32_t* index;
  float* distance;

  /// Of query `q` of the block's tile.
  __device__ NearestKey* buffer(int q) const {
    return buffers + (static_cast<index_t>(blockIdx.x) * kNearestTile + q) * capacity;
  }
  /// Keys in a buffer that is half full: between k and what leaves room for a tile.
  __device__ int half() const { return (k + capacity - kNearestTile) / 2; }
  /// No row at this lower bound or above can be nearer than `reach`.
  __device__ float line(float reach) const { return __fmaf_rn(reach, grow, tiny); }
  /// The same for a lower bound less the query's own part. Nothing is nearer than 0, and a later
  /// row loses a tie. (A row behind the n-th, as query: NaN or -infinity, which nothing is below.)
  __device__ float limit(float reach, float query_least) const {
    return reach == 0 ? -__uint_as_float(0x7f800000u) : line(reach) - query_least;
  }
};

/// A block's queries, in shared memory.
struct NearestQueries {
  float least[kNearestTile], limit[kNearestTile];
  int count[kNearestTile];  ///< of keys in the buffer
  // Of those whose keys are being cut: keys that are left, and what k of them do not exceed.
  int kept[kNearestKeys / 256];
  float reach[kNearestKeys / 256];
};

/// Where pack `pack` of row `row` lies in a stage: so that the eight lanes of a pass, two rows of
/// four packs, find all banks. The same for every eight rows.
__device__ __forceinline__ int nearest_place(int row, int pack) {
  return row * kNearestPacks + (pack ^ ((row & 1) * 4));
}

/// Starts copying the columns [column, column + 32) of a tile of queries and one of rows.
template <class Problem>
__device__ __forceinline__ void load_step(const Problem& p, int queries, int rows, int column,
                                          SplitPack* stage) {
  constexpr int kRows = kNearestThreads / kNearestPacks;  // at a time
  static_assert(kRows % 8 == 0, "nearest_place() is the same for every eight rows");
  const int r = static_cast<int>(threadIdx.x) / kNearestPacks;
  const int pack = static_cast<int>(threadIdx.x) % kNearestPacks;
  SplitPack* to = stage + nearest_place(r, pack);
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    const index_t row = static_cast<index_t>(part == 0 ? queries : rows) * kNearestTile + r;
    const SplitPack* from = p.split + row * p.packs + (column / 4 + pack);
#pragma unroll
    for (int i = 0; i < kNearestTile; i += kRows) {
      __pipeline_memcpy_async(to, from, sizeof(SplitPack));
      to += kRows * kNearestPacks;
      from += kRows * p.packs;
    }
  }
  __pipeline_commit();
}

/// A warp's part of the tile: 32 queries x 64 rows, tiles of 16 x 8 as mma_m16n8k16 has them.
struct NearestProducts {
  static constexpr int kQueryTiles = 2, kRowTiles = 8;
  float sum[kQueryTiles][kRowTiles][4] = {};

  __device__ static int group() { return static_cast<int>(threadIdx.x) % kWarp / 4; }
  __device__ static int quad() { return static_cast<int>(threadIdx.x) % 4; }
  /// The warp's first.
  __device__ static int query() {
    return static_cast<int>(threadIdx.x) / kWarp / 2 * 16 * kQueryTiles;
  }
  __device__ static int row() { return static_cast<int>(threadIdx.x) / kWarp % 2 * 8 * kRowTiles; }

  /// sum += queries . rows over a step. A sum over columns has no order, so a lane takes four
  /// neighbouring columns for the instruction's 2t, 2t + 1, 2t + 8, 2t + 9: one load of 16 bytes.
  __device__ __forceinline__ void add(const SplitPack* stage) {
    const SplitPack* const of_queries = stage + query() * kNearestPacks;
    const SplitPack* const of_rows = stage + (kNearestTile + row()) * kNearestPacks;
#pragma unroll
    for (int k = 0; k < kNearestColumns / 16; ++k) {
      const int own = nearest_place(group(), 4 * k + quad());
      SplitPack a[kQueryTiles][2];
#pragma unroll
      for (int i = 0; i < kQueryTiles; ++i) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          a[i][h] = of_queries[(16 * i + 8 * h) * kNearestPacks + own];
        }
      }
      constexpr int kTogether = 2;
#pragma unroll
      for (int j = 0; j < kRowTiles; j += kTogether) {
        SplitPack b[kTogether];
#pragma unroll
        for (int u = 0; u < kTogether; ++u) {
          b[u] = of_rows[8 * (j + u) * kNearestPacks + own];
        }
        // low.high, high.low, high.high; four independent sums between two of the same.
#pragma unroll
        for (int product = 0; product < 3; ++product) {
          const int of_a = product == 0 ? 2 : 0, of_b = product == 1 ? 2 : 0;
#pragma unroll
          for (int u = 0; u < kTogether; ++u) {
#pragma unroll
            for (int i = 0; i < kQueryTiles; ++i) {
              const std::uint32_t left[4] = {a[i][0][of_a], a[i][1][of_a], a[i][0][of_a + 1],
                                             a[i][1][of_a + 1]};
              const std::uint32_t right[2] = {b[u][of_b], b[u][of_b + 1]};
              simt::mma_m16n8k16(sum[i][j + u], left, right);
            }
          }
        }
      }
    }
  }
};

/// Puts those of a tile of rows that may be among the nearest into their queries' buffers.
/// @return  whether another tile might not fit into one of them.
template <class Problem>
__device__ __forceinline__ bool offer(const Problem& p, const NearestProducts& products,
                                      bool same_tile, int rows, NearestQueries& queries) {
  constexpr int kI = NearestProducts::kQueryTiles, kJ = NearestProducts::kRowTiles;
  const int query = products.query() + products.group();
  const int own = products.row() + 2 * products.quad();
  const index_t begin = static_cast<index_t>(rows) * kNearestTile;
  float limit[kI][2];
#pragma unroll
  for (int i = 0; i < kI; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) limit[i][h] = queries.limit[query + 16 * i + 8 * h];
  }
  bool full = false;
#pragma unroll
  for (int j = 0; j < kJ; ++j) {
    const auto least = load_pack<2>(p.least + begin + own + 8 * j);
    float value[kI][4];
    bool any = false;
#pragma unroll
    for (int i = 0; i < kI; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        value[i][c] = __fmaf_rn(-2.0f, products.sum[i][j][c], least[c % 2]);
        any |= value[i][c] < limit[i][c / 2];
      }
    }
    if (!any) continue;
#pragma unroll
    for (int i = 0; i < kI; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int q = query + 16 * i + 8 * (c / 2), row = own + 8 * j + c % 2;
        if (!(value[i][c] < limit[i][c / 2]) || (same_tile && row == q)) continue;
        const float lower = value[i][c] + queries.least[q];
        const int at = atomicAdd(&queries.count[q], 1);
        // Not fmaxf(), which may give -0.
        p.buffer(q)[at] = nearest_key(lower > 0 ? lower : 0.0f, begin + row) | kNearestMark;
        full |= at >= p.capacity - kNearestTile;
      }
    }
  }
  return full;
}

/// Sorts every `size` of the `count` keys, powers of two. All threads call it, each with what it
/// wrote.
__device__ __forceinline__ void sort_keys(NearestKey* keys, int size, int count) {
  for (int width = 2; width <= size; width *= 2) {
    for (int apart = width / 2; apart > 0; apart /= 2) {
      __syncthreads();
      for (int t = static_cast<int>(threadIdx.x); t < count / 2; t += kNearestThreads) {
        const int a = 2 * t - (t & (apart - 1)), b = a + apart;
        const NearestKey first = keys[a], second = keys[b];
        if ((first > second) == ((a & width & (size - 1)) == 0)) {
          keys[a] = second;
          keys[b] = first;
        }
      }
    }
  }
  __syncthreads();
}

/// sum_c (x_ac - x_bc)^2 over the first `columns`, by eight neighbouring lanes, which all get it;
/// the same bits with a and b exchanged. All lanes of the warp call it.
template <class Problem>
__device__ __forceinline__ float measured(const Problem& p, index_t a, index_t b, index_t columns) {
  constexpr int kLanes = 8, kSums = 4;
  const float *u = p.x + a * p.stride, *v = p.x + b * p.stride;
  float sum[kSums] = {};
  for (index_t c = threadIdx.x % kLanes; c < columns; c += kLanes * kSums) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      const index_t at = c + kLanes * i;
      const float difference = at < columns ? u[at] - v[at] : 0.0f;
      sum[i] += difference * difference;
    }
  }
  return warp_reduce<kLanes>((sum[0] + sum[1]) + (sum[2] + sum[3]), Sum{});
}

/// Sorts and cuts the buffers of the queries [q, q + kNearestKeys / capacity). At last: measures
/// who is left and writes the nearest k.
template <class Problem>
__device__ __forceinline__ void cut(const Problem& p, int tile, int q, bool last, NearestKey* keys,
                                    NearestQueries& queries) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  constexpr int kWarps = kNearestThreads / kWarp;
  const int each = kNearestKeys / p.capacity;
  const index_t first = static_cast<index_t>(tile) * kNearestTile + q;
  const float infinity = __uint_as_float(0x7f800000u);
  int size = 4;
  for (int s = 0; s < each; ++s) {
    while (size < queries.count[q + s]) size *= 2;
  }
  for (int e = thread; e < each * size; e += kNearestThreads) {
    const int s = e / size, i = e % size;
    const bool there = i < queries.count[q + s];
    keys[e] = there ? p.buffer(q + s)[i] : kNearestNobody;
  }
  sort_keys(keys, size, each * size);

  // k rows do not exceed the largest upper bound of the first k.
  for (int s = warp; s < each; s += kWarps) {
    const NearestKey* mine = keys + s * size;
    const int have = queries.count[q + s];
    float reach = have < p.k ? infinity : 0.0f;
    for (int e = lane; e < min(have, p.k); e += kWarp) {
      const float lower = nearest_distance(mine[e]);
      const float leasts = fabsf(queries.least[q + s]) + fabsf(p.least[nearest_row(mine[e])]);
      const bool exact = (mine[e] & kNearestMark) == 0;
      reach = fmaxf(reach, exact ? lower : __fmaf_rn(p.spread, leasts, lower) + p.tiny);
    }
    reach = warp_reduce(reach, Maximum{});
    int kept = 0;
    for (int e = lane; e < have; e += kWarp) kept += nearest_distance(mine[e]) <= p.line(reach);
    kept = warp_reduce(kept, Sum{});
    if (lane == 0) {
      queries.kept[s] = kept;
      queries.reach[s] = reach;
    }
  }
  __syncthreads();

  // Measured are those of a buffer that would soon be full again.
  const int most = last ? 0 : p.half();
  bool measure = last;
  for (int s = 0; s < each; ++s) measure |= queries.kept[s] > most;
  if (measure) {
    for (int s = 0; s < each; ++s) {
      const int kept = queries.kept[s];
      if (kept <= most) continue;
      for (int base = 4 * warp; base < size; base += 4 * kWarps) {
        NearestKey* const key = keys + s * size + base + lane / 8;
        const bool inside = base + lane / 8 < kept, marked = (*key & kNearestMark) != 0;
        const index_t row = nearest_row(*key);
        const bool now = inside && marked;
        const float distance = measured(p, first + s, now ? row : first + s, now ? p.d : 0);
        __syncwarp();  // all eight have read the key
        if (lane % 8 == 0 && (now || !inside)) {
          *key = inside ? nearest_key(distance, row) : kNearestNobody;
        }
      }
    }
    sort_keys(keys, size, each * size);
    if (thread < each && queries.kept[thread] > most) {
      queries.kept[thread] = p.k;
      queries.reach[thread] = nearest_distance(keys[thread * size + p.k - 1]);
    }
    __syncthreads();
  }

  for (int s = 0; s < each; ++s) {
    const NearestKey* mine = keys + s * size;
    const int kept = queries.kept[s];
    for (int e = thread; e < kept; e += kNearestThreads) {
      if (last) {
        const index_t at = (first + s) * p.k + e;
        p.index[at] = static_cast<std::int32_t>(nearest_row(mine[e]));
        p.distance[at] = nearest_distance(mine[e]);
      } else {
        p.buffer(q + s)[e] = mine[e];
      }
    }
  }
  if (thread < each) {
    queries.count[q + thread] = queries.kept[thread];
    queries.limit[q + thread] = p.limit(queries.reach[thread], queries.least[q + thread]);
  }
  __syncthreads();
}

template <class Problem>
__global__ void __launch_bounds__(kNearestThreads, 1) nearest_kernel(Problem p) {
  __shared__ NearestQueries queries;
  MWALIMU_DYNAMIC_SHARED(NearestKey, keys);
  auto* const stages = reinterpret_cast<SplitPack*>(keys + kNearestKeys);
  const int thread = static_cast<int>(threadIdx.x), each = kNearestKeys / p.capacity;
  for (int tile = static_cast<int>(blockIdx.x); tile < p.tiles;
       tile += static_cast<int>(gridDim.x)) {
    if (thread < kNearestTile) {
      const float least = p.least[static_cast<index_t>(tile) * kNearestTile + thread];
      queries.least[thread] = least;
      queries.limit[thread] = p.limit(__uint_as_float(0x7f800000u), least);
      queries.count[thread] = 0;
    }
    int stage = 0;
    load_step(p, tile, 0, 0, stages);
    for (int rows = 0; rows < p.tiles; ++rows) {
      NearestProducts products;
      for (int column = 0; column < 4 * p.packs; column += kNearestColumns) {
        __pipeline_wait_prior(0);
        __syncthreads();  // all copies have come, and all have done with the step before
        const bool more = column + kNearestColumns < 4 * p.packs;
        if (more || rows + 1 < p.tiles) {
          load_step(p, tile, more ? rows : rows + 1, more ? column + kNearestColumns : 0,
                    stages + (stage ^ 1) * kNearestStage);
        }
        products.add(stages + stage * kNearestStage);
        stage ^= 1;
      }
      const bool full = offer(p, products, rows == tile, rows, queries);
      const bool last = rows + 1 == p.tiles;
      if (!__syncthreads_or(full || last)) continue;
      for (int q = 0; q < kNearestTile; q += each) {
        bool some = last;
        for (int s = 0; s < each; ++s) some |= queries.count[q + s] > p.half();
        if (some) cut(p, tile, q, last, keys, queries);
      }
    }
  }
}

}  // namespace kernels

namespace embedding {

template <class Place>
void nearest_rows(Place on, View<const float, 2> x, View<std::int32_t, 2> index,
                  View<float, 2> square_distance) {
  using namespace kernels;
  const index_t n = x.dim(0), d = x.dim(1), k = index.dim(1);
  require<ValueError>(k >= 1 && k < n && k <= kDeviceNeighborsLimit,
                      "nearest_rows: want 1 <= k <= min(n - 1, ", kDeviceNeighborsLimit,
                      ") for n = ", n, ", got ", k);
  require<ValueError>(d >= 1 && d < index_t{1} << 20,
                      "nearest_rows: want 1 to 2^20 - 1 columns, got ", d);
  const Device device = Device::cuda(on.device);
  const auto whole = [](index_t count, index_t tile) { return (count + tile - 1) / tile * tile; };
  const index_t rows = whole(n, kNearestTile), columns = whole(d, kNearestColumns);
  const double error = nearest_error(d), keep = 1 - error;

  // Any vector near the mean serves: that of up to 4096 rows from all over.
  const index_t sampled = std::min<index_t>(n, 4096);
  auto sums = Tensor<float>::empty({d}, device);
  column_sums<float>(
      on, View<const float, 2>(x.data(), {sampled, d}, {n / sampled * x.stride(0), x.stride(1)}),
      false, sums.template view<1>());
  auto split = Tensor<std::int32_t>::empty({rows, columns}, device);
  auto least = Tensor<float>::empty({rows}, device);
  const SplitProblem halves{x.data(),
                            sums.data(),
                            n,
                            d,
                            x.stride(0),
                            rows,
                            columns,
                            1 / static_cast<float>(sampled),
                            static_cast<float>(keep),
                            reinterpret_cast<SplitPack*>(split.data()),
                            least.data()};
  launch(on, "split_rows", split_rows_kernel<SplitProblem>,
         {.grid = grid_blocks(on, rows, kSplitThreads / kWarp), .block = kSplitThreads}, halves);

  int capacity = 256;
  while (capacity < 4 * k + kNearestTile) capacity *= 2;
  const unsigned blocks = grid_blocks(on, n, kNearestTile, 2);
  auto buffers = Tensor<std::int64_t>::empty({blocks, kNearestTile, capacity}, device);
  const NearestProblem problem{
      x.data(),
      n,
      d,
      x.stride(0),
      halves.split,
      least.data(),
      static_cast<int>(rows / kNearestTile),
      static_cast<int>(columns / 4),
      static_cast<float>(2 * error / keep * (1 + 1e-6)),
      static_cast<float>(1 + (static_cast<double>(d) / 8 + 64) * 0x1p-24),  // 4 (d / 32 + 16)
      static_cast<float>(static_cast<double>(d) * 0x1p-121),
      static_cast<int>(k),
      capacity,
      reinterpret_cast<NearestKey*>(buffers.data()),
      index.data(),
      square_distance.data()};
  launch(on, "nearest", nearest_kernel<NearestProblem>,
         {.grid = blocks, .block = kNearestThreads, .shared_bytes = kNearestShared}, problem);
}

}  // namespace embedding
}  // namespace mwalimu
