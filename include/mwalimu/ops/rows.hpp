// ops/rows: a channels-last tensor seen as a matrix, one row a pixel (or a sample), one column a
// channel. What is done per channel needs no more than that.
#pragma once

#include <optional>
#include <utility>

#include "mwalimu/core/tensor.hpp"

namespace mwalimu::ops::detail {

/// The distance between rows of (..., C) if all dimensions before the last step evenly and channels
/// are neighbours. True of a dense NHWC tensor and of a range of its channels.
inline std::optional<index_t> row_stride(const Shape& shape, const Shape& strides) {
  const int last = shape.rank() - 1;
  if (last < 0 || (shape[last] > 1 && strides[last] != 1)) return std::nullopt;
  index_t stride = 0, next = 0;
  for (int i = last - 1; i >= 0; --i) {
    if (shape[i] == 1) continue;
    if (stride == 0) {
      stride = strides[i];
    } else if (strides[i] != next) {
      return std::nullopt;
    }
    next = strides[i] * shape[i];
  }
  return stride != 0 ? stride : shape[last];
}

/// The tensor itself where its rows step evenly, else a dense copy.
template <Element T>
Tensor<T> with_rows(const Tensor<T>& x) {
  return row_stride(x.shape(), x.strides()) ? x : x.contiguous();
}

/// (rows, C) of a tensor that with_rows has returned, or of a dense one.
template <Element T>
View<const T, 2> rows(const Tensor<T>& x) {
  const index_t C = x.dim(x.rank() - 1);
  return {x.data(), {C == 0 ? 0 : x.count() / C, C}, {*row_stride(x.shape(), x.strides()), 1}};
}
template <Element T>
View<T, 2> rows(Tensor<T>& x) {
  const View<const T, 2> view = rows(std::as_const(x));
  return {x.data(), view.extents(), view.strides()};
}

/// tensor.template view<R>() without the grammar.
template <int R, Element T>
View<T, R> view(Tensor<T>& tensor) {
  return tensor.template view<R>();
}
template <int R, Element T>
View<const T, R> view(const Tensor<T>& tensor) {
  return tensor.template view<R>();
}

}  // namespace mwalimu::ops::detail
