// report/curve_plot: ROC and precision-recall curves, a curve a class, a square a group of images.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/report/line_plot.hpp"
#include "mwalimu/report/unit_panel.hpp"

namespace mwalimu::report {

struct UnitCurve {
  std::string name = {};
  std::vector<double> x = {}, y = {};  ///< in [0, 1], x not decreasing; none: only in the legend
  double area = std::numeric_limits<double>::quiet_NaN();    ///< written into the legend
  double chance = std::numeric_limits<double>::quiet_NaN();  ///< a dotted level, where it is finite
};

struct CurvePanel {
  std::string title = {};
  std::vector<UnitCurve> curves = {};  ///< a class each, in the order of the classes
};

struct CurvePlot {
  std::string title = {}, x_label = {}, y_label = {};
  std::string area_name = {};  ///< "AUC"
  std::string note = {};       ///< what the dashed or dotted lines are
  bool diagonal = false;       ///< from (0, 0) to (1, 1), dashed
  bool steps = false;          ///< y[i] holds from x[i - 1] to x[i]; else straight lines
  std::vector<CurvePanel> panels = {};
};

namespace detail {

inline Polyline unit_polyline(const UnitPanel& panel, const UnitCurve& curve, bool steps) {
  Polyline line;
  double before = 0;
  for (std::size_t i = 0; i < curve.x.size(); ++i) {
    if (steps) {
      if (i > 0 && curve.x[i] == before) continue;  // no step: nothing is gained at this point
      line.emplace_back(panel.x(before), panel.y(curve.y[i]));
    }
    line.emplace_back(panel.x(curve.x[i]), panel.y(curve.y[i]));
    before = curve.x[i];
  }
  return line;
}

}  // namespace detail

/// @return  an SVG document; below each square its classes with their areas.
/// @throws ShapeError  a curve has more x than y, or the other way round.
/// @throws ValueError  there is no panel.
inline std::string curve_plot_svg(const CurvePlot& plot) {
  require<ValueError>(!plot.panels.empty(), "curve_plot_svg: no panel");
  std::size_t entries = 0;
  for (const CurvePanel& panel : plot.panels) entries = std::max(entries, panel.curves.size());
  constexpr double kEntry = 19;
  const UnitRow row = unit_row(plot.panels.size(), 66);
  const double legend = row.panels[0].bottom() + 56;
  const double height = legend + kEntry * static_cast<double>(entries) + 30;
  const double width = std::max(row.width, 36 + 16 * text_width(plot.title));
  Svg svg(width, height, plot.title);
  svg.text(18, 27, plot.title, {.size = 16, .bold = true});
  for (std::size_t p = 0; p < plot.panels.size(); ++p) {
    const UnitPanel& at = row.panels[p];
    draw_unit_panel(svg, at, plot.panels[p].title, plot.x_label, plot.y_label, p == 0);
    if (plot.diagonal) draw_unit_diagonal(svg, at);
    const auto& curves = plot.panels[p].curves;
    for (std::size_t c = 0; c < curves.size(); ++c) {
      const UnitCurve& curve = curves[c];
      require<ShapeError>(curve.x.size() == curve.y.size(), "curve_plot_svg: curve '", curve.name,
                          "' has ", curve.x.size(), " x and ", curve.y.size(), " y");
      const std::string colour(palette(c));
      const bool dashed = c / kPaletteSize % 2 == 1;  // the colours repeat
      const std::string dashes = dashed ? " stroke-dasharray=\"6 4\"" : "";
      if (std::isfinite(curve.chance)) {
        svg.line(at.left, at.y(curve.chance), at.right(), at.y(curve.chance),
                 "stroke=\"" + colour + "\" stroke-width=\"1.2\" stroke-dasharray=\"1.5 3.5\"");
      }
      const auto line =
          detail::thinned(detail::unit_polyline(at, curve, plot.steps), at.side);
      svg.path(line, false,
               "fill=\"none\" stroke=\"" + colour +
                   "\" stroke-width=\"2\" stroke-linejoin=\"round\"" + dashes);
      const double y = legend + kEntry * static_cast<double>(c);
      svg.line(at.left, y, at.left + 20, y,
               "stroke=\"" + colour + "\" stroke-width=\"2.5\"" + dashes);
      svg.text(at.left + 28, y + 4.5, curve.name, {.size = 12.5});
      const std::string area = std::isfinite(curve.area) ? fixed(curve.area, 3) : "not defined";
      svg.text(at.right(), y + 4.5, plot.area_name + " " + area, {.size = 12.5, .anchor = "end"});
    }
  }
  svg.text(row.panels[0].left, height - 12, plot.note, {.size = 12, .colour = kFaintInk});
  return svg.str();
}

}  // namespace mwalimu::report
