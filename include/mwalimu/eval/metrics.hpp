// eval/metrics: how good class probabilities are: log loss, accuracy, F1, ROC-AUC, confusion.
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
#include "mwalimu/eval/probabilities.hpp"

namespace mwalimu::eval {

/// One class against the others. A ratio 0/0 is 0.
struct ClassMetrics {
  double precision = 0, recall = 0, f1 = 0;
  index_t support = 0;  ///< images of this class
  double roc_auc = 0;   ///< NaN where all images or none are of this class
};

/// What one reaches without looking at an image, by the class frequencies of the same labels: the
/// best constant answer.
struct Baseline {
  double majority_accuracy = 0;  ///< always the most frequent class
  double prior_log_loss = 0;     ///< always the frequencies: their entropy, in nats
};

struct Metrics {
  index_t samples = 0;
  double log_loss = 0;  ///< nats
  double accuracy = 0;
  double macro_f1 = 0;  ///< mean over all classes
  double roc_auc = 0;   ///< mean over the classes that have one; NaN where none has
  std::vector<ClassMetrics> per_class;
  std::vector<std::vector<index_t>> confusion;  ///< [true class][predicted class]
  Baseline baseline;
};

/// Mean of -ln p[y], each p clipped to [1e-15, 1 - 1e-15] and its row renormalised.
/// @throws ShapeError, ValueError  as compute_metrics.
inline double log_loss(std::span<const double> probabilities, std::span<const int> labels,
                       index_t C) {
  const index_t N = detail::rows_of("log_loss", probabilities, C);
  detail::require_labels("log_loss", labels, N, C);
  detail::require_finite("log_loss", probabilities, C);
  require<ValueError>(N > 0, "log_loss: no rows");
  double sum = 0;
  for (index_t i = 0; i < N; ++i) {
    const double* const p = probabilities.data() + i * C;
    const auto clipped = [&](index_t c) { return std::clamp(p[c], 1e-15, 1 - 1e-15); };
    double total = 0;
    for (index_t c = 0; c < C; ++c) total += clipped(c);
    sum -= std::log(clipped(labels[static_cast<std::size_t>(i)]) / total);
  }
  return sum / static_cast<double>(N);
}

/// The chance that a positive scores higher than a negative, a tie counting one half: the area
/// under the ROC curve, by the rank statistic. NaN where one of the two is absent.
inline double roc_auc(std::span<const double> scores, const std::vector<bool>& positive) {
  require<ShapeError>(scores.size() == positive.size(), "roc_auc: ", scores.size(), " scores and ",
                      positive.size(), " labels");
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  double positives = 0, rank_sum = 0;
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && scores[order[end]] == scores[order[begin]]) ++end;
    const double rank = 0.5 * static_cast<double>(begin + 1 + end);  // shared by the tied
    for (std::size_t i = begin; i < end; ++i) {
      if (positive[order[i]]) {
        positives += 1;
        rank_sum += rank;
      }
    }
  }
  const double negatives = static_cast<double>(scores.size()) - positives;
  if (positives == 0 || negatives == 0) return std::numeric_limits<double>::quiet_NaN();
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

/// @throws ValueError  no labels.
inline Baseline compute_baseline(std::span<const int> labels, index_t C) {
  const auto N = static_cast<index_t>(labels.size());
  detail::require_labels("baseline", labels, N, C);
  require<ValueError>(N > 0, "baseline: no labels");
  std::vector<double> share(static_cast<std::size_t>(C), 0.0);
  for (const int label : labels)
    share[static_cast<std::size_t>(label)] += 1 / static_cast<double>(N);
  Baseline baseline{*std::max_element(share.begin(), share.end()), 0};
  for (const double p : share) {
    if (p > 0) baseline.prior_log_loss -= p * std::log(p);
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
  double correct = 0, f1_sum = 0, auc_sum = 0, auc_count = 0;
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
    one.roc_auc = roc_auc(scores, positive);
    if (!std::isnan(one.roc_auc)) {
      auc_sum += one.roc_auc;
      auc_count += 1;
    }
    correct += hits;
    f1_sum += one.f1;
    m.per_class.push_back(one);
  }
  m.accuracy = correct / static_cast<double>(N);
  m.macro_f1 = f1_sum / static_cast<double>(C);
  m.roc_auc = auc_count > 0 ? auc_sum / auc_count : std::numeric_limits<double>::quiet_NaN();
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
};

/// @param sensors  (N), the sensor of each row.
/// @throws ShapeError, ValueError  as compute_metrics.
inline Evaluation evaluate(std::span<const double> probabilities, std::span<const int> labels,
                           std::span<const data::Sensor> sensors,
                           const std::vector<std::string>& classes) {
  const auto C = static_cast<index_t>(classes.size());
  Evaluation result{classes, compute_metrics(probabilities, labels, C), {}, {}};
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
