// optim/grad_scaler: the loss scale of training in half precision.
#pragma once

#include <cmath>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/config.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::optim {

struct GradScalerOptions {
  double initial = 65536;
  double growth = 2;
  double backoff = 0.5;
  index_t growth_interval = 2000;  ///< good steps in a row before the scale grows
};

namespace detail {

inline constexpr double kLargestScale = 0x1p127, kSmallestScale = 0x1p-126;  // normal floats

// The scale after a step whose gradients were finite or not. Count is an integer, or a double that
// counts. @return false: not finite at the smallest scale, which stays.
template <class Count>
MWALIMU_HOST_DEVICE bool adapt_scale(const GradScalerOptions& options, bool finite, double& scale,
                                     Count& good_steps) {
  if (!finite) {
    good_steps = 0;
    if (scale * options.backoff < kSmallestScale) return false;
    scale *= options.backoff;
    return true;
  }
  if (++good_steps == static_cast<Count>(options.growth_interval)) {
    // Beyond 2^127 the scale were infinite as a float.
    if (scale * options.growth <= kLargestScale) scale *= options.growth;
    good_steps = 0;
  }
  return true;
}

template <class Count>
[[noreturn]] void fail_exhausted(Count skipped_steps) {
  mwalimu::detail::fail<ValueError>(
      "grad_scaler: no finite gradients in ", skipped_steps,
      " steps, down to a loss scale of 2^-126; the loss itself is not finite: lower the learning "
      "rate or look at the data");
}

}  // namespace detail

/// Dynamic loss scale: the loss is multiplied by scale(), so that small gradients do not vanish in
/// float16; the optimiser divides them by it (HyperParameters::gradient_scale = 1 / scale()). On
/// overflow the step is skipped and the scale shrinks; after growth_interval good steps in a row it
/// grows. Schedules advance on skipped steps, too; the optimiser's state does not.
///
///     if (scaler.update(std::isfinite(gradient_norm(gradients)))) optimizer.step(...);
///
/// where gradient_scale is taken before the update, from the scale the loss was multiplied by.
/// Source: Micikevicius et al. 2018, arXiv:1710.03740, sec. 3.2; the defaults are PyTorch's.
class GradScaler {
 public:
  /// What a checkpoint has to keep.
  struct State {
    double scale = 0;
    index_t good_steps = 0;     ///< in a row, since the scale last changed
    index_t skipped_steps = 0;  ///< in a row, up to now
    bool operator==(const State&) const = default;
  };

  /// @throws ValueError  an option outside its range.
  explicit GradScaler(GradScalerOptions options = {}) : options_(options) {
    require<ValueError>(options.initial > 0 && options.initial <= kLargest,
                        "grad_scaler: want an initial scale in (0, 2^127], got ", options.initial);
    require<ValueError>(options.growth >= 1 && std::isfinite(options.growth),
                        "grad_scaler: want growth >= 1, got ", options.growth);
    require<ValueError>(options.backoff > 0 && options.backoff < 1,
                        "grad_scaler: want backoff in (0, 1), got ", options.backoff);
    require<ValueError>(options.growth_interval >= 1,
                        "grad_scaler: want growth_interval >= 1, got ", options.growth_interval);
    state_.scale = options.initial;
  }

  /// The factor on the loss of the step to come.
  double scale() const { return state_.scale; }

  /// Records whether all gradients of a step were finite, and adapts the scale for the next.
  /// @return true: take the step; false: skip it.
  /// @throws ValueError  the scale fell below 2^-126: the gradients overflow at every scale, so the
  ///                     network itself gives infinity or NaN.
  bool update(bool gradients_are_finite) {
    state_.skipped_steps = gradients_are_finite ? 0 : state_.skipped_steps + 1;
    if (!detail::adapt_scale(options_, gradients_are_finite, state_.scale, state_.good_steps)) {
      detail::fail_exhausted(state_.skipped_steps);
    }
    return gradients_are_finite;
  }

  const State& state() const { return state_; }
  /// @throws ValueError  a state that no scaler can be in.
  void restore(const State& state) {
    require<ValueError>(state.scale >= kSmallest && state.scale <= kLargest &&
                            state.good_steps >= 0 && state.skipped_steps >= 0,
                        "grad_scaler: cannot restore scale ", state.scale, " after ",
                        state.good_steps, " good steps");
    state_ = state;
  }

 private:
  static constexpr double kLargest = detail::kLargestScale, kSmallest = detail::kSmallestScale;

  GradScalerOptions options_;
  State state_;
};

}  // namespace mwalimu::optim
