// report/map_page: a map to walk about in: one HTML file that pans, zooms and shows the images.
//
// The page holds everything it needs (points, thumbnails in JPEG sheets, its program) and opens
// without a network. Thumbnails never cover each other: the nearer one looks, the more of them fit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/report/base64.hpp"
#include "mwalimu/report/html.hpp"
#include "mwalimu/report/map_page_script.hpp"
#include "mwalimu/report/map_page_style.hpp"
#include "mwalimu/report/map_points.hpp"
#include "mwalimu/report/sprite_sheets.hpp"
#include "mwalimu/report/svg.hpp"

namespace mwalimu::report {

/// One map of the points: of a perplexity, or of a checkpoint.
struct MapView {
  std::string name = {}, note = {};     ///< "perplexity 30", "KL 0.812"
  std::vector<float> xy = {};           ///< (n, 2)
  std::vector<int> predicted = {};      ///< (n) this checkpoint's; empty: those of the points
  std::vector<float> probability = {};  ///< (n) with `predicted`; may be empty
};

/// The map after some iteration.
struct MapFrame {
  int iteration = 0;
  double kl = 0;
  bool early = false;          ///< still in early exaggeration
  std::vector<float> xy = {};  ///< (n, 2)
};

struct MapPage {
  std::string title = {}, lead = {};
  MapPoints points = {};            ///< xy may be empty: the views have the coordinates
  std::vector<MapView> views = {};  ///< at least one
  std::size_t first = 0;            ///< the view shown first
  bool together = false;            ///< all views side by side at first, with one camera
  std::vector<MapFrame> frames = {};  ///< a film of the first view; may be empty
  bool pair_lines = false;          ///< drawn at first
  std::span<const std::uint8_t> images = {};  ///< (n, height, width, 3) bytes; may be empty
  index_t height = 0, width = 0;
  index_t thumbnail = 0;            ///< side in the page, a multiple of 16; 0: by the number of images
  std::vector<std::string> paragraphs = {};  ///< below the map, under `findings`
  std::vector<Table> tables = {};
  std::string findings = "What the map shows";
};

namespace detail {

/// The box of a map: its middle and half its larger extent.
struct MapBox {
  double x = 0, y = 0, half = 1;
};

inline MapBox box_of(std::span<const float> xy) {
  double low[2] = {0, 0}, high[2] = {0, 0};
  for (std::size_t i = 0; i < xy.size(); ++i) {
    const double v = xy[i];
    low[i % 2] = i < 2 ? v : std::min(low[i % 2], v);
    high[i % 2] = i < 2 ? v : std::max(high[i % 2], v);
  }
  const double half = std::max(high[0] - low[0], high[1] - low[1]) / 2;
  return {(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, half > 0 ? half : 1};
}

/// Coordinates in a box as 16-bit numbers, 0 and 65535 the box's ends, low byte first, in base64.
inline std::string packed_map(std::span<const float> xy, const MapBox& box) {
  std::vector<std::byte> bytes;
  bytes.reserve(xy.size() * 2);
  for (std::size_t i = 0; i < xy.size(); ++i) {
    const double v = (xy[i] - (i % 2 == 0 ? box.x : box.y)) / box.half;
    const auto word =
        static_cast<unsigned>(std::lround(std::clamp((v + 1) * 32767.5, 0.0, 65535.0)));
    bytes.push_back(static_cast<std::byte>(word & 0xFF));
    bytes.push_back(static_cast<std::byte>(word >> 8));
  }
  return base64(bytes);
}

/// The boxes of a film's frames: a map grows from almost nothing, so the camera follows it, with
/// the mean logarithm of a few extents as its own, lest one far point shake the picture.
inline std::vector<MapBox> film_boxes(std::span<const MapFrame> frames) {
  std::vector<MapBox> boxes, out;
  for (const MapFrame& f : frames) boxes.push_back(box_of(f.xy));
  const auto count = static_cast<std::ptrdiff_t>(boxes.size());
  for (std::ptrdiff_t k = 0; k < count; ++k) {
    const std::ptrdiff_t reach = std::min<std::ptrdiff_t>({3, k, count - 1 - k});
    double x = 0, y = 0, half = 0;
    for (std::ptrdiff_t j = k - reach; j <= k + reach; ++j) {
      const MapBox& b = boxes[static_cast<std::size_t>(j)];
      x += b.x, y += b.y, half += std::log(b.half);
    }
    const double m = static_cast<double>(2 * reach + 1);
    const MapBox& own = boxes[static_cast<std::size_t>(k)];
    MapBox box{x / m, y / m, std::exp(half / m)};
    box.half = std::max(box.half, own.half + std::max(std::abs(own.x - box.x),
                                                      std::abs(own.y - box.y)));  // all inside
    out.push_back(box);
  }
  return out;
}

/// JSON inside a script element: no "<" may be read as markup.
inline std::string script_safe(const nlohmann::ordered_json& json) {
  std::string text =
      json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace), out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace detail

/// The page as text.
///
/// @throws ShapeError  a view, a frame or the images have another number of points.
/// @throws ValueError  no view, `first` names none, a coordinate is not finite, or as detail::check
///                     of the points.
inline std::string map_page_html(const MapPage& page) {
  require<ValueError>(page.first < page.views.size(), "map_page_html: want a view to show first, got ",
                      page.first, " of ", page.views.size());
  MapPoints points = page.points;
  for (const MapView& view : page.views) {
    points.xy = view.xy;
    if (!view.predicted.empty()) {
      points.predicted = view.predicted;
      points.probability = view.probability;
    }
    detail::check(points, "map_page_html");
    require<ShapeError>(view.xy.size() == page.views[0].xy.size(), "map_page_html: view '",
                        view.name, "' has ", view.xy.size() / 2, " points, the first ",
                        page.views[0].xy.size() / 2);
  }
  const MapPoints& p = page.points;
  const std::size_t n = page.views[0].xy.size() / 2;

  using Json = nlohmann::ordered_json;
  Json data{{"n", n}, {"classes", p.classes}, {"sensors", p.sensors}};
  const auto rounded = [](const std::vector<float>& values) {
    Json out = Json::array();
    for (const float v : values) out.push_back(std::round(v * 1e4) / 1e4);
    return out;
  };
  if (!p.id.empty()) data["id"] = p.id;
  if (!p.label.empty()) data["label"] = p.label;
  if (!p.predicted.empty()) data["predicted"] = p.predicted;
  if (!p.probability.empty()) data["probability"] = rounded(p.probability);
  if (!p.sensor.empty()) data["sensor"] = p.sensor;
  if (!p.pair.empty()) data["pair"] = p.pair;
  for (std::size_t i = 0; i < kPaletteSize; ++i) data["palette"].push_back(palette(i));
  data["views"] = Json::array();
  for (const MapView& view : page.views) {
    Json v{{"name", view.name}, {"note", view.note},
           {"xy", detail::packed_map(view.xy, detail::box_of(view.xy))}};
    if (!view.predicted.empty()) {
      v["predicted"] = view.predicted;
      if (!view.probability.empty()) v["probability"] = rounded(view.probability);
    }
    data["views"].push_back(std::move(v));
  }
  data["first"] = page.first;
  data["together"] = page.together;
  data["pairLines"] = page.pair_lines;
  data["frames"] = Json::array();
  const auto boxes = detail::film_boxes(page.frames);
  for (std::size_t k = 0; k < page.frames.size(); ++k) {
    const MapFrame& f = page.frames[k];
    require<ShapeError>(f.xy.size() == 2 * n, "map_page_html: frame ", k, " has ", f.xy.size() / 2,
                        " points, want ", n);
    data["frames"].push_back({{"iteration", f.iteration}, {"kl", std::round(f.kl * 1e6) / 1e6},
                              {"early", f.early}, {"xy", detail::packed_map(f.xy, boxes[k])}});
  }
  data["images"] = !page.images.empty();
  data["sheets"] = Json::array();
  if (!page.images.empty()) {
    const SpriteSheets sprites = pack_sprites(page.images, static_cast<index_t>(n), page.height,
                                              page.width, page.thumbnail);
    data["cell"] = sprites.cell;
    data["columns"] = sprites.columns;
    data["perSheet"] = sprites.per_sheet;
    for (const auto& sheet : sprites.sheets) {
      data["sheets"].push_back("data:image/jpeg;base64," + base64(sheet));
    }
  }

  HtmlReport html(page.title, page.lead);
  std::string map = "<style>";
  map += detail::kMapStyle;
  map += "</style>\n<div id=\"map\">\n<div class=\"bar\"></div>\n<div class=\"stage\"></div>\n";
  if (!page.frames.empty()) {
    map += "<div class=\"play\"></div>\n<canvas class=\"curve\"></canvas>\n";
  }
  map +=
      "<p class=\"hint\">Drag to move, turn the wheel or pinch to zoom, point at an image to see what "
      "it is and where its pair lies. Only who lies near whom has a meaning: axes, rotation and the "
      "size of clusters have none.";
  if (!page.images.empty()) {
    map += " Images that have no room yet are dots; they appear as one comes nearer.";
  }
  if (p.labelled() && !p.predicted.empty()) map += " A black outline is a wrong prediction.";
  map += "</p>\n<div class=\"tip\"></div>\n</div>\n<script type=\"application/json\" "
         "id=\"map-data\">";
  map += detail::script_safe(data);
  map += "</script>\n<script>";
  for (const std::string_view part : detail::kMapScript) map += part;
  map += "</script>\n";
  html.markup(map);
  if (!page.paragraphs.empty() || !page.tables.empty()) html.section(page.findings);
  for (const std::string& paragraph : page.paragraphs) html.paragraph(paragraph);
  for (const Table& table : page.tables) html.table(table);
  return html.str();
}

}  // namespace mwalimu::report
