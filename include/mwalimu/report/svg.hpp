// report/svg: a drawing written element by element, and the colours that plots share.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/report/text.hpp"

namespace mwalimu::report {

inline constexpr std::string_view kInk = "#222222";       ///< text and data outlines
inline constexpr std::string_view kFaintInk = "#5f6368";  ///< axis numbers, notes
inline constexpr std::string_view kGrid = "#e3e5e8";

inline constexpr std::size_t kPaletteSize = 9;

/// The colour of class, series or group i; they repeat after nine. Chosen to stay apart for
/// colour-blind eyes on white. Source: Okabe and Ito 2008, "Color universal design"; their
/// yellow, which white paper swallows, is darkened and comes late.
inline std::string_view palette(std::size_t i) {
  static constexpr std::array<std::string_view, kPaletteSize> kColours{
      "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
      "#56B4E9", "#6B4C9A", "#7F6A00", "#555555"};
  return kColours[i % kPaletteSize];
}

struct TextStyle {
  double size = 12;
  std::string_view anchor = "start";  ///< start, middle or end
  std::string_view colour = kInk;
  bool bold = false;
  double rotate = 0;  ///< degrees clockwise about (x, y)
  bool halo = false;  ///< a white rim, for labels over data
};

/// One SVG document. Coordinates are pixels, y downwards; text is escaped here, `attributes` are
/// markup and go out as they are, so they must never hold anything from outside the program.
///
/// No identifiers and no style sheet are used: several drawings may stand in one HTML page.
class Svg {
 public:
  /// @throws ValueError  an extent is not in (0, 20000].
  Svg(double width, double height, std::string_view title) : width_(width), height_(height) {
    require<ValueError>(width > 0 && width <= 20000 && height > 0 && height <= 20000,
                        "Svg: want extents in (0, 20000], got ", width, " x ", height);
    body_ = "<title>" + escaped(title) + "</title>\n";
    rect(0, 0, width, height, R"(fill="#ffffff")");
  }

  double width() const { return width_; }
  double height() const { return height_; }

  void rect(double x, double y, double w, double h, std::string_view attributes) {
    element("rect", {{"x", x}, {"y", y}, {"width", w}, {"height", h}}, attributes);
  }
  void line(double x1, double y1, double x2, double y2, std::string_view attributes) {
    element("line", {{"x1", x1}, {"y1", y1}, {"x2", x2}, {"y2", y2}}, attributes);
  }
  void circle(double x, double y, double r, std::string_view attributes) {
    element("circle", {{"cx", x}, {"cy", y}, {"r", r}}, attributes);
  }
  /// A line through the points, or a closed shape.
  void path(std::span<const std::pair<double, double>> points, bool closed,
            std::string_view attributes) {
    if (points.empty()) return;
    body_ += "<path d=\"";
    for (std::size_t i = 0; i < points.size(); ++i) {
      body_ += i == 0 ? 'M' : 'L';
      body_ += coordinate(points[i].first);
      body_ += ' ';
      body_ += coordinate(points[i].second);
    }
    if (closed) body_ += 'Z';
    body_ += "\" ";
    body_ += attributes;
    body_ += "/>\n";
  }
  void text(double x, double y, std::string_view content, const TextStyle& style = {}) {
    std::string attributes = "font-size=\"" + coordinate(style.size) + "\" fill=\"";
    attributes += style.colour;
    attributes += '"';
    if (style.anchor != "start") {
      attributes += " text-anchor=\"";
      attributes += style.anchor;
      attributes += '"';
    }
    if (style.bold) attributes += R"( font-weight="600")";
    if (style.rotate != 0) {
      attributes += " transform=\"rotate(" + coordinate(style.rotate) + ' ' + coordinate(x) + ' ' +
                    coordinate(y) + ")\"";
    }
    if (style.halo) {
      attributes += R"( stroke="#ffffff" stroke-width="3" stroke-linejoin="round")"
                    R"( paint-order="stroke")";
    }
    body_ += "<text x=\"" + coordinate(x) + "\" y=\"" + coordinate(y) + "\" " + attributes + ">" +
             escaped(content) + "</text>\n";
  }

  std::string str() const {
    const std::string w = coordinate(width_), h = coordinate(height_);
    return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + w + ' ' + h +
           "\" width=\"" + w + "\" height=\"" + h +
           "\" role=\"img\" font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', "
           "Arial, sans-serif\">\n" +
           body_ + "</svg>\n";
  }

 private:
  void element(std::string_view name,
               std::initializer_list<std::pair<std::string_view, double>> numbers,
               std::string_view attributes) {
    body_ += '<';
    body_ += name;
    for (const auto& [key, value] : numbers) {
      body_ += ' ';
      body_ += key;
      body_ += "=\"" + coordinate(value) + '"';
    }
    body_ += ' ';
    body_ += attributes;
    body_ += "/>\n";
  }

  double width_, height_;
  std::string body_;
};

}  // namespace mwalimu::report
