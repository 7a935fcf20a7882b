// data/sample: what a data set is: images of plants, each by one sensor or by a pair, with labels.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::data {

/// rgb: red, green, blue. rgn: red, green, near infra-red; its file name ends in _rgn. stacked: both
/// as one image of red, green, blue and near infra-red.
enum class Sensor { rgb, rgn, stacked };

constexpr std::string_view sensor_name(Sensor sensor) {
  return sensor == Sensor::rgb ? "rgb" : sensor == Sensor::rgn ? "rgn" : "stacked";
}
/// The sensor of that name; nothing for another name.
constexpr std::optional<Sensor> sensor_named(std::string_view name) {
  for (const Sensor sensor : {Sensor::rgb, Sensor::rgn, Sensor::stacked}) {
    if (name == sensor_name(sensor)) return sensor;
  }
  return std::nullopt;
}

/// One image: a file, or two that are stacked.
struct Sample {
  std::string id;              ///< file name, such as id_004wknd7qd_rgn.jpg
  std::filesystem::path path;  ///< where it lies
  Sensor sensor = Sensor::rgb;
  int label = -1;      ///< index into Dataset::classes; -1: not known
  index_t pair = -1;   ///< index of the same plant by the other sensor; -1: none
  std::string origin;  ///< the row that named it ("Train.csv:12"), for messages; else empty
  /// Stacked: the RGN photograph whose third channel is this image's fourth; else empty.
  std::filesystem::path near_infrared = {};
};

/// What can be wrong with an item of a data set.
enum class Defect {
  missing_file,
  undecodable,
  missing_side,
  unknown_label,
  different_labels,
  empty_row,
  malformed_row,
  duplicate_row,
};

/// How a report names each Defect: one of it, several of it.
inline constexpr std::array<std::array<std::string_view, 2>, 8> kDefectNames{{
    {"missing file", "missing files"},
    {"file that does not decode", "files that do not decode"},
    {"pair with one side missing", "pairs with one side missing"},
    {"unknown label", "unknown labels"},
    {"pair labelled differently", "pairs labelled differently"},
    {"empty row", "empty rows"},
    {"malformed row", "malformed rows"},
    {"duplicate row", "duplicate rows"},
}};

/// The defects found in a data set: each named with its file and line, and counted by kind.
class Report {
 public:
  struct Item {
    Defect defect;
    std::string text;  ///< where and what: "Train.csv:12: images/a.jpg: no such file"
  };

  void add(Defect defect, std::string text) { items_.push_back({defect, std::move(text)}); }
  void add(const Report& other) {
    items_.insert(items_.end(), other.items_.begin(), other.items_.end());
  }
  bool empty() const { return items_.empty(); }
  std::size_t size() const { return items_.size(); }
  const std::vector<Item>& items() const { return items_; }
  std::size_t count(Defect defect) const {
    return static_cast<std::size_t>(std::count_if(
        items_.begin(), items_.end(), [&](const Item& item) { return item.defect == defect; }));
  }

  /// One line: "3 bad items (2 missing files, 1 duplicate row): Train.csv:7: ...; Train.csv:9:
  /// ...".
  /// @param named  the most items that are spelled out; "and N more" stands for the others.
  std::string summary(std::size_t named = 5) const {
    std::string text = std::to_string(size()) + (size() == 1 ? " bad item (" : " bad items (");
    std::string_view separator;
    for (std::size_t kind = 0; kind < kDefectNames.size(); ++kind) {
      const std::size_t n = count(static_cast<Defect>(kind));
      if (n == 0) continue;
      text.append(separator).append(std::to_string(n)).append(" ");
      text.append(kDefectNames[kind][n == 1 ? 0 : 1]);
      separator = ", ";
    }
    text += ")";
    for (std::size_t i = 0; i < std::min(named, size()); ++i) {
      text.append(i == 0 ? ": " : "; ").append(items_[i].text);
    }
    if (size() > named)
      text.append("; and ").append(std::to_string(size() - named)).append(" more");
    return text;
  }

 private:
  std::vector<Item> items_;
};

/// Thrown where a data set has defects and leaving them out was not asked for.
struct BadDataError : FileError {
  BadDataError(const std::string& text, Report all) : FileError(text), report(std::move(all)) {}
  Report report;
};

/// Images with their labels. A plain value: programs may relabel or add samples.
struct Dataset {
  std::vector<Sample> samples;
  std::vector<std::string> classes;  ///< sorted by name
  Report skipped;                    ///< what was left out, and why

  index_t size() const { return static_cast<index_t>(samples.size()); }
  const Sample& operator[](index_t i) const { return samples[static_cast<std::size_t>(i)]; }
  Sample& operator[](index_t i) { return samples[static_cast<std::size_t>(i)]; }
};

/// One plant: its rgb sample, its rgn sample, or -1 for a side that is not there.
struct Plant {
  index_t rgb = -1, rgn = -1;
  /// A sample that stands for the plant: its label is the plant's.
  index_t any() const { return rgb >= 0 ? rgb : rgn; }
};

/// The plants of a data set in the order of their first samples.
inline std::vector<Plant> plants(const Dataset& data) {
  std::vector<Plant> all;
  for (index_t i = 0; i < data.size(); ++i) {
    const Sample& sample = data[i];
    if (sample.pair >= 0 && sample.pair < i) continue;  // told by its other side
    const index_t rgb = sample.sensor != Sensor::rgn ? i : sample.pair;
    const index_t rgn = sample.sensor == Sensor::rgn ? i : sample.pair;
    all.push_back({rgb, rgn});
  }
  return all;
}

/// The samples `chosen`, in that order; a pair of which one side is not chosen is no pair any more.
/// @throws ValueError  an index is out of range or occurs twice.
inline Dataset subset(const Dataset& data, std::span<const index_t> chosen) {
  std::vector<index_t> position(data.samples.size(), -1);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    require<ValueError>(chosen[i] >= 0 && chosen[i] < data.size(), "subset: index ", chosen[i],
                        " of ", data.size(), " samples");
    index_t& at = position[static_cast<std::size_t>(chosen[i])];
    require<ValueError>(at < 0, "subset: sample ", chosen[i], " is chosen twice");
    at = static_cast<index_t>(i);
  }
  Dataset out{{}, data.classes, data.skipped};
  for (const index_t i : chosen) {
    out.samples.push_back(data[i]);
    index_t& pair = out.samples.back().pair;
    if (pair >= 0) pair = position[static_cast<std::size_t>(pair)];
  }
  return out;
}

/// All samples of `a`, then all of `b`: pretraining uses the images of train and test alike.
/// @throws ValueError  both name classes, and not the same.
inline Dataset concatenate(const Dataset& a, const Dataset& b) {
  require<ValueError>(a.classes == b.classes || a.classes.empty() || b.classes.empty(),
                      "concatenate: the two data sets name different classes");
  Dataset out = a;
  if (out.classes.empty()) out.classes = b.classes;
  out.skipped.add(b.skipped);
  for (Sample sample : b.samples) {
    if (sample.pair >= 0) sample.pair += a.size();
    out.samples.push_back(std::move(sample));
  }
  return out;
}

/// Every pair as one image of four channels: R, G and B of its RGB photograph, and the third channel
/// of its RGN photograph, near infra-red. The two are taken to be registered: a point of the plant
/// lies at the same place of both, as shares of height and width. They are resized alike and not
/// aligned. A stacked image is called as its RGB photograph is.
/// @throws ValueError  an image has no partner.
inline Dataset stack_pairs(const Dataset& data) {
  Dataset out{{}, data.classes, data.skipped};
  for (const Plant& plant : plants(data)) {
    require<ValueError>(plant.rgb >= 0 && plant.rgn >= 0, "--input stacked: ",
                        data[plant.any()].path.string(),
                        " has no partner of the other sensor (X_rgn.jpg beside X.jpg); use "
                        "--input images");
    Sample sample = data[plant.rgb];
    sample.near_infrared = data[plant.rgn].path;
    sample.sensor = Sensor::stacked;
    sample.pair = -1;
    out.samples.push_back(std::move(sample));
  }
  return out;
}

}  // namespace mwalimu::data
