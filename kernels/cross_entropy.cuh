// kernels/cross_entropy: the classifier's loss: labels, smoothing, class weights, MixUp.
//
// Computes   rows:     row_loss[b] = sum_c t[b, c] (log sum[b] + peak[b] - x[b, c]), row_weight[b],
//            t the weights of -log p (ops/cross_entropy.hpp has their formula).
//            finish:   total = sum row_weight, loss = sum row_loss / total.
//            backward: dx[b, c] = dloss / total (softmax[b, c] sum_j t[b, j] - t[b, c]).
// Shapes     logits, dlogits (B, C), rows any distance apart; labels, partners, lambda (B) and
//            class weights (C) dense; peak, sum (B).
// Mapping    rows, backward: a warp a row, 4 rows a block. finish: one block.
// Moves      forward B C s bytes (read twice, once from the first-level cache), backward 2 B C s.
// Roofline   B = 64, C = 3 (the study): nothing; the three launches are the cost.
// Resources  float: 60 registers, 128 bytes shared; no spills (sm_90).
// Measured   not yet.
// Numerics   as the Cpu half: the peak is subtracted and never added back, sums over classes and
//            over rows in double, each in a fixed order.
// Requires   B < 2^33. A label outside [0, C) is found here and makes the row, and the loss, NaN.
// Source     Szegedy et al. 2016, arXiv:1512.00567, sec. 7; Zhang et al. 2018, arXiv:1710.09412.
#pragma once

#include "mwalimu/ops/cross_entropy.hpp"
#include "rows.cuh"

namespace mwalimu {
namespace kernels {

inline constexpr int kCrossEntropyRows = 4;  // a block: one a warp

/// ops::CrossEntropyTarget in a kernel's parameters; null: absent.
template <class A>
struct ClassTargets {
  const std::int64_t *label, *partner;
  const A *lambda, *class_weight;
  double smoothing;

  explicit ClassTargets(const ops::CrossEntropyTarget<A>& target)
      : label(target.label.data()),
        partner(target.partner ? target.partner->data() : nullptr),
        lambda(target.lambda ? target.lambda->data() : nullptr),
        class_weight(target.class_weight ? target.class_weight->data() : nullptr),
        smoothing(target.smoothing) {}
};

/// The weights t[c] of -log p[c] in one row's loss: a constant share for every class, and two
/// classes that have more.
template <class A>
struct ClassTargetRow {
  const A* class_weights;
  double smoothing, share;
  index_t label, partner;
  double own, other;  // times the class's weight
  bool valid;

  __device__ __forceinline__ ClassTargetRow(const ClassTargets<A>& targets, index_t C, index_t b)
      : class_weights(targets.class_weight),
        smoothing(targets.smoothing),
        share(targets.smoothing / static_cast<double>(C)),
        label(targets.label[b]),
        partner(label),
        own(1),
        other(0) {
    if (targets.partner != nullptr) {
      partner = targets.partner[b];
      own = static_cast<double>(targets.lambda[b]);
      other = 1 - own;
    }
    valid = label >= 0 && label < C && partner >= 0 && partner < C;
  }
  __device__ __forceinline__ double class_weight(index_t c) const {
    return class_weights != nullptr ? static_cast<double>(class_weights[c]) : 1.0;
  }
  __device__ __forceinline__ double operator()(index_t c) const {
    if (!valid) return std::numeric_limits<double>::quiet_NaN();
    const double hard = (c == label ? own : 0.0) + (c == partner ? other : 0.0);
    return class_weight(c) * ((1 - smoothing) * hard + share);
  }
  /// What this row adds to the mean's divisor.
  __device__ __forceinline__ double weight() const {
    if (!valid) return std::numeric_limits<double>::quiet_NaN();
    return own * class_weight(label) + other * class_weight(partner);
  }
};

template <class T>
__global__ void __launch_bounds__(kCrossEntropyRows* kWarp, 8)
    cross_entropy_rows_kernel(Rows<const T> logits, index_t B, index_t C,
                              ClassTargets<accumulate_t<T>> targets, accumulate_t<T>* peak,
                              double* sum, double* row_loss, double* row_weight) {
  using A = accumulate_t<T>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const index_t b = static_cast<index_t>(blockIdx.x) * kCrossEntropyRows + threadIdx.x / kWarp;
  if (b >= B) return;  // a whole warp
  const T* x = logits[b];
  auto row = SoftmaxSum<A>::none();
  for (index_t c = lane; c < C; c += kWarp) {
    const A value[1] = {widen(x[c])};
    row.add(value, A{1});
  }
  row = warp_reduce(row, MergeSoftmaxSums<A>{A{1}});
  const ClassTargetRow<A> t(targets, C, b);
  const double log_sum = log(row.sum);
  double value = 0;
  for (index_t c = lane; c < C; c += kWarp) {
    // In double: two finite floats may be further apart than the largest float.
    const double below = static_cast<double>(row.peak) - static_cast<double>(widen(x[c]));
    const double weight = t(c);
    if (weight != 0) value += weight * (log_sum + below);
  }
  value = warp_reduce(value, Sum{});
  if (lane == 0) {
    peak[b] = row.peak;
    sum[b] = row.sum;
    row_loss[b] = value;
    row_weight[b] = t.weight();
  }
}

template <class A>
__global__ void __launch_bounds__(256)
    cross_entropy_finish_kernel(const double* __restrict__ row_loss,
                                const double* __restrict__ row_weight, index_t B,
                                double* __restrict__ total, A* __restrict__ loss) {
  __shared__ double losses[256 / kWarp], weights[256 / kWarp];
  double value = 0, weight = 0;
  for (index_t b = threadIdx.x; b < B; b += 256) {
    value += row_loss[b];
    weight += row_weight[b];
  }
  value = block_reduce<256>(value, Sum{}, losses);
  weight = block_reduce<256>(weight, Sum{}, weights);
  if (threadIdx.x == 0) {
    *total = weight;
    *loss = static_cast<A>(value / weight);
  }
}

template <class T>
__global__ void __launch_bounds__(kCrossEntropyRows* kWarp, 8)
    cross_entropy_backward_kernel(Rows<const T> logits, index_t B, index_t C,
                                  ClassTargets<accumulate_t<T>> targets,
                                  const accumulate_t<T>* __restrict__ peak,
                                  const double* __restrict__ sum, const double* __restrict__ total,
                                  const accumulate_t<T>* __restrict__ dloss, Rows<T> dlogits) {
  using A = accumulate_t<T>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const index_t b = static_cast<index_t>(blockIdx.x) * kCrossEntropyRows + threadIdx.x / kWarp;
  if (b >= B) return;  // a whole warp
  const T* x = logits[b];
  T* to = dlogits[b];
  const ClassTargetRow<A> t(targets, C, b);
  double mass = 0;
  for (index_t c = lane; c < C; c += kWarp) mass += t(c);
  mass = warp_reduce(mass, Sum{});
  const double weight = static_cast<double>(*dloss) / *total;
  const SoftmaxSum<A> row{peak[b], sum[b]};
  for (index_t c = lane; c < C; c += kWarp) {
    const double p = static_cast<double>(row.probability(widen(x[c]), A{1}));
    to[c] = narrow<T>(static_cast<A>(weight * (mass * p - t(c))));
  }
}

}  // namespace kernels

namespace ops {

template <Real T>
void cross_entropy_forward(Gpu on, View<const T, 2> logits,
                           const CrossEntropyTarget<accumulate_t<T>>& target,
                           View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                           View<double, 0> total, View<accumulate_t<T>, 0> loss) {
  using A = accumulate_t<T>;
  const index_t B = logits.dim(0);
  auto rows = Tensor<double>::empty({2, B}, Device::cuda(on.device));
  double *row_loss = rows.data(), *row_weight = rows.data() + B;
  if (B > 0) {
    kernels::launch(on, "cross_entropy_rows", kernels::cross_entropy_rows_kernel<T>,
                    {.grid = kernels::row_blocks(B, kernels::kCrossEntropyRows),
                     .block = kernels::kCrossEntropyRows * kernels::kWarp},
                    kernels::Rows<const T>(logits), B, logits.dim(1),
                    kernels::ClassTargets<A>(target), peak.data(), sum.data(), row_loss,
                    row_weight);
  }
  kernels::launch(on, "cross_entropy_finish", kernels::cross_entropy_finish_kernel<A>,
                  {.grid = 1, .block = 256}, row_loss, row_weight, B, total.data(), loss.data());
}

template <Real T>
void cross_entropy_backward(Gpu on, View<const T, 2> logits,
                            const CrossEntropyTarget<accumulate_t<T>>& target,
                            View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                            View<const double, 0> total, View<const accumulate_t<T>, 0> dloss,
                            View<T, 2> dlogits) {
  const index_t B = logits.dim(0);
  if (B == 0) return;
  kernels::launch(on, "cross_entropy_backward", kernels::cross_entropy_backward_kernel<T>,
                  {.grid = kernels::row_blocks(B, kernels::kCrossEntropyRows),
                   .block = kernels::kCrossEntropyRows * kernels::kWarp},
                  kernels::Rows<const T>(logits), B, logits.dim(1),
                  kernels::ClassTargets<accumulate_t<T>>(target), peak.data(), sum.data(),
                  total.data(), dloss.data(), kernels::Rows<T>(dlogits));
}

}  // namespace ops
}  // namespace mwalimu
