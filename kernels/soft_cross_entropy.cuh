// kernels/soft_cross_entropy: cross entropy against soft targets, and SwAV's swapped prediction.
//
// Computes   forward:  loss[r] = mass log(sum) - sum_k q[k] (x[k] - peak) / tau, x the row's
//            scores, q the sum of the codes that row r is compared with, mass = sum_k q[k].
//            backward: dx[k] = w (mass softmax[k] - q[k]), w = dloss / (divisor tau).
//            finish:   crop_loss and loss from the rows' losses. A row of soft_cross_entropy has
//            one code, its own; row v B + b of a prediction those of sample b of every assigned
//            crop but v.
// Shapes     scores, dscores (rows, P), codes (A, B, P), rows any distance apart; all else (rows).
// Mapping    a block of 256 a row: packs of 16 bytes of the codes' type, the scores' pack beside
//            it; one tree a row forward, none backward (one where mass was not kept). finish: one
//            block, a warp a crop.
// Moves      for n = rows P: forward n s, backward 2 n s, and A B P a of codes, each read by up to
//            V rows from the second-level cache (s: bytes of a score, a: of a code).
// Roofline   V = 8, B = 32, P = 3000, A = 2 in float (a SwAV step) on an H200 by its data sheet:
//            forward 3.8 MB, backward 6.9 MB: 0.8 and 1.5 us at 4.8 TB/s; both fit the second-level
//            cache, so the launches are most of it.
// Resources  float: 56 registers, 256 bytes shared forward; 48, 64 backward; no spills (sm_90).
// Measured   not yet.
// Numerics   one pass over running (peak, sum) pairs; the peak is subtracted and never added back.
//            Exponentials in float (double for double), four at a time, then double, as are
//            products with the codes, which are taken from the row's first score. A tree of fixed
//            shape: the same bits on every run and device.
// Requires   A <= 32; rows < 2^31.
// Source     Caron et al. 2020, arXiv:2006.09882, eq. (2); one-pass softmax: Milakov and Gimelshein
//            2018, arXiv:1805.02867.
#pragma once

#include <span>

#include "mwalimu/core/scalar.hpp"
#include "mwalimu/ops/soft_cross_entropy.hpp"
#include "rows.cuh"

namespace mwalimu {
namespace kernels {

/// The codes that row r of (V B) scores is compared with: sample r mod B of every crop but r / B.
template <class A>
struct PredictedCodes {
  static constexpr int kMost = 32;

  const A* data;
  index_t crop_stride, row_stride, B;
  int count;
  int crop[kMost];  ///< the crop that codes[i] belong to; -1: none of the scores'

  bool fit(int N) const { return Rows<const A>(data, row_stride).fit(N) && crop_stride % N == 0; }
  __device__ __forceinline__ int others(index_t v) const {
    int n = 0;
    for (int i = 0; i < count; ++i) n += crop[i] != v;
    return n;
  }
  /// sum <- the sum of those codes at columns [at, at + N).
  template <int N>
  __device__ __forceinline__ void load(index_t r, index_t at, A (&sum)[N]) const {
    const index_t v = r / B, b = r - v * B;
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] = 0;
    for (int i = 0; i < count; ++i) {
      if (crop[i] == v) continue;
      const auto q = load_pack<N>(data + i * crop_stride + b * row_stride + at);
#pragma unroll
      for (int j = 0; j < N; ++j) sum[j] += q[j];
    }
  }
};

/// What a forward row gathers. Trivial, so that it may lie in shared memory.
template <class A>
struct PredictionRow {
  SoftmaxSum<A> scores;
  double mass, product;  ///< sum q, sum q (x - origin)
};

template <class A>
struct MergePredictionRows {
  A f;
  __device__ __forceinline__ PredictionRow<A> operator()(const PredictionRow<A>& a,
                                                         const PredictionRow<A>& b) const {
    return {MergeSoftmaxSums<A>{f}(a.scores, b.scores), a.mass + b.mass, a.product + b.product};
  }
};

/// What of the forward pass goes where; null: nowhere.
template <class A>
struct PredictionResults {
  A* peak;
  double *sum, *mass, *row_loss;
  A* loss;
  index_t loss_stride;
};

template <class T, int N>
__global__ void __launch_bounds__(256, 4)
    prediction_forward_kernel(Rows<const T> scores, index_t P,
                              PredictedCodes<accumulate_t<T>> codes, Scalar tau,
                              PredictionResults<accumulate_t<T>> to) {
  using A = accumulate_t<T>;
  __shared__ PredictionRow<A> scratch[256 / kWarp];
  const index_t r = blockIdx.x;
  const T* x = scores[r];
  const double temperature = tau.load(), origin = static_cast<double>(widen(x[0]));
  const A f = static_cast<A>(1.0 / temperature);
  PredictionRow<A> row{SoftmaxSum<A>::none(), 0.0, 0.0};
  for_each_piece<N>(0, P, static_cast<int>(threadIdx.x), 256, [&](index_t at, auto width) {
    constexpr int W = width;
    const auto pack = load_pack<W>(x + at);
    A value[W], q[W];
    codes.template load<W>(r, at, q);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      value[i] = widen(pack[i]);
      const double weight = static_cast<double>(q[i]);
      row.mass += weight;
      row.product += weight * (static_cast<double>(value[i]) - origin);
    }
    row.scores.add(value, f);
  });
  row = block_reduce<256>(row, MergePredictionRows<A>{f}, scratch);
  if (threadIdx.x == 0) {
    const double product = row.product + row.mass * (origin - static_cast<double>(row.scores.peak));
    const double loss = row.mass * log(row.scores.sum) - product / temperature;
    to.peak[r] = row.scores.peak;
    to.sum[r] = row.scores.sum;
    if (to.mass != nullptr) to.mass[r] = row.mass;
    if (to.row_loss != nullptr) to.row_loss[r] = loss;
    if (to.loss != nullptr) to.loss[r * to.loss_stride] = static_cast<A>(loss);
  }
}

/// @param mass         of each row's codes; null: summed here.
/// @param dloss_stride  0 where all rows share one.
template <class T, int N>
__global__ void __launch_bounds__(256, 4)
    prediction_backward_kernel(Rows<const T> scores, index_t P,
                               PredictedCodes<accumulate_t<T>> codes, Scalar tau, double divisor,
                               const accumulate_t<T>* __restrict__ peak,
                               const double* __restrict__ sum, const double* __restrict__ mass,
                               const accumulate_t<T>* __restrict__ dloss, index_t dloss_stride,
                               Rows<T> dscores) {
  using A = accumulate_t<T>;
  __shared__ double scratch[256 / kWarp];
  const index_t r = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  const T* x = scores[r];
  T* to = dscores[r];
  double total = 0;
  if (mass != nullptr) {
    total = mass[r];
  } else {
    for_each_piece<N>(0, P, thread, 256, [&](index_t at, auto width) {
      constexpr int W = width;
      A q[W];
      codes.template load<W>(r, at, q);
#pragma unroll
      for (int i = 0; i < W; ++i) total += static_cast<double>(q[i]);
    });
    total = block_reduce<256>(total, Sum{}, scratch);
  }
  const double temperature = tau.load();
  const A f = static_cast<A>(1.0 / temperature), row_mass = static_cast<A>(total);
  const A weight =
      static_cast<A>(static_cast<double>(dloss[r * dloss_stride]) / (divisor * temperature));
  const SoftmaxSum<A> row{peak[r], sum[r]};
  const A scale = static_cast<A>(1.0 / row.sum);
  for_each_piece<N>(0, P, thread, 256, [&](index_t at, auto width) {
    constexpr int W = width;
    const auto pack = load_pack<W>(x + at);
    A q[W];
    codes.template load<W>(r, at, q);
    Pack<T, W> out;
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const A p = exponential((widen(pack[i]) - row.peak) * f) * scale;
      out[i] = narrow<T>(weight * (row_mass * p - q[i]));
    }
    store_pack<W>(to + at, out);
  });
}

/// crop_loss[v] <- mean of the rows of crop v over samples and codes; loss <- sum / divisor.
template <class A>
__global__ void __launch_bounds__(256)
    prediction_finish_kernel(const double* __restrict__ row_loss, PredictedCodes<A> codes,
                             index_t V, double divisor, A* __restrict__ crop_loss,
                             index_t crop_stride, A* __restrict__ loss) {
  __shared__ double scratch[256 / kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp,
            warp = static_cast<int>(threadIdx.x) / kWarp;
  double total = 0;
  for (index_t v = warp; v < V; v += 256 / kWarp) {
    double crop = 0;
    for (index_t b = lane; b < codes.B; b += kWarp) crop += row_loss[v * codes.B + b];
    crop = warp_reduce(crop, Sum{});
    total += crop;
    const int others = codes.others(v);
    if (lane == 0) {
      crop_loss[v * crop_stride] =
          others == 0 ? A{0} : static_cast<A>(crop / static_cast<double>(others * codes.B));
    }
  }
  if (lane == 0) scratch[warp] = total;
  __syncthreads();
  if (threadIdx.x == 0) {
    total = 0;
    for (int w = 0; w < 256 / kWarp; ++w) total += scratch[w];
    *loss = static_cast<A>(total / divisor);
  }
}

template <class A>
PredictedCodes<A> predicted_codes(View<const A, 3> codes, std::span<const index_t> assign) {
  PredictedCodes<A> result{.data = codes.data(),
                           .crop_stride = codes.stride(0),
                           .row_stride = codes.stride(1),
                           .B = codes.dim(1),
                           .count = static_cast<int>(assign.size()),
                           .crop = {}};
  require<ValueError>(assign.size() <= PredictedCodes<A>::kMost,
                      "swav_prediction: want codes of at most ", PredictedCodes<A>::kMost,
                      " crops on a device, got ", assign.size());
  for (std::size_t i = 0; i < assign.size(); ++i) result.crop[i] = static_cast<int>(assign[i]);
  return result;
}

/// Row i against target i alone.
template <class A>
PredictedCodes<A> own_codes(View<const A, 2> target) {
  return {.data = target.data(),
          .crop_stride = 0,
          .row_stride = target.stride(0),
          .B = target.dim(0),
          .count = 1,
          .crop = {-1}};
}

template <class T>
void prediction_forward(Gpu on, View<const T, 2> scores,
                        const PredictedCodes<accumulate_t<T>>& codes, Scalar tau,
                        const PredictionResults<accumulate_t<T>>& to) {
  constexpr int N = kRowPack<T>;
  const Rows<const T> x(scores);
  launch(
      on, "prediction_forward",
      x.fit(N) && codes.fit(N) ? prediction_forward_kernel<T, N> : prediction_forward_kernel<T, 1>,
      {.grid = row_blocks(scores.dim(0)), .block = 256}, x, scores.dim(1), codes, tau, to);
}

template <class T>
void prediction_backward(Gpu on, View<const T, 2> scores,
                         const PredictedCodes<accumulate_t<T>>& codes, Scalar tau, double divisor,
                         const accumulate_t<T>* peak, const double* sum, const double* mass,
                         const accumulate_t<T>* dloss, index_t dloss_stride, View<T, 2> dscores) {
  constexpr int N = kRowPack<T>;
  const Rows<const T> x(scores);
  const Rows<T> to(dscores);
  launch(on, "prediction_backward",
         x.fit(N) && codes.fit(N) && to.fit(N) ? prediction_backward_kernel<T, N>
                                               : prediction_backward_kernel<T, 1>,
         {.grid = row_blocks(scores.dim(0)), .block = 256}, x, scores.dim(1), codes, tau, divisor,
         peak, sum, mass, dloss, dloss_stride, to);
}

}  // namespace kernels

namespace ops {

template <Real T>
void soft_cross_entropy_forward(Gpu on, View<const T, 2> logits,
                                View<const accumulate_t<T>, 2> target, Scalar tau,
                                View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                                View<accumulate_t<T>, 1> loss) {
  if (logits.dim(0) == 0) return;
  kernels::prediction_forward<T>(
      on, logits, kernels::own_codes(target), tau,
      {peak.data(), sum.data(), nullptr, nullptr, loss.data(), loss.stride(0)});
}

template <Real T>
void soft_cross_entropy_backward(Gpu on, View<const T, 2> logits,
                                 View<const accumulate_t<T>, 2> target, Scalar tau,
                                 View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                                 View<const accumulate_t<T>, 1> dloss, View<T, 2> dlogits) {
  if (logits.dim(0) == 0) return;
  kernels::prediction_backward<T>(on, logits, kernels::own_codes(target), tau, 1.0, peak.data(),
                                  sum.data(), nullptr, dloss.data(), dloss.stride(0), dlogits);
}

template <Real T>
void swav_prediction_forward(Gpu on, View<const T, 2> scores, View<const accumulate_t<T>, 3> codes,
                             std::span<const index_t> assign, Scalar tau,
                             View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                             View<double, 1> mass, View<accumulate_t<T>, 1> crop_loss,
                             View<accumulate_t<T>, 0> loss) {
  using A = accumulate_t<T>;
  const index_t rows = scores.dim(0), B = codes.dim(1), V = rows / B;
  const auto predicted = kernels::predicted_codes<A>(codes, assign);
  auto row_loss = Tensor<double>::empty({rows}, Device::cuda(on.device));
  kernels::prediction_forward<T>(
      on, scores, predicted, tau,
      {peak.data(), sum.data(), mass.data(), row_loss.data(), nullptr, 0});
  const double divisor = static_cast<double>(codes.dim(0) * (V - 1) * B);
  kernels::launch(on, "prediction_finish", kernels::prediction_finish_kernel<A>,
                  {.grid = 1, .block = 256}, static_cast<const double*>(row_loss.data()), predicted,
                  V, divisor, crop_loss.data(), crop_loss.stride(0), loss.data());
}

template <Real T>
void swav_prediction_backward(Gpu on, View<const T, 2> scores, View<const accumulate_t<T>, 3> codes,
                              std::span<const index_t> assign, Scalar tau,
                              View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                              View<const double, 1> mass, View<const accumulate_t<T>, 0> dloss,
                              View<T, 2> dscores) {
  using A = accumulate_t<T>;
  const index_t B = codes.dim(1), V = scores.dim(0) / B;
  kernels::prediction_backward<T>(on, scores, kernels::predicted_codes<A>(codes, assign), tau,
                                  static_cast<double>(codes.dim(0) * (V - 1) * B), peak.data(),
                                  sum.data(), mass.data(), dloss.data(), 0, dscores);
}

}  // namespace ops
}  // namespace mwalimu
