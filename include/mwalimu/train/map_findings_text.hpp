// train/map_findings_text: a map's findings as sentences, as a table and as JSON.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/report/html.hpp"
#include "mwalimu/report/text.hpp"
#include "mwalimu/train/map_findings.hpp"

namespace mwalimu::train {
namespace detail {

inline std::string percent(double share) { return report::fixed(100 * share, 1) + " %"; }
inline std::string p_value(double p) { return p < 0.0001 ? "p < 0.0001" : "p = " + report::fixed(p, p < 0.01 ? 4 : 2); }
inline std::string count(index_t n, const std::string& one, const std::string& many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

/// "higher by 12.7 points for RGB (95 % interval 6.8 to 18.6), more than noise would make".
inline std::string verdict(const SensorComparison& c) {
  const double difference = 100 * (c.mean[1] - c.mean[0]);
  std::string text = "a difference of " + report::fixed(std::abs(difference), 1) + " points";
  if (c.difference.known()) {
    // As the difference reads: of the larger over the smaller.
    const double sign = difference < 0 ? -100 : 100;
    const double a = sign * c.difference.low, b = sign * c.difference.high;
    text += " (95 % interval " + report::fixed(std::min(a, b), 1) + " to " +
            report::fixed(std::max(a, b), 1);
    if (c.pairs.first + c.pairs.second > 0) text += "; sign test over plants " + p_value(c.pairs.p);
    text += ")";
  }
  return text + (c.beyond_noise() ? ", more than chance explains" : ", which is within noise");
}

/// A table in a fixed-width font: columns as wide as their widest cell, numbers flush right.
inline std::string text_table(const report::Table& table) {
  std::vector<std::size_t> width(table.header.size());
  for (std::size_t c = 0; c < width.size(); ++c) {
    width[c] = table.header[c].size();
    for (const auto& row : table.rows) width[c] = std::max(width[c], row[c].size());
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells) {
    for (std::size_t c = 0; c < width.size(); ++c) {
      const std::string space(width[c] - cells[c].size(), ' ');
      out += c == 0 ? cells[c] + space : "  " + space + cells[c];
    }
    out += '\n';
  };
  line(table.header);
  for (const auto& row : table.rows) line(row);
  return out;
}

}  // namespace detail

/// A few sentences; each names its numbers, and says where a difference may be chance.
inline std::vector<std::string> findings_text(const MapFindings& f, const report::MapPoints& p) {
  using namespace detail;
  std::vector<std::string> out;
  if (f.images[0] == 0 || f.images[1] == 0) {
    std::string text = "All images are of one sensor (or it is not known), so there is nothing to compare.";
    if (!std::isnan(f.knn_accuracy)) {
      text += " The " + std::to_string(f.neighbors) + " nearest neighbours on the map name the class of " +
              percent(f.knn_accuracy) + " of the images.";
    }
    return {text};
  }
  const std::string k = std::to_string(f.neighbors);
  std::string text;
  if (f.error.known()) {
    text += "The model is wrong on " + percent(f.error.mean[0]) + " of the " +
            std::to_string(f.error.images[0]) + " RGB images and on " + percent(f.error.mean[1]) +
            " of the " + std::to_string(f.error.images[1]) + " RGN images: " + verdict(f.error) + ".";
    if (f.error.pairs.first + f.error.pairs.second > 0) {
      text += " RGB alone is right for " + count(f.error.pairs.second, "plant", "plants") +
              ", RGN alone for " + std::to_string(f.error.pairs.first) + ".";
    }
  }
  if (f.agreement.known()) {
    text += std::string(text.empty() ? "" : " ") + "On the map, " + percent(f.agreement.mean[0]) +
            " of the " + k + " nearest neighbours of an RGB image have its label, and " +
            percent(f.agreement.mean[1]) + " of those of an RGN image: " + verdict(f.agreement) + ".";
    text += " The neighbours vote for another class for " + percent(f.misplaced.mean[0]) +
            " of the RGB and " + percent(f.misplaced.mean[1]) + " of the RGN images: " +
            verdict(f.misplaced) + ".";
    if (!f.where.empty()) {
      const Misplaced& m = f.where.front();
      text += " The most frequent case is " + p.sensors[static_cast<std::size_t>(m.sensor)] + " images of " +
              p.classes[static_cast<std::size_t>(m.label)] + " among " +
              p.classes[static_cast<std::size_t>(m.among)] + " (" + std::to_string(m.images) + ").";
    }
  }
  if (!text.empty()) out.push_back(text);
  text.clear();
  if (f.on_map.pairs > 0) {
    const PairDistances& d = f.on_map;
    const std::string others = d.same_class ? " of other plants of its class" : " of other plants";
    const bool nearer = d.nearer_than > 0.5;
    text += "The two images of a plant lie " + report::fixed(d.median_pair, 1) +
            " apart in the median, an RGB and an RGN image of two plants" +
            (d.same_class ? " of one class " : " ") + report::fixed(d.median_random, 1) +
            ": a plant's own RGN image is nearer to its RGB image than " + percent(d.nearer_than) +
            " of the RGN images" + others + " (" + percent(f.in_input.nearer_than) +
            " in what the map was made from, 50 % by chance; sign test " + p_value(d.test.p) + "), " +
            (d.test.p >= 0.05 ? "which is within noise."
             : nearer         ? "more often than chance explains."
                              : "less often than chance explains.") +
            " ";
  }
  const double gap = f.same_sensor - f.same_sensor_by_chance;
  text += percent(f.same_sensor) + " of an image's neighbours are of its own sensor, " +
          percent(f.same_sensor_by_chance) + " if sensors were mixed at random: " +
          (gap > 0.25   ? "the map separates the sensors."
           : gap > 0.05 ? "the sensors are partly apart."
                        : "the sensors are mixed.");
  out.push_back(text);
  return out;
}

/// The same as a table; cells of what is not known are empty.
inline report::Table findings_table(const MapFindings& f) {
  using namespace detail;
  report::Table table{.caption = "RGB against RGN, over the " + std::to_string(f.neighbors) +
                                 " nearest neighbours on the map, the plant's own other image left "
                                 "out. The interval is of RGN - RGB, from 1000 resamples of plants; "
                                 "the plants are those on which the sensors differ.",
                      .header = {"", "RGB", "RGN", "95 % interval", "plants: RGB larger", "RGN larger",
                                 "p", "beyond noise"},
                      .rows = {}};
  const auto row = [&](const char* name, const SensorComparison& c) {
    if (!c.known()) return;
    table.rows.push_back(
        {name, percent(c.mean[0]), percent(c.mean[1]),
         c.difference.known() ? report::fixed(100 * c.difference.low, 1) + " to " +
                                    report::fixed(100 * c.difference.high, 1)
                              : "-",
         std::to_string(c.pairs.first), std::to_string(c.pairs.second), report::fixed(c.pairs.p, 4),
         c.beyond_noise() ? "yes" : "no"});
  };
  row("wrong predictions", f.error);
  row("neighbours of the same class", f.agreement);
  row("neighbours vote for another class", f.misplaced);
  return table;
}

/// Where images lie among another class, the most frequent first.
inline report::Table misplaced_table(const MapFindings& f, const report::MapPoints& p,
                                     std::size_t most = 6) {
  report::Table table{.caption = "Images whose neighbours vote for another class.",
                      .header = {"sensor", "class", "among", "images"}, .rows = {}};
  for (std::size_t i = 0; i < std::min(most, f.where.size()); ++i) {
    const Misplaced& m = f.where[i];
    table.rows.push_back({p.sensors[static_cast<std::size_t>(m.sensor)],
                          p.classes[static_cast<std::size_t>(m.label)],
                          p.classes[static_cast<std::size_t>(m.among)], std::to_string(m.images)});
  }
  return table;
}

inline nlohmann::ordered_json findings_json(const MapFindings& f, const report::MapPoints& p) {
  using Json = nlohmann::ordered_json;
  const auto comparison = [](const SensorComparison& c) -> Json {
    if (!c.known()) return nullptr;
    return {{"rgb", c.mean[0]}, {"rgn", c.mean[1]}, {"rgb_images", c.images[0]}, {"rgn_images", c.images[1]},
            {"difference", c.mean[1] - c.mean[0]},
            {"interval", c.difference.known() ? Json{c.difference.low, c.difference.high} : Json()},
            {"pairs_rgb_larger", c.pairs.first}, {"pairs_rgn_larger", c.pairs.second},
            {"sign_test_p", c.pairs.p}, {"beyond_noise", c.beyond_noise()}};
  };
  const auto distances = [](const PairDistances& d) -> Json {
    if (d.pairs == 0) return nullptr;
    return {{"pairs", d.pairs}, {"median_pair", d.median_pair}, {"median_random", d.median_random},
            {"random_of_same_class", d.same_class}, {"nearer_than", d.nearer_than},
            {"sign_test_p", d.test.p}};
  };
  Json json{{"neighbors", f.neighbors}, {"error", comparison(f.error)},
            {"label_agreement", comparison(f.agreement)}, {"wrong_cluster", comparison(f.misplaced)},
            {"same_sensor_neighbors", f.same_sensor},
            {"same_sensor_by_chance", f.same_sensor_by_chance},
            {"pair_distance_on_map", distances(f.on_map)},
            {"pair_distance_in_input", distances(f.in_input)}};
  json["misplaced"] = Json::array();
  for (const Misplaced& m : f.where) {
    json["misplaced"].push_back({{"sensor", m.sensor == 1 ? "rgn" : "rgb"},
                                 {"label", p.classes[static_cast<std::size_t>(m.label)]},
                                 {"among", p.classes[static_cast<std::size_t>(m.among)]},
                                 {"images", m.images}});
  }
  json["text"] = findings_text(f, p);
  return json;
}

}  // namespace mwalimu::train
