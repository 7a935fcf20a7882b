// embedding/coordinates: the points of a map, one array an axis, as the forces read them.
#pragma once

#include <span>
#include <vector>

#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/lanes.hpp"

namespace mwalimu::embedding {

/// n points in 1, 2 or 3 dimensions, one array an axis, each padded with zeros to whole vectors.
class Coordinates {
 public:
  Coordinates() = default;
  Coordinates(index_t n, int dimensions)
      : n_(n),
        stride_(detail::round_up(n, detail::kLanes)),
        dimensions_(dimensions),
        values_(stride_ * dimensions, 0.0f) {}
  /// From row-major (n, dimensions).
  Coordinates(std::span<const float> rows, index_t n, int dimensions) : Coordinates(n, dimensions) {
    for (index_t i = 0; i < n; ++i) {
      for (int c = 0; c < dimensions; ++c) axis(c)[i] = rows[i * dimensions + c];
    }
  }
  /// To row-major (n, dimensions).
  std::vector<float> rows() const {
    std::vector<float> out(n_ * dimensions_);
    for (index_t i = 0; i < n_; ++i) {
      for (int c = 0; c < dimensions_; ++c) out[i * dimensions_ + c] = axis(c)[i];
    }
    return out;
  }
  index_t n() const { return n_; }
  int dimensions() const { return dimensions_; }
  float* axis(int c) { return values_.data() + c * stride_; }
  const float* axis(int c) const { return values_.data() + c * stride_; }

 private:
  index_t n_ = 0, stride_ = 0;
  int dimensions_ = 0;
  std::vector<float> values_;
};

}  // namespace mwalimu::embedding
