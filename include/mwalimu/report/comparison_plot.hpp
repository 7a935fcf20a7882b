// report/comparison_plot: several ways of doing something, each with the spread of its runs.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/report/axis.hpp"
#include "mwalimu/report/line_plot.hpp"
#include "mwalimu/report/svg.hpp"

namespace mwalimu::report {

struct ComparisonRow {
  std::string name = {};
  std::vector<double> values = {};  ///< one a run or fold; those that are not finite are left out
  int group = 0;                    ///< index into ComparisonPlot::groups, the colour
};

struct ComparisonPlot {
  std::string title = {}, value_label = {};
  std::vector<ComparisonRow> rows = {};  ///< from top to bottom
  std::vector<std::string> groups = {};  ///< may be empty: one colour, no legend
  bool bars = false;                     ///< bars from 0 to the mean; else points only
  int digits = 3;                        ///< of the mean written at the right
  double width = 760;
};

/// Every run is a small circle, the mean a bold mark (or the end of a bar), the whisker one
/// standard deviation (n - 1) to both sides where there are two runs or more; mean and deviation
/// are written at the right, so that the plot can be read as a table.
/// @throws ValueError  a row's group is not one of the groups.
inline std::string comparison_plot_svg(const ComparisonPlot& plot) {
  std::vector<double> all;
  if (plot.bars) all.push_back(0);
  struct Summary {
    double mean = std::numeric_limits<double>::quiet_NaN(), deviation = 0;
    std::size_t count = 0;
  };
  std::vector<Summary> summaries;
  double widest = 0, widest_text = 0;
  std::vector<std::string> texts;
  for (const ComparisonRow& row : plot.rows) {
    const std::size_t groups = std::max<std::size_t>(plot.groups.size(), 1);
    require<ValueError>(row.group >= 0 && static_cast<std::size_t>(row.group) < groups,
                        "comparison_plot_svg: row '", row.name, "' has group ", row.group,
                        ", want less than ", groups);
    Summary s;
    double sum = 0, square = 0;
    for (const double v : row.values) {
      if (std::isfinite(v)) sum += v, ++s.count;
    }
    if (s.count > 0) s.mean = sum / static_cast<double>(s.count);
    for (const double v : row.values) {
      if (std::isfinite(v)) square += (v - s.mean) * (v - s.mean), all.push_back(v);
    }
    if (s.count > 1) {
      s.deviation = std::sqrt(square / static_cast<double>(s.count - 1));
      all.push_back(s.mean - s.deviation);
      all.push_back(s.mean + s.deviation);
    }
    std::string text = s.count == 0 ? "no data" : fixed(s.mean, plot.digits);
    if (s.count > 1) text += " \xC2\xB1 " + fixed(s.deviation, plot.digits);
    texts.push_back(detail::with_minus(text));
    widest = std::max(widest, 13 * text_width(row.name));
    widest_text = std::max(widest_text, 12.5 * text_width(text));
    summaries.push_back(s);
  }

  std::vector<detail::LegendEntry> legend;
  for (std::size_t g = 0; g < plot.groups.size(); ++g) {
    legend.push_back({plot.groups[g], std::string(palette(g)), false, true});
  }
  // The legend's height is not known before it is drawn: try it on a scratch drawing.
  Svg scratch(plot.width, 100, "");
  const double top = detail::draw_legend(scratch, legend, 10, 42, plot.width - 24) + 8;
  const double row_height = 34;
  const double bottom =
      top + row_height * static_cast<double>(std::max<std::size_t>(plot.rows.size(), 1));
  Svg svg(plot.width, bottom + 54, plot.title);
  svg.text(18, 27, plot.title, {.size = 16, .bold = true});
  detail::draw_legend(svg, legend, 10, 42, plot.width - 24);

  const double left = 30 + std::min(widest, 0.42 * plot.width);
  const double right = plot.width - 34 - widest_text;
  Axis x(all, false, plot.bars ? 0.0 : 0.06);
  if (plot.bars && !all.empty()) {
    const double peak = *std::max_element(all.begin(), all.end());
    x.include(peak * 1.04);
  }
  x.place(left, right);
  double last_label = -1e9;
  for (const Tick& t : x.ticks(static_cast<int>((right - left) / 90) + 1)) {
    const double at = x.pixel(t.value), half = 6 * text_width(t.label);
    svg.line(at, top, at, bottom, "stroke=\"" + std::string(kGrid) + "\"");
    if (at - half < last_label + 4) continue;
    svg.text(at, bottom + 18, t.label, {.size = 12, .anchor = "middle", .colour = kFaintInk});
    last_label = at + half;
  }
  svg.line(left, bottom, right, bottom, "stroke=\"#9aa0a6\"");
  svg.text((left + right) / 2, bottom + 40, plot.value_label, {.size = 13, .anchor = "middle"});

  for (std::size_t r = 0; r < plot.rows.size(); ++r) {
    const ComparisonRow& row = plot.rows[r];
    const Summary& s = summaries[r];
    const double y = top + row_height * (static_cast<double>(r) + 0.5);
    const std::string colour(palette(static_cast<std::size_t>(row.group)));
    svg.text(left - 10, y + 4.5, row.name, {.size = 13, .anchor = "end"});
    svg.text(right + 14, y + 4.5, texts[r], {.size = 12.5});
    if (s.count == 0) continue;
    const double mean = x.pixel(s.mean);
    if (plot.bars) {
      const double zero = x.pixel(0);
      svg.rect(std::min(zero, mean), y - 9, std::abs(mean - zero), 18,
               "fill=\"" + colour + "\" fill-opacity=\"0.45\"");
    }
    if (s.count > 1) {
      // Whisker and runs on lines of their own, so that neither hides the other.
      const double low = x.pixel(s.mean - s.deviation), high = x.pixel(s.mean + s.deviation);
      const std::string stroke = "stroke=\"" + colour + "\" stroke-width=\"2\"";
      svg.line(low, y - 4, high, y - 4, stroke);
      svg.line(low, y - 8, low, y, stroke);
      svg.line(high, y - 8, high, y, stroke);
      for (const double v : row.values) {
        if (!std::isfinite(v)) continue;
        svg.circle(x.pixel(v), y + (plot.bars ? 4 : 8), 3.2,
                   "fill=\"#ffffff\" fill-opacity=\"0.7\" stroke=\"" + colour + "\"");
      }
    }
    if (plot.bars) {
      svg.line(mean, y - 9, mean, y + 9, "stroke=\"" + colour + "\" stroke-width=\"3\"");
    } else {
      const double middle = s.count > 1 ? y - 4 : y;
      const std::vector<std::pair<double, double>> diamond{
          {mean, middle - 7}, {mean + 7, middle}, {mean, middle + 7}, {mean - 7, middle}};
      svg.path(diamond, true, "fill=\"" + colour + "\" stroke=\"#ffffff\"");
    }
  }
  return svg.str();
}

}  // namespace mwalimu::report
