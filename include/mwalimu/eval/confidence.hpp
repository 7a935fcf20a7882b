// eval/confidence: intervals of metrics, and how they come from resampled values.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::eval {

/// [low, high]; both NaN where there is none.
struct Interval {
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();

  bool known() const { return std::isfinite(low) && std::isfinite(high); }
  bool contains(double value) const { return low <= value && value <= high; }
};

struct BootstrapOptions {
  index_t resamples = 1000;  ///< 0: no intervals
  std::uint64_t seed = 0;
  double level = 0.95;       ///< share of the resamples inside an interval, in (0, 1)
};

/// An interval a metric.
struct Confidence {
  Interval accuracy, macro_f1, log_loss, roc_auc, ece;
};

/// The q-quantile, interpolated between the two nearest values (position q (n - 1)). Values that
/// are not finite do not count; NaN where none is left. Sorts `values`.
/// @throws ValueError  q is not in [0, 1].
inline double quantile(std::vector<double>& values, double q) {
  require<ValueError>(q >= 0 && q <= 1, "quantile: want q in [0, 1], got ", q);
  std::erase_if(values, [](double v) { return !std::isfinite(v); });
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  if (below + 1 == values.size()) return values[below];
  return std::lerp(values[below], values[below + 1], at - static_cast<double>(below));
}

/// The percentile interval that leaves (1 - level) / 2 of the values on either side.
/// Source  Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
inline Interval percentile_interval(std::vector<double> values, double level) {
  require<ValueError>(level > 0 && level < 1, "percentile_interval: want a level in (0, 1), got ",
                      level);
  const double tail = (1 - level) / 2;
  const double low = quantile(values, tail);
  return {low, quantile(values, 1 - tail)};
}

}  // namespace mwalimu::eval
