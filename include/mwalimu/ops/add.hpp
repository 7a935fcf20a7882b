// ops/add: the sum of two tensors of one shape (a residual connection).
#pragma once

#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

// Cpu is defined in mwalimu/cpu/add.hpp, Gpu in kernels/add.cuh.

/// y <- a + b over rows of (rows, C); y may be a or b.
template <Real T>
void add_forward(Cpu, View<const T, 2> a, View<const T, 2> b, View<T, 2> y);
template <Real T>
void add_forward(Gpu, View<const T, 2> a, View<const T, 2> b, View<T, 2> y);

/// y = a + b. Both inputs receive the very gradient of y: nothing is computed or moved backward.
///
/// @param a, b  one shape of rank 1 or more, any; ranges of channels are read in place.
/// @return      y, dense.
/// @throws ShapeError  the shapes differ.
///
/// Moves  2 reads, 1 write forward. In front of a ReLU behind a batch norm, give the residual to
///        batch_norm: it costs one read there.
template <Real T>
Variable<T> add(const Variable<T>& a, const Variable<T>& b) {
  require<ShapeError>(a.shape() == b.shape() && a.shape().rank() >= 1,
                      "add: want two tensors of one shape, got ", a.shape(), " and ", b.shape());
  const Tensor<T> left = detail::with_rows(a.value()), right = detail::with_rows(b.value());
  auto y = Tensor<T>::empty(a.shape(), left.device());
  on_device("add", left.device(), [&](auto place) {
    add_forward<T>(place, detail::rows(left), detail::rows(right), detail::rows(y));
  });
  return Variable<T>(std::move(y), {a, b}, [](Inputs inputs, const Tensor<T>& dout) {
    inputs.add_grad(0, dout);
    inputs.add_grad(1, dout);
  });
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/add.hpp"
