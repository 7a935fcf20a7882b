// train/distil: self-distillation. The model's confident predictions on the test part become labels,
// and training goes on from the best model with them.
#pragma once

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "mwalimu/train/finetune.hpp"
#include "mwalimu/train/predictions.hpp"
#include "mwalimu/train/pseudo_labels.hpp"

namespace mwalimu::train {

struct DistilOptions {
  int rounds = 2;
  double threshold = 0.9;  ///< smallest probability, of every image of a plant, that is believed
  FinetuneOptions finetune;
  /// Goes on with the rounds that a killed call has left in the folder, and ends with the same files
  /// bit for bit. It has to be given the same model and options.
  bool resume = false;
};

struct DistilRound {
  index_t plants = 0, candidates = 0;  ///< believed, of all plants of the test part
  /// Of the believed plants whose truth is known, how many are right; NaN where none is known.
  double purity = 0;
  FinetuneResult result;
};

/// @throws ValueError  a number that is no number of rounds, or no probability to believe.
inline void check(const DistilOptions& options) {
  require<ValueError>(options.rounds >= 1, "--rounds: want at least 1, got ", options.rounds);
  require_threshold(options.threshold);
}

/// Runs the rounds from `model` on; each starts from the best model of the one before and labels the
/// test part anew. Validation rows are the same throughout and never get a label from the model.
/// Writes roundK/ as finetune does, and in it Train.csv as the round used it.
/// @throws ValueError  there is no test part, or an option is out of range.
inline std::vector<DistilRound> distil(models::Classifier& model, const StudyData& data,
                                       const data::IndexSplit& rows, const DistilOptions& options,
                                       const std::filesystem::path& out,
                                       std::ostream& console = std::cout) {
  check(options);
  require<ValueError>(data.test_count() > 0,
                      "distil: the data set has no test part to predict; want Test.csv or test/");
  const auto& augment = options.finetune.classifier.augment;
  std::vector<DistilRound> rounds;
  for (int round = 1; round <= options.rounds; ++round) {
    const auto folder = out / ("round" + std::to_string(round));
    std::filesystem::create_directories(folder);
    const auto test_rows = data.test();
    const Predictions predictions = predict(model, data.store, test_rows, augment,
                                            options.finetune.tta,
                                            options.finetune.classifier.seed,
                                            options.finetune.classifier.precision);
    const data::Dataset test_set = data.test_set();
    const auto believed =
        confident_plants(test_set, predictions.probabilities, options.threshold);

    DistilRound record;
    record.candidates = static_cast<index_t>(data::plants(test_set).size());
    record.plants = static_cast<index_t>(believed.size());
    data::Dataset labelled = data.dataset;
    data::IndexSplit round_rows = rows;
    index_t known = 0, right = 0;
    for (const PseudoLabel& one : believed) {
      const int truth = test_set[one.plant.any()].label;
      known += truth >= 0 ? 1 : 0;
      right += truth == one.label ? 1 : 0;
      for (const index_t side : {one.plant.rgb, one.plant.rgn}) {
        if (side < 0) continue;
        labelled[data.train_count + side].label = one.label;
        round_rows.train.push_back(data.train_count + side);
      }
    }
    record.purity = static_cast<double>(right) / static_cast<double>(known);
    console << "round " << round << ": " << believed.size() << " of " << record.candidates
            << " test plants are predicted with at least " << options.threshold
            << " by every image" << std::endl;
    write_training_table(folder / "Train.csv", labelled, round_rows.train, data.train_count);

    FinetuneOptions finetune_options = options.finetune;
    // Other batches and draws than the round before.
    finetune_options.classifier.seed += static_cast<std::uint64_t>(round) << 32;
    // A round that was finished is read back and evaluated again: what it believed and what it
    // learned depend on nothing else.
    const bool resume = options.resume && std::filesystem::exists(folder / "checkpoint.safetensors");
    record.result =
        finetune(model, data, labelled, round_rows, finetune_options, folder, resume, console);
    rounds.push_back(std::move(record));
  }
  return rounds;
}

}  // namespace mwalimu::train
