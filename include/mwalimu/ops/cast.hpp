// ops/cast: the same values in another element type, differentiable.
#pragma once

#include <type_traits>
#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::ops {

/// y = x in the element type U, rounded to nearest where U has fewer digits; x itself where U is T.
/// Its gradient is that of y in the element type T. For the edges of a network that computes in 16
/// bits: images in, logits out. Layers round their float parameters themselves.
///
/// @param x  any shape; differentiable.
/// @return   x's shape; dense unless U is T.
///
/// Moves  x and y once; dy and dx once.
template <Real U, Real T>
Variable<U> cast(const Variable<T>& x) {
  if constexpr (std::is_same_v<T, U>) {
    return x;
  } else {
    return Variable<U>(x.value().template to<U>(), {x}, [](Inputs inputs, const Tensor<U>& dout) {
      inputs.add_grad(0, dout.template to<T>());
    });
  }
}

}  // namespace mwalimu::ops
