// embedding/grid_shape: how fine and how large a FieldGrid is for a map: one rule for the host, and
// for a device that has to see for itself that a map has outgrown its grid.
#pragma once

#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding::detail {

inline constexpr int kSplineOrder = 4;  // nodes an axis that a point touches: cubic B-splines
inline constexpr index_t kMostGridNodes = 4000;  // an axis: 8000 with the padding
inline constexpr index_t kGridMargin = 12;       // see GridConvolution::prepare()

/// What a map of some extent wants.
struct GridNeed {
  double spacing;
  index_t nodes[2];
};

/// @param range   extent of the map along both axes, with its margin.
/// @param widest  the spacing asked for. It is halved only as often as needed for 32 cells, and
///                doubled where the grid would be too large, so that the kernel serves many
///                iterations.
constexpr GridNeed grid_need(double range_0, double range_1, double widest) {
  constexpr double kFewestCells = 32;
  const double longest = range_0 > range_1 ? range_0 : range_1;
  double spacing = widest;
  while (longest < kFewestCells * spacing && spacing > 1e-9 * widest) spacing /= 2;
  while (longest > spacing * static_cast<double>(kMostGridNodes - kSplineOrder)) spacing *= 2;
  return {spacing,
          {static_cast<index_t>(range_0 / spacing) + kSplineOrder + 1,
           static_cast<index_t>(range_1 / spacing) + kSplineOrder + 1}};
}

/// Whether a grid of these nodes and this spacing serves.
constexpr bool grid_serves(double spacing, index_t rows, index_t columns, const GridNeed& need) {
  const auto fits = [](index_t have, index_t want) {
    return want <= have && want >= have - have / 5 - 4;
  };
  return spacing == need.spacing && fits(rows, need.nodes[0]) && fits(columns, need.nodes[1]);
}

/// Nodes to make for so many needed: a little to grow.
constexpr index_t grid_nodes(index_t needed) { return needed + needed / 25; }

/// Whether the kernel is taken as -r^2 / (1 + r^2). In a small map it is nearly 1 everywhere and
/// what matters is the difference: in float, 1 / (1 + r^2) would have lost it.
constexpr bool grid_shifted(double spacing, index_t rows, index_t columns) {
  return spacing * static_cast<double>(rows > columns ? rows : columns) < 4;
}

}  // namespace mwalimu::embedding::detail
