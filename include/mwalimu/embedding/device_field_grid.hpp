// embedding/device_field_grid: a FieldGrid in the memory of a CUDA device.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/embedding/device_grid.hpp"
#include "mwalimu/embedding/field_grid.hpp"
#include "mwalimu/embedding/lane_fft.hpp"

namespace mwalimu::embedding::detail {

/// The radices of a transform and its twiddle factors, made in double.
/// @throws ValueError  a length that 2, 3 and 5 do not divide.
inline FftPlan fft_plan(index_t length, Tensor<float>& twiddle, Device device) {
  FftPlan plan;
  plan.length = static_cast<int>(length);
  index_t rest = length;
  for (const int radix : {4, 2, 3, 5}) {
    for (; rest % radix == 0; rest /= radix) plan.radix[plan.stages++] = radix;
  }
  require<ValueError>(rest == 1, "fft_plan: want a product of 2, 3 and 5, got ", length);
  auto host = Tensor<float>::empty({length, 2});
  for (index_t k = 0; k < length; ++k) {
    const double turn = 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(length);
    host.data()[2 * k] = static_cast<float>(std::cos(turn));
    host.data()[2 * k + 1] = static_cast<float>(-std::sin(turn));
  }
  twiddle = host.to(device);
  plan.twiddle = twiddle.data();
  return plan;
}

/// Buffers and the kernel's spectrum for maps of one extent. Their addresses change with the shape:
/// a graph that has them is to be recorded again then.
class DeviceFieldGrid {
 public:
  explicit DeviceFieldGrid(double spacing) { grid_.widest = spacing; }

  /// What kernels take. Before the first fit() it serves no map.
  const DeviceGrid& tables() const { return grid_; }
  FieldGrid::Shape shape() const { return {grid_.spacing, grid_.rows, grid_.columns}; }
  bool made() const { return grid_.rows > 0; }
  /// Whether the map is so wide that the spacing had to grow beyond the one asked for.
  bool coarse() const { return grid_.spacing > grid_.widest; }
  int rebuilds() const { return rebuilds_; }

  /// Makes the grid for a map of these bounds, on the place's stream.
  void fit(Gpu on, const DescentProgress& measured) {
    const GridNeed need = grid_need(measured.high[0] - measured.low[0],
                                    measured.high[1] - measured.low[1], grid_.widest);
    make(on, {need.spacing, grid_nodes(need.nodes[0]), grid_nodes(need.nodes[1])});
  }
  /// Takes over another grid's shape; that of no grid is left alone.
  /// @throws ValueError  not the shape of a grid.
  void restore(Gpu on, const FieldGrid::Shape& shape) {
    if (shape.spacing == 0) return;
    require<ValueError>(
        shape.spacing > 0 && shape.rows >= kSplineOrder && shape.columns >= kSplineOrder &&
            shape.rows <= 2 * kMostGridNodes && shape.columns <= 2 * kMostGridNodes,
        "DeviceFieldGrid: want a spacing > 0 and ", kSplineOrder, " ... ", 2 * kMostGridNodes,
        " nodes an axis, got ", shape.spacing, ", ", shape.rows, " and ", shape.columns);
    make(on, shape);
  }

 private:
  void make(Gpu on, const FieldGrid::Shape& shape) {
    const Device device = Device::cuda(on.device);
    const index_t height = fast_length(2 * shape.rows + kGridMargin);
    const index_t width = fast_length(2 * shape.columns + kGridMargin);
    const index_t half_width = width / 2 + 1, even_rows = (shape.rows + 1) / 2 * 2;
    density_ = Tensor<std::int64_t>::empty({shape.rows, shape.columns}, device);
    spectrum_ = Tensor<float>::empty({half_width, even_rows, 2}, device);
    kernel_ = Tensor<float>::empty({half_width, height / 2 + 1}, device);
    potential_ = Tensor<float>::empty({shape.rows, shape.columns}, device);
    own_ = Tensor<float>::empty({kSplineOrder, kSplineOrder}, device);
    grid_.rows = shape.rows;
    grid_.columns = shape.columns;
    grid_.spacing = shape.spacing;
    grid_.shifted = grid_shifted(shape.spacing, shape.rows, shape.columns);
    grid_.across = fft_plan(width, across_, device);
    grid_.along = fft_plan(height, along_, device);
    grid_.density = reinterpret_cast<long long*>(density_.data());
    grid_.spectrum = spectrum_.data();
    grid_.kernel = kernel_.data();
    grid_.potential = potential_.data();
    grid_.own = own_.data();
    prepare_grid(on, grid_);
    ++rebuilds_;
  }

  DeviceGrid grid_;
  Tensor<std::int64_t> density_;
  Tensor<float> spectrum_, kernel_, potential_, own_, across_, along_;
  int rebuilds_ = 0;
};

}  // namespace mwalimu::embedding::detail
