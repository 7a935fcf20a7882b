// report/sprite_sheets: thumbnails packed into a few JPEG pictures, for a page that draws thousands.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/report/raster.hpp"

namespace mwalimu::report {

/// Thumbnail i is cell i % per_sheet of sheet i / per_sheet; cells go from left to right, then down.
struct SpriteSheets {
  index_t cell = 0;       ///< side of a cell in pixels; the image fills it
  index_t columns = 0;    ///< cells in a row
  index_t per_sheet = 0;  ///< cells in a full sheet; the last sheet may have fewer rows
  std::vector<std::vector<std::byte>> sheets;  ///< JPEG files
};

namespace detail {

/// Draws an image of (height, width, 3) bytes into a square, each pixel the mean of what it covers.
inline void draw_image(Raster& to, const std::uint8_t* image, index_t height, index_t width,
                       index_t left, index_t top, index_t side) {
  for (index_t y = 0; y < side; ++y) {
    const index_t y0 = y * height / side, y1 = std::max(y0 + 1, (y + 1) * height / side);
    for (index_t x = 0; x < side; ++x) {
      const index_t x0 = x * width / side, x1 = std::max(x0 + 1, (x + 1) * width / side);
      index_t sum[3] = {};
      for (index_t r = y0; r < y1; ++r) {
        for (index_t c = x0; c < x1; ++c) {
          for (index_t channel = 0; channel < 3; ++channel) {
            sum[channel] += image[(r * width + c) * 3 + channel];
          }
        }
      }
      const index_t count = (y1 - y0) * (x1 - x0);
      const auto mean = [&](index_t v) {
        return static_cast<std::uint8_t>((v + count / 2) / count);
      };
      to.set(left + x, top + y, {mean(sum[0]), mean(sum[1]), mean(sum[2])});
    }
  }
}

}  // namespace detail

/// The side of a thumbnail for so many images: a page of a hundred can afford 128 pixels, one of
/// ten thousand 32; about 2.5 MB of JPEG either way beyond a thousand images.
inline index_t sprite_side(index_t n) {
  return n <= 300 ? 128 : n <= 1000 ? 96 : n <= 3000 ? 64 : n <= 8000 ? 48 : 32;
}

/// Packs images, each shrunk (or enlarged) to a square cell.
///
/// @param images  (n, height, width, 3) bytes.
/// @param side    of a cell, a multiple of 16 in 16 ... 256, so that JPEG's blocks never straddle
///                two cells; 0: sprite_side(n).
/// @throws ShapeError  the bytes do not fit.  @throws ValueError  side.
inline SpriteSheets pack_sprites(std::span<const std::uint8_t> images, index_t n, index_t height,
                                 index_t width, index_t side = 0, int quality = 82) {
  require<ShapeError>(
      height >= 1 && width >= 1 && static_cast<index_t>(images.size()) == n * height * width * 3,
      "pack_sprites: want ", n, " x ", height, " x ", width, " x 3 bytes, got ", images.size());
  if (side == 0) side = sprite_side(n);
  require<ValueError>(side >= 16 && side <= 256 && side % 16 == 0,
                      "pack_sprites: want a side of 16, 32, ... 256, got ", side);
  constexpr index_t kExtent = 2048;  // that phones, too, decode
  SpriteSheets out{.cell = side, .columns = kExtent / side, .per_sheet = 0, .sheets = {}};
  out.per_sheet = out.columns * out.columns;
  for (index_t begin = 0; begin < n; begin += out.per_sheet) {
    const index_t count = std::min(out.per_sheet, n - begin);
    const index_t columns = std::min(count, out.columns);
    Raster sheet(columns * side, (count + out.columns - 1) / out.columns * side);
    for (index_t k = 0; k < count; ++k) {
      detail::draw_image(sheet, images.data() + (begin + k) * height * width * 3, height, width,
                         k % out.columns * side, k / out.columns * side, side);
    }
    out.sheets.push_back(sheet.jpeg(quality));
  }
  return out;
}

}  // namespace mwalimu::report
