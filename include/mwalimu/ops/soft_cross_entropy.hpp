// ops/soft_cross_entropy: cross entropy against soft targets, and the SwAV loss made of it.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// loss[i] <- -sum_k target[i, k] log softmax(logits[i, :] / tau)[k]; peak[i] <- the largest logit,
/// sum[i] <- sum_k exp((logits[i, k] - peak[i]) / tau), for the backward pass.
template <Real T>
void soft_cross_entropy_forward(Cpu, View<const T, 2> logits, View<const accumulate_t<T>, 2> target,
                                Scalar tau, View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                                View<accumulate_t<T>, 1> loss);
template <Real T>
void soft_cross_entropy_forward(Gpu, View<const T, 2> logits, View<const accumulate_t<T>, 2> target,
                                Scalar tau, View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                                View<accumulate_t<T>, 1> loss);

/// dlogits[i, k] <- dloss[i] / tau (softmax[i, k] sum_j target[i, j] - target[i, k]).
template <Real T>
void soft_cross_entropy_backward(Cpu, View<const T, 2> logits,
                                 View<const accumulate_t<T>, 2> target, Scalar tau,
                                 View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                                 View<const accumulate_t<T>, 1> dloss, View<T, 2> dlogits);
template <Real T>
void soft_cross_entropy_backward(Gpu, View<const T, 2> logits,
                                 View<const accumulate_t<T>, 2> target, Scalar tau,
                                 View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                                 View<const accumulate_t<T>, 1> dloss, View<T, 2> dlogits);

/// Crop v's loss in crop_loss[v], (V), see swav_prediction_loss; peak, sum and mass, the sum of the
/// codes that a row is compared with, are (V B), for the backward pass.
template <Real T>
void swav_prediction_forward(Cpu, View<const T, 2> scores, View<const accumulate_t<T>, 3> codes,
                             std::span<const index_t> assign, Scalar tau,
                             View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                             View<double, 1> mass, View<accumulate_t<T>, 1> crop_loss,
                             View<accumulate_t<T>, 0> loss);
template <Real T>
void swav_prediction_forward(Gpu, View<const T, 2> scores, View<const accumulate_t<T>, 3> codes,
                             std::span<const index_t> assign, Scalar tau,
                             View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                             View<double, 1> mass, View<accumulate_t<T>, 1> crop_loss,
                             View<accumulate_t<T>, 0> loss);

/// dscores[v B + b, k] <- dloss / (A (V - 1) B tau) sum_{i != v} (mass_i softmax - codes[i, b, k]).
template <Real T>
void swav_prediction_backward(Cpu, View<const T, 2> scores, View<const accumulate_t<T>, 3> codes,
                              std::span<const index_t> assign, Scalar tau,
                              View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                              View<const double, 1> mass, View<const accumulate_t<T>, 0> dloss,
                              View<T, 2> dscores);
template <Real T>
void swav_prediction_backward(Gpu, View<const T, 2> scores, View<const accumulate_t<T>, 3> codes,
                              std::span<const index_t> assign, Scalar tau,
                              View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                              View<const double, 1> mass, View<const accumulate_t<T>, 0> dloss,
                              View<T, 2> dscores);

/// Per-sample cross entropy  loss[i] = -sum_k target[i, k] log softmax(logits[i, :] / tau)[k].
///
/// @param logits  (B, K) scores, any finite value; differentiable.
/// @param target  (B, K) on the same device; a constant: no gradient flows into it.
/// @param tau     temperature, > 0, dimensionless; may lie on the device.
/// @return        (B) loss in nats; ops::mean reduces it.
/// @throws ShapeError  logits is not rank 2 or has no columns, or target has another shape.
/// @throws ValueError  tau <= 0 or NaN.
///
/// Saves     the largest logit and the sum of exponentials of each row.
/// Moves     logits and target once forward; the same and dlogits backward: memory-bound.
/// Accuracy  the row maximum is subtracted and never added back, so logits of 1e4 cost no digits;
///           float is within 1e-6 relative L2 of double (SoftCrossEntropy.MatchesFp64Reference).
/// Source    Caron et al. 2020, arXiv:2006.09882, eq. (2).
template <Real T>
Variable<accumulate_t<T>> soft_cross_entropy(const Variable<T>& logits,
                                             const Tensor<accumulate_t<T>>& target, Scalar tau) {
  using A = accumulate_t<T>;
  const Shape shape = logits.shape();
  require<ShapeError>(shape.rank() == 2 && shape == target.shape() && shape[1] >= 1,
                      "soft_cross_entropy: want logits and target both (B, K), got ", shape,
                      " and ", target.shape());
  require<ValueError>(tau.value > 0, "soft_cross_entropy: want tau > 0, got ", tau.value);
  const Tensor<T> x = detail::with_rows(logits.value());
  const Tensor<A> q = detail::with_rows(target);
  auto peak = Tensor<A>::empty({shape[0]}, x.device());
  auto sum = Tensor<double>::empty({shape[0]}, x.device());
  auto loss = Tensor<A>::empty({shape[0]}, x.device());
  on_device("soft_cross_entropy", x.device(), [&](auto place) {
    soft_cross_entropy_forward<T>(place, detail::rows(x), detail::rows(q), tau,
                                  detail::view<1>(peak), detail::view<1>(sum),
                                  detail::view<1>(loss));
  });
  auto backward = [x, q, peak, sum, tau](Inputs inputs, const Tensor<A>& dloss) {
    auto dlogits = Tensor<T>::empty(x.shape(), x.device());
    on_device("soft_cross_entropy", x.device(), [&](auto place) {
      soft_cross_entropy_backward<T>(place, detail::rows(x), detail::rows(q), tau,
                                     detail::view<1>(peak), detail::view<1>(sum),
                                     detail::view<1>(dloss), detail::view<2>(dlogits));
    });
    inputs.add_grad(0, std::move(dlogits));
  };
  return Variable<A>(std::move(loss), {logits}, std::move(backward));
}

/// What a SwAV step computes from its scores.
template <Real A>
struct SwavLoss {
  Variable<A> loss;     ///< scalar
  Tensor<A> crop_loss;  ///< (V), for the log: the mean over samples and codes that crop v predicts
};

/// The swapped prediction loss: every crop's scores predict the codes of the assigned crops,
///
///   L = -1/A sum_{i in assign} 1/(V-1) sum_{v != i} 1/B sum_b sum_k q_i[b,k] log p_v[b,k],
///   p_v[b,:] = softmax(s_v[b,:] / tau)
///
/// @param scores  (V B, P) z C^T, crop-major: crop v in rows v B ... (v + 1) B - 1; differentiable.
/// @param codes   (A, B, P) q of the assigned crops, in the order of `assign`; constants.
/// @param assign  A different crops in [0, V); SwAV: 0 and 1.
/// @param V       crops a sample, 2 or more.
/// @param tau     temperature, > 0 (SwAV: 0.1); may lie on the device.
/// @return        the loss in nats, and each crop's part of it.
/// @throws ShapeError  scores or codes do not fit each other, V and assign.
/// @throws ValueError  V < 2, tau <= 0, or assign is empty, repeats a crop or leaves [0, V).
///
/// Saves     three numbers a row. The softmax is computed anew in backward: exp costs less than
///           writing and reading V B P probabilities.
/// Moves     scores and, from cache, codes once forward; the same and dscores backward.
/// Source    Caron et al. 2020, arXiv:2006.09882, sec. 3.1 and its multi-crop form, sec. 3.2.
template <Real T>
SwavLoss<accumulate_t<T>> swav_prediction_loss(const Variable<T>& scores,
                                               const Tensor<accumulate_t<T>>& codes,
                                               std::span<const index_t> assign, index_t V,
                                               Scalar tau) {
  using A = accumulate_t<T>;
  const Shape shape = scores.shape(), code_shape = codes.shape();
  require<ValueError>(V >= 2, "swav_prediction_loss: want two crops or more, got ", V);
  require<ValueError>(tau.value > 0, "swav_prediction_loss: want tau > 0, got ", tau.value);
  require<ValueError>(!assign.empty(), "swav_prediction_loss: no crop is assigned a code");
  require<ShapeError>(shape.rank() == 2 && code_shape.rank() == 3 && code_shape[1] >= 1 &&
                          code_shape[2] >= 1 &&
                          code_shape[0] == static_cast<index_t>(assign.size()) &&
                          shape[0] == V * code_shape[1] && shape[1] == code_shape[2],
                      "swav_prediction_loss: want scores (V B, P) and codes (A, B, P) for V = ", V,
                      " and A = ", assign.size(), ", got ", shape, " and ", code_shape);
  std::vector<index_t> crops(assign.begin(), assign.end());
  for (std::size_t i = 0; i < crops.size(); ++i) {
    require<ValueError>(crops[i] >= 0 && crops[i] < V &&
                            std::find(crops.begin(), crops.begin() + static_cast<index_t>(i),
                                      crops[i]) == crops.begin() + static_cast<index_t>(i),
                        "swav_prediction_loss: want different crops in [0, ", V, "), got ",
                        crops[i]);
  }
  const Tensor<T> x = detail::with_rows(scores.value());
  const Tensor<A> q = codes.contiguous();
  auto peak = Tensor<A>::empty({shape[0]}, x.device());
  auto sum = Tensor<double>::empty({shape[0]}, x.device());
  auto mass = Tensor<double>::empty({shape[0]}, x.device());
  auto crop_loss = Tensor<A>::empty({V}, x.device());
  auto loss = Tensor<A>::empty({}, x.device());
  on_device("soft_cross_entropy", x.device(), [&](auto place) {
    swav_prediction_forward<T>(place, detail::rows(x), detail::view<3>(q), crops, tau,
                               detail::view<1>(peak), detail::view<1>(sum), detail::view<1>(mass),
                               detail::view<1>(crop_loss), detail::view<0>(loss));
  });
  auto backward = [x, q, peak, sum, mass, crops, tau](Inputs inputs, const Tensor<A>& dloss) {
    auto dscores = Tensor<T>::empty(x.shape(), x.device());
    on_device("soft_cross_entropy", x.device(), [&](auto place) {
      swav_prediction_backward<T>(place, detail::rows(x), detail::view<3>(q), crops, tau,
                                  detail::view<1>(peak), detail::view<1>(sum),
                                  detail::view<1>(mass), detail::view<0>(dloss),
                                  detail::view<2>(dscores));
    });
    inputs.add_grad(0, std::move(dscores));
  };
  return {Variable<A>(std::move(loss), {scores}, std::move(backward)), crop_loss};
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/soft_cross_entropy.hpp"
