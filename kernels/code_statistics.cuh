// kernels/code_statistics: how sharp codes are, and what a SwAV step tells its log.
//
// Computes   rows:   entropy[r] = -sum_p q[p] log q[p], largest[r] = max_p q[p], first choice used.
//            columns: the mean of all codes.
//            finish: a row of the history: losses, means over rows, number of prototypes used, and
//            the entropy of the mean code.
// Shapes     codes (R, P), rows any distance apart; entropy, largest (R); history (S, 6 + V).
// Mapping    rows: a block of 256 a row, packs of 16 bytes, one tree. columns: a thread a column,
//            neighbours in memory. finish: one block.
// Moves      R P a bytes of codes, once more from cache; 8 P of their mean and 4 P of marks, written
//            and read.
// Roofline   R = 64, P = 3000 in float (a SwAV step): 0.8 MB, under 1 us from cache.
// Resources  float: rows 30 registers, 192 bytes shared; columns 27; finish 44, 256 bytes; no spills
//            (nvcc 13.0, sm_90).
// Measured   not yet.
// Numerics   q log q in float (double for double), sums in double in a fixed order; 0 log 0 is 0.
//            The first of equal entries is the largest. Marks are set by integer atomics: the same
//            bits on every run.
// Requires   P < 2^31.
#pragma once

#include "mwalimu/ops/sinkhorn.hpp"
#include "mwalimu/ops/swav_statistics.hpp"
#include "rows.cuh"

namespace mwalimu {
namespace kernels {

/// What a row gathers. Trivial, so that it may lie in shared memory.
template <class A>
struct CodeRow {
  double entropy;
  A largest;
  int at;  ///< of the first largest entry
};

template <class A>
struct MergeCodeRows {
  __device__ __forceinline__ CodeRow<A> operator()(const CodeRow<A>& a, const CodeRow<A>& b) const {
    const bool second = b.largest > a.largest || (b.largest == a.largest && b.at < a.at);
    return {a.entropy + b.entropy, second ? b.largest : a.largest, second ? b.at : a.at};
  }
};

/// @param used  (P) zeros, or null: used[p] <- 1 for a first choice p.
template <class A, int N>
__global__ void __launch_bounds__(256)
    code_rows_kernel(Rows<const A> codes, index_t P, A* entropy, index_t entropy_stride, A* largest,
                     index_t largest_stride, int* used) {
  __shared__ CodeRow<A> scratch[256 / kWarp];
  const index_t r = blockIdx.x;
  const A* q = codes[r];
  CodeRow<A> row{0.0, std::numeric_limits<A>::lowest(), 0};
  for_each_piece<N>(0, P, static_cast<int>(threadIdx.x), 256, [&](index_t at, auto width) {
    constexpr int W = width;
    const auto v = load_pack<W>(q + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      if (v[i] > 0) row.entropy -= static_cast<double>(v[i] * logarithm(v[i]));
      if (v[i] > row.largest) {
        row.largest = v[i];
        row.at = static_cast<int>(at) + i;
      }
    }
  });
  row = block_reduce<256>(row, MergeCodeRows<A>{}, scratch);
  if (threadIdx.x == 0) {
    entropy[r * entropy_stride] = static_cast<A>(row.entropy);
    largest[r * largest_stride] = row.largest;
    if (used != nullptr) atomicOr(used + row.at, 1);
  }
}

/// mean[p] <- the mean over rows of codes[:, p].
template <class A>
__global__ void __launch_bounds__(128)
    mean_code_kernel(Rows<const A> codes, index_t R, index_t P, double* __restrict__ mean) {
  const index_t p = static_cast<index_t>(blockIdx.x) * 128 + threadIdx.x;
  if (p >= P) return;
  double sum = 0;
  for (index_t r = 0; r < R; ++r) sum += static_cast<double>(codes[r][p]);
  mean[p] = sum / static_cast<double>(R);
}

template <class A>
__global__ void __launch_bounds__(256)
    swav_statistics_kernel(const A* __restrict__ entropy, const A* __restrict__ largest, index_t R,
                           const int* __restrict__ used, const double* __restrict__ mean, index_t P,
                           const A* __restrict__ loss, const A* __restrict__ loss_without_queue,
                           const A* __restrict__ crop_loss, index_t crop_stride, index_t V,
                           Scalar step, Rows<A> history, index_t S) {
  __shared__ double entropies[256 / kWarp], maxima[256 / kWarp], counts[256 / kWarp],
      mean_entropies[256 / kWarp];
  double e = 0, m = 0, n = 0, h = 0;
  for (index_t r = threadIdx.x; r < R; r += 256) {
    e += static_cast<double>(entropy[r]);
    m += static_cast<double>(largest[r]);
  }
  for (index_t p = threadIdx.x; p < P; p += 256) {
    n += used[p];
    if (mean[p] > 0) h -= mean[p] * log(mean[p]);
  }
  e = block_reduce<256>(e, Sum{}, entropies);
  m = block_reduce<256>(m, Sum{}, maxima);
  n = block_reduce<256>(n, Sum{}, counts);
  h = block_reduce<256>(h, Sum{}, mean_entropies);
  A* row = history[static_cast<index_t>(step.load()) % S];
  for (index_t v = threadIdx.x; v < V; v += 256) {
    row[ops::kSwavStatistics + v] = crop_loss[v * crop_stride];
  }
  if (threadIdx.x == 0) {
    row[ops::kSwavLoss] = *loss;
    row[ops::kSwavLossWithoutQueue] = *loss_without_queue;
    row[ops::kSwavCodeEntropy] = static_cast<A>(e / static_cast<double>(R));
    row[ops::kSwavCodeMax] = static_cast<A>(m / static_cast<double>(R));
    row[ops::kSwavPrototypesUsed] = static_cast<A>(n);
    row[ops::kSwavMeanCodeEntropy] = static_cast<A>(h);
  }
}

template <class A>
void code_rows(Gpu on, View<const A, 2> codes, View<A, 1> entropy, View<A, 1> largest, int* used) {
  if (codes.dim(0) == 0) return;
  constexpr int N = kPack<A>;
  const Rows<const A> q(codes);
  launch(on, "code_rows", q.fit(N) ? code_rows_kernel<A, N> : code_rows_kernel<A, 1>,
         {.grid = row_blocks(codes.dim(0)), .block = 256}, q, codes.dim(1), entropy.data(),
         entropy.stride(0), largest.data(), largest.stride(0), used);
}

}  // namespace kernels

namespace ops {

template <Real A>
void code_statistics(Gpu on, View<const A, 2> codes, View<A, 1> entropy, View<A, 1> largest) {
  kernels::code_rows<A>(on, codes, entropy, largest, nullptr);
}

template <Real A>
void swav_statistics(Gpu on, View<const A, 2> codes, View<const A, 0> loss,
                     View<const A, 0> loss_without_queue, View<const A, 1> crop_loss, Scalar step,
                     View<A, 2> history) {
  const index_t R = codes.dim(0), P = codes.dim(1);
  const Device device = Device::cuda(on.device);
  auto rows = Tensor<A>::empty({2, R}, device);
  auto used = Tensor<std::int32_t>::zeros({P}, device);
  auto mean = Tensor<double>::empty({P}, device);
  kernels::code_rows<A>(on, codes, {rows.data(), {R}, {1}}, {rows.data() + R, {R}, {1}},
                        used.data());
  kernels::launch(on, "mean_code", kernels::mean_code_kernel<A>,
                  {.grid = kernels::row_blocks((P + 127) / 128), .block = 128},
                  kernels::Rows<const A>(codes), R, P, mean.data());
  kernels::launch(on, "swav_statistics", kernels::swav_statistics_kernel<A>,
                  {.grid = 1, .block = 256}, static_cast<const A*>(rows.data()),
                  static_cast<const A*>(rows.data() + R), R, static_cast<const int*>(used.data()),
                  static_cast<const double*>(mean.data()), P, loss.data(),
                  loss_without_queue.data(), crop_loss.data(), crop_loss.stride(0),
                  crop_loss.dim(0), step, kernels::Rows<A>(history), history.dim(0));
}

}  // namespace ops
}  // namespace mwalimu
