// kernels/sinkhorn: SwAV's codes by Sinkhorn and Knopp's algorithm on logarithms, in one launch.
//
// Computes   with M[n, p] = scores[n, p] / eps and a = b = 0, `iterations` times
//              b[n] = -log sum_p exp(M[n, p] + a[p])    (not the first time)
//              a[p] = -log sum_n exp(M[n, p] + b[n])
//            and at last codes[n, p] = exp(M[n, p] + a[p]) / sum_j exp(M[n, j] + a[j]). The
//            algorithm's 1/P and 1/N are left out: they shift all of a or all of b, and cancel.
// Shapes     scores (A, B, P): A problems; queue (L, P), behind each of them; rows any distance
//            apart. N = B + the queue's rows in use, a number that the device reads. codes (A, B,
//            P).
// Mapping    a cooperative launch, as many blocks of 512 as the device holds or the work wants. A
//            problem's rows are cut into chunks; a block takes a chunk and does both half steps on
//            it: warps along its rows (b), then threads down its columns (partial sums of a), the
//            rows being in its caches by then. A grid barrier, one thread a column adds up the
//            chunks, another barrier: 2 an iteration. Packs of 16 bytes along P; a and the partial
//            sums lie in an order of their own (sinkhorn_slot), in which neighbouring lanes write
//            side by side. Last, a block a row writes the codes.
// Moves      iterations times A N P s bytes from memory or the second-level cache, once more from
//            the first; 32 bytes of partial sums a column, chunk and iteration; codes once. A chunk
//            has N/64 rows, 1 at least, 64 at most.
// Roofline   A = 2, B = 32, L = 2048, P = 3000, 3 iterations, float on an H200 by its data sheet:
//            25 MB of scores, within 50 MB of second-level cache; once from memory they take 5.3 us
//            at 4.8 TB/s. 62 M visits of an element (2 x 2080 x 3000, 5 times) at 4 conversions
//            and exponentials each, taken as 16 a clock and multiprocessor: 67 us at 1.755 GHz.
//            Bound by these; besides, 6 grid barriers.
// Resources  float: 122 registers, 1.3 KB shared; no spills (sm_90). A block fills a multiprocessor.
// Measured   not yet.
// Numerics   exponents are double until the largest of their sum is taken from them, then exp in
//            float (double for double); running (max, sum) pairs, four terms at a time in float,
//            then double. So scores / eps of 1e5 are as safe and as exact as of 1, for any finite
//            scores, with nothing to test and no second path. Chunks are a function of N: the same
//            bits on every run and every device.
// Requires   finite scores; A (B + L) P < 2^46; a device that launches cooperatively.
// Source     Cuturi 2013, arXiv:1306.0895; Caron et al. 2020, arXiv:2006.09882, sec. 3.1; on
//            logarithms: Peyre and Cuturi 2019, arXiv:1803.00567, sec. 4.4; one-pass sums of
//            exponentials: Milakov and Gimelshein 2018, arXiv:1805.02867.
#pragma once

#include <algorithm>

#include "mwalimu/core/scalar.hpp"
#include "mwalimu/ops/sinkhorn.hpp"
#include "rows.cuh"

namespace mwalimu {
namespace kernels {

inline constexpr int kSinkhornThreads = 512;  // a guess until measured
inline constexpr index_t kSinkhornChunks = 64, kSinkhornChunkRows = 64;

/// Rows of a chunk: N/64, but not so many that a chunk's rows leave the caches.
constexpr index_t sinkhorn_rows_a_chunk(index_t N) {
  const index_t rows = (N + kSinkhornChunks - 1) / kSinkhornChunks;
  return rows < kSinkhornChunkRows ? rows : kSinkhornChunkRows;
}
/// The most chunks that up to N rows are cut into.
constexpr index_t sinkhorn_most_chunks(index_t N) {
  const index_t full = (N + kSinkhornChunkRows - 1) / kSinkhornChunkRows;
  return std::min(N, std::max(kSinkhornChunks, full));
}

/// Where column c of a and of the partial sums lies: of 32 N columns, those that neighbouring lanes
/// hold in the same place of their packs of N are neighbours.
template <int N>
__host__ __device__ constexpr index_t sinkhorn_slot(index_t c) {
  return c / (kWarp * N) * (kWarp * N) + c % N * kWarp + c / N % kWarp;
}
/// The column that lies there.
template <int N>
__host__ __device__ constexpr index_t sinkhorn_column(index_t slot) {
  return slot / (kWarp * N) * (kWarp * N) + slot % kWarp * N + slot / kWarp % N;
}

/// The number exp(max) * sum; `A` is the type that exp is taken in. Trivial.
template <class A>
struct alignas(16) LogSum {
  double max, sum;

  __device__ __forceinline__ static LogSum none() {
    return {std::numeric_limits<double>::lowest(), 0.0};  // not -infinity: see SoftmaxSum
  }
  template <int N>
  __device__ __forceinline__ void add(const double (&exponent)[N]) {
    double top = max;
#pragma unroll
    for (int i = 0; i < N; ++i) top = larger(top, exponent[i]);
    A part = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) part += exponential(static_cast<A>(exponent[i] - top));
    sum = sum * static_cast<double>(exponential(static_cast<A>(max - top))) +
          static_cast<double>(part);
    max = top;
  }
  __device__ __forceinline__ double logarithm() const { return max + log(sum); }
};

struct MergeLogSums {
  template <class A>
  __device__ __forceinline__ LogSum<A> operator()(const LogSum<A>& a, const LogSum<A>& b) const {
    const double top = larger(a.max, b.max);
    return {top, a.sum * static_cast<double>(exponential(static_cast<A>(a.max - top))) +
                     b.sum * static_cast<double>(exponential(static_cast<A>(b.max - top)))};
  }
};

template <class T>
struct SinkhornProblem {
  using A = accumulate_t<T>;
  Rows<const T> scores, queue;
  index_t score_step;  ///< between problems, in elements
  Scalar queue_rows;
  index_t count, B, L, P;  ///< count: A, the problems
  double inverse_eps;
  int iterations;
  index_t slots;     ///< P, whole warps' packs
  double *a, *b;     ///< (A, slots), (A, B + L)
  LogSum<A>* parts;  ///< (A, most chunks, slots)
  index_t most_chunks;
  Rows<A> codes;
  index_t code_step;

  __device__ __forceinline__ const T* row(index_t problem, index_t n) const {
    return n < B ? scores[n] + problem * score_step : queue[n - B];
  }
};

/// b of rows [begin, end). Where there are fewer rows than warps, several warps share a row.
template <class T, int N>
__device__ __forceinline__ void sinkhorn_row_step(const SinkhornProblem<T>& s, index_t problem,
                                                  index_t begin, index_t end,
                                                  LogSum<accumulate_t<T>>* partial) {
  constexpr int kWarps = kSinkhornThreads / kWarp;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
  const int rows = static_cast<int>(end - begin);
  const int shares = rows < kWarps ? kWarps / rows : 1;
  const index_t width = ((s.P + shares - 1) / shares + N - 1) / N * N;
  const double* a = s.a + problem * s.slots;
  for (int i = thread / kWarp; i < rows * shares; i += kWarps) {
    const T* x = s.row(problem, begin + i / shares);
    const index_t from = i % shares * width, to = from + width < s.P ? from + width : s.P;
    auto sum = LogSum<accumulate_t<T>>::none();
    if (from < to) {
      for_each_piece<N>(from, to, lane, kWarp, [&](index_t at, auto piece) {
        constexpr int W = piece;
        const auto v = load_pack<W>(x + at);
        double exponent[W];
#pragma unroll
        for (int j = 0; j < W; ++j) {
          exponent[j] = static_cast<double>(widen(v[j])) * s.inverse_eps +
                        a[sinkhorn_slot<N>(at) + j * kWarp];
        }
        sum.add(exponent);
      });
    }
    sum = warp_reduce(sum, MergeLogSums{});
    if (lane == 0) partial[i] = sum;
  }
  __syncthreads();
  if (thread < rows) {
    auto sum = partial[thread * shares];
    for (int i = 1; i < shares; ++i) sum = MergeLogSums{}(sum, partial[thread * shares + i]);
    s.b[problem * (s.B + s.L) + begin + thread] = -sum.logarithm();
  }
  __syncthreads();
}

/// Partial sums over rows [begin, end) of every column, to `parts`.
template <class T, int N>
__device__ __forceinline__ void sinkhorn_column_step(const SinkhornProblem<T>& s, index_t problem,
                                                     index_t begin, index_t end, bool first,
                                                     LogSum<accumulate_t<T>>* parts) {
  constexpr int kDeep = 4;  // rows in flight
  const double* b = s.b + problem * (s.B + s.L);
  const auto shift = [&](index_t n) { return first ? 0.0 : b[n]; };
  for_each_piece<N>(
      0, s.P, static_cast<int>(threadIdx.x), kSinkhornThreads, [&](index_t at, auto piece) {
        constexpr int W = piece;
        LogSum<accumulate_t<T>> sum[W];
#pragma unroll
        for (int j = 0; j < W; ++j) sum[j] = LogSum<accumulate_t<T>>::none();
        index_t n = begin;
        for (; n + kDeep <= end; n += kDeep) {
          Pack<T, W> v[kDeep];
#pragma unroll
          for (int d = 0; d < kDeep; ++d) v[d] = load_pack<W>(s.row(problem, n + d) + at);
#pragma unroll
          for (int j = 0; j < W; ++j) {
            double exponent[kDeep];
#pragma unroll
            for (int d = 0; d < kDeep; ++d) {
              exponent[d] = static_cast<double>(widen(v[d][j])) * s.inverse_eps + shift(n + d);
            }
            sum[j].add(exponent);
          }
        }
        for (; n < end; ++n) {
          const auto v = load_pack<W>(s.row(problem, n) + at);
#pragma unroll
          for (int j = 0; j < W; ++j) {
            const double exponent[1] = {static_cast<double>(widen(v[j])) * s.inverse_eps +
                                        shift(n)};
            sum[j].add(exponent);
          }
        }
#pragma unroll
        for (int j = 0; j < W; ++j) parts[sinkhorn_slot<N>(at) + j * kWarp] = sum[j];
      });
}

/// codes of one row.
template <class T, int N>
__device__ __forceinline__ void sinkhorn_write_row(const SinkhornProblem<T>& s, index_t problem,
                                                   index_t n, LogSum<accumulate_t<T>>* scratch) {
  using A = accumulate_t<T>;
  const int thread = static_cast<int>(threadIdx.x);
  const T* x = s.row(problem, n);
  A* to = s.codes[n] + problem * s.code_step;
  const double* a = s.a + problem * s.slots;
  const auto exponents = [&](index_t at, auto& exponent) {
    constexpr int W = std::extent_v<std::remove_reference_t<decltype(exponent)>>;
    const auto v = load_pack<W>(x + at);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const double shift = s.iterations > 0 ? a[sinkhorn_slot<N>(at) + j * kWarp] : 0.0;
      exponent[j] = static_cast<double>(widen(v[j])) * s.inverse_eps + shift;
    }
  };
  auto sum = LogSum<A>::none();
  for_each_piece<N>(0, s.P, thread, kSinkhornThreads, [&](index_t at, auto piece) {
    double exponent[piece];
    exponents(at, exponent);
    sum.add(exponent);
  });
  sum = block_reduce<kSinkhornThreads>(sum, MergeLogSums{}, scratch);
  __syncthreads();  // scratch is free for the next row
  const A scale = static_cast<A>(1.0 / sum.sum);
  for_each_piece<N>(0, s.P, thread, kSinkhornThreads, [&](index_t at, auto piece) {
    constexpr int W = piece;
    double exponent[W];
    exponents(at, exponent);
    Pack<A, W> code;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      code[j] = exponential(static_cast<A>(exponent[j] - sum.max)) * scale;
    }
    store_pack<W>(to + at, code);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(kSinkhornThreads, 1) sinkhorn_kernel(SinkhornProblem<T> s) {
  using A = accumulate_t<T>;
  __shared__ LogSum<A> partial[kSinkhornChunkRows];
  __shared__ LogSum<A> scratch[kSinkhornThreads / kWarp];

  const index_t rows = s.B + ops::detail::queue_rows_in_use(s.queue_rows.load(), s.L);
  const index_t height = sinkhorn_rows_a_chunk(rows), chunks = (rows + height - 1) / height;
  const index_t threads = static_cast<index_t>(gridDim.x) * kSinkhornThreads;
  const index_t me = static_cast<index_t>(blockIdx.x) * kSinkhornThreads + threadIdx.x;

  for (int iteration = 0; iteration < s.iterations; ++iteration) {
    for (index_t i = blockIdx.x; i < s.count * chunks; i += gridDim.x) {
      const index_t problem = i / chunks, chunk = i % chunks, begin = chunk * height;
      const index_t end = begin + height < rows ? begin + height : rows;
      if (iteration > 0) sinkhorn_row_step<T, N>(s, problem, begin, end, partial);
      sinkhorn_column_step<T, N>(s, problem, begin, end, iteration == 0,
                                 s.parts + (problem * s.most_chunks + chunk) * s.slots);
    }
    simt::grid_sync();
    for (index_t i = me; i < s.count * s.slots; i += threads) {
      if (sinkhorn_column<N>(i % s.slots) >= s.P) continue;
      const LogSum<A>* part = s.parts + i / s.slots * s.most_chunks * s.slots + i % s.slots;
      auto sum = LogSum<A>::none();
#pragma unroll 4
      for (index_t chunk = 0; chunk < chunks; ++chunk) {
        const auto pair = load_pack<1>(part + chunk * s.slots);  // whole: 16 bytes a lane
        sum = MergeLogSums{}(sum, pair[0]);
      }
      s.a[i] = -sum.logarithm();
    }
    simt::grid_sync();
  }
  for (index_t i = blockIdx.x; i < s.count * s.B; i += gridDim.x) {
    sinkhorn_write_row<T, N>(s, i / s.B, i % s.B, scratch);
  }
}

}  // namespace kernels

namespace ops {

template <Real T>
void sinkhorn_codes(Gpu on, View<const T, 3> scores, View<const T, 2> queue, Scalar queue_rows,
                    double eps, int iterations, View<accumulate_t<T>, 3> codes) {
  using A = accumulate_t<T>;
  constexpr int N = kernels::kRowPack<T>;
  const index_t count = scores.dim(0), B = scores.dim(1), L = queue.dim(0), P = scores.dim(2);
  if (count == 0 || B == 0) return;
  const index_t most_chunks = kernels::sinkhorn_most_chunks(B + L);
  const Device device = Device::cuda(on.device);
  const index_t pack = kernels::kWarp * N, slots = (P + pack - 1) / pack * pack;
  auto potentials = Tensor<double>::empty({count * (slots + B + L)}, device);
  static_assert(sizeof(kernels::LogSum<A>) == 2 * sizeof(double));
  auto parts =
      Tensor<double>::empty({iterations > 0 ? count * most_chunks * slots * 2 : 0}, device);
  const kernels::SinkhornProblem<T> s{.scores = {scores.data(), scores.stride(1)},
                                      .queue = {queue.data(), queue.stride(0)},
                                      .score_step = scores.stride(0),
                                      .queue_rows = queue_rows,
                                      .count = count,
                                      .B = B,
                                      .L = L,
                                      .P = P,
                                      .inverse_eps = 1 / eps,
                                      .iterations = iterations,
                                      .slots = slots,
                                      .a = potentials.data(),
                                      .b = potentials.data() + count * slots,
                                      .parts = reinterpret_cast<kernels::LogSum<A>*>(parts.data()),
                                      .most_chunks = most_chunks,
                                      .codes = {codes.data(), codes.stride(1)},
                                      .code_step = codes.stride(0)};
  const bool packs = s.scores.fit(N) && s.score_step % N == 0 && (L == 0 || s.queue.fit(N)) &&
                     s.codes.fit(N) && s.code_step % N == 0;
  const auto kernel = packs ? kernels::sinkhorn_kernel<T, N> : kernels::sinkhorn_kernel<T, 1>;
  const index_t wanted = count * std::max(iterations > 0 ? most_chunks : 0, B);
  const index_t held = kernels::max_cooperative_blocks(on, kernel, kernels::kSinkhornThreads, 0);
  kernels::launch_cooperative(
      on, "sinkhorn", kernel,
      {.grid = static_cast<unsigned>(std::min(wanted, held)), .block = kernels::kSinkhornThreads},
      s);
}

}  // namespace ops
}  // namespace mwalimu
