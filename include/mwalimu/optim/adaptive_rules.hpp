// optim/adaptive_rules: Adam, LAMB, RAdam and Lookahead(RAdam).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "mwalimu/core/config.hpp"
#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/segment_step.hpp"
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
  MWALIMU_HOST_DEVICE float x(float v) const {
    if constexpr (kind == Denominator::one) {
      return 1.0f;
    } else {
      const float root = std::sqrt(v * inverse_d2) + epsilon;
      if constexpr (kind == Denominator::root) {
        return root;
      } else {
        // root > 0, so this exponential never overflows.
        return root + std::log1p(std::exp(-softplus_beta * root)) / softplus_beta;
      }
    }
  }
  MWALIMU_HOST_DEVICE void moments(float g, float& m, float& v) const {
    g *= gradient;
    m = momentum * m + gain * g;
    v = squared_momentum * v + squared_gain * (g * g);
  }
  template <Denominator kind>
  MWALIMU_HOST_DEVICE void move(float& p, float m, float v) const {
    p -= decay * p + step * (m / x<kind>(v));
  }

  template <Denominator kind>
  void run(float* __restrict p, const float* __restrict g, float* __restrict m, float* __restrict v,
           index_t n) const {
    const AdaptiveUpdate c = *this;
#pragma omp simd
    for (index_t i = 0; i < n; ++i) {
      c.moments(g[i], m[i], v[i]);
      c.move<kind>(p[i], m[i], v[i]);
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
  void move_all(float* __restrict p, const float* __restrict m, const float* __restrict v,
                index_t n) const {
    const AdaptiveUpdate c = *this;
#pragma omp simd
    for (index_t i = 0; i < n; ++i) c.move<Denominator::root>(p[i], m[i], v[i]);
  }
};

// Everything of a segment but the size of its step, which is lr / d1 here.
template <class Options>
MWALIMU_HOST_DEVICE AdaptiveUpdate adaptive_update(const Options& options,
                                                   const SegmentStep& step) {
  const double beta1 = step.momentum, beta2 = options.squared_momentum;
  // The current beta1 to the power t, not the product of those it was: the rule of fastai.
  const double d1 = 1 - std::pow(beta1, step.t), d2 = 1 - std::pow(beta2, step.t);
  const double wd = step.weight_decay(options.weight_decay);
  return {.denominator = Denominator::root,
          .gradient = static_cast<float>(step.gradient_scale),
          .momentum = static_cast<float>(beta1),
          .gain = static_cast<float>(1 - beta1),
          .squared_momentum = static_cast<float>(beta2),
          .squared_gain = static_cast<float>(1 - beta2),
          .inverse_d2 = static_cast<float>(1 / d2),
          .epsilon = static_cast<float>(options.epsilon),
          .softplus_beta = 0,
          .decay = static_cast<float>(step.lr * wd),
          .step = static_cast<float>(step.lr / d1)};
}

// adaptive_update with RAdam's denominator and step size.
template <class Options>
MWALIMU_HOST_DEVICE AdaptiveUpdate rectified_update(const Options& options,
                                                    const SegmentStep& step) {
  AdaptiveUpdate rule = adaptive_update(options, step);
  const double beta2 = options.squared_momentum, t = step.t, power = std::pow(beta2, t);
  const double r_inf = 2 / (1 - beta2) - 1, r = r_inf - 2 * t * power / (1 - power);
  if (r <= 5) {
    rule.denominator = Denominator::one;
    return rule;
  }
  const double rho = std::sqrt((r - 4) * (r - 2) * r_inf / ((r_inf - 4) * (r_inf - 2) * r));
  rule.step = static_cast<float>(step.lr * rho / (1 - std::pow(step.momentum, t)));
  if (options.softplus_beta > 0) {
    rule.denominator = Denominator::softplus;
    rule.softplus_beta = static_cast<float>(options.softplus_beta);
  }
  return rule;
}

MWALIMU_HOST_DEVICE inline AdaptiveUpdate update_of(const AdamOptions& options,
                                                    const SegmentStep& step) {
  return adaptive_update(options, step);
}
MWALIMU_HOST_DEVICE inline AdaptiveUpdate update_of(const LambOptions& options,
                                                    const SegmentStep& step) {
  return adaptive_update(options, step);  // its step is lamb_step_size, once the norms are known
}
MWALIMU_HOST_DEVICE inline AdaptiveUpdate update_of(const RadamOptions& options,
                                                    const SegmentStep& step) {
  return rectified_update(options, step);
}
MWALIMU_HOST_DEVICE inline AdaptiveUpdate update_of(const RangerOptions& options,
                                                    const SegmentStep& step) {
  return rectified_update(options, step);
}

// lr q / d1 from the root mean squares of p after the decay and of u = m / x / d1; their common
// count cancels.
MWALIMU_HOST_DEVICE inline float lamb_step_size(const LambOptions& options,
                                                const SegmentStep& step, const NormSums& sums) {
  const double d1 = 1 - std::pow(step.momentum, step.t);
  const double decay = step.lr * step.weight_decay(options.weight_decay);
  const double p_norm = std::fabs(1 - decay) * std::sqrt(sums.parameter);
  const double u_norm = std::sqrt(sums.other) / d1;
  double q = 1;
  if (p_norm != 0 && u_norm != 0) {
    q = p_norm / u_norm < options.max_ratio ? p_norm / u_norm : options.max_ratio;
  }
  return static_cast<float>(step.lr * q / d1);
}

inline void update(const AdaptiveUpdate& rule, const Step& step, const Chunk& chunk) {
  rule(step.p(chunk), step.g(chunk), step.m(chunk), step.v(chunk), chunk.count);
}

template <class Options>
std::vector<AdaptiveUpdate> adaptive_updates(const Options& options, const Step& step) {
  return step.of_trainable<AdaptiveUpdate>([&](int s) { return update_of(options, step.at(s)); });
}

template <class Options>
void apply_elementwise(const Options& options, const Step& step) {
  const auto rules = adaptive_updates(options, step);
  step.for_each([&](const Chunk& chunk, std::size_t) {
    update(rules[static_cast<std::size_t>(chunk.segment)], step, chunk);
  });
}
inline void apply(Cpu, const AdamOptions& options, const Step& step) {
  apply_elementwise(options, step);
}
inline void apply(Cpu, const RadamOptions& options, const Step& step) {
  apply_elementwise(options, step);
}

inline void apply(Cpu, const RangerOptions& options, const Step& step) {
  const auto rules = adaptive_updates(options, step);
  const float blend = static_cast<float>(options.blend);
  step.for_each([&](const Chunk& chunk, std::size_t) {
    float* __restrict p = step.p(chunk);
    float* __restrict slow = step.slow(chunk);
    const std::int64_t t = step.steps_of(chunk.segment);
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

inline void apply(Cpu, const LambOptions& options, const Step& step) {
  auto rules = adaptive_updates(options, step);
  step.in_two_passes(
      [&](const Chunk& chunk) {
        return rules[static_cast<std::size_t>(chunk.segment)].advance_moments(
            step.p(chunk), step.g(chunk), step.m(chunk), step.v(chunk), chunk.count);
      },
      [&](int s, const NormSums& sums) {
        rules[static_cast<std::size_t>(s)].step = lamb_step_size(options, step.at(s), sums);
      },
      [&](const Chunk& chunk) {
        rules[static_cast<std::size_t>(chunk.segment)].move_all(step.p(chunk), step.m(chunk),
                                                                step.v(chunk), chunk.count);
      });
}

}  // namespace mwalimu::optim::detail
