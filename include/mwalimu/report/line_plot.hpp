// report/line_plot: curves over a common axis, with a legend and marked events.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/report/axis.hpp"
#include "mwalimu/report/svg.hpp"

namespace mwalimu::report {

struct Series {
  std::string name = {};
  std::vector<double> x = {}, y = {};  ///< as many; a value that is not finite interrupts the line
  bool dashed = false;
  bool points = false;  ///< a dot at every point
  int colour = -1;      ///< of the palette; -1: the series' position
};

/// A vertical line with a label, such as "queue on".
struct Event {
  double x = 0;
  std::string label = {};
};

struct LinePlot {
  std::string title = {}, x_label = {}, y_label = {};
  std::vector<Series> series = {};
  std::vector<Event> events = {};
  bool log_x = false, log_y = false;
  double width = 760, height = 420;
};

namespace detail {

/// Once the colours repeat, every other round of them is dashed.
inline bool is_dashed(const Series& series, std::size_t position) {
  return series.dashed || (series.colour < 0 && position / kPaletteSize % 2 == 1);
}

using Polyline = std::vector<std::pair<double, double>>;

/// The line's pixels, thinned to at most four points a pixel column (first, lowest, highest, last):
/// it looks the same, and a run of a million steps stays a small file.
inline Polyline thinned(const Polyline& line, double width) {
  if (static_cast<double>(line.size()) <= 4 * width) return line;
  Polyline out;
  for (std::size_t begin = 0; begin < line.size();) {
    const double column = std::floor(line[begin].first);
    std::size_t end = begin, low = begin, high = begin;
    for (; end < line.size() && std::floor(line[end].first) == column; ++end) {
      if (line[end].second < line[low].second) low = end;
      if (line[end].second > line[high].second) high = end;
    }
    std::size_t keep[] = {begin, low, high, end - 1};
    std::sort(std::begin(keep), std::end(keep));
    for (std::size_t i = 0; i < 4; ++i) {
      if (i == 0 || keep[i] != keep[i - 1]) out.push_back(line[keep[i]]);
    }
    begin = end;
  }
  return out;
}

/// A frame with grid, ticks and axis labels between the four pixels.
inline void draw_axes(Svg& svg, const Axis& x, const Axis& y, double left, double top, double right,
                      double bottom, const std::string& x_label, const std::string& y_label) {
  const std::string grid = "stroke=\"" + std::string(kGrid) + "\"";
  const std::string frame = "stroke=\"#9aa0a6\"";
  double last_label = -std::numeric_limits<double>::infinity();
  for (const Tick& t : x.ticks(static_cast<int>((right - left) / 90) + 1)) {
    const double at = x.pixel(t.value), half = 6 * text_width(t.label);
    svg.line(at, top, at, bottom, grid);
    svg.line(at, bottom, at, bottom + 4, frame);
    if (at - half < last_label + 4) continue;  // never two labels over each other
    svg.text(at, bottom + 18, t.label, {.size = 12, .anchor = "middle", .colour = kFaintInk});
    last_label = at + half;
  }
  for (const Tick& t : y.ticks(static_cast<int>((bottom - top) / 55) + 1)) {
    const double at = y.pixel(t.value);
    svg.line(left, at, right, at, grid);
    svg.text(left - 8, at + 4, t.label, {.size = 12, .anchor = "end", .colour = kFaintInk});
  }
  svg.line(left, bottom, right, bottom, frame);
  svg.line(left, top, left, bottom, frame);
  svg.text((left + right) / 2, bottom + 40, x_label, {.size = 13, .anchor = "middle"});
  svg.text(16, (top + bottom) / 2, y_label, {.size = 13, .anchor = "middle", .rotate = -90});
}

/// Pixels that the tick labels of a vertical axis need.
inline double label_room(const Axis& y, int wanted) {
  double widest = 0;
  for (const Tick& t : y.ticks(wanted)) widest = std::max(widest, 12 * text_width(t.label));
  return widest;
}

struct LegendEntry {
  std::string name;
  std::string colour;
  bool dashed = false, box = false;
};

/// Entries from left to right, in as many rows as they need. @return  the pixel below the last row.
inline double draw_legend(Svg& svg, const std::vector<LegendEntry>& entries, double left,
                          double top, double right) {
  if (entries.empty()) return top;
  double x = left, y = top;
  for (const LegendEntry& e : entries) {
    const double width = 34 + 12.5 * text_width(e.name) + 14;
    if (x > left && x + width > right) x = left, y += 20;
    if (e.box) {
      svg.rect(x + 8, y + 1, 12, 12, "fill=\"" + e.colour + "\"");
    } else {
      svg.line(x, y + 7, x + 26, y + 7,
               "stroke=\"" + e.colour + "\" stroke-width=\"2.5\"" +
                   (e.dashed ? " stroke-dasharray=\"6 4\"" : ""));
    }
    svg.text(x + 33, y + 11, e.name, {.size = 12.5});
    x += width;
  }
  return y + 22;
}

}  // namespace detail

/// @return  an SVG document.
/// @throws ShapeError  a series has more x than y, or the other way round.
inline std::string line_plot_svg(const LinePlot& plot) {
  std::vector<double> xs, ys;
  std::vector<detail::LegendEntry> legend;
  for (std::size_t s = 0; s < plot.series.size(); ++s) {
    const Series& series = plot.series[s];
    require<ShapeError>(series.x.size() == series.y.size(), "line_plot_svg: series '", series.name,
                        "' has ", series.x.size(), " x and ", series.y.size(), " y");
    const auto usable = [](double v, bool log) { return std::isfinite(v) && (!log || v > 0); };
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!usable(series.x[i], plot.log_x) || !usable(series.y[i], plot.log_y)) continue;
      xs.push_back(series.x[i]);
      ys.push_back(series.y[i]);
    }
    if (plot.series.size() > 1 && !series.name.empty()) {
      const std::size_t colour = series.colour < 0 ? s : static_cast<std::size_t>(series.colour);
      legend.push_back({series.name, std::string(palette(colour)), detail::is_dashed(series, s)});
    }
  }
  const bool empty = xs.empty();
  Svg svg(plot.width, plot.height, plot.title);
  svg.text(18, 27, plot.title, {.size = 16, .bold = true});
  Axis x(xs, plot.log_x, 0), y(ys, plot.log_y, 0.05);
  const double right = plot.width - 24, bottom = plot.height - 54;
  const double top = detail::draw_legend(svg, legend, 18, 42, right) + 8;
  const double left = 36 + detail::label_room(y, static_cast<int>((bottom - top) / 55) + 1);
  x.place(left, right);
  y.place(bottom, top);
  detail::draw_axes(svg, x, y, left, top, right, bottom, plot.x_label, plot.y_label);
  if (empty) {
    svg.text((left + right) / 2, (top + bottom) / 2, "no data",
             {.size = 14, .anchor = "middle", .colour = kFaintInk, .halo = true});
  }

  for (std::size_t s = 0; s < plot.series.size(); ++s) {
    const Series& series = plot.series[s];
    const std::string colour(
        palette(series.colour < 0 ? s : static_cast<std::size_t>(series.colour)));
    const std::string style = "fill=\"none\" stroke=\"" + colour +
                              "\" stroke-width=\"1.8\" stroke-linejoin=\"round\"" +
                              (detail::is_dashed(series, s) ? " stroke-dasharray=\"6 4\"" : "");
    detail::Polyline line;
    const auto finish = [&] {
      if (line.size() > 1) svg.path(detail::thinned(line, right - left), false, style);
      const bool alone = line.size() == 1;  // a lone point between gaps would not be seen
      if (alone || (series.points && line.size() <= 400)) {
        for (const auto& [px, py] : line) svg.circle(px, py, 3, "fill=\"" + colour + "\"");
      }
      line.clear();
    };
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (x.usable(series.x[i]) && y.usable(series.y[i])) {
        line.emplace_back(x.pixel(series.x[i]), y.pixel(series.y[i]));
      } else {
        finish();
      }
    }
    finish();
  }

  // All lines first: no line crosses a label.
  std::vector<Event> shown;
  for (const Event& event : plot.events) {
    if (empty || !x.usable(event.x)) continue;
    const double at = x.pixel(event.x);
    if (at < left - 0.5 || at > right + 0.5) continue;
    svg.line(at, top, at, bottom, R"(stroke="#3c4043" stroke-width="1.2" stroke-dasharray="3 3")");
    shown.push_back(event);
  }
  std::vector<double> row_end;  // rightmost pixel of the labels in each row
  std::sort(shown.begin(), shown.end(), [](const Event& a, const Event& b) { return a.x < b.x; });
  for (const Event& event : shown) {
    const double at = x.pixel(event.x), width = 12 * text_width(event.label);
    const bool leftwards = at + 6 + width > right;
    const double begin = leftwards ? at - 6 - width : at + 6;
    std::size_t row = 0;
    while (row < row_end.size() && begin < row_end[row] + 6) ++row;
    if (row == row_end.size()) row_end.push_back(0);
    row_end[row] = begin + width;
    svg.text(leftwards ? at - 6 : at + 6, top + 14 + 16 * static_cast<double>(row), event.label,
             {.size = 12, .anchor = leftwards ? "end" : "start", .halo = true});
  }
  return svg.str();
}

}  // namespace mwalimu::report
