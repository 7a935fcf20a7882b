// train/checkpoint_maps: how the map of the same images changes from one checkpoint to the next.
//
// Each map starts where the one before it ended, so that what did not change stays in its place,
// and is then turned (Procrustes) to lie over it, as nothing else fixes a map's rotation.
#pragma once

#include <algorithm>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/train/embedding_map.hpp"

namespace mwalimu::train {

struct Checkpoint {
  std::string name;
  MapTable table;
};

/// What draw_checkpoint_maps may write.
inline std::vector<std::string> checkpoint_map_files() {
  return {"embedding.csv", "scatter.svg", "checkpoints.svg", "checkpoints.csv",
          "images.png",    "map.html",    "tsne.json"};
}

/// Whether they can be mapped together, to be asked before anything is written.
/// @throws ValueError  fewer than two checkpoints, other images, more than one perplexity, or
///                     options that are not for several maps.
inline void check_checkpoints(std::span<const Checkpoint> checkpoints,
                              const EmbeddingMapOptions& options) {
  require<ValueError>(checkpoints.size() >= 2, "--checkpoints: want two or more, separated by commas");
  require<ValueError>(options.perplexities.size() <= 1,
                      "--checkpoints: want one perplexity for all of them, got ",
                      options.perplexities.size());
  require<ValueError>(!options.animate,
                      "--animate shows one map's optimisation; leave out --checkpoints");
  for (const Checkpoint& c : checkpoints) {
    require<ValueError>(c.table.id == checkpoints[0].table.id, "--checkpoints: ", c.name,
                        " holds other images than ", checkpoints[0].name,
                        ", or in another order; compute all of them on the same data");
  }
}

/// Maps every checkpoint and writes checkpoints.svg (a panel each), checkpoints.csv
/// (checkpoint,image_id,predicted,x,y), map.html with the maps side by side under one camera,
/// tsne.json, and of the last checkpoint embedding.csv, scatter.svg and, with thumbnails, images.png.
///
/// @param checkpoints  two or more, in order, of the same images in the same order.
/// @param options      one perplexity, or none: 30, or what few points allow.
/// @return             the last checkpoint's map.
/// @throws ValueError  as check_checkpoints and check_map_options.
inline EmbeddingMap draw_checkpoint_maps(std::span<const Checkpoint> checkpoints,
                                         const Thumbnails* thumbnails, EmbeddingMapOptions options,
                                         const std::filesystem::path& out) {
  using Json = nlohmann::ordered_json;
  check_checkpoints(checkpoints, options);
  const index_t n = checkpoints[0].table.rows();
  if (options.perplexities.empty()) {
    options.perplexities = {std::min(30.0, std::max(1.0, static_cast<double>(n - 1) / 3))};
  }
  check_map_options(options, n);
  EmbeddingMap map;
  map.neighbors = detail::neighbors_for_measures(options.neighbors, n);
  detail::Stopwatch whole;

  report::MapPoints& points = map.points = map_points(checkpoints.back().table);
  for (const Checkpoint& c : checkpoints) {  // classes that only an early model predicts
    const auto classes = map_points(c.table).classes;
    points.classes.insert(points.classes.end(), classes.begin(), classes.end());
  }
  std::sort(points.classes.begin(), points.classes.end());
  points.classes.erase(std::unique(points.classes.begin(), points.classes.end()),
                       points.classes.end());
  const auto in_all_classes = [&](const MapTable& table) {
    auto p = map_points(table);
    for (auto* values : {&p.label, &p.predicted}) {
      for (int& v : *values) {
        if (v < 0) continue;
        const std::string& name = p.classes[static_cast<std::size_t>(v)];
        v = static_cast<int>(std::lower_bound(points.classes.begin(), points.classes.end(), name) -
                             points.classes.begin());
      }
    }
    p.classes = points.classes;
    return p;
  };
  points = in_all_classes(checkpoints.back().table);

  report::ScatterPanels panels{.title = options.title, .points = points, .panels = {},
                               .colour = options.colour, .pair_lines = options.pair_lines};
  report::MapPage page = detail::map_page(options, points, thumbnails);
  page.together = true;
  page.first = checkpoints.size() - 1;
  Json maps = Json::array();
  std::vector<std::string> names;
  io::CsvWriter csv(out / "checkpoints.csv", {"checkpoint", "image_id", "predicted", "x", "y"});
  std::vector<float> before;
  embedding::TsneResult last;
  for (std::size_t k = 0; k < checkpoints.size(); ++k) {
    const auto& [name, table] = checkpoints[k];
    detail::Stopwatch watch;
    const embedding::Points x(table.logits, n, table.C);
    embedding::TsneOptions tsne = options.tsne;
    tsne.perplexity = options.perplexities[0];
    std::vector<float> start;
    if (k > 0) {
      start = embedding::rescaled_start(before, n, 2);
      tsne.start = embedding::Start::given;
      tsne.given_start = start;
    }
    last = embedding::tsne(x, tsne);
    const double took = watch.lap();
    const AlignedMap aligned =
        k == 0 ? AlignedMap{last.map, 0} : align_map(last.map, before);
    before = aligned.xy;
    report::MapPoints own = in_all_classes(table);
    own.xy = aligned.xy;
    const MapFindings found = find_in_map(own, x, map.neighbors, options.tsne.seed);
    const double trust =
        embedding::trustworthiness(x, embedding::Points(own.xy, n, 2), map.neighbors);
    maps.push_back({{"checkpoint", name}});
    maps.back().update(detail::map_measures(last, found, trust, took));
    if (found.error.known()) {
      maps.back()["error_by_sensor"] = {{"rgb", found.error.mean[0]}, {"rgn", found.error.mean[1]}};
    }
    if (k > 0) maps.back()["disparity_to_previous"] = aligned.disparity;
    std::string note = "KL " + report::fixed(last.kl, 3);
    if (!std::isnan(found.knn_accuracy)) {
      note += ", k-NN accuracy " + detail::percent(found.knn_accuracy);
    }
    names.push_back(name);
    panels.panels.push_back({name, note, own.xy, own.predicted});
    page.views.push_back({name, note, own.xy, own.predicted, own.probability});
    for (index_t i = 0; i < n; ++i) {
      const auto row = static_cast<std::size_t>(i);
      csv.row(name, table.id[row], row < table.predicted.size() ? table.predicted[row] : "",
              own.xy[2 * row], own.xy[2 * row + 1]);
    }
    if (k + 1 == checkpoints.size()) {
      points.xy = own.xy;
      map.findings = found;
      map.trustworthiness = trust;
    }
  }
  csv.commit();
  map.perplexity = last.perplexity;
  map.kl = last.kl;
  map.text = findings_text(map.findings, points);

  const MapTable& table = checkpoints.back().table;
  map.scatter_svg = report::scatter_plot_svg(
      {.title = options.title + ", " + names.back(), .points = points, .colour = options.colour,
       .pair_lines = options.pair_lines});
  io::write_file(out / "scatter.svg", map.scatter_svg);
  io::write_file(out / "checkpoints.svg", report::scatter_panels_svg(panels));
  detail::write_embedding_csv(out / "embedding.csv", table, points.xy);
  if (thumbnails != nullptr) {
    map.images_png = detail::write_images(out / "images.png", points, *thumbnails, options);
  }
  page.lead = "The same " + std::to_string(n) + " images in " + std::to_string(names.size()) +
              " checkpoints, perplexity " + detail::general(last.perplexity) +
              ". Each map started from the one before it.";
  detail::add_findings(page, map.findings, map.text, points);
  if (!page.paragraphs.empty()) page.paragraphs[0] = names.back() + ": " + page.paragraphs[0];
  page.tables.push_back(detail::measures_table(maps, "checkpoint", names));
  io::write_file(out / "map.html", report::map_page_html(page));
  map.json = {{"settings", detail::map_settings(options, table, last.pca_dims)},
              {"machine", detail::map_machine(options)},
              {"perplexity", last.perplexity},
              {"kl", last.kl},
              {"trustworthiness", map.trustworthiness},
              {"measured_neighbors", map.neighbors},
              {"maps", std::move(maps)},
              {"sensors", findings_json(map.findings, points)},
              {"seconds", {{"total", whole.lap()}}}};
  io::write_file(out / "tsne.json", map.json.dump(2) + "\n");
  return map;
}

}  // namespace mwalimu::train
