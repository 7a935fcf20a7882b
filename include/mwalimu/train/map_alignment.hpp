// train/map_alignment: one map turned so that it lies over another as well as it can.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"

namespace mwalimu::train {

struct AlignedMap {
  std::vector<float> xy;  ///< (n, 2) the map, moved, rotated and perhaps mirrored, not scaled
  /// 1 - (what the best rotation and scale explain of the target), in [0, 1]: 0 the same shape.
  double disparity = 1;
};

/// Orthogonal Procrustes in two dimensions: the rotation or reflection R and the shift that minimise
/// sum |R b_i - a_i|^2. A t-SNE map means the same in every rotation and mirrored, so nothing is
/// lost, and two maps of the same points can be compared by eye.
///
/// With H = sum a_i b_i^T of the centred points, the best rotation has the angle of
/// (h00 + h11, h10 - h01), the best reflection that of (h00 - h11, h10 + h01); the longer of the two
/// vectors wins, and its length is trace(R^T H).
///
/// @param map, target  (n, 2) finite values.
/// @throws ShapeError  another number of values.
/// Source  Schoenemann 1966, "A generalized solution of the orthogonal Procrustes problem".
inline AlignedMap align_map(std::span<const float> map, std::span<const float> target) {
  require<ShapeError>(map.size() == target.size() && map.size() % 2 == 0,
                      "align_map: want two maps of the same points, got ", map.size(), " and ",
                      target.size(), " values");
  const std::size_t n = map.size() / 2;
  if (n == 0) return {{}, 0};
  std::array<double, 2> b{}, a{};
  for (std::size_t i = 0; i < map.size(); ++i) b[i % 2] += map[i], a[i % 2] += target[i];
  for (std::size_t c = 0; c < 2; ++c) b[c] /= static_cast<double>(n), a[c] /= static_cast<double>(n);
  double h00 = 0, h01 = 0, h10 = 0, h11 = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double bx = map[2 * i] - b[0], by = map[2 * i + 1] - b[1];
    const double ax = target[2 * i] - a[0], ay = target[2 * i + 1] - a[1];
    h00 += ax * bx, h01 += ax * by, h10 += ay * bx, h11 += ay * by;
    aa += ax * ax + ay * ay, bb += bx * bx + by * by;
  }
  const double turn = std::hypot(h00 + h11, h10 - h01), mirror = std::hypot(h00 - h11, h10 + h01);
  const bool mirrored = mirror > turn;
  const double trace = mirrored ? mirror : turn;
  double c = 1, s = 0;
  if (trace > 0) {
    c = (mirrored ? h00 - h11 : h00 + h11) / trace;
    s = (mirrored ? h10 + h01 : h10 - h01) / trace;
  }
  AlignedMap out;
  out.xy.reserve(map.size());
  for (std::size_t i = 0; i < n; ++i) {
    const double bx = map[2 * i] - b[0], by = (map[2 * i + 1] - b[1]) * (mirrored ? -1 : 1);
    out.xy.push_back(static_cast<float>(c * bx - s * by + a[0]));
    out.xy.push_back(static_cast<float>(s * bx + c * by + a[1]));
  }
  out.disparity = aa > 0 && bb > 0 ? std::max(0.0, 1 - trace * trace / (aa * bb)) : aa == bb ? 0 : 1;
  return out;
}

}  // namespace mwalimu::train
