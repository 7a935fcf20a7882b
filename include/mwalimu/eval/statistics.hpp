// eval/statistics: what several runs have in common.
#pragma once

#include <cmath>
#include <span>
#include <vector>

namespace mwalimu::eval {

/// The arithmetic mean; NaN of no values.
inline double mean(std::span<const double> values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

/// The sample standard deviation, with n - 1; NaN of fewer than two values.
inline double standard_deviation(std::span<const double> values) {
  if (values.size() < 2) return std::nan("");
  const double centre = mean(values);
  double squares = 0;
  for (const double v : values) squares += (v - centre) * (v - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

/// Those that are a number: a metric may be undefined in some runs.
inline std::vector<double> finite(std::span<const double> values) {
  std::vector<double> kept;
  for (const double v : values) {
    if (std::isfinite(v)) kept.push_back(v);
  }
  return kept;
}

}  // namespace mwalimu::eval
