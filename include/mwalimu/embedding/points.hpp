// embedding/points: the rows of a matrix seen as points, and the checks they pass before any work.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding {

/// n points of d coordinates, row-major and contiguous; a view, it owns nothing.
class Points {
 public:
  Points() = default;
  /// @throws ShapeError  values.size() != n * d, or a negative extent.
  Points(std::span<const float> values, index_t n, index_t d) : values_(values), n_(n), d_(d) {
    require<ShapeError>(n >= 0 && d >= 0 && static_cast<index_t>(values.size()) == n * d,
                        "Points: want ", n, " x ", d, " = ", n * d, " values, got ", values.size());
  }

  /// The rows of a tensor (n, d) in host memory; the tensor must outlive the view.
  /// @throws ShapeError   it is not a row-major matrix.
  /// @throws DeviceError  it is not in host memory.
  explicit Points(const Tensor<float>& x) {
    require<ShapeError>(x.rank() == 2 && x.is_contiguous(),
                        "Points: want a row-major (n, d) tensor, got ", x.shape(), " with strides ",
                        x.strides());
    require<DeviceError>(x.device() == Device::cpu(), "Points: want host memory, got ", x.device());
    values_ = std::span<const float>(x.data(), static_cast<std::size_t>(x.count()));
    n_ = x.dim(0);
    d_ = x.dim(1);
  }

  index_t n() const { return n_; }
  index_t d() const { return d_; }
  std::span<const float> values() const { return values_; }
  const float* row(index_t i) const { return values_.data() + i * d_; }

 private:
  std::span<const float> values_;
  index_t n_ = 0, d_ = 0;
};

/// @throws ValueError  a NaN, an infinity, or a value whose squared distances would overflow float;
///                     the text names `what`, the row, the column and the value.
inline void require_usable(const Points& x, const char* what) {
  // A squared distance is at most d * (2 max|x|)^2.
  const float limit =
      static_cast<float>(0.5 * std::sqrt(static_cast<double>(std::numeric_limits<float>::max()) /
                                         2 / static_cast<double>(x.d() < 1 ? 1 : x.d())));
  for (index_t i = 0; i < x.n(); ++i) {
    for (index_t c = 0; c < x.d(); ++c) {
      const float v = x.row(i)[c];
      require<ValueError>(std::isfinite(v), what, ": row ", i, ", column ", c, " is ", v,
                          "; every value must be finite");
      require<ValueError>(std::abs(v) <= limit, what, ": row ", i, ", column ", c, " is ", v,
                          "; squared distances of values beyond ", limit,
                          " overflow float, divide the data by its largest magnitude");
    }
  }
}

/// The points with every row scaled to length 1, for cosine distances.
/// @throws ValueError  a row is zero: it has no direction.
inline std::vector<float> normalised_rows(const Points& x) {
  std::vector<float> out(x.values().begin(), x.values().end());
  for (index_t i = 0; i < x.n(); ++i) {
    double square = 0;
    for (index_t c = 0; c < x.d(); ++c) square += double{x.row(i)[c]} * x.row(i)[c];
    require<ValueError>(square > 0, "cosine distance: row ", i,
                        " is zero and has no direction; drop it or use the Euclidean metric");
    const double scale = 1.0 / std::sqrt(square);
    for (index_t c = 0; c < x.d(); ++c) {
      out[i * x.d() + c] = static_cast<float>(x.row(i)[c] * scale);
    }
  }
  return out;
}

}  // namespace mwalimu::embedding
