// eval/temperature: one number that makes a classifier's confidences honest.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/eval/logits_csv.hpp"
#include "mwalimu/eval/probabilities.hpp"

namespace mwalimu::eval {

inline constexpr double kLowestTemperature = 0.01, kHighestTemperature = 100;

/// The T that gives softmax(logits / T) the lowest log loss. No prediction changes, for the order
/// of the classes does not; above 1 the model was too sure of itself. The log loss is convex in 1 /
/// T, so bisection of its derivative finds the one minimum.
///
/// @param logits  (N, C), finite, of images that the model was not trained on.
/// @param labels  (N), in [0, C).
/// @return        within [0.01, 100]: an end of that where the minimum lies beyond it, as it does
///                where every prediction is right (0.01) or the logits tell nothing (100).
/// @throws ShapeError, ValueError  extents disagree, a label out of range, no rows.
/// Source  Guo et al. 2017, arXiv:1706.04599, section 4.2.
inline double fit_temperature(std::span<const float> logits, std::span<const int> labels,
                              index_t C) {
  const index_t N = detail::rows_of("temperature", logits, C);
  detail::require_labels("temperature", labels, N, C);
  detail::require_finite("temperature", logits, C);
  require<ValueError>(N > 0, "temperature: no rows");
  // d/db of -log softmax(b z)[y], summed: the mean logit under the model less that of the label.
  const auto slope = [&](double b) {
    double sum = 0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const auto z = logits.subspan(i * static_cast<std::size_t>(C), static_cast<std::size_t>(C));
      const double top = *std::max_element(z.begin(), z.end());
      double weights = 0, mean = 0;
      for (const float value : z) {
        const double w = std::exp(b * (value - top));
        weights += w;
        mean += w * value;
      }
      sum += mean / weights - z[static_cast<std::size_t>(labels[i])];
    }
    return sum;
  };
  double low = std::log(kLowestTemperature), high = std::log(kHighestTemperature);  // of T
  if (slope(std::exp(-low)) <= 0) return kLowestTemperature;
  if (slope(std::exp(-high)) >= 0) return kHighestTemperature;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    // A positive slope in 1 / T: a smaller 1 / T is better, a larger T.
    (slope(std::exp(-middle)) > 0 ? low : high) = middle;
  }
  return std::exp(0.5 * (low + high));
}

/// The temperature of a file of labelled logits, such as oof_logits.csv of a cross-validation.
///
/// @param file       NAME.csv or NAME.npy of write_logits; the other lies beside it.
/// @param classes    of the model whose logits will be divided.
/// @param evaluated  images that must not be among the labelled ones of the file.
/// @throws FileError   a file is missing or malformed.
/// @throws ValueError  other classes, no label, or an image that is evaluated.
inline double read_temperature(const std::filesystem::path& file,
                               const std::vector<std::string>& classes,
                               std::span<const std::string> evaluated = {}) {
  const LogitTable table = read_logits(file.parent_path(), file.stem().string());
  const auto C = static_cast<index_t>(classes.size());
  require<ValueError>(table.C == C, "--calibrate: ", file.string(), " has ", table.C,
                      " classes, the classifier has ", C);
  const std::set<std::string> forbidden(evaluated.begin(), evaluated.end());
  std::vector<float> logits;
  std::vector<int> labels;
  for (index_t i = 0; i < table.rows(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (table.label[at].empty()) continue;
    const auto name = std::find(classes.begin(), classes.end(), table.label[at]);
    require<ValueError>(name != classes.end(), "--calibrate: ", file.string(), " has the class '",
                        table.label[at], "', which the classifier has not");
    require<ValueError>(!forbidden.contains(table.id[at]), "--calibrate: ", file.string(),
                        " holds ", table.id[at], ", which is evaluated too; fit the temperature on "
                        "other images");
    labels.push_back(static_cast<int>(name - classes.begin()));
    const auto row = std::span(table.logits).subspan(at * classes.size(), classes.size());
    logits.insert(logits.end(), row.begin(), row.end());
  }
  require<ValueError>(!labels.empty(), "--calibrate: ", file.string(), " has no labelled row");
  return fit_temperature(logits, labels, C);
}

}  // namespace mwalimu::eval
