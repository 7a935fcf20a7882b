// report/image_map: a map drawn with the images themselves at their points.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/report/map_points.hpp"
#include "mwalimu/report/raster.hpp"
#include "mwalimu/report/sprite_sheets.hpp"
#include "mwalimu/report/svg.hpp"

namespace mwalimu::report {

struct ImageMapOptions {
  MapColour colour = MapColour::automatic;  ///< of the frames
  index_t thumbnail = 0;   ///< side in pixels; 0: chosen from the number of points
  index_t canvas = 0;      ///< side in pixels; 0: chosen from the number of points
  std::uint64_t seed = 0;  ///< order in which points get their place
};

struct ImageMap {
  Raster picture;
  index_t shown = 0;   ///< images drawn
  index_t dotted = 0;  ///< points for whose image there was no room: drawn as dots
};

inline constexpr Rgb kWrongOutline{17, 17, 17};

namespace detail {

/// A square grid of places, each taken at most once.
class Places {
 public:
  explicit Places(index_t side) : side_(side), taken_(static_cast<std::size_t>(side * side)) {}

  /// The free place nearest to (column, row) in units of places, at most `reach` away; takes it.
  /// Of equally near ones the first in reading order; nothing where none is free.
  std::optional<std::pair<index_t, index_t>> take(double column, double row, double reach) {
    std::optional<std::pair<index_t, index_t>> best;
    double nearest = reach * reach;
    const auto range = [&](double centre) {
      return std::pair{std::max<index_t>(0, std::llround(std::ceil(centre - reach))),
                       std::min<index_t>(side_ - 1, std::llround(std::floor(centre + reach)))};
    };
    const auto [first_row, last_row] = range(row);
    const auto [first_column, last_column] = range(column);
    for (index_t r = first_row; r <= last_row; ++r) {
      for (index_t c = first_column; c <= last_column; ++c) {
        const double dx = static_cast<double>(c) - column, dy = static_cast<double>(r) - row;
        const double distance = dx * dx + dy * dy;
        if (taken_[static_cast<std::size_t>(r * side_ + c)] || distance > nearest ||
            (best && distance == nearest)) {
          continue;
        }
        nearest = distance;
        best = {c, r};
      }
    }
    if (best) taken_[static_cast<std::size_t>(best->second * side_ + best->first)] = true;
    return best;
  }

 private:
  index_t side_;
  std::vector<bool> taken_;
};

/// "#rrggbb" as a colour.
inline Rgb rgb_of(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
  const auto byte = [&](std::size_t at) {
    return static_cast<std::uint8_t>(16 * digit(hex[at]) + digit(hex[at + 1]));
  };
  return {byte(1), byte(3), byte(5)};
}

inline Rgb frame_of(const MapPoints& p, MapColour by, std::size_t i) {
  const int group = colour_group(p, by, i);
  return group < 0 ? Rgb{154, 160, 166} : rgb_of(palette(static_cast<std::size_t>(group)));
}

/// The sensor's marker, as scatter plots have it, about (x, y): a disc, a triangle, or a square.
inline void draw_marker(Raster& to, double x, double y, double r, int sensor, Rgb colour) {
  if (sensor == 0) return to.disc(x, y, r, colour);
  for (index_t row = std::llround(std::floor(y - r)); row <= std::llround(std::ceil(y + r));
       ++row) {
    const double down = (static_cast<double>(row) - (y - r)) / (2 * r);  // 0 at the tip, 1 below
    if (down < 0 || down > 1) continue;
    const double half = sensor == 1 ? 1.15 * r * down : 0.9 * r;
    to.fill(std::llround(x - half), row, std::llround(2 * half) + 1, 1, colour);
  }
}

}  // namespace detail

/// The images at their points, none over another: each goes to the nearest free place of a square
/// grid, at most three places away, and is joined to its point by a thin line where it had to move
/// more than one. A point that finds no place is drawn as a dot in its frame's colour, below the
/// images, and counted in the legend. Points take their place in a seeded order, wrong predictions
/// first.
///
/// The frame's colour is the class (where no label is known, the predicted class), the marker in the
/// corner the sensor; a wrong prediction has a black outline around the frame.
///
/// @param points   n points.
/// @param images   (n, height, width, 3) bytes.
/// @throws ShapeError  the bytes do not fit.  @throws ValueError  as detail::check, or a size that
///                     leaves no room.
inline ImageMap draw_image_map(const MapPoints& points, std::span<const std::uint8_t> images,
                               index_t height, index_t width, const ImageMapOptions& options = {}) {
  detail::check(points, "draw_image_map");
  const index_t n = static_cast<index_t>(points.size());
  require<ShapeError>(
      height >= 1 && width >= 1 && static_cast<index_t>(images.size()) == n * height * width * 3,
      "draw_image_map: want ", n, " x ", height, " x ", width, " x 3 bytes, got ", images.size());
  require<ValueError>(options.thumbnail >= 0 && options.thumbnail <= 1024 && options.canvas >= 0 &&
                          options.canvas <= 16384,
                      "draw_image_map: want a thumbnail up to 1024 and a canvas up to 16384, got ",
                      options.thumbnail, " and ", options.canvas);
  // Thumbnails of 72 pixels for tens of points down to 24 for many thousands; a grid with room for
  // four times the images, as clusters leave most of a map empty, but no picture beyond 2600
  // pixels.
  constexpr index_t kFrame = 3, kGap = 1, kOutline = 3;
  constexpr index_t kAround = kFrame + kGap + kOutline + 1;
  const double count = static_cast<double>(std::max<index_t>(n, 1));
  const index_t side = options.thumbnail > 0
                           ? options.thumbnail
                           : std::clamp<index_t>(std::llround(130 / std::pow(count, 0.19)), 24, 72);
  const index_t place = side + 2 * kAround;
  const index_t canvas =
      options.canvas > 0
          ? options.canvas
          : std::clamp<index_t>(std::llround(static_cast<double>(place) * std::sqrt(4 * count)),
                                700, 2600);
  const index_t grid = canvas / place;
  require<ValueError>(grid >= 2, "draw_image_map: a canvas of ", canvas,
                      " has no room for thumbnails of ", side);
  const index_t scale = std::clamp<index_t>(canvas / 600, 1, 4);
  const MapColour by = detail::chosen_colour(points, options.colour);
  const double half = static_cast<double>(place) / 2;
  const auto at = detail::fitted(points, half, half, static_cast<double>(grid * place) - half,
                                 static_cast<double>(grid * place) - half);

  // Wrong predictions first: they are few, and what the reader looks for.
  const auto shuffled = random_permutation(n, RandomStream(options.seed, Purpose::shuffle));
  std::vector<std::size_t> order;
  for (const bool wrong : {true, false}) {
    for (const index_t o : shuffled) {
      const std::size_t i = static_cast<std::size_t>(o);
      if (points.wrong(i) == wrong) order.push_back(i);
    }
  }
  struct Placed {
    std::size_t i;
    index_t left, top;  // of the image, inside its frame
  };
  constexpr double kReach = 3;
  std::vector<Placed> images_at;
  std::vector<std::size_t> dots;
  detail::Places places(grid);
  for (const std::size_t i : order) {
    const double column = (at[i].first - half) / static_cast<double>(place);
    const double row = (at[i].second - half) / static_cast<double>(place);
    if (const auto found = places.take(column, row, kReach)) {
      images_at.push_back({i, found->first * place + kAround, found->second * place + kAround});
    } else {
      dots.push_back(i);
    }
  }

  // What the legend says; its rows are counted before the picture is made.
  struct LegendItem {
    enum Kind { frame, sensor, outline, dot } kind;
    Rgb colour;
    int index;
    std::string text;
    index_t width;
  };
  constexpr index_t kRow = 20;
  std::vector<LegendItem> items;
  const auto item = [&](LegendItem::Kind kind, Rgb colour, int index, const std::string& text) {
    items.push_back({kind, colour, index, text, (26 + Raster::text_width(text)) * scale});
  };
  const auto names = detail::colour_names(points, by);
  if (by != MapColour::sensor) {
    for (std::size_t c = 0; c < names.size(); ++c) {
      item(LegendItem::frame, detail::rgb_of(palette(c)), 0, names[c]);
    }
  }
  for (std::size_t s = 0; s < points.sensors.size() && !points.sensor.empty(); ++s) {
    item(LegendItem::sensor, {}, static_cast<int>(s), points.sensors[s]);
  }
  if (points.labelled() && !points.predicted.empty()) {
    item(LegendItem::outline, {255, 255, 255}, 0, "wrong prediction");
  }
  if (!dots.empty()) {
    item(LegendItem::dot, {}, 0, "no room (" + std::to_string(dots.size()) + ")");
  }
  index_t rows = 1, filled = 6 * scale;
  for (const LegendItem& i : items) {
    if (filled > 6 * scale && filled + i.width > canvas) filled = 6 * scale, ++rows;
    filled += i.width;
  }
  ImageMap map{Raster(canvas, canvas + (2 + kRow * rows) * scale),
               static_cast<index_t>(images_at.size()), static_cast<index_t>(dots.size())};

  for (const Placed& p : images_at) {
    const double x = static_cast<double>(p.left + side / 2),
                 y = static_cast<double>(p.top + side / 2);
    const auto [to_x, to_y] = at[p.i];
    if (std::hypot(to_x - x, to_y - y) < static_cast<double>(place)) continue;
    map.picture.line(x, y, to_x, to_y, {150, 154, 160});
  }
  // Dots go below the images: where those are dense, the count in the legend has to do.
  for (const std::size_t i : dots) {
    const auto [x, y] = at[i];
    map.picture.disc(x, y, points.wrong(i) ? 6 : 4,
                     points.wrong(i) ? kWrongOutline : Rgb{255, 255, 255});
    map.picture.disc(x, y, 3, detail::frame_of(points, by, i));
  }
  for (const Placed& p : images_at) {
    const auto square = [&](index_t around, Rgb colour) {
      map.picture.fill(p.left - around, p.top - around, side + 2 * around, side + 2 * around,
                       colour);
    };
    if (points.wrong(p.i)) {
      square(kFrame + kGap + kOutline, kWrongOutline);
      square(kFrame + kGap, {255, 255, 255});
    }
    square(kFrame, detail::frame_of(points, by, p.i));
    detail::draw_image(map.picture, images.data() + static_cast<index_t>(p.i) * height * width * 3,
                       height, width, p.left, p.top, side);
    if (points.sensor.empty() || side < 16) continue;
    const double r = std::max(3.0, static_cast<double>(side) / 14);
    const index_t box = std::llround(2 * r) + 3;
    map.picture.fill(p.left, p.top + side - box, box, box, {255, 255, 255});
    detail::draw_marker(map.picture, static_cast<double>(p.left) + static_cast<double>(box - 1) / 2,
                        static_cast<double>(p.top + side) - static_cast<double>(box + 1) / 2, r,
                        points.sensor_of(p.i), {34, 34, 34});
  }
  // The legend below the canvas, on white, in as many rows as it needs; lengths in units of the
  // letters' dots.
  index_t x = 6 * scale, y = canvas + 7 * scale;
  const Rgb ink{34, 34, 34}, white{255, 255, 255};
  for (const LegendItem& item : items) {
    if (x > 6 * scale && x + item.width > canvas) x = 6 * scale, y += kRow * scale;
    const double middle_x = static_cast<double>(x + 4 * scale);
    const double middle_y = static_cast<double>(y) + 3.5 * static_cast<double>(scale);
    if (item.kind == LegendItem::outline) {
      map.picture.fill(x - 2 * scale, y - 2 * scale, 12 * scale, 12 * scale, kWrongOutline);
      map.picture.fill(x - scale, y - scale, 10 * scale, 10 * scale, white);
    }
    if (item.kind == LegendItem::frame || item.kind == LegendItem::outline) {
      map.picture.fill(x, y, 8 * scale, 8 * scale, item.colour);
      map.picture.fill(x + scale, y + scale, 6 * scale, 6 * scale, white);
    } else if (item.kind == LegendItem::sensor) {
      detail::draw_marker(map.picture, middle_x, middle_y, 3.6 * static_cast<double>(scale),
                          item.index, ink);
    } else {
      map.picture.disc(middle_x, middle_y, 2.0 * static_cast<double>(scale), ink);
    }
    map.picture.text(x + 13 * scale, y, item.text, scale, ink);
    x += item.width;
  }
  return map;
}

/// draw_image_map into a PNG file, whole or absent.
/// @return  the map, for its counts.
/// @throws  as draw_image_map.  @throws FileError  the file cannot be written.
inline ImageMap write_image_map(const std::filesystem::path& path, const MapPoints& points,
                                std::span<const std::uint8_t> images, index_t height, index_t width,
                                const ImageMapOptions& options = {}) {
  ImageMap map = draw_image_map(points, images, height, width, options);
  io::write_file(path, map.picture.png());
  return map;
}

}  // namespace mwalimu::report
