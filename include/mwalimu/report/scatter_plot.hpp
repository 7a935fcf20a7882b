// report/scatter_plot: a map of points by class, sensor and rightness; one, or several side by side.
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
  MapColour colour = MapColour::automatic;
  bool pair_lines = false;  ///< joins the two images of a plant
  double width = 820, height = 620;
};

/// One of several maps of the same points.
struct ScatterPanel {
  std::string title = {}, note = {};
  std::vector<float> xy = {};       ///< (n, 2)
  std::vector<int> predicted = {};  ///< (n) where this map has its own; empty: the points'
};

struct ScatterPanels {
  std::string title = {};
  MapPoints points = {};  ///< xy is not used
  std::vector<ScatterPanel> panels = {};
  MapColour colour = MapColour::automatic;
  bool pair_lines = false;
  double panel = 330;  ///< side of a panel in pixels
};

namespace detail {

inline constexpr std::string_view kUnknownColour = "#9aa0a6";
inline constexpr std::string_view kRing = "fill=\"none\" stroke=\"#111111\" stroke-width=\"1.2\"";

inline constexpr std::string_view kThinRing =
    "fill=\"none\" stroke=\"#111111\" stroke-width=\"0.8\"";

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

inline std::string map_colour(const MapPoints& p, MapColour by, std::size_t i) {
  const int group = colour_group(p, by, i);
  return std::string(group < 0 ? kUnknownColour : palette(static_cast<std::size_t>(group)));
}

/// Frame, lines between pairs, markers in a shuffled order, rings above all markers.
/// @param by  not automatic.
inline void draw_map(Svg& svg, const MapPoints& p, MapColour by, bool pair_lines, double left,
                     double top, double right, double bottom) {
  svg.rect(left, top, right - left, bottom - top, "fill=\"#fbfbfc\" stroke=\"#d5d8dc\"");
  if (p.size() == 0) {
    svg.text((left + right) / 2, (top + bottom) / 2, "no points",
             {.size = 14, .anchor = "middle", .colour = kFaintInk});
  }
  const double n = static_cast<double>(std::max<std::size_t>(p.size(), 1));
  // 5 pixels for hundreds of points in a full-sized frame, less for more or in a smaller one.
  const double extent = std::min(right - left, bottom - top);
  const bool small = extent < 400;
  const double r =
      std::clamp((small ? 0.15 : 0.2) * extent / std::sqrt(n), small ? 1.6 : 2.0, 5.0);
  const std::string_view ring = small ? kThinRing : kRing;
  const auto at = detail::fitted(p, left + 16, top + 16, right - 16, bottom - 16);
  if (pair_lines) {
    for (std::size_t i = 0; i < p.size(); ++i) {
      const int j = p.pair_of(i);
      if (j <= static_cast<int>(i)) continue;
      const auto& other = at[static_cast<std::size_t>(j)];
      svg.line(at[i].first, at[i].second, other.first, other.second,
               "stroke=\"#5f6368\" stroke-width=\"0.8\" stroke-opacity=\"0.45\"");
    }
  }
  const auto order =
      random_permutation(static_cast<std::int64_t>(p.size()), RandomStream(0, Purpose::shuffle));
  for (const std::int64_t o : order) {
    const std::size_t i = static_cast<std::size_t>(o);
    draw_marker(svg, at[i].first, at[i].second, r, p.sensor_of(i),
                "fill=\"" + map_colour(p, by, i) +
                    "\" fill-opacity=\"0.85\" stroke=\"#ffffff\" stroke-width=\"0.5\"");
  }
  for (const std::int64_t o : order) {
    const std::size_t i = static_cast<std::size_t>(o);
    if (p.wrong(i)) svg.circle(at[i].first, at[i].second, r + (small ? 1.3 : 2.6), ring);
  }
}

/// What colours, shapes and rings mean, from (left, top) downwards.
/// @param count_wrong  whether to count wrong predictions: not where several maps differ in them.
inline void draw_map_legend(Svg& svg, const MapPoints& p, MapColour by, double left, double top,
                            double bottom, bool count_wrong) {
  const auto groups = colour_names(p, by);
  std::vector<std::size_t> of_group(groups.size() + 1, 0), of_sensor(p.sensors.size(), 0);
  std::size_t wrong = 0, n = std::max({p.size(), p.label.size(), p.predicted.size()});
  for (std::size_t i = 0; i < n; ++i) {
    const int group = colour_group(p, by, i);
    ++of_group[group < 0 ? groups.size() : static_cast<std::size_t>(group)];
    ++of_sensor[static_cast<std::size_t>(p.sensor_of(i))];
    wrong += p.wrong(i);
  }
  double y = top + 14;
  const auto heading = [&](const char* text) {
    svg.text(left, y, text, {.size = 12, .colour = kFaintInk, .bold = true});
    y += 21;
  };
  if (!groups.empty() && by != MapColour::sensor) {
    heading(by == MapColour::label ? "Class" : "Predicted class");
    for (std::size_t c = 0; c <= groups.size(); ++c) {
      const bool unknown = c == groups.size();
      if (unknown && of_group[c] == 0) continue;
      if (y > bottom - 130 && c + 1 < groups.size()) {
        svg.text(left + 20, y, "and " + std::to_string(groups.size() - c) + " more",
                 {.size = 12.5, .colour = kFaintInk});
        y += 20;
        break;
      }
      svg.circle(left + 7, y - 4, 5.5,
                 "fill=\"" + std::string(unknown ? kUnknownColour : palette(c)) + "\"");
      svg.text(left + 20, y,
               legend_text(unknown ? by == MapColour::label ? "no label" : "none" : groups[c],
                           of_group[c]),
               {.size = 12.5});
      y += 20;
    }
    y += 10;
  }
  if (!p.sensor.empty()) {
    heading("Sensor");
    for (std::size_t s = 0; s < p.sensors.size(); ++s) {
      draw_marker(svg, left + 7, y - 4, 5, static_cast<int>(s),
                  "fill=\"" + std::string(by == MapColour::sensor ? palette(s) : kFaintInk) + "\"");
      svg.text(left + 20, y, legend_text(p.sensors[s], of_sensor[s]), {.size = 12.5});
      y += 20;
    }
    y += 10;
  }
  if (p.labelled() && !p.predicted.empty()) {
    heading("Prediction");
    svg.circle(left + 7, y - 4, 3.5, "fill=\"" + std::string(kUnknownColour) + "\"");
    svg.circle(left + 7, y - 4, 6.5, kRing);
    svg.text(left + 20, y, count_wrong ? legend_text("wrong", wrong) : "wrong", {.size = 12.5});
  }
}

}  // namespace detail

/// Colour is the class (where no label is known, the predicted class), shape the sensor (circles
/// first, then triangles, then squares), a dark ring a wrong prediction. There are no axis numbers:
/// only who lies near whom means something. Points are drawn in a shuffled order, so that no class
/// always lies on top.
/// @throws  as detail::check of the points.
inline std::string scatter_plot_svg(const ScatterPlot& plot) {
  const MapPoints& p = plot.points;
  detail::check(p, "scatter_plot_svg");
  const MapColour by = detail::chosen_colour(p, plot.colour);
  Svg svg(plot.width, plot.height, plot.title);
  svg.text(18, 27, plot.title, {.size = 16, .bold = true});
  const double legend_left = plot.width - 178, top = 44, bottom = plot.height - 18;
  detail::draw_map(svg, p, by, plot.pair_lines, 18, top, legend_left - 16, bottom);
  detail::draw_map_legend(svg, p, by, legend_left, top, bottom, true);
  return svg.str();
}

/// Several maps of the same points in a grid of square panels, with one legend.
/// @throws ValueError  no panels.  @throws  as detail::check, of each panel.
inline std::string scatter_panels_svg(const ScatterPanels& plot) {
  require<ValueError>(!plot.panels.empty(), "scatter_panels_svg: want at least one panel");
  MapPoints p = plot.points;
  const MapColour by = detail::chosen_colour(p, plot.colour);
  const std::size_t count = plot.panels.size();
  const std::size_t columns = count <= 3 ? count : count == 4 ? 2 : 3;
  const std::size_t rows = (count + columns - 1) / columns;
  constexpr double kLeft = 18, kTop = 44, kHead = 24, kGap = 16, kLegend = 178;
  const double side = plot.panel;
  const auto extent = [&](std::size_t many) { return static_cast<double>(many) * (side + kGap); };
  // The legend takes the last, empty place of the grid where there is one.
  const bool inside = count < rows * columns;
  const double width = kLeft + extent(columns) + (inside ? 0 : kLegend);
  const double row_height = side + kHead + kGap;
  const double height =
      std::max(kTop + static_cast<double>(rows) * row_height, kTop + kHead + 300.0);
  Svg svg(width, height, plot.title);
  svg.text(kLeft, 27, plot.title, {.size = 16, .bold = true});
  for (std::size_t k = 0; k < count; ++k) {
    const ScatterPanel& panel = plot.panels[k];
    p.xy = panel.xy;
    p.predicted = panel.predicted.empty() ? plot.points.predicted : panel.predicted;
    detail::check(p, "scatter_panels_svg");
    const double left = kLeft + extent(k % columns);
    const double top = kTop + static_cast<double>(k / columns) * row_height;
    svg.text(left, top + 15, panel.title, {.size = 13.5, .bold = true});
    svg.text(left + side, top + 15, panel.note,
             {.size = 12.5, .anchor = "end", .colour = kFaintInk});
    detail::draw_map(svg, p, by, plot.pair_lines, left, top + kHead, left + side,
                     top + kHead + side);
  }
  const double legend_left = inside ? kLeft + extent(count % columns) + 14 : width - kLegend + 6;
  const double legend_top = kTop + kHead + (inside ? static_cast<double>(rows - 1) * row_height : 0);
  const bool same = std::all_of(plot.panels.begin(), plot.panels.end(),
                                [](const ScatterPanel& panel) { return panel.predicted.empty(); });
  p.predicted = same ? plot.points.predicted : plot.panels.back().predicted;
  detail::draw_map_legend(svg, p, by, legend_left, legend_top, height, same);
  return svg.str();
}

}  // namespace mwalimu::report
