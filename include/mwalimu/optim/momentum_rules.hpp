// optim/momentum_rules: SGD, and SGD with a learning rate by layer (LARC, LARS).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "mwalimu/optim/gradients.hpp"
#include "mwalimu/optim/state.hpp"

namespace mwalimu::optim::detail {

// m <- momentum m + gradient g + l2 p;  p <- p - (decay p + lr m).
// Subtracting decay p, not multiplying by 1 - decay: 1 - 1e-6 in float is off by 3 % of its 1e-6.
// Moves 20 bytes an element: reads p, g, m, writes p, m.
struct MomentumUpdate {
  float gradient = 0, l2 = 0, momentum = 0, decay = 0, lr = 0;

  void operator()(float* __restrict p, const float* __restrict g, float* __restrict m,
                  index_t n) const {
    const MomentumUpdate c = *this;
#pragma omp simd
    for (index_t i = 0; i < n; ++i) {
      m[i] = c.momentum * m[i] + (c.gradient * g[i] + c.l2 * p[i]);
      p[i] -= c.decay * p[i] + c.lr * m[i];
    }
  }
};

inline void update(const MomentumUpdate& rule, const Step& step, const Chunk& chunk) {
  rule(step.p(chunk), step.g(chunk), step.m(chunk), chunk.count);
}

inline void apply(const SgdOptions& options, const Step& step) {
  std::vector<MomentumUpdate> rules(step.segments.size());
  for (int s = 0; s < step.segment_count(); ++s) {
    const double wd = step.weight_decay(s, options.weight_decay);
    const bool decoupled = options.decay_rule == WeightDecay::decoupled;
    rules[static_cast<std::size_t>(s)] = {
        .gradient = static_cast<float>(step.hyper.gradient_scale),
        .l2 = decoupled ? 0.0f : static_cast<float>(wd),
        .momentum = static_cast<float>(step.momentum(options)),
        .decay = decoupled ? static_cast<float>(step.lr(s) * wd) : 0.0f,
        .lr = static_cast<float>(step.lr(s))};
  }
  step.for_each([&](const Chunk& chunk, std::size_t) {
    update(rules[static_cast<std::size_t>(chunk.segment)], step, chunk);
  });
}

// |p| and |g| of a segment, then one MomentumUpdate from rule(segment, |p|, |g|). The gradient's
// norm is that of the scaled gradient.
template <class Rule>
void apply_by_norms(const Step& step, Rule&& rule) {
  std::vector<MomentumUpdate> rules(step.segments.size());
  step.in_two_passes(
      [&](const Chunk& chunk) {
        return NormSums{sum_of_squares(step.p(chunk), chunk.count),
                        sum_of_squares(step.g(chunk), chunk.count)};
      },
      [&](int s, const NormSums& sums) {
        rules[static_cast<std::size_t>(s)] =
            rule(s, std::sqrt(sums.parameter), std::sqrt(sums.other) * step.hyper.gradient_scale);
      },
      [&](const Chunk& chunk) {
        update(rules[static_cast<std::size_t>(chunk.segment)], step, chunk);
      });
}

inline void apply(const LarcOptions& options, const Step& step) {
  apply_by_norms(step, [&](int s, double p_norm, double g_norm) {
    const double lr = step.lr(s), decay = lr * step.weight_decay(s, options.weight_decay);
    p_norm *= 1 - decay;  // the norm after the decay
    double local =
        lr * options.trust * p_norm / (g_norm + options.weight_decay * p_norm + options.epsilon);
    if (options.clip) local = std::min(lr, local);
    return MomentumUpdate{.gradient = static_cast<float>(step.hyper.gradient_scale),
                          .l2 = 0,
                          .momentum = static_cast<float>(step.momentum(options)),
                          .decay = static_cast<float>(decay),
                          .lr = static_cast<float>(local)};
  });
}

inline void apply(const LarsOptions& options, const Step& step) {
  apply_by_norms(step, [&](int s, double p_norm, double g_norm) {
    const double lr = step.lr(s);
    double wd = step.weight_decay(s, options.weight_decay), scale = 1;
    if (p_norm == 0 || g_norm == 0) {
      wd = 0;
    } else if (wd != 0 || options.scale_undecayed) {
      scale = options.trust * p_norm / (g_norm + wd * p_norm + options.epsilon);
      if (options.clip && lr > 0) scale = std::min(scale / lr, 1.0);
    }
    return MomentumUpdate{.gradient = static_cast<float>(scale * step.hyper.gradient_scale),
                          .l2 = static_cast<float>(scale * wd),
                          .momentum = static_cast<float>(step.momentum(options)),
                          .decay = 0,
                          .lr = static_cast<float>(lr)};
  });
}

}  // namespace mwalimu::optim::detail
