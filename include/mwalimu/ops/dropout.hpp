// ops/dropout: elements set to zero at random in training.
#pragma once

#include <cstdint>
#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// What a mask is a function of, besides the position of the element.
struct DropoutKey {
  std::uint64_t seed = 0;   ///< of the run
  Scalar step = 0.0;        ///< of training, a whole number, 32 bits are used; a captured step reads
                            ///< it from the device, where it must not change before backward
  std::uint64_t layer = 0;  ///< different for each dropout of a network
};

// Cpu is defined in mwalimu/cpu/dropout.hpp, Gpu in kernels/dropout.cuh.

/// y[i] <- x[i] / (1 - p) where draw i of RandomStream(seed, Purpose::dropout, step, layer) is at
/// least p, else 0. y may be x.
template <Real T>
void dropout_apply(Cpu, View<const T, 1> x, double p, const DropoutKey& key, View<T, 1> y);
template <Real T>
void dropout_apply(Gpu, View<const T, 1> x, double p, const DropoutKey& key, View<T, 1> y);

/// Each element is zero with probability p, else divided by 1 - p, so that its expectation stays.
/// Not in training, or with p = 0: x itself.
///
/// @param x    any shape, up to 2^34 elements, numbered row-major; differentiable.
/// @param p    [0, 1).
/// @return     y of x's shape.
/// @throws ValueError  p outside [0, 1).
/// @throws ShapeError  too many elements.
///
/// Saves   nothing: backward draws the same mask again.
/// Moves   x and y once, dy and dx once.
/// Source  Srivastava et al. 2014, JMLR 15; scaled in training as PyTorch does.
template <Real T>
Variable<T> dropout(const Variable<T>& x, double p, bool training, const DropoutKey& key) {
  require<ValueError>(p >= 0 && p < 1, "dropout: want a probability in [0, 1), got ", p);
  require<ShapeError>(x.shape().count() <= index_t{1} << 34,
                      "dropout: want at most 2^34 elements, got ", x.shape());
  if (!training || p == 0) return x;
  const auto apply = [p, key](const Tensor<T>& from) {
    const Tensor<T> dense = from.contiguous();
    auto to = Tensor<T>::empty({dense.count()}, dense.device());
    on_device("dropout", dense.device(), [&](auto place) {
      dropout_apply<T>(place, detail::view<1>(dense.reshape(to.shape())), p, key,
                       detail::view<1>(to));
    });
    return to.reshape(from.shape());
  };
  return Variable<T>(apply(x.value()), {x}, [apply](Inputs inputs, const Tensor<T>& dout) {
    inputs.add_grad(0, apply(dout));
  });
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/dropout.hpp"
