// report/unit_panel: squares from 0 to 1 on both axes, side by side: what ROC, precision-recall and
// reliability plots are drawn in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/report/svg.hpp"

namespace mwalimu::report {

/// Where one square lies, in pixels.
struct UnitPanel {
  double left = 0, top = 0, side = 0;

  double right() const { return left + side; }
  double bottom() const { return top + side; }
  double x(double value) const { return left + value * side; }
  double y(double value) const { return bottom() - value * side; }
};

/// The squares of a row of panels and the width that they need: one alone is drawn larger.
struct UnitRow {
  std::vector<UnitPanel> panels;
  double width = 0;
};

/// @param top  pixel where the squares begin.
inline UnitRow unit_row(std::size_t panels, double top) {
  const double side = panels > 1 ? 252 : 380, gap = 34, left = 66;
  UnitRow row;
  for (std::size_t p = 0; p < panels; ++p) {
    row.panels.push_back({left + static_cast<double>(p) * (side + gap), top, side});
  }
  row.width = left + static_cast<double>(panels) * (side + gap) - gap + 24;
  return row;
}

/// Grid, frame, numbers and labels; numbers and label of the vertical axis at the first panel only.
inline void draw_unit_panel(Svg& svg, const UnitPanel& panel, std::string_view title,
                            std::string_view x_label, std::string_view y_label, bool first) {
  constexpr std::pair<double, std::string_view> kTicks[] = {
      {0, "0"}, {0.2, "0.2"}, {0.4, "0.4"}, {0.6, "0.6"}, {0.8, "0.8"}, {1, "1"}};
  const std::string grid = "stroke=\"" + std::string(kGrid) + "\"";
  for (const auto& [value, label] : kTicks) {
    svg.line(panel.x(value), panel.top, panel.x(value), panel.bottom(), grid);
    svg.line(panel.left, panel.y(value), panel.right(), panel.y(value), grid);
    svg.text(panel.x(value), panel.bottom() + 17, label,
             {.size = 12, .anchor = "middle", .colour = kFaintInk});
    if (!first) continue;
    svg.text(panel.left - 8, panel.y(value) + 4, label,
             {.size = 12, .anchor = "end", .colour = kFaintInk});
  }
  svg.rect(panel.left, panel.top, panel.side, panel.side, R"(fill="none" stroke="#9aa0a6")");
  if (!title.empty()) {
    svg.text(panel.left, panel.top - 9, title, {.size = 13, .bold = true});
  }
  svg.text(panel.left + panel.side / 2, panel.bottom() + 37, x_label,
           {.size = 13, .anchor = "middle"});
  if (!first) return;
  svg.text(panel.left - 42, panel.top + panel.side / 2, y_label,
           {.size = 13, .anchor = "middle", .rotate = -90});
}

/// From (0, 0) to (1, 1).
inline void draw_unit_diagonal(Svg& svg, const UnitPanel& panel) {
  svg.line(panel.left, panel.bottom(), panel.right(), panel.top,
           R"(stroke="#80868b" stroke-width="1.2" stroke-dasharray="5 4")");
}

}  // namespace mwalimu::report
