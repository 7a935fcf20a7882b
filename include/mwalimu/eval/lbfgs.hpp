// eval/lbfgs: minimisation of a smooth function whose gradient fits in memory a few times over.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <deque>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"

namespace mwalimu::eval {

struct LbfgsResult {
  double value = 0;         ///< of the function, where it stopped
  double gradient_max = 0;  ///< largest component of the gradient there
  int iterations = 0;
  bool converged = false;  ///< gradient_max met the tolerance
};

/// Moves x to a minimum by L-BFGS with ten pairs and a backtracking line search (Armijo, 1e-4).
/// Deterministic: no clock and no random number is in it.
///
/// @param objective  double f(span<const double> x, span<double> gradient), gradient overwritten.
/// @param x          the start, overwritten by the result.
/// @throws ValueError  the function is not finite at the start.
/// Source  Nocedal and Wright 2006, "Numerical Optimization", algorithms 7.4, 7.5 and 3.1.
template <class Objective>
LbfgsResult minimise_lbfgs(Objective&& objective, std::vector<double>& x, int max_iterations,
                           double tolerance) {
  constexpr std::size_t kPairs = 10;
  struct Pair {
    std::vector<double> s, y;
    double rho;
  };
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  };
  const auto largest = [](const std::vector<double>& v) {
    double most = 0;
    for (const double value : v) most = std::max(most, std::abs(value));
    return most;
  };

  std::vector<double> gradient(x.size()), next(x.size()), next_gradient(x.size());
  std::deque<Pair> pairs;
  LbfgsResult result;
  result.value = objective(std::span<const double>(x), std::span<double>(gradient));
  require<ValueError>(std::isfinite(result.value), "lbfgs: the function is ", result.value,
                      " at the start");
  for (;; ++result.iterations) {
    result.gradient_max = largest(gradient);
    result.converged = result.gradient_max <= tolerance;
    if (result.converged || result.iterations == max_iterations) return result;

    // direction <- -H gradient, by the two loops.
    std::vector<double> direction = gradient;
    std::vector<double> alpha(pairs.size());
    for (std::size_t k = pairs.size(); k-- > 0;) {
      alpha[k] = pairs[k].rho * dot(pairs[k].s, direction);
      for (std::size_t i = 0; i < x.size(); ++i) direction[i] -= alpha[k] * pairs[k].y[i];
    }
    const double scale = pairs.empty()
                             ? 1 / std::max(1.0, std::sqrt(dot(gradient, gradient)))
                             : 1 / (pairs.back().rho * dot(pairs.back().y, pairs.back().y));
    for (double& d : direction) d *= scale;
    for (std::size_t k = 0; k < pairs.size(); ++k) {
      const double beta = pairs[k].rho * dot(pairs[k].y, direction);
      for (std::size_t i = 0; i < x.size(); ++i) direction[i] += (alpha[k] - beta) * pairs[k].s[i];
    }
    const double slope = -dot(gradient, direction);  // along -direction

    double step = 1, value = 0;
    bool lower = false;
    for (int halving = 0; halving < 40 && !lower; ++halving, step *= lower ? 1 : 0.5) {
      for (std::size_t i = 0; i < x.size(); ++i) next[i] = x[i] - step * direction[i];
      value = objective(std::span<const double>(next), std::span<double>(next_gradient));
      lower = value <= result.value + 1e-4 * step * slope;
    }
    if (!lower) return result;  // rounding hides any further descent

    Pair pair{std::vector<double>(x.size()), std::vector<double>(x.size()), 0};
    for (std::size_t i = 0; i < x.size(); ++i) {
      pair.s[i] = next[i] - x[i];
      pair.y[i] = next_gradient[i] - gradient[i];
    }
    const double curvature = dot(pair.s, pair.y);
    if (curvature > 1e-12 * dot(pair.y, pair.y)) {  // keeps H positive definite
      pair.rho = 1 / curvature;
      if (pairs.size() == kPairs) pairs.pop_front();
      pairs.push_back(std::move(pair));
    }
    x.swap(next);
    gradient.swap(next_gradient);
    result.value = value;
  }
}

}  // namespace mwalimu::eval
