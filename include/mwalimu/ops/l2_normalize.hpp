// ops/l2_normalize: rows scaled to unit length.
#pragma once

#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// y[b, :] <- x[b, :] / max(|x[b, :]|, eps); norm[b] <- |x[b, :]|. y may be x.
template <Real T>
void l2_normalize_forward(Cpu, View<const T, 2> x, double eps, View<T, 2> y,
                          View<accumulate_t<T>, 1> norm);
template <Real T>
void l2_normalize_forward(Gpu, View<const T, 2> x, double eps, View<T, 2> y,
                          View<accumulate_t<T>, 1> norm);

/// dx[b, :] <- (dy - y (y . dy)) / norm, and dy / eps where the norm is below eps.
template <Real T>
void l2_normalize_backward(Cpu, View<const T, 2> dy, View<const T, 2> y,
                           View<const accumulate_t<T>, 1> norm, double eps, View<T, 2> dx);
template <Real T>
void l2_normalize_backward(Gpu, View<const T, 2> dy, View<const T, 2> y,
                           View<const accumulate_t<T>, 1> norm, double eps, View<T, 2> dx);

/// y[b, :] = x[b, :] / max(|x[b, :]|_2, eps): SwAV's embeddings on the unit sphere.
///
/// @param x    (B, D); differentiable.
/// @param eps  > 0; a shorter row is divided by eps instead, so that a zero row stays zero.
/// @return     (B, D).
/// @throws ShapeError  x is not rank 2.
/// @throws ValueError  eps <= 0 or NaN.
///
/// Saves     y and the norms.
/// Moves     x and y once; dy, y and dx once.
/// Accuracy  norms and products are summed in double.
/// Source    torch.nn.functional.normalize, dim 1.
template <Real T>
Variable<T> l2_normalize(const Variable<T>& x, double eps = 1e-12) {
  require<ShapeError>(x.shape().rank() == 2, "l2_normalize: want (B, D), got ", x.shape());
  require<ValueError>(eps > 0, "l2_normalize: want eps > 0, got ", eps);
  using A = accumulate_t<T>;
  const Tensor<T> from = detail::with_rows(x.value());
  auto y = Tensor<T>::empty(x.shape(), from.device());
  auto norm = Tensor<A>::empty({x.dim(0)}, from.device());
  on_device("l2_normalize", from.device(), [&](auto place) {
    l2_normalize_forward<T>(place, detail::rows(from), eps, detail::view<2>(y),
                            detail::view<1>(norm));
  });
  auto backward = [y, norm, eps](Inputs inputs, const Tensor<T>& dout) {
    const Tensor<T> dy = detail::with_rows(dout);
    auto dx = Tensor<T>::empty(y.shape(), y.device());
    on_device("l2_normalize", y.device(), [&](auto place) {
      l2_normalize_backward<T>(place, detail::rows(dy), detail::view<2>(y), detail::view<1>(norm),
                               eps, detail::view<2>(dx));
    });
    inputs.add_grad(0, std::move(dx));
  };
  return Variable<T>(std::move(y), {x}, std::move(backward));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/l2_normalize.hpp"
