// eval/ranking: how well scores put one class before the others: ROC and precision-recall curves
// and the areas under them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"

namespace mwalimu::eval {

/// Positives and negatives whose score is at least `threshold`.
struct RankedCount {
  double threshold = 0;
  double true_positives = 0, false_positives = 0;
};

/// One entry a distinct score, from the highest to the lowest: equal scores are never told apart.
/// The last entry counts everything.
/// @param scores    (N), finite.
/// @param positive  (N).
/// @throws ShapeError  not as many of both.
inline std::vector<RankedCount> ranked_counts(std::span<const double> scores,
                                              const std::vector<bool>& positive) {
  require<ShapeError>(scores.size() == positive.size(), "ranked_counts: ", scores.size(),
                      " scores and ", positive.size(), " labels");
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  std::vector<RankedCount> counts;
  RankedCount now;
  for (std::size_t i = 0; i < order.size(); ++i) {
    (positive[order[i]] ? now.true_positives : now.false_positives) += 1;
    now.threshold = scores[order[i]];
    if (i + 1 == order.size() || scores[order[i + 1]] != now.threshold) counts.push_back(now);
  }
  return counts;
}

/// The chance that a positive scores higher than a negative, a tie counting one half: the area
/// under the ROC curve, by the rank statistic. NaN where one of the two is absent.
/// Source  Mann and Whitney 1947; Hanley and McNeil 1982.
inline double roc_auc(std::span<const RankedCount> counts) {
  if (counts.empty() || counts.back().true_positives == 0 || counts.back().false_positives == 0) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  double area = 0;
  RankedCount before;
  for (const RankedCount& now : counts) {
    area += (now.false_positives - before.false_positives) * 0.5 *
            (now.true_positives + before.true_positives);
    before = now;
  }
  return area / (counts.back().true_positives * counts.back().false_positives);
}
inline double roc_auc(std::span<const double> scores, const std::vector<bool>& positive) {
  return roc_auc(ranked_counts(scores, positive));
}

/// Average precision: the precision at each distinct score, weighted by the recall that it adds.
/// No interpolation between points, which would flatter. NaN without positives; a ranking by chance
/// has the share of the positives.
/// Source  Davis and Goadrich 2006; scikit-learn's average_precision_score is the same sum.
inline double average_precision(std::span<const RankedCount> counts) {
  if (counts.empty() || counts.back().true_positives == 0) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  double sum = 0, before = 0;
  for (const RankedCount& now : counts) {
    sum += (now.true_positives - before) * now.true_positives /
           (now.true_positives + now.false_positives);
    before = now.true_positives;
  }
  return sum / counts.back().true_positives;
}
inline double average_precision(std::span<const double> scores, const std::vector<bool>& positive) {
  return average_precision(ranked_counts(scores, positive));
}

/// A curve in the unit square, with its area.
struct Curve {
  std::vector<double> x, y;
  double area = 0;  ///< NaN where the curve is not defined: then it has no points
};

/// True positive rate (y) over false positive rate (x), from (0, 0) to (1, 1); straight between
/// distinct scores, which is what a tie counting one half means.
inline Curve roc_curve(std::span<const double> scores, const std::vector<bool>& positive) {
  const auto counts = ranked_counts(scores, positive);
  Curve curve{{}, {}, roc_auc(counts)};
  if (curve.area != curve.area) return curve;
  curve.x.push_back(0);
  curve.y.push_back(0);
  for (const RankedCount& c : counts) {
    curve.x.push_back(c.false_positives / counts.back().false_positives);
    curve.y.push_back(c.true_positives / counts.back().true_positives);
  }
  return curve;
}

/// Precision (y) over recall (x), recall increasing. A step curve: y[i] holds for recalls from
/// x[i - 1] (0 before the first) to x[i]; the area below the steps is the average precision.
inline Curve precision_recall_curve(std::span<const double> scores,
                                    const std::vector<bool>& positive) {
  const auto counts = ranked_counts(scores, positive);
  Curve curve{{}, {}, average_precision(counts)};
  if (curve.area != curve.area) return curve;
  for (const RankedCount& c : counts) {
    curve.x.push_back(c.true_positives / counts.back().true_positives);
    curve.y.push_back(c.true_positives / (c.true_positives + c.false_positives));
  }
  return curve;
}

}  // namespace mwalimu::eval
