// train/pseudo_labels: self-distillation's step from predictions to labels.
#pragma once

#include <algorithm>
#include <filesystem>
#include <span>
#include <vector>

#include "mwalimu/data/sample.hpp"
#include "mwalimu/eval/probabilities.hpp"
#include "mwalimu/io/csv.hpp"

namespace mwalimu::train {

/// A plant whose images the model is sure of.
struct PseudoLabel {
  data::Plant plant;
  int label = 0;
  double confidence = 0;  ///< the smallest probability of that label among its images
};

/// @throws ValueError  no probability that can be asked for.
inline void require_threshold(double threshold) {
  require<ValueError>(threshold > 0 && threshold <= 1,
                      "--threshold: want more than 0 and at most 1, got ", threshold);
}

/// The plants among `data` that may be taught as what the model says they are: every image of the
/// plant has its highest probability, at least `threshold`, at the same class.
///
/// @param probabilities  (samples, classes), rows summing to 1.
/// @param threshold      0 < threshold <= 1.
/// @throws ValueError  threshold out of range.
/// Source: the self-training rule of the rice study, with both sensors required to agree.
inline std::vector<PseudoLabel> confident_plants(const data::Dataset& data,
                                                 std::span<const double> probabilities,
                                                 double threshold) {
  require_threshold(threshold);
  const std::size_t C = data.classes.size();
  const std::vector<int> predicted = eval::arg_max(probabilities, static_cast<index_t>(C));
  std::vector<PseudoLabel> chosen;
  for (const data::Plant& plant : data::plants(data)) {
    PseudoLabel found{plant, predicted[static_cast<std::size_t>(plant.any())], 1.0};
    bool agree = true;
    for (const index_t side : {plant.rgb, plant.rgn}) {
      if (side < 0) continue;
      const auto row = static_cast<std::size_t>(side);
      agree = agree && predicted[row] == found.label;
      found.confidence = std::min(
          found.confidence, probabilities[row * C + static_cast<std::size_t>(found.label)]);
    }
    if (agree && found.confidence >= threshold) chosen.push_back(found);
  }
  return chosen;
}

/// Train.csv as a round used it: Image_id, Label, and where the label came from (given | model).
/// @throws FileError  cannot write.
inline void write_training_table(const std::filesystem::path& path, const data::Dataset& data,
                                 std::span<const index_t> rows, index_t first_pseudo) {
  io::CsvWriter csv(path, {"Image_id", "Label", "Source"});
  for (const index_t i : rows) {
    const data::Sample& sample = data[i];
    csv.row(sample.id, data.classes[static_cast<std::size_t>(sample.label)],
            i >= first_pseudo ? "model" : "given");
  }
  csv.commit();
}

}  // namespace mwalimu::train
