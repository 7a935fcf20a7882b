// ops/concat: tensors joined along a dimension, and ranges of one taken out again.
#pragma once

#include <memory>
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

/// `count` equal ranges of x along `dimension`: views, nothing is copied. Their gradients are written
/// side by side into one tensor of x's shape: where x has no other reader, that is x's gradient.
///
/// @throws ShapeError  dimension out of range, or its extent is not a multiple of count >= 1.
///
/// Moves  nothing forward, one read and one write backward. slice() of every range would clear the
///        gradient first and then add to it.
template <Real T>
std::vector<Variable<T>> split(const Variable<T>& x, int dimension, index_t count) {
  require<ShapeError>(dimension >= 0 && dimension < x.shape().rank(), "split: no dimension ",
                      dimension, " in ", x.shape());
  require<ShapeError>(count >= 1 && x.dim(dimension) % count == 0, "split: ", x.shape(),
                      " does not fall into ", count, " equal parts along dimension ", dimension);
  const index_t extent = x.dim(dimension) / count;
  // Between x and its parts: what the parts write arrives here whole, and goes on to x.
  const auto written = std::make_shared<std::vector<bool>>(static_cast<std::size_t>(count), false);
  const Variable<T> whole(x.value(), {x}, [=](Inputs inputs, const Tensor<T>& dout) {
    Tensor<T> gradient = dout;
    for (index_t i = 0; i < count; ++i) {
      if ((*written)[static_cast<std::size_t>(i)]) continue;
      gradient.slice(dimension, i * extent, (i + 1) * extent).zero();  // a part that nobody read
    }
    inputs.add_grad(0, std::move(gradient));
  });
  std::vector<Variable<T>> parts;
  for (index_t i = 0; i < count; ++i) {
    const index_t begin = i * extent, end = begin + extent;
    parts.emplace_back(x.value().slice(dimension, begin, end), std::initializer_list<Edge>{whole},
                       [=](Inputs inputs, const Tensor<T>& dout) {
                         auto [gradient, add] = inputs.slot<T>(0);
                         gradient.slice(dimension, begin, end).copy_from(dout);
                         (*written)[static_cast<std::size_t>(i)] = true;
                       });
  }
  return parts;
}

}  // namespace mwalimu::ops
