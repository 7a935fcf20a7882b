// embedding/field_grid: the repulsion of t-SNE from one potential on a grid, O(n + G log G).
//
// With the kernel K(r) = 1 / (1 + |r|^2) and the potential S(y) = sum_j K(y - y_j) of all points,
//
//   sum_j w_ij = S(y_i) - K(0)    and    R_i = sum_j w_ij^2 (y_i - y_j) = -1/2 grad S(y_i),
//
// since grad K = -2 r / (1 + |r|^2)^2. So one potential gives both, and both come from one forward
// and one inverse transform: points are spread over the nodes of a grid with B-spline weights,
// the grid is convolved with the kernel, and the potential and its gradient are read off with the
// same weights and their derivatives. The kernel's spectrum is divided by that of the B-spline
// twice, which makes both the spreading and the reading interpolation by splines. The force is then
// the exact derivative of the sum that is read: descent follows a potential, not an approximation
// of its gradient that belongs to none.
//
// What a point contributes to its own reading is known in closed form and taken out.
//
// Source: B-spline spreading and differentiation of the spline: Essmann et al. 1995 (smooth
// particle-mesh Ewald). Fourier acceleration of t-SNE: Linderman et al. 2019, which convolves four
// charges; three fields of one density: Pezzotti et al. 2020.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/coordinates.hpp"
#include "mwalimu/embedding/grid_shape.hpp"
#include "mwalimu/embedding/lane_fft.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {
namespace detail {

/// Weights of the four nodes around a point, and their derivatives, per unit of the spacing.
struct SplineWeights {
  std::array<float, kSplineOrder> value, slope;
};

/// @param t  position after the second of the four nodes, in [0, 1].
inline SplineWeights spline_weights(float t) {
  const float s = 1 - t, tt = t * t, ss = s * s;
  return {{ss * s / 6, (4 - 6 * tt + 3 * tt * t) / 6, (4 - 6 * ss + 3 * ss * s) / 6, tt * t / 6},
          {-ss / 2, (3 * tt - 4 * t) / 2, (4 * s - 3 * ss) / 2, tt / 2}};
}

/// to[c][r] <- from[r][c] of a 16 x 16 block.
inline void transpose_block(const float* from, index_t from_stride, float* to, index_t to_stride) {
  for (index_t r = 0; r < kLanes; ++r) {
    for (index_t c = 0; c < kLanes; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

/// Convolution with a kernel that is even along both axes, on a grid that does not wrap around.
class GridConvolution {
 public:
  index_t rows() const { return rows_; }
  index_t columns() const { return columns_; }

  /// Prepares a grid of rows x columns nodes.
  /// @param kernel    kernel(row offset, column offset), offsets >= 0 in nodes.
  /// @param filter_*  divides the kernel's spectrum along an axis: filter(k, length).
  template <class Kernel, class Filter>
  void prepare(index_t rows, index_t columns, Kernel&& kernel, Filter&& filter) {
    rows_ = rows;
    columns_ = columns;
    // Twice the extent keeps pairs apart; the margin keeps them from the kernel's kink at half the
    // length, whose ripples in the spline fall off by 0.27 a node.
    const index_t height = fast_length(2 * rows + kGridMargin);
    const index_t width = fast_length(2 * columns + kGridMargin);
    if (height != column_fft_.length()) column_fft_ = LaneFft(height);
    if (width != row_fft_.length()) row_fft_ = LaneRealFft(width);
    groups_ = round_up(width / 2 + 1, kLanes) / kLanes;

    const index_t half = height / 2, kernel_rows = round_up(half + 1, kLanes);
    values_.assign(kernel_rows * width, 0.0f);
    share_out(half + 1, rows_a_thread(width), [&](index_t begin, index_t end) {
      for (index_t r = begin; r < end; ++r) {
        float* row = values_.data() + r * width;
        for (index_t c = 0; c <= width / 2; ++c) row[c] = row[(width - c) % width] = kernel(r, c);
      }
    });
    spectrum_.resize(groups_ * kernel_rows);
    transform_rows(values_.data(), kernel_rows, width, width);

    kernel_.resize(groups_ * (half + 1));
    std::vector<double> down(height), across(groups_ * kLanes, 1.0);
    for (index_t k = 0; k < height; ++k) down[k] = 1 / filter(k, height);
    for (index_t k = 0; k <= width / 2; ++k) across[k] = 1 / filter(k, width);
    const double scale = 1 / (static_cast<double>(height) * static_cast<double>(width));
    share_out(groups_, 1, [&](index_t begin, index_t end) {
      std::vector<ComplexLanes> a(height), b(height);
      for (index_t g = begin; g < end; ++g) {
        const ComplexLanes* in = spectrum_.data() + g * kernel_rows;
        for (index_t r = 0; r < height; ++r) a[r] = in[std::min(r, height - r)];
        const ComplexLanes* out = column_fft_.forward(a.data(), b.data());
        for (index_t r = 0; r <= half; ++r) {  // real and even: half the rows tell all
          Lanes factor;
          for (index_t l = 0; l < kLanes; ++l) {
            factor[l] = static_cast<float>(scale * down[r] * across[g * kLanes + l]);
          }
          kernel_[g * (half + 1) + r] = out[r].part[0] * factor;
        }
      }
    });

    stride_ = round_up(columns, kLanes);
    values_.assign(round_up(rows, kLanes) * stride_, 0.0f);
    spectrum_.resize(groups_ * round_up(rows, kLanes));
  }

  /// (rows, columns), `stride()` floats apart: the density, and after convolve() the potential.
  float* values() { return values_.data(); }
  const float* values() const { return values_.data(); }
  index_t stride() const { return stride_; }
  void clear() { std::fill(values_.begin(), values_.end(), 0.0f); }

  void convolve() {
    const index_t height = column_fft_.length(), half = height / 2;
    const index_t padded = round_up(rows_, kLanes);
    transform_rows(values_.data(), padded, columns_, stride_);
    share_out(groups_, 1, [&](index_t begin, index_t end) {
      std::vector<ComplexLanes> a(height), b(height);
      for (index_t g = begin; g < end; ++g) {
        ComplexLanes* column = spectrum_.data() + g * padded;
        std::copy_n(column, rows_, a.begin());
        std::fill(a.begin() + rows_, a.end(), ComplexLanes{});
        ComplexLanes* out = column_fft_.forward(a.data(), b.data());
        const Lanes* kernel = kernel_.data() + g * (half + 1);
        for (index_t r = 0; r < height; ++r) {
          const Lanes& factor = kernel[std::min(r, height - r)];
          out[r].part[0] *= factor;
          out[r].part[1] *= factor;
        }
        out = column_fft_.inverse(out, out == a.data() ? b.data() : a.data());
        std::copy_n(out, rows_, column);
      }
    });
    const index_t half_width = row_fft_.length() / 2;
    share_out(padded / kLanes, 1, [&](index_t begin, index_t end) {
      std::vector<ComplexLanes> a(groups_ * kLanes), b(half_width + 1);
      for (index_t band = begin; band < end; ++band) {
        for (index_t g = 0; g < groups_; ++g) {
          const float* from =
              reinterpret_cast<const float*>(spectrum_.data() + g * padded + band * kLanes);
          float* to = reinterpret_cast<float*>(a.data() + g * kLanes);
          transpose_block(from, 2 * kLanes, to, 2 * kLanes);
          transpose_block(from + kLanes, 2 * kLanes, to + kLanes, 2 * kLanes);
        }
        const float* out = reinterpret_cast<const float*>(row_fft_.inverse(a.data(), b.data()));
        for (index_t c = 0; c < stride_; c += kLanes) {
          transpose_block(out + c * kLanes, kLanes, values_.data() + band * kLanes * stride_ + c,
                          stride_);
        }
      }
    });
  }

 private:
  /// spectrum_ <- transforms of `count` rows (a multiple of 16) of which `used` values are not 0.
  void transform_rows(const float* values, index_t count, index_t used, index_t stride) {
    const index_t half = row_fft_.length() / 2;
    share_out(count / kLanes, 1, [&](index_t begin, index_t end) {
      std::vector<ComplexLanes> a(half + 1), b(groups_ * kLanes);
      for (index_t band = begin; band < end; ++band) {
        std::fill(a.begin(), a.end(), ComplexLanes{});
        float* to = reinterpret_cast<float*>(a.data());
        const float* from = values + band * kLanes * stride;
        for (index_t c = 0; c < used; ++c) {
          for (index_t r = 0; r < kLanes; ++r) to[c * kLanes + r] = from[r * stride + c];
        }
        const ComplexLanes* out = row_fft_.forward(a.data(), b.data());
        for (index_t g = 0; g < groups_; ++g) {
          const index_t last = std::min(half + 1, (g + 1) * kLanes);
          ComplexLanes* to_group = spectrum_.data() + g * count + band * kLanes;
          for (index_t k = g * kLanes; k < last; ++k) {
            for (index_t r = 0; r < kLanes; ++r) {
              to_group[r].part[0][k - g * kLanes] = out[k].part[0][r];
              to_group[r].part[1][k - g * kLanes] = out[k].part[1][r];
            }
          }
        }
      }
    });
  }

  index_t rows_ = 0, columns_ = 0, stride_ = 0, groups_ = 0;
  LaneFft column_fft_;
  LaneRealFft row_fft_;
  std::vector<float> values_;
  std::vector<ComplexLanes> spectrum_;  // (groups, rows): sixteen columns an element
  std::vector<Lanes> kernel_;           // (groups, height / 2 + 1), real
};

}  // namespace detail

/// The potential of a set of points in the plane. Buffers and the kernel's spectrum are kept from
/// one call to the next, and made anew only when the map has outgrown them.
class FieldGrid {
 public:
  /// @param spacing  of the nodes, in units of the map; 0 < spacing <= 1. The relative error of the
  ///                 forces falls with its fourth power.
  /// @throws ValueError  spacing out of range.
  explicit FieldGrid(double spacing = 1.0 / 3) : widest_(spacing) {
    require<ValueError>(spacing > 0 && spacing <= 1, "FieldGrid: want 0 < spacing <= 1, got ",
                        spacing);
  }

  /// Spacing and nodes in use; all zero before the first call. They depend on the maps seen so far:
  /// a grid that is to give the same bits as another must take over its shape.
  struct Shape {
    double spacing = 0;
    index_t rows = 0, columns = 0;
  };
  Shape shape() const { return {spacing_, grid_.rows(), grid_.columns()}; }
  /// @throws ValueError  not the shape of a grid, or wider than this library makes them.
  void restore(const Shape& shape) {
    if (shape.spacing == 0) return;
    require<ValueError>(shape.spacing > 0 && shape.rows >= kOrder && shape.columns >= kOrder &&
                            shape.rows <= 2 * kMostNodes && shape.columns <= 2 * kMostNodes,
                        "FieldGrid: want a spacing > 0 and ", kOrder, " ... ", 2 * kMostNodes,
                        " nodes an axis, got ", shape.spacing, ", ", shape.rows, " and ",
                        shape.columns);
    prepare(shape.spacing, shape.rows, shape.columns);
  }
  double spacing() const { return spacing_; }
  /// Whether the map is so wide that the spacing had to grow beyond the one asked for.
  bool coarse() const { return spacing_ > widest_; }
  /// How often the kernel was made.
  int rebuilds() const { return rebuilds_; }

  /// Repulsion as exact_repulsion(), approximately: r <- R.
  /// @return  Z.
  double repulsion(const Coordinates& y, Coordinates& r) {
    build(y);
    std::vector<double> part((y.n() + kBlock - 1) / kBlock);
    share_out(static_cast<index_t>(part.size()), 8, [&](index_t begin, index_t end) {
      for (index_t b = begin; b < end; ++b) {
        double sum = 0;
        for (index_t e = b * kBlock; e < std::min(y.n(), (b + 1) * kBlock); ++e) {
          const Item& item = items_[e];
          const detail::SplineWeights wx = detail::spline_weights(item.tx);
          const detail::SplineWeights wy = detail::spline_weights(item.ty);
          float s, sx, sy, own, own_x, own_y;
          read(item.row, item.column, wx, wy, s, sx, sy);
          self(wx, wy, own, own_x, own_y);
          sum += s - own;
          r.axis(0)[item.point] = (sx - own_x) * (-0.5f * inverse_);
          r.axis(1)[item.point] = (sy - own_y) * (-0.5f * inverse_);
        }
        part[b] = sum;
      }
    });
    double z = 0;
    for (const double p : part) z += p;
    const double n = static_cast<double>(y.n());
    return shifted_ ? z + n * (n - 1) : z;
  }

  /// Makes the potential of the points y, to be read by at().
  /// @param margin  by which the grid reaches beyond the points.
  void build(const Coordinates& y, float margin = 0) {
    require<ValueError>(y.dimensions() == 2, "FieldGrid: want 2 components, got ", y.dimensions());
    fit(y, margin);
    sort(y);
    spread();
    grid_.convolve();
    points_ = y.n();
  }

  /// Potential of build()'s points at a place, and R = -1/2 of its gradient.
  /// A place outside the grid is read at its border.
  void at(float x, float y, float& s, float& rx, float& ry) const {
    const auto place = [&](float v, float low, index_t nodes, index_t& node) {
      const float u =
          std::clamp((v - low) * inverse_, 0.0f, static_cast<float>(nodes - detail::kSplineOrder));
      node = static_cast<index_t>(u);
      return u - static_cast<float>(node);
    };
    index_t row, column;
    const auto wx = detail::spline_weights(place(x, low_[0], grid_.rows(), row));
    const auto wy = detail::spline_weights(place(y, low_[1], grid_.columns(), column));
    read(row, column, wx, wy, s, rx, ry);
    if (shifted_) s += static_cast<float>(points_);
    rx *= -0.5f * inverse_;
    ry *= -0.5f * inverse_;
  }

 private:
  static constexpr int kOrder = detail::kSplineOrder;
  static constexpr index_t kBlock = 256;       // points whose sums are taken together
  static constexpr index_t kMostNodes = detail::kMostGridNodes;

  struct Item {
    float tx, ty;
    std::int32_t row, column, point;
  };

  /// Chooses spacing and extent; makes the kernel if they have changed.
  void fit(const Coordinates& y, float margin) {
    double range[2];
    for (int c = 0; c < 2; ++c) {
      const auto [low, high] = std::minmax_element(y.axis(c), y.axis(c) + y.n());
      low_[c] = *low - margin;
      range[c] = double{*high} - *low + 2 * margin;
    }
    const detail::GridNeed need = detail::grid_need(range[0], range[1], widest_);
    for (int c = 0; c < 2; ++c) {
      low_[c] = static_cast<float>(std::floor(low_[c] / need.spacing) * need.spacing);
    }
    if (!detail::grid_serves(spacing_, grid_.rows(), grid_.columns(), need)) {
      prepare(need.spacing, detail::grid_nodes(need.nodes[0]), detail::grid_nodes(need.nodes[1]));
    }
    inverse_ = static_cast<float>(1 / spacing_);
  }

  void prepare(double spacing, index_t rows, index_t columns) {
    spacing_ = spacing;
    ++rebuilds_;
    shifted_ = detail::grid_shifted(spacing, rows, columns);
    grid_.prepare(
        rows, columns,
        [&](index_t r, index_t c) {
          const double x = static_cast<double>(r) * spacing, y = static_cast<double>(c) * spacing;
          const double square = x * x + y * y;
          return static_cast<float>((shifted_ ? -square : 1.0) / (1 + square));
        },
        [](index_t k, index_t length) {
          // Spectrum of the cubic B-spline at the nodes, (1, 4, 1) / 6, squared.
          const double turn = static_cast<double>(k) / static_cast<double>(length);
          const double b = (4 + 2 * std::cos(2 * std::numbers::pi * turn)) / 6;
          return b * b;
        });
    // The potential of one unit at a node is the kernel that spreading and reading see.
    grid_.clear();
    grid_.values()[0] = 1;
    grid_.convolve();
    for (int a = 0; a < kOrder; ++a) {
      for (int b = 0; b < kOrder; ++b) {
        own_[a][b] =
            grid_.values()[a * grid_.stride() + b] * (a > 0 ? 2.0f : 1.0f) * (b > 0 ? 2.0f : 1.0f);
      }
    }
  }

  /// Fills items_ in the order of the grid's rows; points of a row stay in their order.
  void sort(const Coordinates& y) {
    const index_t n = y.n();
    unsorted_.resize(n);
    items_.resize(n);
    const float *x0 = y.axis(0), *x1 = y.axis(1);
    share_out(n, 16384, [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i) {
        const float u = (x0[i] - low_[0]) * inverse_, v = (x1[i] - low_[1]) * inverse_;
        // Rounding may lift the largest one node too high.
        const auto row = std::min(static_cast<std::int32_t>(u),
                                  static_cast<std::int32_t>(grid_.rows() - kOrder));
        const auto column = std::min(static_cast<std::int32_t>(v),
                                     static_cast<std::int32_t>(grid_.columns() - kOrder));
        unsorted_[i] = {u - static_cast<float>(row), v - static_cast<float>(column), row, column,
                        static_cast<std::int32_t>(i)};
      }
    });
    row_begin_.assign(grid_.rows() + 1, 0);
    for (const Item& item : unsorted_) ++row_begin_[item.row + 1];
    for (index_t r = 0; r < grid_.rows(); ++r) row_begin_[r + 1] += row_begin_[r];
    std::vector<index_t> fill(row_begin_.begin(), row_begin_.end() - 1);
    for (const Item& item : unsorted_) items_[fill[item.row]++] = item;
  }

  /// The density: each node sums what lands on it in the order of items_, whoever does it.
  void spread() {
    const index_t stride = grid_.stride();
    share_out(grid_.rows(), 16, [&](index_t begin, index_t end) {
      std::fill(grid_.values() + begin * stride, grid_.values() + end * stride, 0.0f);
      const index_t first = std::max<index_t>(0, begin - (kOrder - 1));
      for (index_t e = row_begin_[first]; e < row_begin_[end]; ++e) {
        const Item& item = items_[e];
        const auto wx = detail::spline_weights(item.tx).value;
        const auto wy = detail::spline_weights(item.ty).value;
        for (index_t a = std::max<index_t>(0, begin - item.row);
             a < std::min<index_t>(kOrder, end - item.row); ++a) {
          float* to = grid_.values() + (item.row + a) * stride + item.column;
          for (int b = 0; b < kOrder; ++b) to[b] += wx[a] * wy[b];
        }
      }
    });
  }

  /// s <- sum_ab wx_a wy_b S_ab, and its derivatives along both axes per unit of the spacing.
  void read(index_t row, index_t column, const detail::SplineWeights& wx,
            const detail::SplineWeights& wy, float& s, float& sx, float& sy) const {
    float along[kOrder] = {}, across[kOrder] = {};
    for (int a = 0; a < kOrder; ++a) {
      const float* from = grid_.values() + (row + a) * grid_.stride() + column;
      for (int b = 0; b < kOrder; ++b) {
        along[b] += wx.value[a] * from[b];
        across[b] += wx.slope[a] * from[b];
      }
    }
    s = sx = sy = 0;
    for (int b = 0; b < kOrder; ++b) {
      s += along[b] * wy.value[b];
      sx += across[b] * wy.value[b];
      sy += along[b] * wy.slope[b];
    }
  }

  /// What a point of the set adds to read() at its own place: with the autocorrelation
  /// c_a = sum_m w_m w_m+a of its weights, sum_ab c_a(x) c_b(y) K_ab over the kernel near 0.
  void self(const detail::SplineWeights& wx, const detail::SplineWeights& wy, float& s, float& sx,
            float& sy) const {
    float cx[kOrder] = {}, dx[kOrder] = {}, cy[kOrder] = {}, dy[kOrder] = {};
    for (int a = 0; a < kOrder; ++a) {
      for (int m = 0; m + a < kOrder; ++m) {
        cx[a] += wx.value[m] * wx.value[m + a];
        cy[a] += wy.value[m] * wy.value[m + a];
        // Both signs of a count, hence half of the derivative of c_a.
        dx[a] += 0.5f * (wx.slope[m] * wx.value[m + a] + wx.value[m] * wx.slope[m + a]);
        dy[a] += 0.5f * (wy.slope[m] * wy.value[m + a] + wy.value[m] * wy.slope[m + a]);
      }
    }
    s = sx = sy = 0;
    for (int a = 0; a < kOrder; ++a) {
      for (int b = 0; b < kOrder; ++b) {
        s += own_[a][b] * cx[a] * cy[b];
        sx += own_[a][b] * dx[a] * cy[b];
        sy += own_[a][b] * cx[a] * dy[b];
      }
    }
  }

  double widest_, spacing_ = 0;
  float low_[2] = {}, inverse_ = 1;
  bool shifted_ = false;
  int rebuilds_ = 0;
  index_t points_ = 0;
  detail::GridConvolution grid_;
  float own_[kOrder][kOrder] = {};
  std::vector<Item> unsorted_, items_;
  std::vector<index_t> row_begin_;
};

}  // namespace mwalimu::embedding
