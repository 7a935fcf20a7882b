// optim/momentum_rules: SGD, and SGD with a learning rate by layer (LARC, LARS).
#pragma once

#include <cmath>

#include "mwalimu/core/config.hpp"
#include "mwalimu/optim/gradients.hpp"
#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/segment_step.hpp"
#include "mwalimu/optim/state.hpp"

namespace mwalimu::optim::detail {

// m <- momentum m + gradient g + l2 p;  p <- p - (decay p + lr m).
// Subtracting decay p, not multiplying by 1 - decay: 1 - 1e-6 in float is off by 3 % of its 1e-6.
// Moves 20 bytes an element: reads p, g, m, writes p, m.
struct MomentumUpdate {
  float gradient = 0, l2 = 0, momentum = 0, decay = 0, lr = 0;

  MWALIMU_HOST_DEVICE void apply(float& p, float g, float& m) const {
    m = momentum * m + (gradient * g + l2 * p);
    p -= decay * p + lr * m;
  }
  void operator()(float* __restrict p, const float* __restrict g, float* __restrict m,
                  index_t n) const {
    const MomentumUpdate c = *this;
#pragma omp simd
    for (index_t i = 0; i < n; ++i) c.apply(p[i], g[i], m[i]);
  }
};

MWALIMU_HOST_DEVICE inline MomentumUpdate update_of(const SgdOptions& options,
                                                    const SegmentStep& step) {
  const double wd = step.weight_decay(options.weight_decay);
  const bool decoupled = options.decay_rule == WeightDecay::decoupled;
  return {.gradient = static_cast<float>(step.gradient_scale),
          .l2 = decoupled ? 0.0f : static_cast<float>(wd),
          .momentum = static_cast<float>(step.momentum),
          .decay = decoupled ? static_cast<float>(step.lr * wd) : 0.0f,
          .lr = static_cast<float>(step.lr)};
}

// LARC and LARS need the sums of squares of the parameter and of the gradient, not scaled.
MWALIMU_HOST_DEVICE inline MomentumUpdate update_of(const LarcOptions& options,
                                                    const SegmentStep& step,
                                                    const NormSums& sums) {
  const double decay = step.lr * step.weight_decay(options.weight_decay);
  const double p_norm = std::sqrt(sums.parameter) * (1 - decay);  // the norm after the decay
  const double g_norm = std::sqrt(sums.other) * step.gradient_scale;
  double local =
      step.lr * options.trust * p_norm / (g_norm + options.weight_decay * p_norm + options.epsilon);
  if (options.clip && local > step.lr) local = step.lr;
  return {.gradient = static_cast<float>(step.gradient_scale),
          .l2 = 0,
          .momentum = static_cast<float>(step.momentum),
          .decay = static_cast<float>(decay),
          .lr = static_cast<float>(local)};
}

MWALIMU_HOST_DEVICE inline MomentumUpdate update_of(const LarsOptions& options,
                                                    const SegmentStep& step,
                                                    const NormSums& sums) {
  const double p_norm = std::sqrt(sums.parameter);
  const double g_norm = std::sqrt(sums.other) * step.gradient_scale;
  double wd = step.weight_decay(options.weight_decay), scale = 1;
  if (p_norm == 0 || g_norm == 0) {
    wd = 0;
  } else if (wd != 0 || options.scale_undecayed) {
    scale = options.trust * p_norm / (g_norm + wd * p_norm + options.epsilon);
    if (options.clip && step.lr > 0) scale = scale / step.lr < 1 ? scale / step.lr : 1;
  }
  return {.gradient = static_cast<float>(scale * step.gradient_scale),
          .l2 = static_cast<float>(scale * wd),
          .momentum = static_cast<float>(step.momentum),
          .decay = 0,
          .lr = static_cast<float>(step.lr)};
}

inline void update(const MomentumUpdate& rule, const Step& step, const Chunk& chunk) {
  rule(step.p(chunk), step.g(chunk), step.m(chunk), chunk.count);
}

inline void apply(Cpu, const SgdOptions& options, const Step& step) {
  const auto rules =
      step.of_trainable<MomentumUpdate>([&](int s) { return update_of(options, step.at(s)); });
  step.for_each([&](const Chunk& chunk, std::size_t) {
    update(rules[static_cast<std::size_t>(chunk.segment)], step, chunk);
  });
}

// |p| and |g| of every segment, then its update.
template <class Options>
void apply_by_norms(const Options& options, const Step& step) {
  std::vector<MomentumUpdate> rules(step.segments.size());
  step.in_two_passes(
      [&](const Chunk& chunk) {
        return NormSums{sum_of_squares(step.p(chunk), chunk.count),
                        sum_of_squares(step.g(chunk), chunk.count)};
      },
      [&](int s, const NormSums& sums) {
        rules[static_cast<std::size_t>(s)] = update_of(options, step.at(s), sums);
      },
      [&](const Chunk& chunk) {
        update(rules[static_cast<std::size_t>(chunk.segment)], step, chunk);
      });
}

inline void apply(Cpu, const LarcOptions& options, const Step& step) {
  apply_by_norms(options, step);
}
inline void apply(Cpu, const LarsOptions& options, const Step& step) {
  apply_by_norms(options, step);
}

}  // namespace mwalimu::optim::detail
