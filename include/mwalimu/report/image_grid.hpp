// report/image_grid: pictures in rows and columns, what a data set looks like at a glance.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/report/image_map.hpp"

namespace mwalimu::report {

/// One row of a grid: its name at the left, then its images.
struct ImageRow {
  std::string name = {};
  std::vector<const std::uint8_t*> images = {};  ///< height x width x 3 bytes each
};

/// The PNG of a grid whose images are drawn `side` pixels large.
/// @throws ValueError  there is no row or no image.
inline std::vector<std::byte> image_grid_png(std::span<const ImageRow> rows, index_t height,
                                             index_t width, index_t side) {
  constexpr index_t kGap = 4, kScale = 2, kLetter = 6 * kScale;
  std::size_t columns = 0, letters = 0;
  for (const ImageRow& row : rows) {
    columns = std::max(columns, row.images.size());
    letters = std::max(letters, row.name.size());
  }
  require<ValueError>(columns > 0 && side >= 1, "image_grid_png: no images to show");
  const index_t left = static_cast<index_t>(letters) * kLetter + 2 * kGap, step = side + kGap;
  Raster picture(left + static_cast<index_t>(columns) * step,
                 static_cast<index_t>(rows.size()) * step + kGap);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const index_t top = kGap + static_cast<index_t>(r) * step;
    picture.text(kGap, top + side / 2 - 7 * kScale / 2, rows[r].name, kScale, {34, 34, 34});
    for (std::size_t c = 0; c < rows[r].images.size(); ++c) {
      detail::draw_image(picture, rows[r].images[c], height, width,
                         left + static_cast<index_t>(c) * step, top, side);
    }
  }
  return picture.png();
}

}  // namespace mwalimu::report
