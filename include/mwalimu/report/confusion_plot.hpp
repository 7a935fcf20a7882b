// report/confusion_plot: who was taken for whom.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/report/svg.hpp"

namespace mwalimu::report {

struct ConfusionPlot {
  std::string title = {};
  std::vector<std::string> classes = {};
  std::vector<std::int64_t> counts = {};  ///< (C, C) row-major: rows true, columns predicted
};

/// Counts with their share of the row; the colour is the share, so that rare classes show as well.
/// @throws ShapeError  counts is not classes squared, or there are no classes.
/// @throws ValueError  a negative count.
inline std::string confusion_plot_svg(const ConfusionPlot& plot) {
  const std::size_t C = plot.classes.size();
  require<ShapeError>(C >= 1 && plot.counts.size() == C * C, "confusion_plot_svg: want ", C, " x ",
                      C, " counts for ", C, " classes, got ", plot.counts.size());
  for (const std::int64_t count : plot.counts) {
    require<ValueError>(count >= 0, "confusion_plot_svg: want no negative count, got ", count);
  }
  double widest = 0;
  for (const std::string& name : plot.classes) widest = std::max(widest, text_width(name));
  widest = std::min(widest, 24.0);
  const double cell = std::clamp(600.0 / static_cast<double>(C), 30.0, 96.0);
  const bool slanted = 12.5 * widest > cell - 6;  // column names would touch
  const double name_room = 12.5 * widest;
  const double left = 48 + name_room, top = 62 + (slanted ? 0.75 * name_room + 12 : 20);
  const double side = cell * static_cast<double>(C);
  const double width = std::max({left + side + 24 + (slanted ? 0.75 * name_room : 0),
                                 36 + 16 * text_width(plot.title), 260.0});
  Svg svg(width, top + side + 24, plot.title);
  svg.text(18, 27, plot.title, {.size = 16, .bold = true});
  svg.text(left + side / 2, 52, "predicted", {.size = 13, .anchor = "middle"});
  svg.text(22, top + side / 2, "true", {.size = 13, .anchor = "middle", .rotate = -90});

  const double size = std::clamp(cell / 4.5, 9.0, 17.0);
  for (std::size_t r = 0; r < C; ++r) {
    std::int64_t total = 0;
    for (std::size_t c = 0; c < C; ++c) total += plot.counts[r * C + c];
    const double y = top + cell * static_cast<double>(r);
    svg.text(left - 8, y + cell / 2 + 4, plot.classes[r], {.size = 12.5, .anchor = "end"});
    for (std::size_t c = 0; c < C; ++c) {
      const std::int64_t count = plot.counts[r * C + c];
      const double share = total > 0 ? static_cast<double>(count) / static_cast<double>(total) : 0;
      const double x = left + cell * static_cast<double>(c);
      // White to a dark blue, in even steps of lightness.
      const auto mix = [&](double white, double dark) {
        return std::to_string(static_cast<int>(std::lround(white + (dark - white) * share)));
      };
      svg.rect(x, y, cell, cell,
               "fill=\"rgb(" + mix(247, 8) + "," + mix(250, 64) + "," + mix(254, 120) +
                   ")\" stroke=\"#ffffff\" stroke-width=\"2\"");
      const std::string_view ink = share > 0.45 ? "#ffffff" : kInk;
      const bool with_share = cell >= 52;
      svg.text(x + cell / 2, y + cell / 2 + (with_share ? 0 : size * 0.36), std::to_string(count),
               {.size = size, .anchor = "middle", .colour = ink, .bold = r == c});
      if (with_share) {
        svg.text(x + cell / 2, y + cell / 2 + size * 1.1, fixed(100 * share, 1) + " %",
                 {.size = size * 0.72, .anchor = "middle", .colour = ink});
      }
    }
    const double x = left + cell * (static_cast<double>(r) + 0.5);
    svg.text(slanted ? x + 4 : x, top - 8, plot.classes[r],
             {.size = 12.5, .anchor = slanted ? "start" : "middle", .rotate = slanted ? -45.0 : 0});
  }
  return svg.str();
}

}  // namespace mwalimu::report
