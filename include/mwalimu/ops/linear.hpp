// ops/linear: the affine map of each row, y = x W' + b.
#pragma once

#include <type_traits>
#include <utility>
#include <vector>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::ops {

// Backends: one overload per place. Matrices may have any strides; `bias` may be null.

/// out[b, o] <- sum_i x[b, i] weight[o, i] + bias[o].
template <class T>
void linear_forward(Cpu, View<const T, 2> x, View<const T, 2> weight, const T* bias,
                    View<T, 2> out);
/// dx[b, i] <- sum_o dout[b, o] weight[o, i].
template <class T>
void linear_backward_data(Cpu, View<const T, 2> dout, View<const T, 2> weight, View<T, 2> dx);
/// dweight[o, i] <- sum_b dout[b, o] x[b, i], added to what is there if `accumulate`.
template <class T>
void linear_backward_weight(Cpu, View<const T, 2> x, View<const T, 2> dout, bool accumulate,
                            View<T, 2> dweight);
/// dbias[o] <- sum_b dout[b, o], added to what is there if `accumulate`.
template <class T>
void linear_backward_bias(Cpu, View<const T, 2> dout, bool accumulate, View<T, 1> dbias);

/// Affine map of rows, y[b, o] = sum_i x[b, i] weight[o, i] + bias[o].
///
/// @param x       (B, in), B and in >= 1, any strides.
/// @param weight  (out, in), PyTorch's shape, any strides.
/// @param bias    (out), or absent: a Variable without elements, the default. Prototypes are a
///                linear map without bias.
/// @return        (B, out)
/// @throws ShapeError  ranks or extents do not fit.
///
/// Saves     x if weight needs a gradient; weight (shared, not copied) if x does.
/// Moves     x, weight and out once each; B in out multiply-adds.
/// Accuracy  float: within 2e-6 relative L2 of double at in = 2048 (Linear.MatchesFp64Reference).
///           The sum of the bias gradient runs over b = 0, 1, ... for any number of threads.
template <class T>
requires std::is_same_v<T, float> || std::is_same_v<T, double> Variable<T> linear(
    const Variable<T>& x, const Variable<T>& weight, const Variable<T>& bias = Variable<T>()) {
  const bool has_bias = bias.value().count() > 0;
  const Tensor<T>&in = x.value(), &w = weight.value(), &b = bias.value();
  require<ShapeError>(
      in.rank() == 2 && w.rank() == 2 && in.dim(1) == w.dim(1) && in.count() > 0 && w.count() > 0,
      "linear: want x (B, in) and weight (out, in), got ", in.shape(), " and ", w.shape());
  require<ShapeError>(!has_bias || (b.rank() == 1 && b.dim(0) == w.dim(0)), "linear: want bias (",
                      w.dim(0), ") for weight ", w.shape(), ", got ", b.shape());
  require<DeviceError>(in.device() == w.device() && (!has_bias || b.device() == in.device()),
                       "linear: x is on ", in.device(), ", weight on ", w.device());

  auto out = Tensor<T>::empty({in.dim(0), w.dim(0)}, in.device());
  const Tensor<T> dense_bias = has_bias ? b.contiguous() : b;
  on_device(in.device(), [&](auto place) {
    linear_forward<T>(place, in.template view<2>(), w.template view<2>(),
                      has_bias ? dense_bias.data() : nullptr, out.template view<2>());
  });

  auto backward = [in = weight.needs_grad() ? in : Tensor<T>(),
                   w = x.needs_grad() ? w : Tensor<T>()](Inputs inputs, const Tensor<T>& dout) {
    on_device(dout.device(), [&](auto place) {
      const auto d = dout.template view<2>();
      if (inputs.needs_grad(0)) {
        auto dx = Tensor<T>::empty({dout.dim(0), w.dim(1)}, dout.device());
        linear_backward_data<T>(place, d, w.template view<2>(), dx.template view<2>());
        inputs.add_grad(0, std::move(dx));
      }
      if (inputs.needs_grad(1)) {
        auto [dweight, accumulate] = inputs.template slot<T>(1);
        linear_backward_weight<T>(place, in.template view<2>(), d, accumulate,
                                  dweight.template view<2>());
      }
      if (inputs.needs_grad(2)) {
        auto [dbias, accumulate] = inputs.template slot<T>(2);
        linear_backward_bias<T>(place, d, accumulate, dbias.template view<1>());
      }
    });
  };
  return Variable<T>(std::move(out), {x, weight, bias}, std::move(backward));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/linear.hpp"
