// optim/adaptive_rules: Adam, LAMB, RAdam and Lookahead(RAdam).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "mwalimu/optim/state.hpp"

namespace mwalimu::optim::detail {

// What divides the first moment.
enum class Denominator {
  one,       // RAdam's first steps
  root,      // sqrt(v / d2) + epsilon
  softplus,  // log(1 + exp(beta (sqrt(v / d2) + epsilon))) / beta
};

// m <- momentum m + gain g;  v <- squared_momentum v + squared_gain g^2, with g scaled;
// p <- p - (decay p + step m / x), x by `denominator`. d1 is inside `step`, which is set later than
// the rest in LAMB. Moves 28 bytes an element: reads p, g, m, v, writes p, m, v.
struct AdaptiveUpdate {
  Denominator denominator = Denominator::root;
  float gradient = 0, momentum = 0, gain = 0, squared_momentum = 0, squared_gain = 0;
  float inverse_d2 = 0, epsilon = 0, softplus_beta = 0, decay = 0, step = 0;

  template <Denominator kind>
  float x(float v) const {
    if constexpr (kind == Denominator::one) return 1.0f;
    const float root = std::sqrt(v * inverse_d2) + epsilon;
    if constexpr (kind == Denominator::root) return root;
    // root > 0, so this exponential never overflows.
    return root + std::log1p(std::exp(-softplus_beta * root)) / softplus_beta;
  }
  void moments(float g, float& m, float& v) const {
    g *= gradient;
    m = momentum * m + gain * g;
    v = squared_momentum * v + squared_gain * (g * g);
  }

  template <Denominator kind>
  void run(float* __restrict p, const float* __restrict g, float* __restrict m, float* __restrict v,
           index_t n) const {
    const AdaptiveUpdate c = *this;
#pragma omp simd
    for (index_t i = 0; i < n; ++i) {
      c.moments(g[i], m[i], v[i]);
      p[i] -= c.decay * p[i] + c.step * (m[i] / c.x<kind>(v[i]));
    }
  }
  void operator()(float* __restrict p, const float* __restrict g, float* __restrict m,
                  float* __restrict v, index_t n) const {
    switch (denominator) {
      case Denominator::one:
        return run<Denominator::one>(p, g, m, v, n);
      case Denominator::root:
        return run<Denominator::root>(p, g, m, v, n);
      case Denominator::softplus:
        return run<Denominator::softplus>(p, g, m, v, n);
    }
  }

  // The two halves of LAMB, around the ratio of norms: the moments with the sums of p^2 and
  // (m / x)^2, then the step. m / x is computed twice, not stored: that costs less than moving its
  // eight bytes. Moves 24 + 16 bytes an element.
  NormSums advance_moments(const float* __restrict p, const float* __restrict g,
                           float* __restrict m, float* __restrict v, index_t n) const {
    const AdaptiveUpdate c = *this;
    double parameter = 0, proposed = 0;
#pragma omp simd reduction(+ : parameter, proposed)
    for (index_t i = 0; i < n; ++i) {
      c.moments(g[i], m[i], v[i]);
      const double u = m[i] / c.x<Denominator::root>(v[i]), value = p[i];
      parameter += value * value;
      proposed += u * u;
    }
    return {parameter, proposed};
  }
  void move(float* __restrict p, const float* __restrict m, const float* __restrict v,
            index_t n) const {
    const AdaptiveUpdate c = *this;
#pragma omp simd
    for (index_t i = 0; i < n; ++i) {
      p[i] -= c.decay * p[i] + c.step * (m[i] / c.x<Denominator::root>(v[i]));
    }
  }
};

// Everything of segment s but the size of its step, which is lr / d1 here.
template <class Options>
AdaptiveUpdate adaptive_update(const Options& options, const Step& step, int s) {
  const double beta1 = step.momentum(options), beta2 = options.squared_momentum, t = step.t(s);
  // The current beta1 to the power t, not the product of those it was: the rule of fastai.
  const double d1 = 1 - std::pow(beta1, t), d2 = 1 - std::pow(beta2, t);
  const double wd = step.weight_decay(s, options.weight_decay);
  return {.denominator = Denominator::root,
          .gradient = static_cast<float>(step.hyper.gradient_scale),
          .momentum = static_cast<float>(beta1),
          .gain = static_cast<float>(1 - beta1),
          .squared_momentum = static_cast<float>(beta2),
          .squared_gain = static_cast<float>(1 - beta2),
          .inverse_d2 = static_cast<float>(1 / d2),
          .epsilon = static_cast<float>(options.epsilon),
          .softplus_beta = 0,
          .decay = static_cast<float>(step.lr(s) * wd),
          .step = static_cast<float>(step.lr(s) / d1)};
}

// adaptive_update with RAdam's denominator and step size.
template <class Options>
AdaptiveUpdate rectified_update(const Options& options, const Step& step, int s) {
  AdaptiveUpdate rule = adaptive_update(options, step, s);
  const double beta2 = options.squared_momentum, t = step.t(s), power = std::pow(beta2, t);
  const double r_inf = 2 / (1 - beta2) - 1, r = r_inf - 2 * t * power / (1 - power);
  if (r <= 5) {
    rule.denominator = Denominator::one;
    return rule;
  }
  const double rho = std::sqrt((r - 4) * (r - 2) * r_inf / ((r_inf - 4) * (r_inf - 2) * r));
  rule.step = static_cast<float>(step.lr(s) * rho / (1 - std::pow(step.momentum(options), t)));
  if (options.softplus_beta > 0) {
    rule.denominator = Denominator::softplus;
    rule.softplus_beta = static_cast<float>(options.softplus_beta);
  }
  return rule;
}

inline void update(const AdaptiveUpdate& rule, const Step& step, const Chunk& chunk) {
  rule(step.p(chunk), step.g(chunk), step.m(chunk), step.v(chunk), chunk.count);
}

template <class Rule>
std::vector<AdaptiveUpdate> rules_of_trainable(const Step& step, Rule&& rule) {
  std::vector<AdaptiveUpdate> rules(step.segments.size());
  for (int s = 0; s < step.segment_count(); ++s) {
    if (step.segment(s).trainable) rules[static_cast<std::size_t>(s)] = rule(s);
  }
  return rules;
}

inline void apply(const AdamOptions& options, const Step& step) {
  const auto rules =
      rules_of_trainable(step, [&](int s) { return adaptive_update(options, step, s); });
  step.for_each([&](const Chunk& chunk, std::size_t) {
    update(rules[static_cast<std::size_t>(chunk.segment)], step, chunk);
  });
}

inline void apply(const RadamOptions& options, const Step& step) {
  const auto rules =
      rules_of_trainable(step, [&](int s) { return rectified_update(options, step, s); });
  step.for_each([&](const Chunk& chunk, std::size_t) {
    update(rules[static_cast<std::size_t>(chunk.segment)], step, chunk);
  });
}

inline void apply(const RangerOptions& options, const Step& step) {
  const auto rules =
      rules_of_trainable(step, [&](int s) { return rectified_update(options, step, s); });
  const float blend = static_cast<float>(options.blend);
  step.for_each([&](const Chunk& chunk, std::size_t) {
    float* __restrict p = step.p(chunk);
    float* __restrict slow = step.slow(chunk);
    const std::int64_t t = step.state.steps[static_cast<std::size_t>(chunk.segment)];
    if (t == 1) std::copy(p, p + chunk.count, slow);
    update(rules[static_cast<std::size_t>(chunk.segment)], step, chunk);
    if (t % options.period == 0) {
#pragma omp simd
      for (index_t i = 0; i < chunk.count; ++i) {
        slow[i] += blend * (p[i] - slow[i]);
        p[i] = slow[i];
      }
    }
  });
}

inline void apply(const LambOptions& options, const Step& step) {
  auto rules = rules_of_trainable(step, [&](int s) { return adaptive_update(options, step, s); });
  const double momentum = step.momentum(options);
  step.in_two_passes(
      [&](const Chunk& chunk) {
        return rules[static_cast<std::size_t>(chunk.segment)].advance_moments(
            step.p(chunk), step.g(chunk), step.m(chunk), step.v(chunk), chunk.count);
      },
      [&](int s, const NormSums& sums) {
        // The root mean squares of p after the decay and of u = m / x / d1; their common count
        // cancels.
        const double lr = step.lr(s), d1 = 1 - std::pow(momentum, step.t(s));
        const double decay = lr * step.weight_decay(s, options.weight_decay);
        const double p_norm = std::abs(1 - decay) * std::sqrt(sums.parameter);
        const double u_norm = std::sqrt(sums.other) / d1;
        const double q =
            p_norm == 0 || u_norm == 0 ? 1.0 : std::min(p_norm / u_norm, options.max_ratio);
        rules[static_cast<std::size_t>(s)].step = static_cast<float>(lr * q / d1);
      },
      [&](const Chunk& chunk) {
        rules[static_cast<std::size_t>(chunk.segment)].move(step.p(chunk), step.m(chunk),
                                                            step.v(chunk), chunk.count);
      });
}

}  // namespace mwalimu::optim::detail
