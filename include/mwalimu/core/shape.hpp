// core/shape: the extents of a tensor, and the strides that lay them out in memory.
#pragma once

#include <array>
#include <initializer_list>
#include <ostream>
#include <span>

#include "mwalimu/core/types.hpp"

namespace mwalimu {

/// Extents, outermost first; rank 0 (a scalar) to 5. Also used for strides.
class Shape {
 public:
  static constexpr int kMaxRank = 5;

  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<index_t> extents)
      : Shape(std::span<const index_t>(extents.begin(), extents.size())) {}
  /// @throws ShapeError  more than kMaxRank extents.
  constexpr explicit Shape(std::span<const index_t> extents)
      : rank_(static_cast<int>(extents.size())) {
    require<ShapeError>(extents.size() <= kMaxRank, "shape: want rank 0 to ", kMaxRank, ", got ",
                        extents.size());
    for (std::size_t i = 0; i < kMaxRank; ++i) extents_[i] = i < extents.size() ? extents[i] : 0;
  }

  constexpr int rank() const { return rank_; }
  constexpr index_t operator[](int i) const { return extents_[static_cast<std::size_t>(i)]; }
  constexpr index_t& operator[](int i) { return extents_[static_cast<std::size_t>(i)]; }
  constexpr const index_t* begin() const { return extents_.data(); }
  constexpr const index_t* end() const { return extents_.data() + rank_; }

  /// The product of all extents; 1 for a scalar.
  constexpr index_t count() const {
    index_t product = 1;
    for (index_t extent : *this) product *= extent;
    return product;
  }
  // Unused extents are 0, so whole arrays compare.
  constexpr bool operator==(const Shape&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << '(';
    for (int i = 0; i < shape.rank(); ++i) out << (i > 0 ? ", " : "") << shape[i];
    return out << ')';
  }

 private:
  std::array<index_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// Strides, in elements, of a dense row-major tensor.
constexpr Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  index_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

}  // namespace mwalimu
