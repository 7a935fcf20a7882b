// ops/reduce: sum and mean of all elements.
#pragma once

#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// result <- factor * sum of x.
template <Real T>
void sum_forward(Cpu, View<const T, 1> x, double factor, View<accumulate_t<T>, 0> result);
template <Real T>
void sum_forward(Gpu, View<const T, 1> x, double factor, View<accumulate_t<T>, 0> result);

/// Every element of dx <- factor * dresult.
template <Real T>
void sum_backward(Cpu, View<const accumulate_t<T>, 0> dresult, double factor, View<T, 1> dx);
template <Real T>
void sum_backward(Gpu, View<const accumulate_t<T>, 0> dresult, double factor, View<T, 1> dx);

namespace detail {

template <Real T>
Variable<accumulate_t<T>> scaled_sum(const Variable<T>& input, double factor) {
  using A = accumulate_t<T>;
  const Tensor<T> x = input.value().contiguous();
  auto result = Tensor<A>::empty({}, x.device());
  on_device("reduce", x.device(), [&](auto place) {
    sum_forward<T>(place, view<1>(x.reshape({x.count()})), factor, view<0>(result));
  });
  auto backward = [shape = x.shape(), device = x.device(), factor](Inputs inputs,
                                                                   const Tensor<A>& dresult) {
    auto dx = Tensor<T>::empty({shape.count()}, device);
    on_device("reduce", device,
              [&](auto place) { sum_backward<T>(place, view<0>(dresult), factor, view<1>(dx)); });
    dx = dx.reshape(shape);
    inputs.add_grad(0, std::move(dx));
  };
  return Variable<A>(std::move(result), {input}, std::move(backward));
}

}  // namespace detail

/// The sum of all elements, a scalar; 0 of none. Summed in double in fixed chunks: the same bits on
/// any number of threads. Moves x once each way.
template <Real T>
Variable<accumulate_t<T>> sum(const Variable<T>& x) {
  return detail::scaled_sum<T>(x, 1.0);
}

/// The mean of all elements, a scalar.
/// @throws ShapeError  x has no elements.
template <Real T>
Variable<accumulate_t<T>> mean(const Variable<T>& x) {
  require<ShapeError>(x.shape().count() >= 1, "mean: want at least one element, got ", x.shape());
  return detail::scaled_sum<T>(x, 1.0 / static_cast<double>(x.shape().count()));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/reduce.hpp"
