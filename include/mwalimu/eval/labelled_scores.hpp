// eval/labelled_scores: the labelled rows of a prediction, with what each row is of: all that the
// measures, their intervals and their plots are computed from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/eval/metrics.hpp"

namespace mwalimu::eval {

struct LabelledScores {
  std::vector<std::string> classes;
  std::vector<double> probabilities;  ///< (N, classes)
  std::vector<int> labels;            ///< (N)
  std::vector<data::Sensor> sensors;  ///< (N)
  std::vector<index_t> plant;         ///< (N), from 0: rows with the same number show one plant
  std::vector<index_t> sample;        ///< (N), index into the data set

  index_t rows() const { return static_cast<index_t>(labels.size()); }
  index_t class_count() const { return static_cast<index_t>(classes.size()); }
  /// Numbers of plants are below this.
  index_t plants() const {
    return plant.empty() ? 0 : *std::max_element(plant.begin(), plant.end()) + 1;
  }
  std::span<const double> row(index_t i) const {
    return std::span(probabilities)
        .subspan(static_cast<std::size_t>(i) * classes.size(), classes.size());
  }
  bool has(data::Sensor sensor) const {
    return std::find(sensors.begin(), sensors.end(), sensor) != sensors.end();
  }
  /// The probabilities of one class, and which rows are of it.
  std::vector<double> scores_of(std::size_t c) const {
    std::vector<double> scores;
    for (index_t i = 0; i < rows(); ++i) scores.push_back(row(i)[c]);
    return scores;
  }
  std::vector<bool> is(std::size_t c) const {
    std::vector<bool> positive;
    for (const int label : labels) positive.push_back(label == static_cast<int>(c));
    return positive;
  }
  /// The rows of one sensor; plants keep their numbers.
  LabelledScores of(data::Sensor sensor) const {
    LabelledScores part{.classes = classes, .probabilities = {}, .labels = {}, .sensors = {},
                        .plant = {}, .sample = {}};
    for (index_t i = 0; i < rows(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (sensors[at] != sensor) continue;
      part.append(row(i), labels[at], sensor, plant[at], sample[at]);
    }
    return part;
  }
  void append(std::span<const double> scores, int label, data::Sensor sensor, index_t of_plant,
              index_t of_sample) {
    probabilities.insert(probabilities.end(), scores.begin(), scores.end());
    labels.push_back(label);
    sensors.push_back(sensor);
    plant.push_back(of_plant);
    sample.push_back(of_sample);
  }
};

/// The labelled rows among `indices` (empty: all samples), in that order.
/// @param probabilities  (rows of indices, classes).
/// @throws ShapeError  the probabilities do not fit.
inline LabelledScores labelled_scores(const data::Dataset& dataset,
                                      std::span<const double> probabilities,
                                      std::span<const index_t> indices = {}) {
  const std::size_t C = dataset.classes.size();
  const std::size_t N = indices.empty() ? dataset.samples.size() : indices.size();
  require<ShapeError>(C >= 1 && probabilities.size() == N * C, "labelled_scores: want ", N, " x ",
                      C, " probabilities, got ", probabilities.size());
  LabelledScores scores{.classes = dataset.classes, .probabilities = {}, .labels = {},
                        .sensors = {}, .plant = {}, .sample = {}};
  std::map<index_t, index_t> number;  // of a plant, by the first of its samples
  for (std::size_t r = 0; r < N; ++r) {
    const index_t i = indices.empty() ? static_cast<index_t>(r) : indices[r];
    const data::Sample& sample = dataset[i];
    if (sample.label < 0) continue;
    const index_t first = sample.pair >= 0 ? std::min(i, sample.pair) : i;
    const index_t plant =
        number.try_emplace(first, static_cast<index_t>(number.size())).first->second;
    scores.append(probabilities.subspan(r * C, C), sample.label, sample.sensor, plant, i);
  }
  return scores;
}

/// Metrics together and by sensor, without intervals; eval/bootstrap adds those.
/// @throws ValueError  no labelled row.
inline Evaluation evaluate(const LabelledScores& scores) {
  return evaluate(scores.probabilities, scores.labels, scores.sensors, scores.classes);
}

}  // namespace mwalimu::eval
