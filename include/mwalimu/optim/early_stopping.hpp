// optim/early_stopping: which epoch was the best, and when to stop looking for a better one.
#pragma once

#include <limits>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::optim {

/// Follows a value that should fall, such as the validation loss, from epoch to epoch.
///
/// Values are compared within a *regime* only. When what is measured changes meaning, as SwAV's
/// loss does where the queue switches on (its targets change, the network does not), the caller
/// numbers the epochs after the change with another regime: best and patience start anew, so the
/// epochs before can neither win nor stop the run by a number that later epochs cannot reach.
///
///     const auto verdict = stopping.observe(valid_loss, queue_is_on);
///     if (verdict.improved) save(model);
///     if (verdict.stop) break;
///
/// A value is an improvement iff it is smaller than the best of its regime; NaN never is.
/// Source: fastai, EarlyStoppingCallback and SaveModelCallback with min_delta 0.
class EarlyStopping {
 public:
  struct Verdict {
    bool improved = false;  ///< the best of its regime: keep this model
    bool stop = false;      ///< `patience` epochs in a row without improvement
  };
  /// What a checkpoint has to keep.
  struct State {
    double best = std::numeric_limits<double>::infinity();
    index_t regime = 0;
    index_t bad_epochs = 0;  ///< in a row, up to now
    bool operator==(const State&) const = default;
  };

  /// @param patience  epochs, >= 1.   @throws ValueError  less.
  explicit EarlyStopping(index_t patience = 100) : patience_(patience) {
    require<ValueError>(patience >= 1, "early_stopping: want patience >= 1, got ", patience);
  }

  Verdict observe(double value, index_t regime = 0) {
    if (regime != state_.regime) state_ = {.regime = regime};
    const bool improved = value < state_.best;
    if (improved) {
      state_.best = value;
      state_.bad_epochs = 0;
    } else {
      ++state_.bad_epochs;
    }
    return {improved, state_.bad_epochs >= patience_};
  }

  /// The smallest value of the present regime; infinity before the first.
  double best() const { return state_.best; }
  const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  index_t patience_;
  State state_;
};

}  // namespace mwalimu::optim
