// eval/bootstrap: how far a metric would move with other plants: percentile intervals.
//
// Plants are drawn with replacement, not images: the two images of a plant are no two independent
// observations, and intervals that treat them so are too narrow. A resample is a weight for every
// plant (how often it was drawn), and all metrics are sums over weighted rows in orders that are
// found once, so that a resample costs N C instead of N C log N.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/eval/labelled_scores.hpp"

namespace mwalimu::eval {

/// The metrics that have intervals.
struct WeightedMetrics {
  double accuracy = 0, macro_f1 = 0, log_loss = 0, roc_auc = 0, ece = 0;
};

/// Metrics of rows that count as often as their weights say: with all weights 1 those of
/// compute_metrics, with whole numbers those of a table in which rows are repeated.
class WeightedEvaluator {
 public:
  explicit WeightedEvaluator(const LabelledScores& scores)
      : C_(scores.classes.size()),
        labels_(scores.labels),
        predicted_(arg_max(scores.probabilities, scores.class_count())),
        confidence_(confidences(scores.probabilities, scores.class_count())),
        loss_(log_losses(scores.probabilities, scores.labels, scores.class_count())) {
    for (const double c : confidence_) bin_.push_back(calibration_bin(c, kCalibrationBins));
    for (std::size_t c = 0; c < C_; ++c) {
      const std::vector<double> column = scores.scores_of(c);
      std::vector<Ranked> order;
      for (std::size_t i = 0; i < column.size(); ++i) order.push_back({i, false});
      std::sort(order.begin(), order.end(), [&](const Ranked& a, const Ranked& b) {
        return column[a.row] > column[b.row];
      });
      for (std::size_t i = 0; i < order.size(); ++i) {
        order[i].ends_tie =
            i + 1 == order.size() || column[order[i + 1].row] != column[order[i].row];
      }
      ranked_.push_back(std::move(order));
    }
  }

  /// @param weights  (rows), >= 0.
  /// @return         NaN throughout where all weights are 0; the AUC is NaN where no class has one.
  WeightedMetrics at(std::span<const double> weights) const {
    constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
    double total = 0, loss = 0, right = 0;
    std::vector<double> truth(C_), chosen(C_), hits(C_);
    std::array<double, kCalibrationBins> gap{};  // of a bin: weight right - sum of confidences
    for (std::size_t i = 0; i < labels_.size(); ++i) {
      const double w = weights[i];
      const auto y = static_cast<std::size_t>(labels_[i]);
      const auto p = static_cast<std::size_t>(predicted_[i]);
      total += w;
      loss += w * loss_[i];
      truth[y] += w;
      chosen[p] += w;
      gap[bin_[i]] -= w * confidence_[i];
      if (y != p) continue;
      right += w;
      hits[y] += w;
      gap[bin_[i]] += w;
    }
    if (total <= 0) return {kNone, kNone, kNone, kNone, kNone};
    WeightedMetrics m{right / total, 0, loss / total, kNone, 0};
    for (const double g : gap) m.ece += std::abs(g) / total;
    double area = 0, areas = 0;
    for (std::size_t c = 0; c < C_; ++c) {
      const double count = truth[c] + chosen[c];
      m.macro_f1 += count > 0 ? 2 * hits[c] / count / static_cast<double>(C_) : 0;
      if (truth[c] <= 0 || truth[c] >= total) continue;
      area += wins(c, weights) / (truth[c] * (total - truth[c]));
      areas += 1;
    }
    if (areas > 0) m.roc_auc = area / areas;
    return m;
  }

 private:
  struct Ranked {
    std::size_t row = 0;
    bool ends_tie = false;  ///< the next row's score is lower
  };
  // Weight of the pairs (positive, negative) in order, a tie counting one half.
  double wins(std::size_t c, std::span<const double> weights) const {
    double above = 0, positive = 0, negative = 0, sum = 0;
    for (const Ranked& r : ranked_[c]) {
      (labels_[r.row] == static_cast<int>(c) ? positive : negative) += weights[r.row];
      if (!r.ends_tie) continue;
      sum += negative * (above + 0.5 * positive);
      above += positive;
      positive = negative = 0;
    }
    return sum;
  }

  std::size_t C_;
  std::vector<int> labels_, predicted_;
  std::vector<double> confidence_, loss_;
  std::vector<std::size_t> bin_;
  std::vector<std::vector<Ranked>> ranked_;  // of each class, the highest score first
};

/// Percentile intervals of the metrics of `scores`.
///
/// A class that a resample does not hold counts 0 in its macro F1 and not at all in its AUC. The
/// interval of the ECE lies high, often above the estimate: resampling adds noise to every bin, and
/// noise only ever adds to the ECE.
///
/// @param plants  that are drawn from: numbers of scores.plant are below it. The same plants, seed
///                and resamples draw the same plants, whichever rows `scores` holds of them.
/// @return        the same at any number of threads; unknown intervals where plants < 2, from which
///                nothing can be said.
/// @throws ValueError  options out of range, or a row of a plant beyond them.
inline Confidence bootstrap(const LabelledScores& scores, index_t plants,
                            const BootstrapOptions& options) {
  require<ValueError>(options.resamples >= 1 && options.resamples <= 1'000'000,
                      "bootstrap: want 1 to 1000000 resamples, got ", options.resamples);
  require<ValueError>(options.level > 0 && options.level < 1,
                      "bootstrap: want a level in (0, 1), got ", options.level);
  for (const index_t plant : scores.plant) {
    require<ValueError>(plant >= 0 && plant < plants, "bootstrap: plant ", plant, " of ", plants);
  }
  if (plants < 2) return {};
  const WeightedEvaluator evaluator(scores);
  const auto R = static_cast<std::size_t>(options.resamples);
  std::vector<WeightedMetrics> drawn(R);
  parallel_for(options.resamples, 1, [&](index_t begin, index_t end) {
    std::vector<double> times(static_cast<std::size_t>(plants)), weights(scores.plant.size());
    for (index_t r = begin; r < end; ++r) {
      RandomStream random(options.seed, Purpose::bootstrap, static_cast<std::uint64_t>(r));
      std::fill(times.begin(), times.end(), 0.0);
      for (index_t i = 0; i < plants; ++i) {
        times[static_cast<std::size_t>(random.below(static_cast<std::uint64_t>(plants)))] += 1;
      }
      for (std::size_t i = 0; i < weights.size(); ++i) {
        weights[i] = times[static_cast<std::size_t>(scores.plant[i])];
      }
      drawn[static_cast<std::size_t>(r)] = evaluator.at(weights);
    }
  });
  const auto interval = [&](double WeightedMetrics::*field) {
    std::vector<double> values;
    for (const WeightedMetrics& m : drawn) values.push_back(m.*field);
    return percentile_interval(std::move(values), options.level);
  };
  return {.accuracy = interval(&WeightedMetrics::accuracy),
          .macro_f1 = interval(&WeightedMetrics::macro_f1),
          .log_loss = interval(&WeightedMetrics::log_loss),
          .roc_auc = interval(&WeightedMetrics::roc_auc),
          .ece = interval(&WeightedMetrics::ece)};
}

/// Metrics together and by sensor, with their intervals where options.resamples > 0. All three see
/// the same draws.
/// @throws ValueError  no labelled row, or options out of range.
inline Evaluation evaluate(const LabelledScores& scores, const BootstrapOptions& options) {
  Evaluation result = evaluate(scores);
  if (options.resamples == 0) return result;
  const index_t plants = scores.plants();
  result.bootstrap = options;
  result.together.confidence = bootstrap(scores, plants, options);
  if (result.rgb) {
    result.rgb->confidence = bootstrap(scores.of(data::Sensor::rgb), plants, options);
  }
  if (result.rgn) {
    result.rgn->confidence = bootstrap(scores.of(data::Sensor::rgn), plants, options);
  }
  return result;
}

}  // namespace mwalimu::eval
