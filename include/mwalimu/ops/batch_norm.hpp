// ops/batch_norm: batch normalisation with the residual sum and the ReLU that follow it.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

enum class Activation { none, relu };

/// What a batch norm layer carries from step to step besides its parameters; A is float for every
/// storage type but double. `momentum` is the weight of the new statistic.
template <Real A>
struct BatchNormState {
  Tensor<A> running_mean;                    ///< (C)
  Tensor<A> running_var;                     ///< (C), of the unbiased batch variances
  Tensor<std::int64_t> num_batches_tracked;  ///< scalar
  double eps = 1e-5;
  double momentum = 0.1;

  /// Mean 0, variance 1, no batches.
  static BatchNormState initial(index_t C, Device device = Device::cpu()) {
    return {.running_mean = Tensor<A>::zeros({C}, device),
            .running_var = Tensor<A>::full({C}, A{1}, device),
            .num_batches_tracked = Tensor<std::int64_t>::zeros({}, device)};
  }
};

struct BatchNormOptions {
  bool training = false;  ///< statistics of the batch, and update the running ones; else those
  Activation activation = Activation::none;
};

// Backends. x, residual, y, ... are (rows, C): all pixels of all samples. Statistics are double, so
// that |mean| >> standard deviation costs no digits; coefficients are of the type A the loops use.

/// mean[c] and the biased variance[c] over the rows.
template <Real T>
void batch_norm_statistics(Cpu, View<const T, 2> x, View<double, 1> mean, View<double, 1> variance);

/// running <- (1 - momentum) running + momentum batch, with the unbiased variance of `rows` values.
template <Real A>
void batch_norm_track(Cpu, View<const double, 1> mean, View<const double, 1> variance, index_t rows,
                      double momentum, View<A, 1> running_mean, View<A, 1> running_var,
                      std::int64_t& num_batches);

/// y = (x - center) scale + shift equals normalisation by mean and variance, gamma and beta.
/// `variance` becomes 1 / sqrt(variance + eps).
template <Real A>
void batch_norm_coefficients(Cpu, View<const double, 1> mean, View<double, 1> variance,
                             View<const A, 1> gamma, View<const A, 1> beta, double eps,
                             View<A, 1> center, View<A, 1> scale, View<A, 1> shift);

/// y <- act((x - center) scale + shift + residual); `keep`, (rows, ceil(C / 8)), gets one bit an
/// element, lowest first: whether ReLU let it pass.
template <Real T, Real A>
void batch_norm_apply(Cpu, View<const T, 2> x, std::optional<View<const T, 2>> residual,
                      View<const A, 1> center, View<const A, 1> scale, View<const A, 1> shift,
                      Activation activation, std::optional<View<std::uint8_t, 2>> keep,
                      View<T, 2> y);

/// With g = dy where kept, else 0: sum[c] <- sum g, dot[c] <- sum g (x - center).
template <Real T, Real A>
void batch_norm_gradient_sums(Cpu, View<const T, 2> dy, View<const T, 2> x,
                              std::optional<View<const std::uint8_t, 2>> keep,
                              View<const A, 1> center, View<double, 1> sum, View<double, 1> dot);

/// From the sums: dgamma and dbeta (skipped where absent; added to what is there where add_* says
/// so), and a, b for batch_norm_input_gradient, which are 0 where the statistics were constants.
template <Real A>
void batch_norm_parameter_gradients(Cpu, View<const double, 1> sum, View<const double, 1> dot,
                                    View<const double, 1> mean, View<const double, 1> inv_std,
                                    View<const A, 1> center, index_t rows, bool training,
                                    std::optional<View<A, 1>> dgamma, bool add_gamma,
                                    std::optional<View<A, 1>> dbeta, bool add_beta, View<A, 1> a,
                                    View<A, 1> b);

/// dx <- scale (g - a - (x - center) b); dresidual <- g.
template <Real T, Real A>
void batch_norm_input_gradient(Cpu, View<const T, 2> dy, View<const T, 2> x,
                               std::optional<View<const std::uint8_t, 2>> keep,
                               View<const A, 1> center, View<const A, 1> scale, View<const A, 1> a,
                               View<const A, 1> b, View<T, 2> dx,
                               std::optional<View<T, 2>> dresidual);

namespace detail {

template <Real T>
Variable<T> batch_norm(const Variable<T>& input, const Variable<accumulate_t<T>>& gamma,
                       const Variable<accumulate_t<T>>& beta,
                       BatchNormState<accumulate_t<T>>& state, const BatchNormOptions& options,
                       const Variable<T>* residual) {
  using A = accumulate_t<T>;
  const Shape& shape = input.shape();
  require<ShapeError>(shape.rank() >= 2, "batch_norm: want (B, C) or (N, H, W, C), got ", shape);
  const index_t C = shape[shape.rank() - 1];
  for (const Shape& one :
       {gamma.shape(), beta.shape(), state.running_mean.shape(), state.running_var.shape()}) {
    require<ShapeError>(one == Shape{C},
                        "batch_norm: want gamma, beta and running statistics of "
                        "shape (",
                        C, ") for ", shape, ", got ", one);
  }
  require<ShapeError>(residual == nullptr || residual->shape() == shape,
                      "batch_norm: want a residual of shape ", shape, ", got ",
                      residual == nullptr ? Shape{} : residual->shape());
  const Tensor<T> x = with_rows(input.value());
  const index_t count = rows(x).dim(0);
  require<ValueError>(!options.training || count > 1 || C == 0,
                      "batch_norm: want more than one value per channel in training, got ", shape);

  const Device device = x.device();
  const bool relu = options.activation == Activation::relu;
  const bool recorded =
      grad_enabled() && (input.needs_grad() || gamma.needs_grad() || beta.needs_grad() ||
                         (residual != nullptr && residual->needs_grad()));
  auto mean = Tensor<double>::empty({C}, device);
  auto inv_std = Tensor<double>::empty({C}, device);
  auto center = Tensor<A>::empty({C}, device), scale = Tensor<A>::empty({C}, device);
  auto shift = Tensor<A>::empty({C}, device);
  auto y = Tensor<T>::empty(shape, device);
  Tensor<std::uint8_t> keep;
  if (relu && recorded) keep = Tensor<std::uint8_t>::empty({count, (C + 7) / 8}, device);
  const Tensor<T> added = residual == nullptr ? Tensor<T>() : with_rows(residual->value());

  on_device(device, [&](auto place) {
    if (options.training) {
      batch_norm_statistics<T>(place, rows(x), view<1>(mean), view<1>(inv_std));
      batch_norm_track<A>(place, view<1>(mean), view<1>(inv_std), count, state.momentum,
                          view<1>(state.running_mean), view<1>(state.running_var),
                          *state.num_batches_tracked.data());
    } else {
      mean.copy_from(state.running_mean);
      inv_std.copy_from(state.running_var);
    }
    batch_norm_coefficients<A>(place, view<1>(mean), view<1>(inv_std), view<1>(gamma.value()),
                               view<1>(beta.value()), state.eps, view<1>(center), view<1>(scale),
                               view<1>(shift));
    std::optional<View<const T, 2>> added_rows;
    if (residual != nullptr) added_rows = rows(added);
    std::optional<View<std::uint8_t, 2>> keep_rows;
    if (relu && recorded) keep_rows = view<2>(keep);
    batch_norm_apply<T, A>(place, rows(x), added_rows, view<1>(center), view<1>(scale),
                           view<1>(shift), options.activation, keep_rows, rows(y));
  });

  std::vector<Edge> edges{input, gamma, beta};
  if (residual != nullptr) edges.push_back(*residual);
  auto backward = [x, keep, mean, inv_std, center, scale, relu, training = options.training,
                   with_residual = residual != nullptr](Inputs inputs, const Tensor<T>& dout) {
    const Tensor<T> dy = with_rows(dout);
    const Shape channels = scale.shape();
    auto sum = Tensor<double>::empty(channels, x.device());
    auto dot = Tensor<double>::empty(channels, x.device());
    auto a = Tensor<A>::zeros(channels, x.device()), b = Tensor<A>::zeros(channels, x.device());
    std::optional<View<const std::uint8_t, 2>> keep_rows;
    if (relu) keep_rows = view<2>(keep);
    on_device(x.device(), [&](auto place) {
      if (training || inputs.needs_grad(1) || inputs.needs_grad(2)) {
        batch_norm_gradient_sums<T, A>(place, rows(dy), rows(x), keep_rows, view<1>(center),
                                       view<1>(sum), view<1>(dot));
        std::optional<GradientSlot<A>> slots[2];
        std::optional<View<A, 1>> views[2];
        for (std::size_t i = 0; i < 2; ++i) {
          if (!inputs.needs_grad(i + 1)) continue;
          slots[i] = inputs.slot<A>(i + 1);
          views[i] = view<1>(slots[i]->tensor);
        }
        batch_norm_parameter_gradients<A>(
            place, view<1>(sum), view<1>(dot), view<1>(mean), view<1>(inv_std), view<1>(center),
            rows(x).dim(0), training, views[0], slots[0] && slots[0]->accumulate, views[1],
            slots[1] && slots[1]->accumulate, view<1>(a), view<1>(b));
      }
      const bool residual_needs_grad = with_residual && inputs.needs_grad(3);
      if (residual_needs_grad && !relu) inputs.add_grad(3, dout);
      const bool write_residual = residual_needs_grad && relu;
      if (!inputs.needs_grad(0) && !write_residual) return;
      auto dx = Tensor<T>::empty(x.shape(), x.device());
      auto dresidual = write_residual ? Tensor<T>::empty(x.shape(), x.device()) : Tensor<T>();
      std::optional<View<T, 2>> dresidual_rows;
      if (write_residual) dresidual_rows = rows(dresidual);
      batch_norm_input_gradient<T, A>(place, rows(dy), rows(x), keep_rows, view<1>(center),
                                      view<1>(scale), view<1>(a), view<1>(b), rows(dx),
                                      dresidual_rows);
      if (write_residual) inputs.add_grad(3, std::move(dresidual));
      inputs.add_grad(0, std::move(dx));
    });
  };
  return Variable<T>(std::move(y), std::span<const Edge>(edges), std::move(backward));
}

}  // namespace detail

/// y = act(gamma (x - mean) / sqrt(var + eps) + beta), per channel: the last dimension. In
/// training, mean and (biased) variance are those of the batch, over all other dimensions, and the
/// gradient flows through them; otherwise they are the running ones, constants.
///
/// @param x      (B, C) or (N, H, W, C); differentiable.
/// @param gamma  (C) the weight, @param beta  (C) the bias, both in float for 16-bit x;
///               differentiable.
/// @param state  read; in training its statistics and its count are updated.
/// @return       y, of x's shape, dense.
/// @throws ShapeError  an extent is not C, or x is a vector.
/// @throws ValueError  training with a single value per channel.
///
/// Saves     x, statistics, and one bit an element where there is a ReLU.
/// Moves     in training, forward 2 reads of x and 1 write (otherwise 1 and 1), backward 2 reads of
///           x, 2 of dy and 1 write. The ReLU's mask adds 1/8 byte an element to each pass;
///           masking by the saved output would add a whole element to both backward passes.
/// Accuracy  sums of differences from a chunk's first row, in runs of 64 rows and then in double:
///           mean 1e3 with deviation 1 loses nothing (BatchNorm.LargeMeanCostsNoDigits).
///           Chunks do not depend on the threads: the same bits on any number.
/// Source    Ioffe and Szegedy 2015, arXiv:1502.03167; PyTorch's BatchNorm for eps, momentum and
///           the unbiased running variance; Chan, Golub and LeVeque 1979 for merging chunks.
template <Real T>
Variable<T> batch_norm(const Variable<T>& x, const Variable<accumulate_t<T>>& gamma,
                       const Variable<accumulate_t<T>>& beta,
                       BatchNormState<accumulate_t<T>>& state, const BatchNormOptions& options) {
  return detail::batch_norm<T>(x, gamma, beta, state, options, nullptr);
}

/// The same with a residual of x's shape, differentiable, added before the activation: the end of a
/// residual block in one operation, y = act(bn(x) + residual). Moves one read more forward; with a
/// ReLU one write more backward.
template <Real T>
Variable<T> batch_norm(const Variable<T>& x, const Variable<accumulate_t<T>>& gamma,
                       const Variable<accumulate_t<T>>& beta,
                       BatchNormState<accumulate_t<T>>& state, const BatchNormOptions& options,
                       const Variable<T>& residual) {
  return detail::batch_norm<T>(x, gamma, beta, state, options, &residual);
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/batch_norm.hpp"
