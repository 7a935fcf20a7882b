// train/map_table: what is to be mapped: rows of logits or features, and what is known of each.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/data/image_store.hpp"
#include "mwalimu/eval/logits_csv.hpp"
#include "mwalimu/eval/submission.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/npy.hpp"
#include "mwalimu/report/map_points.hpp"
#include "mwalimu/train/study_data.hpp"

namespace mwalimu::train {

/// Rows of logits or features with image names, sensors, labels and predictions. Columns that are
/// not known are empty vectors.
struct MapTable : eval::LogitTable {
  std::vector<float> probability = {};  ///< of the prediction; empty: not known

  MapTable() = default;
  /// Where the rows are logits, and not features, the probabilities are theirs.
  MapTable(eval::LogitTable table) : eval::LogitTable(std::move(table)) {  // NOLINT: no more, no less
    if (!holds_logits()) return;
    const auto probabilities = eval::softmax(logits, C);
    for (index_t i = 0; i < rows(); ++i) {
      const auto row = probabilities.begin() + i * C;
      probability.push_back(static_cast<float>(*std::max_element(row, row + C)));
    }
  }

 private:
  // Every prediction is the largest column, each class its own: then the columns are the classes.
  bool holds_logits() const {
    if (predicted.size() != id.size() || id.empty() || C < 2) return false;
    std::map<std::string, int> column_of;
    std::map<int, std::string> class_of;
    const auto best = eval::arg_max(logits, C);
    for (std::size_t i = 0; i < best.size(); ++i) {
      if (predicted[i].empty() || column_of.try_emplace(predicted[i], best[i]).first->second !=
                                      best[i] ||
          class_of.try_emplace(best[i], predicted[i]).first->second != predicted[i]) {
        return false;
      }
    }
    return true;
  }
};

namespace detail {

/// The numbers of a .npy file of 2, 4 or 8 bytes each, rounded to float once.
inline std::vector<float> read_floats(const std::filesystem::path& path,
                                      const io::TensorInfo& array) {
  const auto rounded = [](const auto& values) {
    std::vector<float> out;
    out.reserve(values.size());
    for (const auto value : values) out.push_back(static_cast<float>(value));
    return out;
  };
  if (array.dtype == io::Dtype::f64) return rounded(array.values<double>());
  if (array.dtype == io::Dtype::f16) return rounded(array.values<half>());
  require<FileError>(array.dtype == io::Dtype::f32, path.string(),
                     ": want an N x D matrix of float32, float64 or float16, its elements are ",
                     io::dtype_name(array.dtype));
  return array.values<float>();
}

}  // namespace detail

/// A matrix from a .npy file, and of its rows what `labels` says: a CSV with one line a row, in
/// their order, and any of the columns image_id, label, predicted, probability, sensor (their names
/// may start with a capital, as the challenge's do).
/// @param matrix  float32; float64 and float16 are converted.
/// @param labels  may be empty: nothing is known, and rows are called by their numbers.
/// @throws FileError  a file is missing or malformed, or the two do not have the same rows.
inline MapTable read_map_matrix(const std::filesystem::path& matrix,
                                const std::filesystem::path& labels) {
  const io::NpyFile file(matrix);
  const auto& array = file.array();
  require<FileError>(array.shape.size() == 2, matrix.string(), ": want an N x D matrix, got ",
                     array.shape.size(), " extents");
  MapTable table;
  table.C = array.shape[1];
  table.logits = detail::read_floats(matrix, array);
  if (labels.empty()) {
    for (std::int64_t i = 0; i < array.shape[0]; ++i) table.id.push_back(std::to_string(i));
    return table;
  }
  io::CsvTable csv = io::read_csv(labels);
  for (std::string& name : csv.header) {
    if (!name.empty() && name[0] >= 'A' && name[0] <= 'Z') name[0] = static_cast<char>(name[0] | 32);
  }
  const auto has = [&](const char* name) {
    return std::find(csv.header.begin(), csv.header.end(), name) != csv.header.end();
  };
  require<FileError>(has("label") || has("predicted") || has("sensor") || has("image_id"),
                     csv.source, ":1: want a column image_id, label, predicted or sensor");
  require<FileError>(array.shape[0] == static_cast<std::int64_t>(csv.rows.size()), csv.source, ": ",
                     csv.rows.size(), " rows, ", matrix.string(), " has ", array.shape[0]);
  for (std::size_t i = 0; i < csv.rows.size(); ++i) {
    const auto& row = csv.rows[i];
    table.id.push_back(has("image_id") ? row[csv.column("image_id")] : std::to_string(i));
    if (has("label")) table.label.push_back(row[csv.column("label")]);
    if (has("predicted")) table.predicted.push_back(row[csv.column("predicted")]);
    if (has("probability")) {
      table.probability.push_back(static_cast<float>(csv.number(i, csv.column("probability"))));
    }
    if (!has("sensor")) continue;
    const std::string& name = row[csv.column("sensor")];
    const auto sensor = data::sensor_named(name);
    require<FileError>(sensor.has_value(), csv.source, ":", csv.lines[i],
                       ": want sensor rgb, rgn or stacked, got '", name, "'");
    table.sensor.push_back(*sensor);
  }
  return table;
}

/// What is known of the rows, as points without coordinates: classes are all names of labels and
/// predictions in order; X.jpg of one sensor and X_rgn.jpg of the other are a pair.
inline report::MapPoints map_points(const MapTable& table) {
  report::MapPoints p;
  for (const auto* names : {&table.label, &table.predicted}) {
    for (const std::string& name : *names) {
      if (!name.empty()) p.classes.push_back(name);
    }
  }
  std::sort(p.classes.begin(), p.classes.end());
  p.classes.erase(std::unique(p.classes.begin(), p.classes.end()), p.classes.end());
  const auto indices = [&](const std::vector<std::string>& names) {
    std::vector<int> out;
    for (const std::string& name : names) {
      const auto found = std::lower_bound(p.classes.begin(), p.classes.end(), name);
      out.push_back(name.empty() ? -1 : static_cast<int>(found - p.classes.begin()));
    }
    return out;
  };
  p.label = indices(table.label);
  p.predicted = indices(table.predicted);
  p.probability = table.probability;
  p.id = table.id;
  for (const data::Sensor s : table.sensor) {
    if (s != data::Sensor::stacked) p.sensor.push_back(s == data::Sensor::rgn ? 1 : 0);
  }
  if (p.sensor.size() != table.id.size()) p.sensor.clear();  // no sensors to tell apart
  if (p.sensor.empty()) return p;
  p.pair.assign(table.id.size(), -1);
  std::map<std::string, int> rgb_of;
  for (std::size_t i = 0; i < table.id.size(); ++i) {
    if (p.sensor[i] == 0) rgb_of.try_emplace(table.id[i], static_cast<int>(i));
  }
  for (std::size_t i = 0; i < table.id.size(); ++i) {
    if (p.sensor[i] != 1) continue;
    const auto found = rgb_of.find(eval::detail::rgb_id(table.id[i]));
    if (found == rgb_of.end() || p.pair[static_cast<std::size_t>(found->second)] >= 0) continue;
    p.pair[i] = found->second;
    p.pair[static_cast<std::size_t>(found->second)] = static_cast<int>(i);
  }
  return p;
}

/// The pictures beside a table: rows in its order, height x width x 3 bytes each.
struct Thumbnails {
  std::vector<std::uint8_t> pixels;
  index_t height = 0, width = 0;
};

/// Where the table's images are in a data set. Images of the same name are told apart by their class.
/// @throws ValueError  an image is not in it, is named twice, or two that it may be are.
inline std::vector<index_t> rows_of(const eval::LogitTable& table, const data::Dataset& dataset) {
  std::multimap<std::string, index_t> at;
  for (index_t i = 0; i < dataset.size(); ++i) at.emplace(dataset[i].id, i);
  std::vector<index_t> out;
  for (std::size_t r = 0; r < table.id.size(); ++r) {
    auto [first, last] = at.equal_range(table.id[r]);
    require<ValueError>(first != last, "tsne: ", table.id[r], " is not in the data set; give the "
                        "--data that the rows were computed from");
    std::vector<index_t> fitting;
    for (; first != last; ++first) {
      const int label = dataset[first->second].label;
      const std::string name = label < 0 ? "" : dataset.classes[static_cast<std::size_t>(label)];
      if (r >= table.label.size() || name.empty() || name == table.label[r]) {
        fitting.push_back(first->second);
      }
    }
    require<ValueError>(fitting.size() == 1, "tsne: ", fitting.size(), " images of the data set are "
                        "called ", table.id[r], " and have its label; leave --data out");
    out.push_back(fitting[0]);
  }
  return out;
}

/// The images named by the table, out of a store.
/// @throws ValueError  an image of the table is not in the data set.
inline Thumbnails thumbnails_of(const eval::LogitTable& table, const data::Dataset& dataset,
                                const data::ImageStore& store) {
  const auto rows = rows_of(table, dataset);
  Thumbnails out{{}, store.height(), store.width()};
  for (const index_t row : rows) {
    const auto image = store.image(row);
    out.pixels.insert(out.pixels.end(), image.begin(), image.end());
  }
  return out;
}

/// The same from a folder: only the table's images are decoded.
/// @param side  in pixels.
/// @throws ValueError  an image of the table is not in the data set.  @throws  as the data set's.
inline Thumbnails load_thumbnails(const eval::LogitTable& table, const std::filesystem::path& dir,
                                  int side, bool skip_bad) {
  data::Dataset all = data::load_dataset(dir, data::Split::train, {.skip_bad = skip_bad, .classes = {}});
  if (has_test_part(dir)) {
    all = data::concatenate(all, data::load_dataset(dir, data::Split::test,
                                                    {.skip_bad = skip_bad, .classes = all.classes}));
  }
  data::Dataset named = data::subset(all, rows_of(table, all));
  const auto store = data::ImageStore::build(named, {.size = side, .skip_bad = skip_bad, .cache = {}});
  return thumbnails_of(table, named, store);
}

}  // namespace mwalimu::train
