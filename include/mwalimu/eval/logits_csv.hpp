// eval/logits_csv: logits.npy and logits.csv, what later steps (t-SNE, distillation) read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/eval/probabilities.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/io/npy.hpp"

namespace mwalimu::eval {

/// Rows of logits or features and the images that they belong to.
struct LogitTable {
  index_t C = 0;                ///< columns
  std::vector<float> logits;    ///< (N, C)
  std::vector<std::string> id;  ///< file name
  std::vector<data::Sensor> sensor;
  std::vector<std::string> label;      ///< class name; empty: not known
  std::vector<std::string> predicted;  ///< class name

  index_t rows() const { return static_cast<index_t>(id.size()); }
};

/// Writes `logits.npy` (N x C float32) and `logits.csv` (image_id,sensor,label,predicted, by class
/// name, an unknown label empty), row for row.
/// @param logits  (samples, classes), finite.
/// @param stem    of both files' names.
/// @throws ShapeError, ValueError  the logits do not fit.  @throws FileError  cannot write.
inline void write_logits(const std::filesystem::path& folder, const data::Dataset& data,
                         std::span<const float> logits, const std::string& stem = "logits") {
  const auto C = static_cast<index_t>(data.classes.size());
  require<ShapeError>(C >= 1 && static_cast<index_t>(logits.size()) == data.size() * C,
                      "logits: want ", data.size(), " x ", C, ", got ", logits.size());
  const std::vector<int> predicted = arg_max(logits, C);
  io::CsvWriter csv(folder / (stem + ".csv"), {"image_id", "sensor", "label", "predicted"});
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    const data::Sample& sample = data.samples[i];
    require<ValueError>(sample.label < C, "logits: label ", sample.label, " of ", sample.id);
    csv.row(sample.id, data::sensor_name(sample.sensor),
            sample.label >= 0 ? data.classes[static_cast<std::size_t>(sample.label)] : "",
            data.classes[static_cast<std::size_t>(predicted[i])]);
  }
  io::write_npy<float>(folder / (stem + ".npy"), {data.size(), C}, logits);
  csv.commit();
}

/// Reads both again.
/// @throws FileError  a file is missing or malformed, or the two do not have the same rows.
inline LogitTable read_logits(const std::filesystem::path& folder,
                              const std::string& stem = "logits") {
  const io::NpyFile file(folder / (stem + ".npy"));
  const io::CsvTable csv = io::read_csv(folder / (stem + ".csv"));
  const auto& shape = file.array().shape;
  require<FileError>(shape.size() == 2 && file.array().dtype == io::Dtype::f32,
                     (folder / (stem + ".npy")).string(), ": want N x C float32");
  require<FileError>(shape[0] == static_cast<index_t>(csv.rows.size()), csv.source, ": ",
                     csv.rows.size(), " rows, ", stem, ".npy has ", shape[0]);
  LogitTable table;
  table.C = shape[1];
  table.logits = file.array().values<float>();
  const std::size_t id = csv.column("image_id"), sensor = csv.column("sensor");
  const std::size_t label = csv.column("label"), predicted = csv.column("predicted");
  for (std::size_t i = 0; i < csv.rows.size(); ++i) {
    const auto& row = csv.rows[i];
    const auto of = data::sensor_named(row[sensor]);
    require<FileError>(of.has_value(), csv.source, ":", csv.lines[i],
                       ": want sensor rgb, rgn or stacked, got '", row[sensor], "'");
    table.id.push_back(row[id]);
    table.sensor.push_back(*of);
    table.label.push_back(row[label]);
    table.predicted.push_back(row[predicted]);
  }
  return table;
}

}  // namespace mwalimu::eval
