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
  std::vector<int> pair = {};       ///< (n) the point of the same plant, -1: none; may be empty
  std::vector<float> probability = {};  ///< (n) of the prediction; may be empty
  std::vector<std::string> id = {};     ///< (n) names; may be empty
  std::vector<std::string> classes = {};
  std::vector<std::string> sensors{"RGB", "RGN"};

  std::size_t size() const { return xy.size() / 2; }
  int label_of(std::size_t i) const { return label.empty() ? -1 : label[i]; }
  int predicted_of(std::size_t i) const { return predicted.empty() ? -1 : predicted[i]; }
  int sensor_of(std::size_t i) const { return sensor.empty() ? 0 : sensor[i]; }
  int pair_of(std::size_t i) const { return pair.empty() ? -1 : pair[i]; }
  /// A label is known for one point at least.
  bool labelled() const {
    return std::any_of(label.begin(), label.end(), [](int v) { return v >= 0; });
  }
  /// Both are known and differ.
  bool wrong(std::size_t i) const {
    return !label.empty() && !predicted.empty() && label[i] >= 0 && predicted[i] >= 0 &&
           label[i] != predicted[i];
  }
};

/// What a marker's colour stands for. automatic: the label where one is known, else the prediction,
/// else the sensor.
enum class MapColour { automatic, label, prediction, sensor };

namespace detail {

inline MapColour chosen_colour(const MapPoints& p, MapColour wish) {
  if (wish != MapColour::automatic) return wish;
  const auto known = [](const std::vector<int>& v) {
    return std::any_of(v.begin(), v.end(), [](int c) { return c >= 0; });
  };
  if (known(p.label)) return MapColour::label;
  if (known(p.predicted)) return MapColour::prediction;
  return p.sensor.empty() ? MapColour::label : MapColour::sensor;
}

/// The point's colour as a position in the palette, -1: not known.
inline int colour_group(const MapPoints& p, MapColour by, std::size_t i) {
  return by == MapColour::label        ? p.label_of(i)
         : by == MapColour::prediction ? p.predicted_of(i)
                                       : p.sensor_of(i);
}

/// The names of those positions; empty where nothing is known.
inline std::vector<std::string> colour_names(const MapPoints& p, MapColour by) {
  if (by == MapColour::sensor) return p.sensors;
  const bool known = by == MapColour::label ? !p.label.empty() : !p.predicted.empty();
  return known ? p.classes : std::vector<std::string>();
}

/// @throws ShapeError  the vectors' lengths disagree.
/// @throws ValueError  a coordinate is not finite, or an index names no class or sensor.
inline void check(const MapPoints& p, const char* who) {
  const std::size_t n = p.size();
  const auto fits = [&](const std::vector<int>& v) { return v.empty() || v.size() == n; };
  require<ShapeError>(p.xy.size() % 2 == 0 && fits(p.label) && fits(p.predicted) && fits(p.sensor),
                      who, ": want (n, 2) coordinates and n labels, predictions and sensors, got ",
                      p.xy.size(), ", ", p.label.size(), ", ", p.predicted.size(), " and ",
                      p.sensor.size(), " values");
  require<ShapeError>(fits(p.pair) && (p.probability.empty() || p.probability.size() == n) &&
                          (p.id.empty() || p.id.size() == n),
                      who, ": want ", n, " partners, probabilities and names, got ", p.pair.size(),
                      ", ", p.probability.size(), " and ", p.id.size());
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
    const int pair = p.pair_of(i);
    require<ValueError>(in(pair, -1, n) && (pair < 0 || p.pair_of(static_cast<std::size_t>(pair)) ==
                                                            static_cast<int>(i)),
                        who, ": point ", i, " has partner ", pair,
                        ", which is no point or has another partner");
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
