// ops/max_pool: the largest value of each window.
#pragma once

#include <cstdint>
#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/pool2d.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

// Cpu is defined in mwalimu/cpu/max_pool.hpp, Gpu in kernels/max_pool.cuh.

/// y <- maxima of the windows; where[...] <- kernel * row + column of the first maximum within its
/// window. A NaN is larger than anything. Tensors are dense (N, H, W, C).
template <Real T>
void max_pool_forward(Cpu, View<const T, 4> x, const Pool2dOptions& options, View<T, 4> y,
                      View<std::uint8_t, 4> where);
template <Real T>
void max_pool_forward(Gpu, View<const T, 4> x, const Pool2dOptions& options, View<T, 4> y,
                      View<std::uint8_t, 4> where);

/// dx <- the sum of dy over the windows whose maximum was here. Overwrites.
template <Real T>
void max_pool_backward(Cpu, View<const T, 4> dy, View<const std::uint8_t, 4> where,
                       const Pool2dOptions& options, View<T, 4> dx);
template <Real T>
void max_pool_backward(Gpu, View<const T, 4> dy, View<const std::uint8_t, 4> where,
                       const Pool2dOptions& options, View<T, 4> dx);

/// Maximum over windows of an image; padding never wins. The gradient goes to the first maximum of
/// a window in row-major order, as in PyTorch.
///
/// @param x  (N, H, W, C); differentiable.
/// @return   (N, H', W', C), H' = floor((H + 2 padding - kernel) / stride) + 1, or ceil.
/// @throws ShapeError  x is not rank 4, or no window fits.
/// @throws ValueError  kernel, stride or padding out of range.
///
/// Saves  one byte per output element.
/// Moves  forward x once, y and the bytes; backward dy, bytes, dx once each: no atomics and no
///        zeroing, since each input collects from the windows that cover it.
template <Real T>
Variable<T> max_pool(const Variable<T>& x, const Pool2dOptions& options) {
  detail::check_pool2d("max_pool", x.shape(), options);
  const Tensor<T> image = x.value().contiguous();
  const Shape shape = image.shape();
  const Shape out{shape[0], detail::PoolAxis(shape[1], options).count,
                  detail::PoolAxis(shape[2], options).count, shape[3]};
  auto y = Tensor<T>::empty(out, image.device());
  auto where = Tensor<std::uint8_t>::empty(out, image.device());
  on_device("max_pool", image.device(), [&](auto place) {
    max_pool_forward<T>(place, detail::view<4>(image), options, detail::view<4>(y),
                        detail::view<4>(where));
  });
  auto backward = [where, shape, options](Inputs inputs, const Tensor<T>& dout) {
    const Tensor<T> dy = dout.contiguous();
    auto dx = Tensor<T>::empty(shape, dy.device());
    on_device("max_pool", dy.device(), [&](auto place) {
      max_pool_backward<T>(place, detail::view<4>(dy), detail::view<4>(where), options,
                           detail::view<4>(dx));
    });
    inputs.add_grad(0, std::move(dx));
  };
  return Variable<T>(std::move(y), {x}, std::move(backward));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/max_pool.hpp"
