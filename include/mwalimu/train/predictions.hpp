// train/predictions: what a classifier says about images, and how well.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "mwalimu/core/tensor.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/image_store.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/eval/metrics.hpp"
#include "mwalimu/eval/probabilities.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/train/features.hpp"
#include "mwalimu/train/precision.hpp"

namespace mwalimu::train {

/// Rows of an evaluation: logits and what they are of.
struct Predictions {
  Tensor<float> logits;  ///< (N, classes)
  std::vector<double> probabilities;
};

/// Logits of `indices` (empty: all) in evaluation mode; with `tta` > 0 the logarithms of
/// probabilities averaged over that many random passes (weight 3/4) and the plain one (1/4).
inline Predictions predict(models::Classifier& model, const data::ImageStore& store,
                           std::span<const index_t> indices, const data::AugmentOptions& augment,
                           int tta = 0, std::uint64_t seed = 0,
                           Precision precision = Precision::float32) {
  InferenceOptions options{.size = augment.size, .normalisation = augment.normalisation,
                           .seed = seed, .augment = augment, .precision = precision};
  Predictions result;
  result.logits = infer(model, store, indices, options);
  const index_t C = result.logits.dim(1);
  result.probabilities = eval::softmax(result.logits.span(), C);
  if (tta == 0) return result;
  std::vector<double> random(result.probabilities.size(), 0.0);
  for (options.pass = 1; options.pass <= tta; ++options.pass) {
    const auto pass = eval::softmax(infer(model, store, indices, options).span(), C);
    for (std::size_t i = 0; i < random.size(); ++i) random[i] += pass[i] / tta;
  }
  for (std::size_t i = 0; i < random.size(); ++i) {
    result.probabilities[i] = 0.75 * random[i] + 0.25 * result.probabilities[i];
    result.logits.span()[i] = static_cast<float>(std::log(std::max(result.probabilities[i], 1e-30)));
  }
  return result;
}

/// Metrics of the labelled samples among `indices` (empty: all); none if no sample has a label.
inline std::optional<eval::Evaluation> evaluate(const Predictions& predictions,
                                                const data::Dataset& dataset,
                                                std::span<const index_t> indices = {}) {
  const std::size_t C = dataset.classes.size();
  std::vector<double> rows;
  std::vector<int> labels;
  std::vector<data::Sensor> sensors;
  const auto count = static_cast<std::size_t>(predictions.logits.dim(0));
  for (std::size_t r = 0; r < count; ++r) {
    const data::Sample& sample = dataset[indices.empty() ? static_cast<index_t>(r) : indices[r]];
    if (sample.label < 0) continue;
    labels.push_back(sample.label);
    sensors.push_back(sample.sensor);
    const auto row = std::span(predictions.probabilities).subspan(r * C, C);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  if (labels.empty()) return std::nullopt;
  return eval::evaluate(rows, labels, sensors, dataset.classes);
}

}  // namespace mwalimu::train
