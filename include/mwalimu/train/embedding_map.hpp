// train/embedding_map: the t-SNE maps of a model's outputs, as files and as pictures.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/cpu/dnnl.hpp"
#include "mwalimu/embedding/quality.hpp"
#include "mwalimu/embedding/tsne.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/report/image_map.hpp"
#include "mwalimu/report/map_page.hpp"
#include "mwalimu/report/scatter_plot.hpp"
#include "mwalimu/train/map_alignment.hpp"
#include "mwalimu/train/map_findings_text.hpp"
#include "mwalimu/train/map_table.hpp"

namespace mwalimu::train {

struct EmbeddingMapOptions {
  std::string title = "t-SNE";
  /// One map each; the one with the smallest criterion of Cao and Wang among those of 5 and more
  /// is drawn as scatter.svg.
  /// Empty: those of 5, 10, 30, 50 and 100 that the number of points allows.
  std::vector<double> perplexities;
  bool multiscale = false;  ///< one map over all perplexities at once instead of one map each
  embedding::TsneOptions tsne;
  report::MapColour colour = report::MapColour::automatic;
  bool pair_lines = false;  ///< joins the two images of a plant
  index_t neighbors = 0;    ///< looked at by the measures; 0: 12, or what few points allow
  index_t thumbnail = 0;    ///< side in images.png, pixels; 0: by the number of points
  bool animate = false;     ///< animation.html: the optimisation as a film
  std::string version = {};  ///< of the program, for tsne.json; empty: left out
};

/// The map that was chosen, and its measures.
struct EmbeddingMap {
  report::MapPoints points;
  double perplexity = 0, kl = 0;
  double trustworthiness = 0;  ///< of the neighbours shown, against the points mapped
  index_t neighbors = 0;       ///< that it was measured with
  std::string scatter_svg;
  std::vector<std::byte> images_png;  ///< empty without thumbnails
  MapFindings findings;
  std::vector<std::string> text;  ///< what the map shows about the sensors
  nlohmann::ordered_json json;
};

/// What draw_embedding_map may write.
inline std::vector<std::string> embedding_map_files() {
  return {"embedding.csv", "scatter.svg", "perplexities.svg", "images.png",
          "map.html",      "tsne.json",   "animation.html"};
}

namespace detail {

class Stopwatch {
 public:
  /// Seconds since the last call, or since the beginning.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// "%g", as titles have it.
inline std::string general(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

/// "10", or "10, 50" of a map over several.
inline std::string perplexity_text(const embedding::TsneOptions& o, double perplexity) {
  if (o.multiscale.empty()) return general(perplexity);
  std::string text;
  for (const double p : o.multiscale) text += (text.empty() ? "" : ", ") + general(p);
  return text;
}

inline index_t neighbors_for_measures(index_t wish, index_t n) {
  const index_t most = (n - 1) / 2;
  require<ValueError>(wish >= 0 && wish <= most, "--neighbors: want 1 to ", most, " for ", n,
                      " points, or 0 to choose, got ", wish);
  return wish > 0 ? wish : std::min<index_t>(12, most);
}

inline std::vector<double> perplexities_for(index_t n) {
  std::vector<double> chosen;
  for (const double p : {5.0, 10.0, 30.0, 50.0, 100.0}) {
    if (p <= static_cast<double>(n - 1) / 3) chosen.push_back(p);
  }
  if (chosen.empty()) chosen.push_back(std::max(1.0, static_cast<double>(n - 1) / 3));
  return chosen;
}

/// The smallest criterion among perplexities of 5 and more, where there is one: below, a map shows
/// chains of single neighbours, whatever the criterion says (van der Maaten and Hinton 2008
/// recommend 5 to 50).
inline embedding::PerplexityChoice choose_map(std::span<const embedding::TsneResult> results) {
  auto choice = embedding::select_perplexity(results);
  std::size_t best = results.size();
  for (std::size_t s = 0; s < results.size(); ++s) {
    if (results[s].perplexity < 5) continue;
    if (best == results.size() || choice.criterion[s] < choice.criterion[best]) best = s;
  }
  if (best < results.size()) choice.best = best;
  return choice;
}

/// The measures of one map, as tsne.json has them.
inline nlohmann::ordered_json map_measures(const embedding::TsneResult& r, const MapFindings& f,
                                           double trustworthiness, double seconds) {
  using Json = nlohmann::ordered_json;
  Json json{{"perplexity", r.perplexity}, {"kl", r.kl}, {"kl_is_exact", r.kl_is_exact},
            {"repulsion", r.repulsion == embedding::Repulsion::fft ? "fft" : "exact"},
            {"iterations", r.iterations},
            {"stopped", embedding::name(r.reason)}, {"affinity_neighbors", r.neighbors},
            {"trustworthiness", trustworthiness}};
  if (r.neighbor_recall < 1) json["neighbor_recall"] = r.neighbor_recall;
  if (!std::isnan(f.knn_accuracy)) {
    json["knn_accuracy"] = f.knn_accuracy;
    if (f.misplaced.known()) {
      json["knn_accuracy_by_sensor"] = {{"rgb", 1 - f.misplaced.mean[0]},
                                        {"rgn", 1 - f.misplaced.mean[1]}};
    }
  }
  json["seconds"] = seconds;
  if (!r.warnings.empty()) json["warnings"] = r.warnings;
  return json;
}

inline nlohmann::ordered_json map_settings(const EmbeddingMapOptions& o, const MapTable& table,
                                           index_t pca_dims) {
  const auto& t = o.tsne;
  const auto plan = embedding::detail::plan(t, table.rows());
  nlohmann::ordered_json json = {
      {"points", table.rows()},
      {"dimensions", table.C},
      {"pca_dims", pca_dims},
      {"metric", t.metric == embedding::Metric::cosine ? "cosine" : "euclidean"},
      {"start", t.start == embedding::Start::random ? "random"
                : t.start == embedding::Start::pca  ? "pca"
                                                    : "given"},
      {"seed", t.seed},
      {"iterations", plan.total},
      {"early_iterations", plan.early},
      {"early_exaggeration", plan.early_step.exaggeration},
      {"late_exaggeration", t.late_exaggeration},
      {"schedule", t.schedule == embedding::Schedule::classic ? "classic" : "auto"}};
  if (!t.multiscale.empty()) json["multiscale"] = t.multiscale;
  return json;
}

/// Where and with what maps are made, as tsne.json has it: figures of another machine, of other
/// libraries or of another number of threads need not be these to the last digit or second.
inline nlohmann::ordered_json map_machine(const EmbeddingMapOptions& o) {
  nlohmann::ordered_json json{{"device", "cpu"}, {"threads", num_threads()}};
  if constexpr (kCuda) {
    if (!o.tsne.device.is_cpu()) {
      json["device"] = mwalimu::detail::concatenate(o.tsne.device);
      json["device_name"] = gpu::Driver::info(o.tsne.device.index).name;
    }
  }
  if (!o.version.empty()) json["mwalimu"] = o.version;
  const dnnl_version_t* onednn = dnnl_version();
  json["onednn"] =
      mwalimu::detail::concatenate(onednn->major, ".", onednn->minor, ".", onednn->patch);
  json["hnswlib"] = embedding::kHasHnsw;
  json["compiler"] = __VERSION__;
  return json;
}

inline void write_embedding_csv(const std::filesystem::path& path, const MapTable& table,
                                std::span<const float> xy) {
  io::CsvWriter csv(path, {"image_id", "sensor", "label", "predicted", "x", "y"});
  for (index_t i = 0; i < table.rows(); ++i) {
    const auto row = static_cast<std::size_t>(i);
    const auto text = [&](const std::vector<std::string>& column) {
      return row < column.size() ? column[row] : std::string();
    };
    csv.row(table.id[row],
            row < table.sensor.size() ? data::sensor_name(table.sensor[row]) : "",
            text(table.label), text(table.predicted), xy[2 * row], xy[2 * row + 1]);
  }
  csv.commit();
}

/// Title, sentences and tables of a page whose maps come later.
inline report::MapPage map_page(const EmbeddingMapOptions& o, const report::MapPoints& points,
                                const Thumbnails* thumbnails) {
  report::MapPage page;
  page.title = o.title;
  page.points = points;
  page.points.xy.clear();
  page.pair_lines = o.pair_lines;
  if (thumbnails != nullptr) {
    page.images = thumbnails->pixels;
    page.height = thumbnails->height;
    page.width = thumbnails->width;
  }
  return page;
}

inline void add_findings(report::MapPage& page, const MapFindings& f,
                         const std::vector<std::string>& text, const report::MapPoints& points) {
  page.findings = "What the map shows about RGB against RGN";
  page.paragraphs = text;
  auto table = findings_table(f);
  if (!table.rows.empty()) page.tables.push_back(std::move(table));
  auto where = misplaced_table(f, points);
  if (!where.rows.empty()) page.tables.push_back(std::move(where));
}

inline report::Table measures_table(const nlohmann::ordered_json& maps, const std::string& first,
                                    const std::vector<std::string>& names) {
  report::Table table{.caption = "Kullback-Leibler divergence in nats, trustworthiness and "
                                 "k-nearest-neighbour accuracy of each map.",
                      .header = {first, "KL", "trustworthiness", "k-NN accuracy", "RGB", "RGN"},
                      .rows = {}};
  for (std::size_t s = 0; s < maps.size(); ++s) {
    const auto& m = maps[s];
    const auto share = [](const nlohmann::ordered_json& at, const char* key) {
      return at.contains(key) ? percent(at.at(key).get<double>()) : std::string("-");
    };
    const auto by_sensor = m.value("knn_accuracy_by_sensor", nlohmann::ordered_json::object());
    table.rows.push_back({names[s], report::fixed(m.at("kl"), 4),
                          report::fixed(m.at("trustworthiness"), 3), share(m, "knn_accuracy"),
                          share(by_sensor, "rgb"), share(by_sensor, "rgn")});
  }
  return table;
}

/// The picture with the images, into images.png. @return  its bytes.
inline std::vector<std::byte> write_images(const std::filesystem::path& path,
                                           const report::MapPoints& points,
                                           const Thumbnails& thumbnails,
                                           const EmbeddingMapOptions& o) {
  const auto picture = report::draw_image_map(points, thumbnails.pixels, thumbnails.height,
                                              thumbnails.width,
                                              {.colour = o.colour, .thumbnail = o.thumbnail,
                                               .canvas = 0, .seed = o.tsne.seed});
  auto bytes = picture.picture.png();
  io::write_file(path, bytes);
  return bytes;
}

}  // namespace detail

/// Whether n points can be mapped with these options, to be asked before anything is written.
/// @throws ValueError  too few points, a perplexity too large for them, a number out of range.
inline void check_map_options(const EmbeddingMapOptions& options, index_t n) {
  require<ValueError>(n >= 4, "tsne: want at least 4 points, got ", n);
  for (const double p : options.perplexities) embedding::require_perplexity(p, n);
  (void)detail::neighbors_for_measures(options.neighbors, n);
  embedding::detail::check(options.tsne);
}

/// What was found, for a terminal: the measures of every map, then the sentences.
inline std::string summary(const EmbeddingMap& map) {
  std::string out;
  for (const auto& m : map.json.at("maps")) {
    char line[200];
    const std::string name = m.contains("checkpoint") ? m.at("checkpoint").get<std::string>()
                                                      : "perplexity " + detail::general(m.at("perplexity"));
    std::snprintf(line, sizeof line, "%-16s KL %.4f, trustworthiness %.3f", name.c_str(),
                  m.at("kl").get<double>(), m.at("trustworthiness").get<double>());
    out += line;
    if (m.contains("knn_accuracy")) {
      out += ", k-NN accuracy " + detail::percent(m.at("knn_accuracy").get<double>());
    }
    out += "\n";
  }
  for (const std::string& paragraph : map.text) out += "\n" + paragraph + "\n";
  const auto table = findings_table(map.findings);
  if (!table.rows.empty()) out += "\n" + detail::text_table(table) + "\n";
  return out;
}

/// Maps the rows of `table` and writes embedding.csv, scatter.svg, map.html, tsne.json and, with
/// thumbnails, images.png; with several perplexities also perplexities.svg, a panel each (turned to
/// lie over the chosen one); with options.animate animation.html.
/// @throws ValueError  a perplexity is too large for the number of rows, they are fewer than 4, or
///                     an option is out of range.
/// @throws FileError   cannot write.
inline EmbeddingMap draw_embedding_map(const MapTable& table, const Thumbnails* thumbnails,
                                       EmbeddingMapOptions options,
                                       const std::filesystem::path& out) {
  using Json = nlohmann::ordered_json;
  const embedding::Points x(table.logits, table.rows(), table.C);
  const index_t n = x.n();
  check_map_options(options, n);
  if (options.perplexities.empty()) options.perplexities = detail::perplexities_for(n);
  EmbeddingMap map;
  map.neighbors = detail::neighbors_for_measures(options.neighbors, n);
  detail::Stopwatch watch, whole;
  Json seconds = Json::object();

  // One search for neighbours, for the largest perplexity; then a map each.
  const double largest =
      *std::max_element(options.perplexities.begin(), options.perplexities.end());
  if (options.multiscale) {
    options.tsne.multiscale = std::move(options.perplexities);
    options.perplexities = {largest};
  }
  embedding::TsneOptions tsne = options.tsne;
  tsne.perplexity = largest;
  const auto input = embedding::prepare_tsne(x, tsne);
  seconds["neighbours"] = watch.lap();
  std::vector<embedding::TsneResult> results;
  std::vector<double> took;
  std::vector<std::vector<report::MapFrame>> films(options.perplexities.size());
  for (std::size_t s = 0; s < options.perplexities.size(); ++s) {
    tsne.perplexity = options.perplexities[s];
    if (options.animate) tsne.callback_every = 10;
    tsne.callback = [&](const embedding::TsneProgress& progress) {
      embedding::TsneProgress at = progress;
      at.run = s;
      if (options.animate) {
        films[s].push_back({at.iteration, at.kl, at.phase == embedding::Phase::early_exaggeration,
                            {at.map.begin(), at.map.end()}});
      }
      const bool due = at.iteration % options.tsne.callback_every == 0;
      return !due || !options.tsne.callback || options.tsne.callback(at);
    };
    results.push_back(embedding::tsne(input, tsne));
    took.push_back(watch.lap());
    if (results.back().reason == embedding::StopReason::cancelled) break;
  }
  const auto choice = detail::choose_map(results);
  const embedding::TsneResult& best = results[choice.best];

  report::MapPoints& points = map.points = map_points(table);
  map.perplexity = best.perplexity;
  map.kl = best.kl;
  Json maps = Json::array();
  std::vector<std::string> names;
  report::ScatterPanels panels{.title = options.title, .points = points, .panels = {},
                               .colour = options.colour, .pair_lines = options.pair_lines};
  report::MapPage page = detail::map_page(options, points, thumbnails);
  page.first = choice.best;
  for (std::size_t s = 0; s < results.size(); ++s) {
    const embedding::TsneResult& r = results[s];
    points.xy = s == choice.best ? r.map : align_map(r.map, best.map).xy;
    const MapFindings found = find_in_map(points, x, map.neighbors, options.tsne.seed);
    const double trust =
        embedding::trustworthiness(x, embedding::Points(points.xy, n, 2), map.neighbors);
    if (s == choice.best) map.findings = found, map.trustworthiness = trust;
    maps.push_back(detail::map_measures(r, found, trust, took[s]));
    maps.back()["criterion"] = choice.criterion[s];
    const std::string kl = "KL " + report::fixed(r.kl, 3);
    names.push_back(detail::perplexity_text(tsne, r.perplexity));
    const std::string star = s == choice.best && results.size() > 1 ? ", chosen" : "";
    panels.panels.push_back({"perplexity " + names.back(), kl + star, points.xy, {}});
    page.views.push_back({"perplexity " + names.back(), kl + star, points.xy, {}, {}});
  }
  points.xy = best.map;
  map.text = findings_text(map.findings, points);
  seconds["measures"] = watch.lap();

  map.scatter_svg = report::scatter_plot_svg(
      {.title = options.title + ", perplexity " + names[choice.best],
       .points = points, .colour = options.colour, .pair_lines = options.pair_lines});
  io::write_file(out / "scatter.svg", map.scatter_svg);
  if (results.size() > 1) {
    io::write_file(out / "perplexities.svg", report::scatter_panels_svg(panels));
  }
  detail::write_embedding_csv(out / "embedding.csv", table, best.map);
  if (thumbnails != nullptr) {
    map.images_png = detail::write_images(out / "images.png", points, *thumbnails, options);
  }
  detail::add_findings(page, map.findings, map.text, points);
  page.tables.push_back(detail::measures_table(maps, "perplexity", names));
  page.lead = std::to_string(n) + " points of " + std::to_string(x.d()) + " dimensions, mapped by t-SNE.";
  io::write_file(out / "map.html", report::map_page_html(page));
  if (options.animate) {
    report::MapPage film = detail::map_page(options, points, thumbnails);
    film.lead = "How t-SNE arranged " + std::to_string(n) + " points, perplexity " +
                names[choice.best] + ". The camera follows the map as it grows.";
    film.views = {page.views[choice.best]};
    film.views[0].note.clear();
    film.frames = std::move(films[choice.best]);
    io::write_file(out / "animation.html", report::map_page_html(film));
  }
  seconds["pictures"] = watch.lap();
  seconds["total"] = whole.lap();

  map.json = {{"settings", detail::map_settings(options, table, input.pca_dims)},
              {"machine", detail::map_machine(options)},
              {"perplexity", best.perplexity},
              {"kl", best.kl},
              {"trustworthiness", map.trustworthiness},
              {"measured_neighbors", map.neighbors}};
  if (maps[choice.best].contains("knn_accuracy")) {
    map.json["knn_accuracy"] = maps[choice.best]["knn_accuracy"];
    if (maps[choice.best].contains("knn_accuracy_by_sensor")) {
      map.json["knn_accuracy_by_sensor"] = maps[choice.best]["knn_accuracy_by_sensor"];
    }
  }
  map.json["maps"] = std::move(maps);
  map.json["sensors"] = findings_json(map.findings, points);
  map.json["seconds"] = std::move(seconds);
  io::write_file(out / "tsne.json", map.json.dump(2) + "\n");
  return map;
}

}  // namespace mwalimu::train
