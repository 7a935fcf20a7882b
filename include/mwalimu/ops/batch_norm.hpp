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

/// Views of a layer's parameters, (C) each.
template <Real A>
struct BatchNormParameters {
  View<const A, 1> gamma, beta;
  double eps;
};

/// Views of what a layer tracks: (C), (C) and one count.
template <Real A>
struct BatchNormTracked {
  View<A, 1> mean, var;
  View<std::int64_t, 1> num_batches;
  double momentum;
};

/// What the passes over x know of each channel, (C) each: (x - center) scale + shift is
/// gamma (x - mean) inv_std + beta. Statistics are double, so that |mean| >> standard deviation costs
/// no digits; the others are of the type the loops use.
template <Real A>
struct BatchNormCoefficients {
  View<double, 1> mean, inv_std;  ///< inv_std = 1 / sqrt(variance + eps)
  View<A, 1> center, scale, shift;
};

/// Where the gradients of one batch norm go, (C) each.
template <Real A>
struct BatchNormGradients {
  View<A, 1> a, b;                           ///< for batch_norm_input_gradient
  View<A, 1> dgamma, dbeta;                  ///< data() is null: not wanted
  bool add_gamma = false, add_beta = false;  ///< add to what is there; otherwise overwrite
};

// Backends. x, residual, y, ... are (rows, C): all pixels of all samples. Each is one pass over x,
// and what is done per channel rides along with it: on a Gpu every launch costs.
// Cpu is defined in mwalimu/cpu/batch_norm.hpp, Gpu in kernels/batch_norm.cuh.

/// The coefficients of a training step: mean and biased variance over the rows, more than one. Then
/// tracked <- (1 - momentum) tracked + momentum batch, with the unbiased variance, and one batch more.
template <Real T, Real A>
void batch_norm_train(Cpu, View<const T, 2> x, const BatchNormParameters<A>& parameters,
                      const BatchNormTracked<A>& tracked, const BatchNormCoefficients<A>& to);
template <Real T, Real A>
void batch_norm_train(Gpu, View<const T, 2> x, const BatchNormParameters<A>& parameters,
                      const BatchNormTracked<A>& tracked, const BatchNormCoefficients<A>& to);

/// The coefficients of evaluation: from the tracked statistics, which stay.
template <Real A>
void batch_norm_evaluate(Cpu, View<const A, 1> running_mean, View<const A, 1> running_var,
                         const BatchNormParameters<A>& parameters,
                         const BatchNormCoefficients<A>& to);
template <Real A>
void batch_norm_evaluate(Gpu, View<const A, 1> running_mean, View<const A, 1> running_var,
                         const BatchNormParameters<A>& parameters,
                         const BatchNormCoefficients<A>& to);

/// y <- act((x - center) scale + shift + residual); `keep`, dense (rows, ceil(C / 8)), gets one bit
/// an element, lowest first: whether ReLU let it pass.
template <Real T, Real A>
void batch_norm_apply(Cpu, View<const T, 2> x, std::optional<View<const T, 2>> residual,
                      View<const A, 1> center, View<const A, 1> scale, View<const A, 1> shift,
                      Activation activation, std::optional<View<std::uint8_t, 2>> keep,
                      View<T, 2> y);
template <Real T, Real A>
void batch_norm_apply(Gpu, View<const T, 2> x, std::optional<View<const T, 2>> residual,
                      View<const A, 1> center, View<const A, 1> scale, View<const A, 1> shift,
                      Activation activation, std::optional<View<std::uint8_t, 2>> keep,
                      View<T, 2> y);

/// With g = dy where kept, else 0: dgamma, dbeta, and a, b for batch_norm_input_gradient from sum g
/// and sum g (x - mean) over the rows. a and b are 0 where the statistics were constants.
template <Real T, Real A>
void batch_norm_parameter_gradients(Cpu, View<const T, 2> dy, View<const T, 2> x,
                                    std::optional<View<const std::uint8_t, 2>> keep,
                                    View<const double, 1> mean, View<const double, 1> inv_std,
                                    View<const A, 1> center, bool training,
                                    const BatchNormGradients<A>& to);
template <Real T, Real A>
void batch_norm_parameter_gradients(Gpu, View<const T, 2> dy, View<const T, 2> x,
                                    std::optional<View<const std::uint8_t, 2>> keep,
                                    View<const double, 1> mean, View<const double, 1> inv_std,
                                    View<const A, 1> center, bool training,
                                    const BatchNormGradients<A>& to);

/// dx <- scale (g - a - (x - center) b); dresidual <- g.
template <Real T, Real A>
void batch_norm_input_gradient(Cpu, View<const T, 2> dy, View<const T, 2> x,
                               std::optional<View<const std::uint8_t, 2>> keep,
                               View<const A, 1> center, View<const A, 1> scale, View<const A, 1> a,
                               View<const A, 1> b, View<T, 2> dx,
                               std::optional<View<T, 2>> dresidual);
template <Real T, Real A>
void batch_norm_input_gradient(Gpu, View<const T, 2> dy, View<const T, 2> x,
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

  on_device("batch_norm", device, [&](auto place) {
    const BatchNormParameters<A> parameters{view<1>(gamma.value()), view<1>(beta.value()),
                                            state.eps};
    const BatchNormCoefficients<A> coefficients{view<1>(mean), view<1>(inv_std), view<1>(center),
                                                view<1>(scale), view<1>(shift)};
    if (options.training) {
      auto num_batches = state.num_batches_tracked.reshape({1});
      batch_norm_train<T, A>(place, rows(x), parameters,
                             {view<1>(state.running_mean), view<1>(state.running_var),
                              view<1>(num_batches), state.momentum},
                             coefficients);
    } else {
      batch_norm_evaluate<A>(place, view<1>(std::as_const(state.running_mean)),
                             view<1>(std::as_const(state.running_var)), parameters, coefficients);
    }
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
    const bool sums = training || inputs.needs_grad(1) || inputs.needs_grad(2);
    auto a = Tensor<A>::empty(channels, x.device()), b = Tensor<A>::empty(channels, x.device());
    std::optional<View<const std::uint8_t, 2>> keep_rows;
    if (relu) keep_rows = view<2>(keep);
    on_device("batch_norm", x.device(), [&](auto place) {
      if (sums) {
        const View<A, 1> unwanted(nullptr, {channels[0]}, {1});
        BatchNormGradients<A> to{view<1>(a), view<1>(b), unwanted, unwanted};
        if (inputs.needs_grad(1)) {
          auto [dgamma, add] = inputs.slot<A>(1);
          to.dgamma = view<1>(dgamma);
          to.add_gamma = add;
        }
        if (inputs.needs_grad(2)) {
          auto [dbeta, add] = inputs.slot<A>(2);
          to.dbeta = view<1>(dbeta);
          to.add_beta = add;
        }
        batch_norm_parameter_gradients<T, A>(place, rows(dy), rows(x), keep_rows, view<1>(mean),
                                             view<1>(inv_std), view<1>(center), training, to);
      } else {
        a.zero();
        b.zero();
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
