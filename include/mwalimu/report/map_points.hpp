// report/map_points: a two-dimensional map with what is known of each of its points.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"

namespace mwalimu::report {

/// n points of a map. Vectors that may be empty say nothing about any point then.
struct MapPoints {
  std::vector<float> xy = {};       ///< (n, 2)
  std::vector<int> label = {};      ///< (n) index into classes, -1: not known; may be empty
  std::vector<int> predicted = {};  ///< (n) index into classes, -1: none; may be empty
  std::vector<int> sensor = {};     ///< (n) index into sensors; may be empty: all of the first
  std::vector<std::string> classes = {};
  std::vector<std::string> sensors{"RGB", "RGN"};

  std::size_t size() const { return xy.size() / 2; }
  int label_of(std::size_t i) const { return label.empty() ? -1 : label[i]; }
  int sensor_of(std::size_t i) const { return sensor.empty() ? 0 : sensor[i]; }
  /// Both are known and differ.
  bool wrong(std::size_t i) const {
    return !label.empty() && !predicted.empty() && label[i] >= 0 && predicted[i] >= 0 &&
           label[i] != predicted[i];
  }
};

namespace detail {

/// @throws ShapeError  the vectors' lengths disagree.
/// @throws ValueError  a coordinate is not finite, or an index names no class or sensor.
inline void check(const MapPoints& p, const char* who) {
  const std::size_t n = p.size();
  const auto fits = [&](const std::vector<int>& v) { return v.empty() || v.size() == n; };
  require<ShapeError>(p.xy.size() % 2 == 0 && fits(p.label) && fits(p.predicted) && fits(p.sensor),
                      who, ": want (n, 2) coordinates and n labels, predictions and sensors, got ",
                      p.xy.size(), ", ", p.label.size(), ", ", p.predicted.size(), " and ",
                      p.sensor.size(), " values");
  for (std::size_t i = 0; i < n; ++i) {
    require<ValueError>(std::isfinite(p.xy[2 * i]) && std::isfinite(p.xy[2 * i + 1]), who,
                        ": point ", i, " lies at (", p.xy[2 * i], ", ", p.xy[2 * i + 1], ")");
    const auto in = [](int v, int low, std::size_t count) {
      return v >= low && v < static_cast<int>(count);
    };
    require<ValueError>(in(p.label_of(i), -1, p.classes.size()) &&
                            (p.predicted.empty() || in(p.predicted[i], -1, p.classes.size())),
                        who, ": point ", i, " has a label or prediction outside the ",
                        p.classes.size(), " classes");
    require<ValueError>(in(p.sensor_of(i), 0, p.sensors.size()), who, ": point ", i, " has sensor ",
                        p.sensor_of(i), ", want less than ", p.sensors.size());
  }
}

/// The points' pixels in a rectangle, one scale for both axes and y upwards, as distances in a map
/// of neighbours have no direction that could be stretched.
inline std::vector<std::pair<double, double>> fitted(const MapPoints& p, double left, double top,
                                                     double right, double bottom) {
  double low[2] = {0, 0}, high[2] = {0, 0};
  for (std::size_t i = 0; i < p.size(); ++i) {
    for (std::size_t c = 0; c < 2; ++c) {
      const double v = p.xy[2 * i + c];
      low[c] = i == 0 ? v : std::min(low[c], v);
      high[c] = i == 0 ? v : std::max(high[c], v);
    }
  }
  const double range[2] = {std::max(high[0] - low[0], 1e-30), std::max(high[1] - low[1], 1e-30)};
  double scale = std::min((right - left) / range[0], (bottom - top) / range[1]);
  if (!std::isfinite(scale) || high[0] - low[0] + high[1] - low[1] <= 0) scale = 0;
  std::vector<std::pair<double, double>> out;
  for (std::size_t i = 0; i < p.size(); ++i) {
    out.emplace_back((left + right) / 2 + (p.xy[2 * i] - (low[0] + high[0]) / 2) * scale,
                     (top + bottom) / 2 - (p.xy[2 * i + 1] - (low[1] + high[1]) / 2) * scale);
  }
  return out;
}

}  // namespace detail
}  // namespace mwalimu::report
