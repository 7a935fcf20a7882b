// ops/relu: max(x, 0).
#pragma once

#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

// Cpu is defined in mwalimu/cpu/relu.hpp, Gpu in kernels/relu.cuh.

/// y <- x where x > 0, NaN where x is NaN, else 0. y may be x.
template <Real T>
void relu_forward(Cpu, View<const T, 1> x, View<T, 1> y);
template <Real T>
void relu_forward(Gpu, View<const T, 1> x, View<T, 1> y);

/// dx <- dy where y > 0 or NaN, else 0. dx may be dy.
template <Real T>
void relu_backward(Cpu, View<const T, 1> y, View<const T, 1> dy, View<T, 1> dx);
template <Real T>
void relu_backward(Gpu, View<const T, 1> y, View<const T, 1> dy, View<T, 1> dx);

/// y = max(x, 0), elementwise; the gradient at 0 is 0.
///
/// @param x  any shape; differentiable.
/// @return   y, dense.
///
/// Saves  y, which the next operation holds anyway; never x, so x's memory may be reused.
/// Moves  1 read, 1 write forward; 2 reads, 1 write backward. Behind a batch norm, its own
///        activation moves nothing at all.
template <Real T>
Variable<T> relu(const Variable<T>& x) {
  const Tensor<T> dense = x.value().contiguous();
  auto y = Tensor<T>::empty(x.shape(), dense.device());
  const Shape flat{dense.count()};
  on_device("relu", dense.device(), [&](auto place) {
    auto to = y.reshape(flat);
    relu_forward<T>(place, detail::view<1>(dense.reshape(flat)), detail::view<1>(to));
  });
  auto backward = [y, flat](Inputs inputs, const Tensor<T>& dout) {
    const Tensor<T> dy = dout.contiguous();
    auto dx = Tensor<T>::empty(y.shape(), y.device());
    on_device("relu", y.device(), [&](auto place) {
      auto to = dx.reshape(flat);
      relu_backward<T>(place, detail::view<1>(y.reshape(flat)), detail::view<1>(dy.reshape(flat)),
                       detail::view<1>(to));
    });
    inputs.add_grad(0, std::move(dx));
  };
  return Variable<T>(std::move(y), {x}, std::move(backward));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/relu.hpp"
