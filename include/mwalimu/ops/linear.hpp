// ops/linear: the affine map of each row, y = x W' + b.
#pragma once

#include <memory>
#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/packed_weights.hpp"

namespace mwalimu::ops {

// Backends: one overload per place. Matrices may have any strides; `bias` may be null. Rows and
// weights are of the type T that is computed in, the bias, sums and the gradients of parameters of
// accumulate_t<T>. Cpu is defined in mwalimu/cpu/linear.hpp, Gpu in
// mwalimu/gpu/linear.hpp.

/// out[b, o] <- sum_i x[b, i] weight[o, i] + bias[o].
template <class T>
void linear_forward(Cpu, View<const T, 2> x, View<const T, 2> weight,
                    const accumulate_t<T>* bias, View<T, 2> out);
template <class T>
void linear_forward(Gpu, View<const T, 2> x, View<const T, 2> weight,
                    const accumulate_t<T>* bias, View<T, 2> out);
/// dx[b, i] <- sum_o dout[b, o] weight[o, i].
template <class T>
void linear_backward_data(Cpu, View<const T, 2> dout, View<const T, 2> weight, View<T, 2> dx);
template <class T>
void linear_backward_data(Gpu, View<const T, 2> dout, View<const T, 2> weight, View<T, 2> dx);
/// dweight[o, i] <- sum_b dout[b, o] x[b, i], added to what is there if `accumulate`.
template <class T>
void linear_backward_weight(Cpu, View<const T, 2> x, View<const T, 2> dout, bool accumulate,
                            View<accumulate_t<T>, 2> dweight);
template <class T>
void linear_backward_weight(Gpu, View<const T, 2> x, View<const T, 2> dout, bool accumulate,
                            View<accumulate_t<T>, 2> dweight);
/// dbias[o] <- sum_b dout[b, o], added to what is there if `accumulate`.
template <class T>
void linear_backward_bias(Cpu, View<const T, 2> dout, bool accumulate,
                          View<accumulate_t<T>, 1> dbias);
template <class T>
void linear_backward_bias(Gpu, View<const T, 2> dout, bool accumulate,
                          View<accumulate_t<T>, 1> dbias);

/// Affine map of rows, y[b, o] = sum_i x[b, i] weight[o, i] + bias[o].
///
/// @param x       (B, in), B and in >= 1, any strides. Its type T is the type computed in and
///                returned.
/// @param weight  (out, in), PyTorch's shape, any strides. float for 16-bit T: it is rounded to T
///                first, and its gradient is float.
/// @param bias    (out), or absent: a Variable without elements, the default. Prototypes are a
///                linear map without bias. float for 16-bit T, and not rounded.
/// @param packed  the layer's PackedWeights, where the 16-bit copy of the weights is kept; null: it
///                is made anew.
/// @return        (B, out)
/// @throws ShapeError  ranks or extents do not fit.
///
/// Saves     x if weight needs a gradient; weight (shared, not copied) if x does.
/// Moves     x, weight and out once each; B in out multiply-adds.
/// Accuracy  float: within 2e-6 relative L2 of double at in = 2048 (Linear.MatchesFp64Reference).
///           16-bit types: products and sums in float, then one rounding of the result.
///           The sum of the bias gradient runs over b = 0, 1, ... for any number of threads.
template <Real T>
Variable<T> linear(const Variable<T>& x, const Variable<accumulate_t<T>>& weight,
                   const Variable<accumulate_t<T>>& bias = {},
                   const std::shared_ptr<PackedWeights>& packed = nullptr) {
  using A = accumulate_t<T>;
  const bool has_bias = bias.value().count() > 0;
  const Tensor<T>& in = x.value();
  const Tensor<A>&master = weight.value(), &b = bias.value();
  require<ShapeError>(
      in.rank() == 2 && master.rank() == 2 && in.dim(1) == master.dim(1) && in.count() > 0 &&
          master.count() > 0,
      "linear: want x (B, in) and weight (out, in), got ", in.shape(), " and ", master.shape());
  require<ShapeError>(!has_bias || (b.rank() == 1 && b.dim(0) == master.dim(0)),
                      "linear: want bias (", master.dim(0), ") for weight ", master.shape(),
                      ", got ", b.shape());
  require<DeviceError>(in.device() == master.device() && (!has_bias || b.device() == in.device()),
                       "linear: x is on ", in.device(), ", weight on ", master.device());

  const Tensor<T> w = detail::weights_in<T>(master, packed.get());
  auto out = Tensor<T>::empty({in.dim(0), w.dim(0)}, in.device());
  const Tensor<A> dense_bias = has_bias ? b.contiguous() : b;
  on_device("linear", in.device(), [&](auto place) {
    linear_forward<T>(place, in.template view<2>(), w.template view<2>(),
                      has_bias ? dense_bias.data() : nullptr, out.template view<2>());
  });

  auto backward = [in = weight.needs_grad() ? in : Tensor<T>(),
                   w = x.needs_grad() ? w : Tensor<T>()](Inputs inputs, const Tensor<T>& dout) {
    on_device("linear", dout.device(), [&](auto place) {
      const auto d = dout.template view<2>();
      if (inputs.needs_grad(0)) {
        auto dx = Tensor<T>::empty({dout.dim(0), w.dim(1)}, dout.device());
        linear_backward_data<T>(place, d, w.template view<2>(), dx.template view<2>());
        inputs.add_grad(0, std::move(dx));
      }
      if (inputs.needs_grad(1)) {
        auto [dweight, accumulate] = inputs.template slot<A>(1);
        linear_backward_weight<T>(place, in.template view<2>(), d, accumulate,
                                  dweight.template view<2>());
      }
      if (inputs.needs_grad(2)) {
        auto [dbias, accumulate] = inputs.template slot<A>(2);
        linear_backward_bias<T>(place, d, accumulate, dbias.template view<1>());
      }
    });
  };
  return Variable<T>(std::move(out), {x, weight, bias}, std::move(backward));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/linear.hpp"
