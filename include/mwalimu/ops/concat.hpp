// ops/concat: tensors joined along a dimension, and a range of one taken out again.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::ops {

/// Inputs one behind the other along `dimension`: crops along 0, channels of (N, H, W, C) along 3.
/// The gradient of each input is a range of the result's, not copied.
///
/// @param parts      one or more, equal in all other extents; differentiable.
/// @param dimension  0 <= dimension < rank.
/// @return           dense.
/// @throws ShapeError  no part, dimension out of range, or other extents differ.
///
/// Moves  one read and one write forward, nothing backward.
template <Real T>
Variable<T> concat(std::span<const Variable<T>> parts, int dimension) {
  require<ShapeError>(!parts.empty(), "concat: want at least one tensor");
  Shape shape = parts[0].shape();
  require<ShapeError>(dimension >= 0 && dimension < shape.rank(), "concat: no dimension ",
                      dimension, " in ", shape);
  index_t extent = 0;
  for (const Variable<T>& part : parts) {
    Shape other = part.shape();
    require<ShapeError>(other.rank() == shape.rank(), "concat: want one rank, got ",
                        parts[0].shape(), " and ", other);
    extent += other[dimension];
    other[dimension] = shape[dimension];
    require<ShapeError>(other == shape, "concat: want equal extents but in dimension ", dimension,
                        ", got ", parts[0].shape(), " and ", part.shape());
  }
  shape[dimension] = extent;
  auto y = Tensor<T>::empty(shape, parts[0].value().device());
  std::vector<Edge> edges;
  std::vector<index_t> ends;
  index_t begin = 0;
  for (const Variable<T>& part : parts) {
    const index_t end = begin + part.dim(dimension);
    y.slice(dimension, begin, end).copy_from(part.value());
    edges.emplace_back(part);
    ends.push_back(end);
    begin = end;
  }
  auto backward = [ends, dimension](Inputs inputs, const Tensor<T>& dout) {
    for (std::size_t i = 0; i < ends.size(); ++i) {
      inputs.add_grad(i, dout.slice(dimension, i == 0 ? 0 : ends[i - 1], ends[i]));
    }
  };
  return Variable<T>(std::move(y), std::span<const Edge>(edges), std::move(backward));
}
template <Real T>
Variable<T> concat(const std::vector<Variable<T>>& parts, int dimension) {
  return concat(std::span<const Variable<T>>(parts), dimension);
}

/// Elements [begin, end) of x along `dimension`: a view, nothing is copied. Its gradient is added
/// to that range of x's, whose rest stays zero.
///
/// @throws ShapeError  the range leaves x.
template <Real T>
Variable<T> slice(const Variable<T>& x, int dimension, index_t begin, index_t end) {
  auto backward = [dimension, begin, end](Inputs inputs, const Tensor<T>& dout) {
    auto [gradient, add] = inputs.slot<T>(0);
    if (!add) gradient.zero();
    Tensor<T> range = gradient.slice(dimension, begin, end);
    if (!add) {
      range.copy_from(dout);
    } else {
      on_device("concat", dout.device(), [&](auto place) { accumulate(place, dout, range); });
    }
  };
  return Variable<T>(x.value().slice(dimension, begin, end), {x}, std::move(backward));
}

}  // namespace mwalimu::ops
