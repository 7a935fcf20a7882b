// report/reliability_plot: how often a confidence is right.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/report/line_plot.hpp"
#include "mwalimu/report/unit_panel.hpp"

namespace mwalimu::report {

/// The images whose confidence lies between low and high.
struct ReliabilityBin {
  double low = 0, high = 0;
  std::int64_t count = 0;
  double confidence = 0, accuracy = 0;  ///< means; not read where count is 0
};

struct ReliabilityPanel {
  std::string title = {};
  std::vector<ReliabilityBin> bins = {};
  std::vector<std::string> notes = {};  ///< lines in the upper left corner: "ECE 0.034"
};

struct ReliabilityPlot {
  std::string title = {};
  std::vector<ReliabilityPanel> panels = {};
};

/// A bar a bin: as high as the share of its images that are right. What lies between that and their
/// mean confidence has colours of its own, one where more are right than the model says and one
/// where fewer are. Below, how many images the bin holds, so that nobody reads much into one.
/// @return  an SVG document.
/// @throws ValueError  there is no panel.
inline std::string reliability_plot_svg(const ReliabilityPlot& plot) {
  require<ValueError>(!plot.panels.empty(), "reliability_plot_svg: no panel");
  constexpr double kCounts = 62;  // height of the bars of counts
  const std::string blue(palette(0)), above(palette(5)), short_of(palette(1));
  const UnitRow row = unit_row(plot.panels.size(), 90);
  const double width = std::max(row.width, 36 + 16 * text_width(plot.title));
  const double counts_top = row.panels[0].bottom() + 62, counts_bottom = counts_top + kCounts;
  Svg svg(width, counts_bottom + 24, plot.title);
  svg.text(18, 27, plot.title, {.size = 16, .bold = true});
  detail::draw_legend(svg,
                      {{"accuracy", blue, false, true},
                       {"beyond the mean confidence", above, false, true},
                       {"short of the mean confidence", short_of, false, true},
                       {"calibrated", "#80868b", true, false}},
                      10, 40, width - 10);
  for (std::size_t p = 0; p < plot.panels.size(); ++p) {
    const UnitPanel& at = row.panels[p];
    const ReliabilityPanel& panel = plot.panels[p];
    draw_unit_panel(svg, at, panel.title, "confidence", "accuracy", p == 0);
    std::int64_t most = 1;
    for (const ReliabilityBin& bin : panel.bins) most = std::max(most, bin.count);
    for (const ReliabilityBin& bin : panel.bins) {
      if (bin.count == 0) continue;
      const double left = at.x(bin.low) + 0.75, wide = at.x(bin.high) - at.x(bin.low) - 1.5;
      const double lower = std::min(bin.accuracy, bin.confidence);
      const double upper = std::max(bin.accuracy, bin.confidence);
      svg.rect(left, at.y(lower), wide, at.bottom() - at.y(lower), "fill=\"" + blue + "\"");
      svg.rect(left, at.y(upper), wide, at.y(lower) - at.y(upper),
               bin.accuracy >= bin.confidence
                   ? "fill=\"" + above + "\""
                   : "fill=\"" + short_of + "\" fill-opacity=\"0.4\" stroke=\"" + short_of + "\"");
      const double high = kCounts * static_cast<double>(bin.count) / static_cast<double>(most);
      svg.rect(left, counts_bottom - high, wide, high, R"(fill="#9aa0a6")");
    }
    draw_unit_diagonal(svg, at);
    for (std::size_t n = 0; n < panel.notes.size(); ++n) {
      svg.text(at.left + 9, at.top + 20 + 17 * static_cast<double>(n), panel.notes[n],
               {.size = 12.5, .bold = n == 0, .halo = true});
    }
    svg.line(at.left, counts_bottom, at.right(), counts_bottom, R"(stroke="#9aa0a6")");
    svg.line(at.left, counts_top, at.right(), counts_top,
             "stroke=\"" + std::string(kGrid) + "\"");
    svg.text(at.left + 4, counts_top + 13,
             std::to_string(most) + (most == 1 ? " image" : " images"),
             {.size = 11.5, .colour = kFaintInk, .halo = true});
    if (p == 0) {
      svg.text(at.left - 42, (counts_top + counts_bottom) / 2, "images",
               {.size = 13, .anchor = "middle", .rotate = -90});
    }
  }
  return svg.str();
}

}  // namespace mwalimu::report
