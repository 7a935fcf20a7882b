// report/raster: an RGB picture in memory, simple shapes and text on it, and PNG or JPEG
// bytes of it.
#pragma once

#include <stb/stb_image_write.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/report/pixel_font.hpp"

namespace mwalimu::report {

struct Rgb {
  std::uint8_t r = 0, g = 0, b = 0;
  bool operator==(const Rgb&) const = default;
};

/// height x width x 3 bytes, row-major, white at first. Shapes are clipped to the picture.
class Raster {
 public:
  /// @throws ValueError  an extent is not in 1 ... 20000.
  Raster(index_t width, index_t height) : width_(width), height_(height) {
    require<ValueError>(width >= 1 && width <= 20000 && height >= 1 && height <= 20000,
                        "Raster: want extents in 1 ... 20000, got ", width, " x ", height);
    pixels_.assign(static_cast<std::size_t>(width * height * 3), 255);
  }
  index_t width() const { return width_; }
  index_t height() const { return height_; }
  /// @param x, y  inside the picture.
  Rgb at(index_t x, index_t y) const {
    const std::uint8_t* p = pixels_.data() + (y * width_ + x) * 3;
    return {p[0], p[1], p[2]};
  }
  void set(index_t x, index_t y, Rgb colour) {
    if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
    std::uint8_t* p = pixels_.data() + (y * width_ + x) * 3;
    p[0] = colour.r, p[1] = colour.g, p[2] = colour.b;
  }
  void fill(index_t x, index_t y, index_t w, index_t h, Rgb colour) {
    const index_t right = std::min(width_, x + w), bottom = std::min(height_, y + h);
    for (index_t row = std::max<index_t>(0, y); row < bottom; ++row) {
      for (index_t column = std::max<index_t>(0, x); column < right; ++column) {
        set(column, row, colour);
      }
    }
  }
  void line(double x1, double y1, double x2, double y2, Rgb colour) {
    const double length = std::max({std::abs(x2 - x1), std::abs(y2 - y1), 1.0});
    const index_t steps = static_cast<index_t>(std::ceil(length));
    for (index_t s = 0; s <= steps; ++s) {
      const double t = static_cast<double>(s) / static_cast<double>(steps);
      set(std::llround(x1 + t * (x2 - x1)), std::llround(y1 + t * (y2 - y1)), colour);
    }
  }
  void disc(double x, double y, double r, Rgb colour) {
    for (index_t row = static_cast<index_t>(y - r); row <= static_cast<index_t>(y + r + 1); ++row) {
      for (index_t column = static_cast<index_t>(x - r); column <= static_cast<index_t>(x + r + 1);
           ++column) {
        const double dx = static_cast<double>(column) - x, dy = static_cast<double>(row) - y;
        if (dx * dx + dy * dy <= r * r) set(column, row, colour);
      }
    }
  }
  /// How wide text() at scale 1 would draw it.
  static index_t text_width(std::string_view content) {
    index_t width = 0;
    for (const char c : content) {
      if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) continue;
      width += detail::glyph_width(detail::glyph(c)) + 1;
    }
    return width;
  }
  /// One line in a plain font, upper left corner at (x, y); capitals are 7 * scale pixels high.
  /// A character that the font does not have becomes '?'.
  /// @return  the width in pixels.
  index_t text(index_t x, index_t y, std::string_view content, index_t scale, Rgb colour) {
    const index_t start = x;
    for (const char c : content) {
      if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) continue;  // inside a UTF-8 sequence
      const std::uint64_t dots = detail::glyph(c);
      for (int row = 0; row < detail::kGlyphRows; ++row) {
        for (int column = 0; column < detail::kGlyphColumns; ++column) {
          if (!detail::dot(dots, row, column)) continue;
          fill(x + column * scale, y + row * scale, scale, scale, colour);
        }
      }
      x += (detail::glyph_width(dots) + 1) * scale;
    }
    return x - start;
  }

  /// @throws Error  the encoder failed.
  std::vector<std::byte> png() const {
    std::vector<std::byte> bytes;
    const int done =
        stbi_write_png_to_func(append, &bytes, static_cast<int>(width_), static_cast<int>(height_),
                               3, pixels_.data(), static_cast<int>(width_ * 3));
    require<Error>(done != 0, "png: the encoder failed on a picture of ", width_, " x ", height_);
    return bytes;
  }
  /// @param quality  1 to 100; up to 90 colours are stored at half the resolution, in blocks of 16.
  /// @throws Error  the encoder failed.
  std::vector<std::byte> jpeg(int quality) const {
    std::vector<std::byte> bytes;
    const int done =
        stbi_write_jpg_to_func(append, &bytes, static_cast<int>(width_), static_cast<int>(height_),
                               3, pixels_.data(), quality);
    require<Error>(done != 0, "jpeg: the encoder failed on a picture of ", width_, " x ", height_);
    return bytes;
  }

 private:
  static void append(void* to, void* data, int size) {
    const std::byte* from = static_cast<const std::byte*>(data);
    auto& out = *static_cast<std::vector<std::byte>*>(to);
    out.insert(out.end(), from, from + size);
  }

  index_t width_, height_;
  std::vector<std::uint8_t> pixels_;
};

}  // namespace mwalimu::report
