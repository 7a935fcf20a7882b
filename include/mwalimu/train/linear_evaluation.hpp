// train/linear_evaluation: a linear classifier on an encoder's frozen features, from the labels that
// finetuning gets: how much of a result the encoder brought along.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "mwalimu/eval/linear_probe.hpp"
#include "mwalimu/eval/metrics.hpp"
#include "mwalimu/train/features.hpp"
#include "mwalimu/train/study_data.hpp"

namespace mwalimu::train {

struct LinearEvaluation {
  double l2 = 0;                         ///< chosen by the log loss of the validation rows
  std::optional<eval::Evaluation> test;  ///< nothing where a test label is unknown
};

/// Fits eval::LinearProbe to the features of rows.train, its l2 from 1e-4, 1e-3 .. 10 by the log loss
/// on rows.valid (without validation rows: 0.1), and evaluates it on the test part.
///
/// @param encoder  images to features (N, D); left as it was.
/// @throws ValueError  no training rows, or one of them without a label.
template <class Encoder>
LinearEvaluation linear_evaluation(Encoder& encoder, const StudyData& data,
                                   const data::IndexSplit& rows, const InferenceOptions& options) {
  const auto C = static_cast<index_t>(data.dataset.classes.size());
  const auto features = [&](std::span<const index_t> indices) {
    return infer(encoder, data.store, indices, options);
  };
  const auto labels = [&](std::span<const index_t> indices) {
    std::vector<int> result;
    for (const index_t i : indices) result.push_back(data.dataset[i].label);
    return result;
  };
  require<ValueError>(!rows.train.empty(), "linear evaluation: no training rows");
  const auto train = features(rows.train);
  const auto train_labels = labels(rows.train);
  const auto fit = [&](double l2) {
    eval::LinearProbeOptions probe;
    probe.l2 = l2;
    return eval::LinearProbe(train.span(), train_labels, train.dim(1), C, probe);
  };

  LinearEvaluation result{.l2 = 0.1, .test = std::nullopt};
  if (!rows.valid.empty()) {
    const auto valid = features(rows.valid);
    const auto valid_labels = labels(rows.valid);
    double best = INFINITY;
    for (const double l2 : {1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0}) {
      const double loss = eval::log_loss(fit(l2).probabilities(valid.span()), valid_labels, C);
      if (loss < best) best = loss, result.l2 = l2;
    }
  }

  const std::vector<index_t> test_rows = data.test();
  const std::vector<int> test_labels = labels(test_rows);
  if (test_rows.empty() || std::ranges::find(test_labels, -1) != test_labels.end()) return result;
  std::vector<data::Sensor> sensors;
  for (const index_t i : test_rows) sensors.push_back(data.dataset[i].sensor);
  const auto test = features(test_rows);
  result.test = eval::evaluate(fit(result.l2).probabilities(test.span()), test_labels, sensors,
                               data.dataset.classes);
  return result;
}

}  // namespace mwalimu::train
