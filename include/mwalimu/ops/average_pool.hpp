// ops/average_pool: the mean of each window.
#pragma once

#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/pool2d.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// Pool2dOptions and what a window at the edge is divided by: the pixels of the image in it, or
/// with count_include_pad those of image and padding (never those beyond the padding).
struct AveragePoolOptions : Pool2dOptions {
  bool count_include_pad = false;
};

// Cpu is defined in mwalimu/cpu/average_pool.hpp, Gpu in kernels/average_pool.cuh.

/// y <- means of the windows of dense (N, H, W, C).
template <Real T>
void average_pool_forward(Cpu, View<const T, 4> x, const AveragePoolOptions& options, View<T, 4> y);
template <Real T>
void average_pool_forward(Gpu, View<const T, 4> x, const AveragePoolOptions& options, View<T, 4> y);

/// dx <- sum over the windows that cover a pixel of dy / count. Overwrites.
template <Real T>
void average_pool_backward(Cpu, View<const T, 4> dy, const AveragePoolOptions& options,
                           View<T, 4> dx);
template <Real T>
void average_pool_backward(Gpu, View<const T, 4> dy, const AveragePoolOptions& options,
                           View<T, 4> dx);

/// Mean over windows of an image. xresnet's shortcut: {kernel 2, stride 2, ceil_mode}; res2net's:
/// {kernel 3, stride s, padding 1, count_include_pad}.
///
/// @param x  (N, H, W, C); differentiable.
/// @return   (N, H', W', C), H' = floor((H + 2 padding - kernel) / stride) + 1, or ceil.
/// @throws ShapeError  x is not rank 4, or no window fits.
/// @throws ValueError  kernel, stride or padding out of range.
///
/// Saves  nothing.
/// Moves  forward x and y once, backward dy and dx once.
template <Real T>
Variable<T> average_pool(const Variable<T>& x, const AveragePoolOptions& options) {
  detail::check_pool2d("average_pool", x.shape(), options);
  const Tensor<T> image = x.value().contiguous();
  const Shape shape = image.shape();
  auto y = Tensor<T>::empty({shape[0], detail::PoolAxis(shape[1], options).count,
                             detail::PoolAxis(shape[2], options).count, shape[3]},
                            image.device());
  on_device("average_pool", image.device(), [&](auto place) {
    average_pool_forward<T>(place, detail::view<4>(image), options, detail::view<4>(y));
  });
  auto backward = [shape, options](Inputs inputs, const Tensor<T>& dout) {
    const Tensor<T> dy = dout.contiguous();
    auto dx = Tensor<T>::empty(shape, dy.device());
    on_device("average_pool", dy.device(), [&](auto place) {
      average_pool_backward<T>(place, detail::view<4>(dy), options, detail::view<4>(dx));
    });
    inputs.add_grad(0, std::move(dx));
  };
  return Variable<T>(std::move(y), {x}, std::move(backward));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/average_pool.hpp"
