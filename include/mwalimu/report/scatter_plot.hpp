// report/scatter_plot: a map of points by class, sensor and rightness.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/report/map_points.hpp"
#include "mwalimu/report/svg.hpp"

namespace mwalimu::report {

struct ScatterPlot {
  std::string title = {};
  MapPoints points = {};
  double width = 820, height = 620;
};

namespace detail {

inline constexpr std::string_view kUnknownColour = "#9aa0a6";

inline void draw_marker(Svg& svg, double x, double y, double r, int sensor,
                        const std::string& attributes) {
  if (sensor == 0) return svg.circle(x, y, r, attributes);
  if (sensor == 1) {
    // A triangle of about the circle's area.
    const std::array<std::pair<double, double>, 3> corners{
        {{x, y - 1.45 * r}, {x + 1.3 * r, y + 0.85 * r}, {x - 1.3 * r, y + 0.85 * r}}};
    return svg.path(corners, true, attributes);
  }
  svg.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r, attributes);
}

/// "name (count)", cut to what a legend can hold.
inline std::string legend_text(const std::string& name, std::size_t count) {
  std::string text = name;
  while (text_width(text) > 15 && !text.empty()) {
    // Whole UTF-8 sequences only.
    do {
      text.pop_back();
    } while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80);
  }
  if (text != name) text += "\xE2\x80\xA6";
  return text + " (" + std::to_string(count) + ")";
}

}  // namespace detail

/// Colour is the class, shape the sensor (circles first, then triangles, then squares), a dark ring
/// a wrong prediction. There are no axis numbers: only who lies near whom means something.
/// Points are drawn in a shuffled order, so that no class always lies on top.
/// @throws  as detail::check of the points.
inline std::string scatter_plot_svg(const ScatterPlot& plot) {
  const MapPoints& p = plot.points;
  detail::check(p, "scatter_plot_svg");
  std::vector<std::size_t> of_class(p.classes.size() + 1, 0), of_sensor(p.sensors.size(), 0);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    ++of_class[p.label_of(i) < 0 ? p.classes.size() : static_cast<std::size_t>(p.label_of(i))];
    ++of_sensor[static_cast<std::size_t>(p.sensor_of(i))];
    wrong += p.wrong(i);
  }

  Svg svg(plot.width, plot.height, plot.title);
  svg.text(18, 27, plot.title, {.size = 16, .bold = true});
  const double legend_left = plot.width - 178;
  const double left = 18, top = 44, right = legend_left - 16, bottom = plot.height - 18;
  svg.rect(left, top, right - left, bottom - top, "fill=\"#fbfbfc\" stroke=\"#d5d8dc\"");
  if (p.size() == 0) {
    svg.text((left + right) / 2, (top + bottom) / 2, "no points",
             {.size = 14, .anchor = "middle", .colour = kFaintInk});
  }

  const double n = static_cast<double>(std::max<std::size_t>(p.size(), 1));
  const double r = std::clamp(110 / std::sqrt(n), 2.0, 5.0);
  const auto at = detail::fitted(p, left + 16, top + 16, right - 16, bottom - 16);
  const auto colour = [&](int label) {
    return std::string(label < 0 ? detail::kUnknownColour
                                 : palette(static_cast<std::size_t>(label)));
  };
  const auto style = [&](int label) {
    return "fill=\"" + colour(label) +
           "\" fill-opacity=\"0.8\" stroke=\"#ffffff\" stroke-width=\"0.5\"";
  };
  const std::string ring = "fill=\"none\" stroke=\"#111111\" stroke-width=\"1.4\"";
  const auto order =
      random_permutation(static_cast<std::int64_t>(p.size()), RandomStream(0, Purpose::shuffle));
  for (const std::int64_t o : order) {
    const std::size_t i = static_cast<std::size_t>(o);
    detail::draw_marker(svg, at[i].first, at[i].second, r, p.sensor_of(i), style(p.label_of(i)));
  }
  for (const std::int64_t o : order) {  // rings above all markers
    const std::size_t i = static_cast<std::size_t>(o);
    if (p.wrong(i)) svg.circle(at[i].first, at[i].second, r + 2.8, ring);
  }

  double y = top + 14;
  const auto heading = [&](const char* text) {
    svg.text(legend_left, y, text, {.size = 12, .colour = kFaintInk, .bold = true});
    y += 21;
  };
  if (!p.label.empty()) {
    heading("Class");
    for (std::size_t c = 0; c <= p.classes.size(); ++c) {
      const bool unknown = c == p.classes.size();
      if (unknown && of_class[c] == 0) continue;
      svg.circle(legend_left + 7, y - 4, 5.5,
                 "fill=\"" + colour(unknown ? -1 : static_cast<int>(c)) + "\"");
      svg.text(legend_left + 20, y,
               detail::legend_text(unknown ? "no label" : p.classes[c], of_class[c]),
               {.size = 12.5});
      y += 20;
    }
    y += 10;
  }
  if (!p.sensor.empty()) {
    heading("Sensor");
    for (std::size_t s = 0; s < p.sensors.size(); ++s) {
      detail::draw_marker(svg, legend_left + 7, y - 4, 5, static_cast<int>(s),
                          "fill=\"" + std::string(kFaintInk) + "\"");
      svg.text(legend_left + 20, y, detail::legend_text(p.sensors[s], of_sensor[s]),
               {.size = 12.5});
      y += 20;
    }
    y += 10;
  }
  if (!p.label.empty() && !p.predicted.empty()) {
    heading("Prediction");
    svg.circle(legend_left + 7, y - 4, 3.5, "fill=\"" + std::string(detail::kUnknownColour) + "\"");
    svg.circle(legend_left + 7, y - 4, 6.5, ring);
    svg.text(legend_left + 20, y, detail::legend_text("wrong", wrong), {.size = 12.5});
  }
  return svg.str();
}

}  // namespace mwalimu::report
