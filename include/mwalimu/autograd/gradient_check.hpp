// autograd/gradient_check: does an operation's backward agree with its forward?
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/random.hpp"

namespace mwalimu {

struct GradientCheck {
  double worst = 0;          ///< largest |analytic - numeric| / max(1, |numeric|)
  std::size_t input = 0;     ///< where: which input,
  index_t element = 0;       ///< which element of it, in memory order
  double analytic = 0, numeric = 0;
  std::string describe() const {
    return detail::concatenate("input ", input, " element ", element, ": backward gives ", analytic,
                               ", differences give ", numeric);
  }
};

struct GradientCheckOptions {
  double step = 1e-5;         ///< of the central difference; its error is O(step^2) + O(1e-16 / step)
  index_t most_elements = 400;  ///< an input with more is sampled at this many random elements
  std::uint64_t seed = 0;
};

/// Compares backward with central differences in double precision. The result of `f`, of any shape,
/// is weighed with fixed random numbers r: what is differentiated is sum_i r[i] f(x)[i].
///
/// @param f       the operation; called many times, so it must be a function of its inputs alone.
/// @param inputs  points away from kinks (a ReLU's zero) by more than the step.
/// @return        the worst element; sound operations stay below 1e-6 with the default step.
inline GradientCheck check_gradients(
    const std::function<Variable<double>(const std::vector<Variable<double>>&)>& f,
    const std::vector<Tensor<double>>& inputs, const GradientCheckOptions& options = {}) {
  std::vector<Variable<double>> leaves;
  for (const auto& input : inputs) leaves.push_back(Variable<double>::leaf(input.clone()));
  const Variable<double> result = f(leaves);
  auto weights = Tensor<double>::empty_like(result.value());
  RandomStream random(options.seed, Purpose::test, 71);
  for (double& w : weights.span()) w = random.uniform(-1.0f, 1.0f);
  result.backward(weights.clone());

  const auto weighed = [&](const Tensor<double>& values) {
    const auto v = values.to_vector(), w = weights.to_vector();
    double sum = 0;
    for (std::size_t i = 0; i < v.size(); ++i) sum += v[i] * w[i];
    return sum;
  };
  GradientCheck found;
  for (std::size_t k = 0; k < leaves.size(); ++k) {
    auto& leaf = leaves[k];
    const index_t count = leaf.value().count();
    const index_t tried = std::min(count, options.most_elements);
    for (index_t t = 0; t < tried; ++t) {
      const index_t i = tried == count ? t : static_cast<index_t>(random.below(
                                                 static_cast<std::uint64_t>(count)));
      double& x = leaf.value().data()[i];
      const double before = x;
      double side[2];
      {
        const NoGrad no_grad;
        for (int s = 0; s < 2; ++s) {
          x = before + (s == 0 ? options.step : -options.step);
          side[s] = weighed(f(leaves).value());
        }
      }
      x = before;
      const double numeric = (side[0] - side[1]) / (2 * options.step);
      const double analytic = leaf.has_grad() ? leaf.grad().data()[i] : 0.0;
      const double error = std::abs(analytic - numeric) / std::max(1.0, std::abs(numeric));
      if (!(error <= found.worst)) found = {error, k, i, analytic, numeric};
    }
  }
  return found;
}

}  // namespace mwalimu
