// train/embedding_map: the t-SNE map of a model's outputs, as files and as pictures.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "mwalimu/data/image_store.hpp"
#include "mwalimu/embedding/quality.hpp"
#include "mwalimu/embedding/tsne.hpp"
#include "mwalimu/eval/logits_csv.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/report/image_map.hpp"
#include "mwalimu/report/scatter_plot.hpp"

namespace mwalimu::train {

struct EmbeddingMapOptions {
  std::string title = "t-SNE";
  /// One map each; the one with the smallest criterion of Cao and Wang is drawn as scatter.svg.
  /// Empty: those of 5, 10, 30, 50 and 100 that the number of points allows.
  std::vector<double> perplexities;
  embedding::TsneOptions tsne;
};

/// The map that was chosen, and its measures.
struct EmbeddingMap {
  report::MapPoints points;
  double perplexity = 0, kl = 0;
  double trustworthiness = 0;  ///< of the neighbours shown, against the points mapped
  index_t neighbors = 0;       ///< that it was measured with
  std::string scatter_svg;
  std::vector<std::byte> images_png;  ///< empty without thumbnails
  nlohmann::ordered_json json;
};

/// The pictures beside a table: rows in its order, height x width x 3 bytes each.
struct Thumbnails {
  std::vector<std::uint8_t> pixels;
  index_t height = 0, width = 0;
};

/// The images named by the table, out of a store.
/// @throws ValueError  an image of the table is not in the data set.
inline Thumbnails thumbnails_of(const eval::LogitTable& table, const data::Dataset& dataset,
                                const data::ImageStore& store) {
  std::map<std::string, index_t> at;
  for (index_t i = 0; i < dataset.size(); ++i) at[dataset[i].id] = i;
  Thumbnails out{{}, store.height(), store.width()};
  for (const std::string& id : table.id) {
    const auto found = at.find(id);
    require<ValueError>(found != at.end(), "tsne: ", id, " is not in the data set; give the --data "
                        "that the logits were computed from");
    const auto image = store.image(found->second);
    out.pixels.insert(out.pixels.end(), image.begin(), image.end());
  }
  return out;
}

/// Maps the rows of `table` and writes embedding.csv, scatter.svg, tsne.json and, with thumbnails,
/// images.png; with several perplexities also scatter_pP.svg for each.
/// @throws ValueError  a perplexity is too large for the number of rows, or they are fewer than 4.
/// @throws FileError   cannot write.
inline EmbeddingMap draw_embedding_map(const eval::LogitTable& table, const Thumbnails* thumbnails,
                                       EmbeddingMapOptions options,
                                       const std::filesystem::path& out) {
  const embedding::Points x(table.logits, table.rows(), table.C);
  const index_t n = x.n();
  if (options.perplexities.empty()) {
    for (const double p : {5.0, 10.0, 30.0, 50.0, 100.0}) {
      if (p <= static_cast<double>(n - 1) / 3) options.perplexities.push_back(p);
    }
    if (options.perplexities.empty()) {
      options.perplexities.push_back(std::max(1.0, static_cast<double>(n - 1) / 3));
    }
  }
  const auto results = embedding::tsne_sweep(x, options.perplexities, options.tsne);
  const auto choice = embedding::select_perplexity(results);
  const embedding::TsneResult& best = results[choice.best];

  EmbeddingMap map;
  report::MapPoints& points = map.points;
  for (const auto* names : {&table.label, &table.predicted}) {
    for (const std::string& name : *names) {
      if (!name.empty()) points.classes.push_back(name);
    }
  }
  std::sort(points.classes.begin(), points.classes.end());
  points.classes.erase(std::unique(points.classes.begin(), points.classes.end()),
                       points.classes.end());
  const auto index_of = [&](const std::string& name) {
    const auto found = std::find(points.classes.begin(), points.classes.end(), name);
    return found == points.classes.end() ? -1 : static_cast<int>(found - points.classes.begin());
  };
  bool labelled = true;
  for (index_t i = 0; i < n; ++i) {
    const auto row = static_cast<std::size_t>(i);
    points.label.push_back(row < table.label.size() ? index_of(table.label[row]) : -1);
    points.predicted.push_back(row < table.predicted.size() ? index_of(table.predicted[row]) : -1);
    points.sensor.push_back(row < table.sensor.size() && table.sensor[row] == data::Sensor::rgn);
    labelled = labelled && points.label.back() >= 0;
  }

  map.perplexity = best.perplexity;
  map.kl = best.kl;
  map.neighbors = std::min<index_t>(12, (n - 1) / 2);
  nlohmann::ordered_json panels = nlohmann::ordered_json::array();
  for (std::size_t s = 0; s < results.size(); ++s) {
    const embedding::TsneResult& r = results[s];
    const embedding::Points shown(r.map, n, r.components);
    nlohmann::ordered_json panel{{"perplexity", r.perplexity}, {"kl", r.kl},
                                 {"criterion", choice.criterion[s]}, {"iterations", r.iterations},
                                 {"stopped", embedding::name(r.reason)},
                                 {"neighbors", r.neighbors}};
    panel["trustworthiness"] = embedding::trustworthiness(x, shown, map.neighbors);
    if (labelled) panel["knn_accuracy"] = embedding::knn_accuracy(shown, points.label, map.neighbors);
    if (s == choice.best) map.trustworthiness = panel["trustworthiness"];
    if (!r.warnings.empty()) panel["warnings"] = r.warnings;
    panels.push_back(std::move(panel));
    points.xy = r.map;
    char title[160];
    std::snprintf(title, sizeof title, "%s, perplexity %g", options.title.c_str(), r.perplexity);
    const std::string svg = report::scatter_plot_svg({.title = title, .points = points});
    if (results.size() > 1) {
      char name[48];
      std::snprintf(name, sizeof name, "scatter_p%g.svg", r.perplexity);
      io::write_file(out / name, svg);
    }
    if (s == choice.best) map.scatter_svg = svg;
  }
  points.xy = best.map;
  io::write_file(out / "scatter.svg", map.scatter_svg);

  io::CsvWriter csv(out / "embedding.csv",
                    {"image_id", "sensor", "label", "predicted", "x", "y"});
  for (index_t i = 0; i < n; ++i) {
    const auto row = static_cast<std::size_t>(i);
    const auto text = [&](const std::vector<std::string>& column) {
      return row < column.size() ? column[row] : std::string();
    };
    csv.row(row < table.id.size() ? table.id[row] : std::to_string(i),
            row < table.sensor.size() ? data::sensor_name(table.sensor[row]) : "",
            text(table.label), text(table.predicted), best.map[2 * row], best.map[2 * row + 1]);
  }
  csv.commit();
  if (thumbnails != nullptr) {
    const auto picture = report::draw_image_map(points, thumbnails->pixels, thumbnails->height,
                                                thumbnails->width, {.seed = options.tsne.seed});
    map.images_png = picture.picture.png();
    io::write_file(out / "images.png", map.images_png);
  }
  map.json = {{"points", n},
              {"dimensions", x.d()},
              {"seed", options.tsne.seed},
              {"perplexity", best.perplexity},
              {"kl", best.kl},
              {"trustworthiness", map.trustworthiness},
              {"trustworthiness_neighbors", map.neighbors},
              {"maps", std::move(panels)}};
  io::write_file(out / "tsne.json", map.json.dump(2) + "\n");
  return map;
}

}  // namespace mwalimu::train
