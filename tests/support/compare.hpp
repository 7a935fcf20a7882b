// support/compare: how far two arrays are apart, in double, and the assertions built on that.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

namespace mwalimu::test {

/// Any real range (vector<float>, span<const double>, ...) as doubles.
template <class Range>
std::vector<double> to_double(const Range& values) {
  std::vector<double> out;
  for (const auto& value : values) out.push_back(static_cast<double>(value));
  return out;
}

namespace detail {
inline void same_size(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) {
    throw std::invalid_argument("compare: " + std::to_string(a.size()) + " values against " +
                                std::to_string(b.size()));
  }
}
}  // namespace detail

/// |got - want| / |want|, 2-norms; |got - want| where want is all zero; NaN where either has one.
inline double rel_l2(std::span<const double> got, std::span<const double> want) {
  detail::same_size(got, want);
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}

/// max |got - want|; NaN where either has one.
inline double max_abs_err(std::span<const double> got, std::span<const double> want) {
  detail::same_size(got, want);
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(got[i] - want[i]);
    if (std::isnan(error)) return error;
    worst = std::max(worst, error);
  }
  return worst;
}

/// max |got - want| / max |want|, or the absolute error where want is all zero.
inline double max_rel_err(std::span<const double> got, std::span<const double> want) {
  double largest = 0;
  for (const double value : want) largest = std::max(largest, std::abs(value));
  const double error = max_abs_err(got, want);
  return largest > 0 ? error / largest : error;
}

/// Cosine of the angle between the two; NaN where one of them is zero.
inline double cosine(std::span<const double> a, std::span<const double> b) {
  detail::same_size(a, b);
  double dot = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return dot / std::sqrt(aa * bb);
}

/// EXPECT_TRUE(near_l2(got, want, 1e-5)): rel_l2 at most `tolerance`; a NaN fails.
inline testing::AssertionResult near_l2(std::span<const double> got, std::span<const double> want,
                                        double tolerance) {
  if (got.size() != want.size()) {
    return testing::AssertionFailure() << got.size() << " values, want " << want.size();
  }
  const double error = rel_l2(got, want);
  if (error <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "relative L2 error " << error << " > " << tolerance;
}

/// The same for the largest error over the largest value.
inline testing::AssertionResult near_max(std::span<const double> got, std::span<const double> want,
                                         double tolerance) {
  if (got.size() != want.size()) {
    return testing::AssertionFailure() << got.size() << " values, want " << want.size();
  }
  const double error = max_rel_err(got, want);
  if (error <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "relative maximum error " << error << " > " << tolerance;
}

/// The same for the largest absolute error.
inline testing::AssertionResult near_abs(std::span<const double> got, std::span<const double> want,
                                         double tolerance) {
  if (got.size() != want.size()) {
    return testing::AssertionFailure() << got.size() << " values, want " << want.size();
  }
  const double error = max_abs_err(got, want);
  if (error <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "absolute error " << error << " > " << tolerance;
}

}  // namespace mwalimu::test
