// ops/global_pool: a feature vector from a feature map: the mean, or maximum and mean side by side.
#pragma once

#include <cstdint>
#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// Which half of concat_pool's vector comes first. fastai's networks want max_average, timm's
/// average_max; a head trained on one must not be fed the other.
enum class ConcatPoolOrder { max_average, average_max };

// Backends. x is (N, P, C): P pixels. A NaN is larger than anything.
// Cpu is defined in mwalimu/cpu/global_pool.hpp, Gpu in kernels/global_pool.cuh.

/// average[n, c] <- the mean over the pixels.
template <Real T>
void global_average_forward(Cpu, View<const T, 3> x, View<T, 2> average);
template <Real T>
void global_average_forward(Gpu, View<const T, 3> x, View<T, 2> average);

/// average[n, c] <- the mean over the pixels; maximum[n, c] <- the maximum, where[n, c] <- its first
/// pixel.
template <Real T>
void concat_pool_forward(Cpu, View<const T, 3> x, View<T, 2> maximum, View<T, 2> average,
                         View<std::int32_t, 2> where);
template <Real T>
void concat_pool_forward(Gpu, View<const T, 3> x, View<T, 2> maximum, View<T, 2> average,
                         View<std::int32_t, 2> where);

/// dx[n, p, c] <- daverage[n, c] / P.
template <Real T>
void global_average_backward(Cpu, View<const T, 2> daverage, View<T, 3> dx);
template <Real T>
void global_average_backward(Gpu, View<const T, 2> daverage, View<T, 3> dx);

/// dx[n, p, c] <- daverage[n, c] / P, and dmaximum[n, c] more where p = where[n, c].
template <Real T>
void concat_pool_backward(Cpu, View<const T, 2> dmaximum, View<const T, 2> daverage,
                          View<const std::int32_t, 2> where, View<T, 3> dx);
template <Real T>
void concat_pool_backward(Gpu, View<const T, 2> dmaximum, View<const T, 2> daverage,
                          View<const std::int32_t, 2> where, View<T, 3> dx);

namespace detail {

/// (N, H, W, C) as (N, H W, C).
template <Real T>
Tensor<T> as_pixels(const char* op, const Tensor<T>& x) {
  const Shape& shape = x.shape();
  require<ShapeError>(
      shape.rank() == 4 && shape[1] * shape[2] >= 1 && shape[1] * shape[2] < (index_t{1} << 31), op,
      ": want (N, H, W, C) with at least one pixel, got ", shape);
  return x.contiguous().reshape({shape[0], shape[1] * shape[2], shape[3]});
}

}  // namespace detail

/// y[n, c] = mean over h, w of x[n, h, w, c].
///
/// @param x  (N, H, W, C); differentiable.
/// @return   (N, C).
/// @throws ShapeError  x is not rank 4, or has no pixels.
///
/// Moves  x once forward, dx once backward. Saves nothing.
template <Real T>
Variable<T> global_average_pool(const Variable<T>& x) {
  const Shape shape = x.shape();
  const Tensor<T> pixels = detail::as_pixels("global_average_pool", x.value());
  auto y = Tensor<T>::empty({shape[0], shape[3]}, pixels.device());
  on_device("global_pool", pixels.device(), [&](auto place) {
    global_average_forward<T>(place, detail::view<3>(pixels), detail::view<2>(y));
  });
  auto backward = [shape](Inputs inputs, const Tensor<T>& dout) {
    auto dx = Tensor<T>::empty({shape[0], shape[1] * shape[2], shape[3]}, dout.device());
    on_device("global_pool", dout.device(), [&](auto place) {
      global_average_backward<T>(place, detail::rows(dout.contiguous()), detail::view<3>(dx));
    });
    dx = dx.reshape(shape);
    inputs.add_grad(0, std::move(dx));
  };
  return Variable<T>(std::move(y), {x}, std::move(backward));
}

/// Maximum and mean over all pixels side by side: [max(C), mean(C)], or the other way round. The
/// gradient of a maximum goes to its first pixel.
///
/// @param x  (N, H, W, C); differentiable.
/// @return   (N, 2C).
/// @throws ShapeError  x is not rank 4, or has no pixels.
///
/// Saves   the pixel of each maximum, (N, C) of 32 bits.
/// Moves   x forward (on the Cpu twice, the second time from cache), dx backward.
/// Source  fastai's AdaptiveConcatPool2d, timm's catavgmax.
template <Real T>
Variable<T> concat_pool(const Variable<T>& x,
                        ConcatPoolOrder order = ConcatPoolOrder::max_average) {
  const Shape shape = x.shape();
  const Tensor<T> pixels = detail::as_pixels("concat_pool", x.value());
  const index_t N = shape[0], C = shape[3];
  const index_t max_at = order == ConcatPoolOrder::max_average ? 0 : C, average_at = C - max_at;
  auto y = Tensor<T>::empty({N, 2 * C}, pixels.device());
  auto where = Tensor<std::int32_t>::empty({N, C}, pixels.device());
  on_device("global_pool", pixels.device(), [&](auto place) {
    auto maximum = y.slice(1, max_at, max_at + C), average = y.slice(1, average_at, average_at + C);
    concat_pool_forward<T>(place, detail::view<3>(pixels), detail::view<2>(maximum),
                           detail::view<2>(average), detail::view<2>(where));
  });
  auto backward = [where, shape, max_at, average_at](Inputs inputs, const Tensor<T>& dout) {
    const Tensor<T> dy = detail::with_rows(dout);
    const Tensor<T> dmaximum = dy.slice(1, max_at, max_at + shape[3]);
    const Tensor<T> daverage = dy.slice(1, average_at, average_at + shape[3]);
    auto dx = Tensor<T>::empty({shape[0], shape[1] * shape[2], shape[3]}, dout.device());
    on_device("global_pool", dout.device(), [&](auto place) {
      concat_pool_backward<T>(place, detail::view<2>(dmaximum), detail::view<2>(daverage),
                              detail::view<2>(where), detail::view<3>(dx));
    });
    dx = dx.reshape(shape);
    inputs.add_grad(0, std::move(dx));
  };
  return Variable<T>(std::move(y), {x}, std::move(backward));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/global_pool.hpp"
