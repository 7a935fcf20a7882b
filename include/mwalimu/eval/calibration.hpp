// eval/calibration: whether a confidence of 0.8 is right eight times of ten.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/eval/probabilities.hpp"

namespace mwalimu::eval {

inline constexpr int kCalibrationBins = 15;  ///< as in Guo et al. 2017

/// The images whose confidence lies in (low, high].
struct CalibrationBin {
  double low = 0, high = 0;
  index_t count = 0;
  double confidence = std::numeric_limits<double>::quiet_NaN();  ///< mean; NaN where empty
  double accuracy = std::numeric_limits<double>::quiet_NaN();    ///< share right; NaN where empty
};

struct Calibration {
  double ece = 0;  ///< expected calibration error: mean |accuracy - confidence| over the images
  double mce = 0;  ///< maximum calibration error: the largest |accuracy - confidence| of a bin
  std::vector<CalibrationBin> bins;
};

/// The bin of a confidence: bin b of B holds (b / B, (b + 1) / B], and the first 0 too.
inline std::size_t calibration_bin(double confidence, int bins) {
  const double at = std::ceil(confidence * bins) - 1;
  return static_cast<std::size_t>(std::clamp(at, 0.0, static_cast<double>(bins - 1)));
}

/// The confidence of each row: its highest probability, the row scaled to sum to 1. A row of zeros
/// says nothing: 1 / C.
/// @param probabilities  (N, C), finite and >= 0.
inline std::vector<double> confidences(std::span<const double> probabilities, index_t C) {
  const index_t N = detail::rows_of("confidences", probabilities, C);
  std::vector<double> top(static_cast<std::size_t>(N));
  for (std::size_t i = 0; i < top.size(); ++i) {
    const auto row =
        probabilities.subspan(i * static_cast<std::size_t>(C), static_cast<std::size_t>(C));
    double sum = 0;
    for (const double p : row) sum += p;
    const double highest = *std::max_element(row.begin(), row.end());
    top[i] = sum > 0 ? highest / sum : 1 / static_cast<double>(C);
  }
  return top;
}

/// Both errors of the predicted class, in bins of equal width. They are of a sample: even a
/// perfectly calibrated model has an ECE above 0, the larger the fewer images a bin holds, and one
/// image alone in its bin can make the MCE.
///
/// @param probabilities  (N, C), finite and >= 0, N >= 1.
/// @param labels         (N), in [0, C).
/// @throws ShapeError, ValueError  extents disagree, a label out of range, no rows, bins < 1.
/// Source  Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, arXiv:1706.04599, eq. (3), (5).
inline Calibration compute_calibration(std::span<const double> probabilities,
                                       std::span<const int> labels, index_t C,
                                       int bins = kCalibrationBins) {
  const index_t N = detail::rows_of("calibration", probabilities, C);
  detail::require_labels("calibration", labels, N, C);
  require<ValueError>(N > 0, "calibration: no rows");
  require<ValueError>(bins >= 1, "calibration: want at least one bin, got ", bins);
  const std::vector<int> predicted = arg_max(probabilities, C);
  const std::vector<double> confidence = confidences(probabilities, C);
  std::vector<double> sum(static_cast<std::size_t>(bins)), right(sum.size());
  Calibration result;
  result.bins.resize(sum.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::size_t b = calibration_bin(confidence[i], bins);
    ++result.bins[b].count;
    sum[b] += confidence[i];
    right[b] += predicted[i] == labels[i] ? 1 : 0;
  }
  for (std::size_t b = 0; b < sum.size(); ++b) {
    CalibrationBin& bin = result.bins[b];
    bin.low = static_cast<double>(b) / bins;
    bin.high = static_cast<double>(b + 1) / bins;
    if (bin.count == 0) continue;
    bin.confidence = sum[b] / static_cast<double>(bin.count);
    bin.accuracy = right[b] / static_cast<double>(bin.count);
    const double gap = std::abs(bin.accuracy - bin.confidence);
    result.ece += gap * static_cast<double>(bin.count) / static_cast<double>(N);
    result.mce = std::max(result.mce, gap);
  }
  return result;
}

}  // namespace mwalimu::eval
