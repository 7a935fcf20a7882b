// report/terminal_image: a picture as text: two pixels a character, for terminals with 24-bit
// colours.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/area_resize.hpp"
#include "mwalimu/data/image.hpp"

namespace mwalimu::report {

/// Lines of upper half blocks: the foreground is the upper pixel, the background the lower. The
/// image is shrunk by means over areas to fit, never enlarged; its aspect ratio stays.
/// @param columns  the most characters a line, >= 1.
/// @param lines    the most lines, >= 1.
/// @return         ANSI escape codes and UTF-8; every line ends by resetting the colours.
/// @throws ValueError  columns or lines < 1.
inline std::string terminal_image(const data::Image& image, int columns, int lines) {
  require<ValueError>(columns >= 1 && lines >= 1, "terminal_image: want at least one column and ",
                      "line, got ", columns, " and ", lines);
  const double scale = std::min({1.0, static_cast<double>(columns) / image.width,
                                 2.0 * static_cast<double>(lines) / image.height});
  const int width = std::clamp(static_cast<int>(std::lround(image.width * scale)), 1, columns);
  const int height = std::clamp(static_cast<int>(std::lround(image.height * scale)), 1, 2 * lines);
  data::PlanarImage small(height, width);
  const data::ByteImage bytes{image.pixels.data(), image.height, image.width};
  data::area_resize(bytes, {0, 0, image.height, image.width}, height, width, small);

  const auto color = [&](int y, int x) {
    std::string text;
    for (int c = 0; c < 3; ++c) {
      const float value = small.plane(c)[y * width + x];
      text += ';' + std::to_string(std::clamp(static_cast<int>(std::lround(value * 255)), 0, 255));
    }
    return text;
  };
  std::string out;
  for (int y = 0; y < height; y += 2) {
    std::string upper_before, lower_before;  // colours are set where they change
    for (int x = 0; x < width; ++x) {
      const std::string upper = color(y, x);
      const std::string lower = y + 1 < height ? color(y + 1, x) : "";
      if (upper != upper_before) out.append("\x1b[38;2").append(upper).append("m");
      if (lower != lower_before) out.append("\x1b[48;2").append(lower).append("m");
      out += "▀";
      upper_before = upper;
      lower_before = lower;
    }
    out += "\x1b[0m\n";
  }
  return out;
}

}  // namespace mwalimu::report
