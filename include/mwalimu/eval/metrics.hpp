// eval/metrics: how good class probabilities are: log loss, accuracy, F1, areas under the curves,
// confusion, calibration.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/eval/calibration.hpp"
#include "mwalimu/eval/confidence.hpp"
#include "mwalimu/eval/probabilities.hpp"
#include "mwalimu/eval/ranking.hpp"

namespace mwalimu::eval {

/// One class against the others. A ratio 0/0 is 0.
struct ClassMetrics {
  double precision = 0, recall = 0, f1 = 0;
  index_t support = 0;  ///< images of this class
  double roc_auc = 0;   ///< NaN where all images or none are of this class
  double average_precision = 0;  ///< NaN where no image is of this class
};

/// What one reaches without looking at an image, by the class frequencies of the same labels: the
/// best constant answer.
struct Baseline {
  int majority_class = 0;        ///< the most frequent; the lowest index among equals
  double majority_accuracy = 0;  ///< always that class
  double prior_log_loss = 0;     ///< always the frequencies: their entropy, in nats
};

struct Metrics {
  index_t samples = 0;
  double log_loss = 0;  ///< nats
  double accuracy = 0;
  double macro_f1 = 0;  ///< mean over all classes
  double roc_auc = 0;   ///< mean over the classes that have one; NaN where none has
  double average_precision = 0;  ///< the same
  std::vector<ClassMetrics> per_class;
  std::vector<std::vector<index_t>> confusion;  ///< [true class][predicted class]
  Baseline baseline;
  Calibration calibration;
  std::optional<Confidence> confidence;  ///< filled in by eval/bootstrap
};

/// -ln p[y] of each row, each p clipped to [1e-15, 1 - 1e-15] and its row renormalised.
/// @throws ShapeError, ValueError  as compute_metrics.
inline std::vector<double> log_losses(std::span<const double> probabilities,
                                      std::span<const int> labels, index_t C) {
  const index_t N = detail::rows_of("log_loss", probabilities, C);
  detail::require_labels("log_loss", labels, N, C);
  detail::require_finite("log_loss", probabilities, C);
  std::vector<double> losses(labels.size());
  for (index_t i = 0; i < N; ++i) {
    const double* const p = probabilities.data() + i * C;
    const auto clipped = [&](index_t c) { return std::clamp(p[c], 1e-15, 1 - 1e-15); };
    double total = 0;
    for (index_t c = 0; c < C; ++c) total += clipped(c);
    const auto row = static_cast<std::size_t>(i);
    losses[row] = -std::log(clipped(labels[row]) / total);
  }
  return losses;
}

/// Their mean, in nats.
/// @throws ShapeError, ValueError  as compute_metrics.
inline double log_loss(std::span<const double> probabilities, std::span<const int> labels,
                       index_t C) {
  const std::vector<double> losses = log_losses(probabilities, labels, C);
  require<ValueError>(!losses.empty(), "log_loss: no rows");
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
}

/// @throws ValueError  no labels.
inline Baseline compute_baseline(std::span<const int> labels, index_t C) {
  const auto N = static_cast<index_t>(labels.size());
  detail::require_labels("baseline", labels, N, C);
  require<ValueError>(N > 0, "baseline: no labels");
  std::vector<index_t> count(static_cast<std::size_t>(C), 0);
  for (const int label : labels) ++count[static_cast<std::size_t>(label)];
  const auto top = std::max_element(count.begin(), count.end());
  const auto share = [&](index_t n) { return static_cast<double>(n) / static_cast<double>(N); };
  Baseline baseline{static_cast<int>(top - count.begin()), share(*top), 0};
  for (const index_t n : count) {
    if (n > 0) baseline.prior_log_loss -= share(n) * std::log(share(n));
  }
  return baseline;
}

/// Everything above from the probabilities of labelled images. The predicted class is the one of
/// the highest probability, the lowest index among equals.
///
/// @param probabilities  (N, C), finite and >= 0, N >= 1; rows need not sum to 1 (the log loss
///                       renormalises them).
/// @param labels         (N), in [0, C).
/// @throws ShapeError  extents disagree.  @throws ValueError  a number or label outside its range.
inline Metrics compute_metrics(std::span<const double> probabilities, std::span<const int> labels,
                               index_t C) {
  const index_t N = detail::rows_of("metrics", probabilities, C);
  detail::require_labels("metrics", labels, N, C);
  require<ValueError>(N > 0, "metrics: no rows");
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    require<ValueError>(probabilities[i] >= 0 && std::isfinite(probabilities[i]),
                        "metrics: probability ", probabilities[i], " in row ",
                        static_cast<index_t>(i) / C);
  }
  Metrics m;
  m.samples = N;
  m.log_loss = log_loss(probabilities, labels, C);
  m.baseline = compute_baseline(labels, C);
  const auto classes = static_cast<std::size_t>(C);
  m.confusion.assign(classes, std::vector<index_t>(classes, 0));
  const std::vector<int> predicted = arg_max(probabilities, C);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    ++m.confusion[static_cast<std::size_t>(labels[i])][static_cast<std::size_t>(predicted[i])];
  }

  const auto ratio = [](double a, double b) { return b > 0 ? a / b : 0.0; };
  // A mean over the classes that have the number.
  const auto mean_of = [&](double ClassMetrics::*field) {
    double sum = 0, count = 0;
    for (const ClassMetrics& one : m.per_class) {
      if (std::isnan(one.*field)) continue;
      sum += one.*field;
      count += 1;
    }
    return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
  };
  double correct = 0;
  std::vector<double> scores(labels.size());
  std::vector<bool> positive(labels.size());
  for (std::size_t c = 0; c < classes; ++c) {
    double predicted_count = 0;
    ClassMetrics one;
    for (std::size_t k = 0; k < classes; ++k) {
      predicted_count += static_cast<double>(m.confusion[k][c]);
      one.support += m.confusion[c][k];
    }
    const auto hits = static_cast<double>(m.confusion[c][c]);
    const auto support = static_cast<double>(one.support);
    one.precision = ratio(hits, predicted_count);
    one.recall = ratio(hits, support);
    one.f1 = ratio(2 * hits, predicted_count + support);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      scores[i] = probabilities[i * classes + c];
      positive[i] = labels[i] == static_cast<int>(c);
    }
    const auto counts = ranked_counts(scores, positive);
    one.roc_auc = roc_auc(counts);
    one.average_precision = average_precision(counts);
    correct += hits;
    m.per_class.push_back(one);
  }
  m.accuracy = correct / static_cast<double>(N);
  m.macro_f1 = mean_of(&ClassMetrics::f1);
  m.roc_auc = mean_of(&ClassMetrics::roc_auc);
  m.average_precision = mean_of(&ClassMetrics::average_precision);
  m.calibration = compute_calibration(probabilities, labels, C);
  return m;
}
inline Metrics compute_metrics(std::span<const float> probabilities, std::span<const int> labels,
                               index_t C) {
  const std::vector<double> wide(probabilities.begin(), probabilities.end());
  return compute_metrics(wide, labels, C);
}

/// Metrics of both sensors' images together, and of each alone where there are any.
struct Evaluation {
  std::vector<std::string> classes;
  Metrics together;
  std::optional<Metrics> rgb, rgn;
  std::optional<BootstrapOptions> bootstrap = {};  ///< what the intervals come from, if any
  std::optional<double> temperature = {};          ///< that the logits were divided by, if by one
};

/// @param sensors  (N), the sensor of each row.
/// @throws ShapeError, ValueError  as compute_metrics.
inline Evaluation evaluate(std::span<const double> probabilities, std::span<const int> labels,
                           std::span<const data::Sensor> sensors,
                           const std::vector<std::string>& classes) {
  const auto C = static_cast<index_t>(classes.size());
  Evaluation result{classes, compute_metrics(probabilities, labels, C), {}, {}, {}, {}};
  require<ShapeError>(sensors.size() == labels.size(), "evaluate: want ", labels.size(),
                      " sensors, got ", sensors.size());
  for (const data::Sensor sensor : {data::Sensor::rgb, data::Sensor::rgn}) {
    std::vector<double> rows;
    std::vector<int> truth;
    for (std::size_t i = 0; i < sensors.size(); ++i) {
      if (sensors[i] != sensor) continue;
      truth.push_back(labels[i]);
      const auto row = probabilities.subspan(i * classes.size(), classes.size());
      rows.insert(rows.end(), row.begin(), row.end());
    }
    if (truth.empty()) continue;
    (sensor == data::Sensor::rgb ? result.rgb : result.rgn) = compute_metrics(rows, truth, C);
  }
  return result;
}

}  // namespace mwalimu::eval
