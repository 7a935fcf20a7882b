// ops/cross_entropy: the classifier's loss: class labels, label smoothing, class weights, MixUp.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// What a row is compared with: label[b] with weight lambda[b], partner[b] with 1 - lambda[b].
/// Without MixUp, partner and lambda are absent.
template <Real A>
struct CrossEntropyTarget {
  View<const std::int64_t, 1> label;
  std::optional<View<const std::int64_t, 1>> partner;
  std::optional<View<const A, 1>> lambda;
  std::optional<View<const A, 1>> class_weight;  ///< (C)
  double smoothing;
};

/// loss, and for the backward pass: peak and sum of each row's softmax as in soft_cross_entropy,
/// and total, the sum of the weights that the mean divides by.
/// Labels lie in [0, C): the Cpu relies on it (cross_entropy has looked), on the Gpu, where nobody
/// waits for an answer, any other makes the loss and its row of gradients NaN.
template <Real T>
void cross_entropy_forward(Cpu, View<const T, 2> logits,
                           const CrossEntropyTarget<accumulate_t<T>>& target,
                           View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                           View<double, 0> total, View<accumulate_t<T>, 0> loss);
template <Real T>
void cross_entropy_forward(Gpu, View<const T, 2> logits,
                           const CrossEntropyTarget<accumulate_t<T>>& target,
                           View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                           View<double, 0> total, View<accumulate_t<T>, 0> loss);

/// dlogits[b, c] <- dloss / total (softmax[b, c] sum_j t[b, j] - t[b, c]), t the weights of log p.
template <Real T>
void cross_entropy_backward(Cpu, View<const T, 2> logits,
                            const CrossEntropyTarget<accumulate_t<T>>& target,
                            View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                            View<const double, 0> total, View<const accumulate_t<T>, 0> dloss,
                            View<T, 2> dlogits);
template <Real T>
void cross_entropy_backward(Gpu, View<const T, 2> logits,
                            const CrossEntropyTarget<accumulate_t<T>>& target,
                            View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                            View<const double, 0> total, View<const accumulate_t<T>, 0> dloss,
                            View<T, 2> dlogits);

/// Refuses labels outside [0, C). cross_entropy does so itself on the Cpu; a program that trains on a
/// device calls this once for its labels before they go there.
/// @param labels  (B), on the host.
/// @throws ValueError
inline void check_labels(const Tensor<std::int64_t>& labels, index_t C) {
  const auto view = labels.view<1>();
  for (index_t b = 0; b < view.dim(0); ++b) {
    require<ValueError>(view(b) >= 0 && view(b) < C, "cross_entropy: label ", view(b),
                        " of sample ", b, " is not a class of ", C);
  }
}

template <Real A>
struct CrossEntropyOptions {
  double label_smoothing = 0;             ///< epsilon, [0, 1)
  std::optional<Tensor<A>> class_weight = {};  ///< (C), not negative; absent: 1
};

namespace detail {

template <Real T>
Variable<accumulate_t<T>> cross_entropy(const Variable<T>& logits,
                                        const Tensor<std::int64_t>& labels,
                                        const Tensor<std::int64_t>* partners,
                                        const Tensor<accumulate_t<T>>* lambda,
                                        const CrossEntropyOptions<accumulate_t<T>>& options) {
  using A = accumulate_t<T>;
  const Shape shape = logits.shape();
  require<ShapeError>(shape.rank() == 2 && shape[0] >= 1 && shape[1] >= 1,
                      "cross_entropy: want logits (B, C), got ", shape);
  const Shape batch{shape[0]};
  require<ShapeError>(labels.shape() == batch, "cross_entropy: want labels ", batch, ", got ",
                      labels.shape());
  require<DeviceError>(labels.device() == logits.value().device(), "cross_entropy: logits are on ",
                       logits.value().device(), ", labels on ", labels.device());
  if (partners != nullptr) {
    require<ShapeError>(partners->shape() == batch && lambda->shape() == batch,
                        "cross_entropy: want partners and lambda ", batch, ", got ",
                        partners->shape(), " and ", lambda->shape());
  }
  if (options.class_weight) {
    require<ShapeError>(options.class_weight->shape() == Shape{shape[1]},
                        "cross_entropy: want class weights (", shape[1], "), got ",
                        options.class_weight->shape());
  }
  require<ValueError>(options.label_smoothing >= 0 && options.label_smoothing < 1,
                      "cross_entropy: want a label smoothing in [0, 1), got ",
                      options.label_smoothing);

  const Tensor<T> x = with_rows(logits.value());
  if (x.device().is_cpu()) {
    check_labels(labels, shape[1]);
    if (partners != nullptr) check_labels(*partners, shape[1]);
  }
  // Owners of what the target's views show, kept for the backward pass.
  const Tensor<std::int64_t> label = labels.contiguous();
  const Tensor<std::int64_t> partner = partners ? partners->contiguous() : Tensor<std::int64_t>();
  const Tensor<A> mix = lambda ? lambda->contiguous() : Tensor<A>();
  const Tensor<A> weight = options.class_weight ? options.class_weight->contiguous() : Tensor<A>();
  CrossEntropyTarget<A> target{.label = view<1>(label),
                               .partner = std::nullopt,
                               .lambda = std::nullopt,
                               .class_weight = std::nullopt,
                               .smoothing = options.label_smoothing};
  if (partners != nullptr) {
    target.partner = view<1>(partner);
    target.lambda = view<1>(mix);
  }
  if (options.class_weight) target.class_weight = view<1>(weight);

  auto peak = Tensor<A>::empty(batch, x.device()), loss = Tensor<A>::empty({}, x.device());
  auto sum = Tensor<double>::empty(batch, x.device());
  auto total = Tensor<double>::empty({}, x.device());
  on_device("cross_entropy", x.device(), [&](auto place) {
    cross_entropy_forward<T>(place, rows(x), target, view<1>(peak), view<1>(sum), view<0>(total),
                             view<0>(loss));
  });
  auto backward = [x, label, partner, mix, weight, target, peak, sum, total](
                      Inputs inputs, const Tensor<A>& dloss) {
    auto dlogits = Tensor<T>::empty(x.shape(), x.device());
    on_device("cross_entropy", x.device(), [&](auto place) {
      cross_entropy_backward<T>(place, rows(x), target, view<1>(peak), view<1>(sum), view<0>(total),
                                view<0>(dloss), view<2>(dlogits));
    });
    inputs.add_grad(0, std::move(dlogits));
  };
  return Variable<A>(std::move(loss), {logits}, std::move(backward));
}

}  // namespace detail

/// Mean over the batch of  (1 - eps) w[y] (-log p[y]) + eps / C sum_c w[c] (-log p[c]),
/// p = softmax(logits), divided by the mean of w[y]; w is 1 without class weights.
///
/// @param logits  (B, C), any finite value; differentiable.
/// @param labels  (B) classes y in [0, C).
/// @return        scalar, nats. With eps = 0.1 and C = 3 it cannot fall below 0.2911.
/// @throws ShapeError  extents disagree, or the batch is empty.
/// @throws ValueError  a label outside [0, C), on the Cpu (on a device: see check_labels), or a
///                     smoothing outside [0, 1).
///
/// Saves     two numbers a row.  Moves  logits once forward; logits and dlogits once backward.
/// Accuracy  the row maximum is subtracted and never added back.
/// Source    Szegedy et al. 2016, arXiv:1512.00567, sec. 7; torch.nn.CrossEntropyLoss for weights.
template <Real T>
Variable<accumulate_t<T>> cross_entropy(const Variable<T>& logits,
                                        const Tensor<std::int64_t>& labels,
                                        const CrossEntropyOptions<accumulate_t<T>>& options = {}) {
  return detail::cross_entropy<T>(logits, labels, nullptr, nullptr, options);
}

/// MixUp's form: lambda[b] times the loss against labels[b] plus 1 - lambda[b] times that against
/// partners[b], the label of the image that was mixed in.
/// @param partners  (B) classes in [0, C).
/// @param lambda    (B) in [0, 1], the share of the sample's own image.
/// Source  Zhang et al. 2018, arXiv:1710.09412.
template <Real T>
Variable<accumulate_t<T>> cross_entropy(const Variable<T>& logits,
                                        const Tensor<std::int64_t>& labels,
                                        const Tensor<std::int64_t>& partners,
                                        const Tensor<accumulate_t<T>>& lambda,
                                        const CrossEntropyOptions<accumulate_t<T>>& options = {}) {
  return detail::cross_entropy<T>(logits, labels, &partners, &lambda, options);
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/cross_entropy.hpp"
