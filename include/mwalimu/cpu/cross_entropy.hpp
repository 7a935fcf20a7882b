// cpu/cross_entropy: rows are a few classes long, so clarity comes before lanes; sums in double.
#pragma once

#include <cmath>
#include <cstdint>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/cpu/softmax_row.hpp"
#include "mwalimu/ops/cross_entropy.hpp"

namespace mwalimu::ops {
namespace detail {

/// The weights t[c] of -log p[c] in one row's loss: a constant share for every class, and two
/// classes that have more.
template <class A>
struct TargetRow {
  const CrossEntropyTarget<A>& target;
  index_t C, label, partner;
  double own, other;  // times the class's weight

  TargetRow(const CrossEntropyTarget<A>& target_, index_t C_, index_t b)
      : target(target_), C(C_), label(target.label(b)), partner(label), own(1), other(0) {
    if (target.partner) {
      partner = (*target.partner)(b);
      own = static_cast<double>((*target.lambda)(b));
      other = 1 - own;
    }
  }
  double class_weight(index_t c) const {
    return target.class_weight ? static_cast<double>((*target.class_weight)(c)) : 1.0;
  }
  double operator()(index_t c) const {
    const double hard = (c == label ? own : 0.0) + (c == partner ? other : 0.0);
    return class_weight(c) *
           ((1 - target.smoothing) * hard + target.smoothing / static_cast<double>(C));
  }
  /// What this row adds to the mean's divisor.
  double weight() const { return own * class_weight(label) + other * class_weight(partner); }
};

}  // namespace detail

template <Real T>
void cross_entropy_forward(Cpu, View<const T, 2> logits,
                           const CrossEntropyTarget<accumulate_t<T>>& target,
                           View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                           View<double, 0> total, View<accumulate_t<T>, 0> loss) {
  using A = accumulate_t<T>;
  const index_t B = logits.dim(0), C = logits.dim(1);
  auto row_loss = Tensor<double>::empty({B});
  double* losses = row_loss.data();
  detail::for_each_row_range(B, C, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b) {
      const T* x = logits.data() + b * logits.stride(0);
      const auto row = detail::softmax_row(x, C, A{1});
      const detail::TargetRow<A> t(target, C, b);
      const double log_sum = std::log(row.sum);
      double value = 0;
      for (index_t c = 0; c < C; ++c) {
        // In double: two finite floats may be further apart than the largest float.
        const double below = static_cast<double>(row.peak) - convert<double>(x[c]);
        if (const double weight = t(c); weight != 0) value += weight * (log_sum + below);
      }
      peak(b) = row.peak;
      sum(b) = row.sum;
      losses[b] = value;
    }
  });
  double value = 0, weight = 0;
  for (index_t b = 0; b < B; ++b) {
    value += losses[b];
    weight += detail::TargetRow<A>(target, C, b).weight();
  }
  total() = weight;
  loss() = static_cast<A>(value / weight);
}

template <Real T>
void cross_entropy_backward(Cpu, View<const T, 2> logits,
                            const CrossEntropyTarget<accumulate_t<T>>& target,
                            View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                            View<const double, 0> total, View<const accumulate_t<T>, 0> dloss,
                            View<T, 2> dlogits) {
  using A = accumulate_t<T>;
  const index_t C = logits.dim(1);
  const double weight = static_cast<double>(dloss()) / total();
  detail::for_each_row_range(logits.dim(0), C, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b) {
      const detail::TargetRow<A> t(target, C, b);
      const detail::SoftmaxRow<A> row{peak(b), sum(b)};
      double mass = 0;
      for (index_t c = 0; c < C; ++c) mass += t(c);
      for (index_t c = 0; c < C; ++c) {
        const double p = static_cast<double>(row.probability(convert<A>(logits(b, c)), A{1}));
        dlogits(b, c) = convert<T>(weight * (mass * p - t(c)));
      }
    }
  });
}

}  // namespace mwalimu::ops
