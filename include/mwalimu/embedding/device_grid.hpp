// embedding/device_grid: the FieldGrid's repulsion on a CUDA device, as kernels see it.
//
// Declared here, defined in kernels/tsne_grid.cuh; embedding/device_field_grid.hpp owns the memory.
#pragma once

#include <cstdint>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/device_forces.hpp"
#include "mwalimu/embedding/grid_shape.hpp"

namespace mwalimu::embedding {

/// A transform's length as the product of its radices, 2, 3, 4 and 5.
struct FftPlan {
  static constexpr int kMost = 16;

  int length = 1, stages = 0;
  int radix[kMost] = {};
  const float* twiddle = nullptr;  ///< (length) pairs: exp(-2 pi i k / length)
};

/// Memory of a grid. Nodes are counted along axis 0 (rows) and axis 1 (columns).
struct DeviceGrid {
  index_t rows = 0, columns = 0;
  double spacing = 0;
  double widest = 0;  ///< the spacing that was asked for
  bool shifted = false;
  FftPlan across, along;         ///< of the padded columns, and of the padded rows
  long long* density = nullptr;  ///< (rows, columns) in units of 2^-32; zero between two calls
  float* spectrum = nullptr;     ///< (across.length / 2 + 1, rows made even) pairs
  float* kernel = nullptr;       ///< (across.length / 2 + 1, along.length / 2 + 1)
  float* potential = nullptr;    ///< (rows, columns)
  float* own = nullptr;          ///< (4, 4) of a point's own potential
};

// Templates on the place only so that they need no definition where they are declared.

/// Fills grid.kernel and grid.own; the other members are set. Uses spectrum, density and potential.
template <class Place>
void prepare_grid(Place on, const DeviceGrid& grid);

/// r <- R and progress->z <- Z of the map y (n, 2) by the grid, as FieldGrid::repulsion(). Where
/// the grid does not serve the map, only progress->waiting, low and high are written.
template <class Place>
void grid_repulsion(Place on, const DeviceGrid& grid, View<const float, 2> y, View<float, 2> r,
                    DescentProgress* progress);

/// The part of grid_repulsion() that looks whether the grid serves: for a grid without memory.
template <class Place>
void measure_map(Place on, const DeviceGrid& grid, View<const float, 2> y,
                 DescentProgress* progress);

}  // namespace mwalimu::embedding
