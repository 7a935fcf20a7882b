// train/step_control: what the size of the gradients decided about a device's steps, until the host
// reads it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/queue.hpp"
#include "mwalimu/optim/grad_scaler.hpp"
#include "mwalimu/optim/gradient_control.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"

namespace mwalimu::train {

/// optim::GradientControl with a log: a row a step in a ring on the device. Nothing waits for the
/// device but read(), scale() and restore().
class StepControl {
 public:
  /// What was decided about one step.
  struct Row {
    double gradient_norm = 0;
    double loss_scale = 1;  ///< that the gradients were computed with
    bool skipped = false;   ///< they were not finite: no parameter has changed
  };

  /// @param history  steps between two calls of read(), at most.
  StepControl(Device device, const optim::GradientControlOptions& options, index_t history)
      : control_(device, options),
        rows_(Tensor<float>::zeros({history, optim::GradientControlState::kCount}, device)),
        cursor_(Tensor<std::int64_t>::zeros({}, device)),
        scale_before_(control_.read().scale) {}

  /// The gradient to begin backward with, ().
  Tensor<float> loss_scale() const { return control_.loss_scale(); }

  /// Decides about the gradients in the arena, and takes the step or skips it.
  void update(optim::ParameterArena& arena, optim::Optimizer& optimizer) {
    control_.measure(arena.gradient_buffer());
    optimizer.run(arena, &control_);
    ops::queue_push(control_.state().reshape({1, optim::GradientControlState::kCount}), cursor_,
                    rows_);
  }

  /// The rows of the next `steps` steps that were not read yet; waits for them.
  /// @throws ValueError  float16: no loss scale gives finite gradients.
  std::vector<Row> read(index_t steps) {
    const auto rows = rows_.to(Device::cpu());
    if (steps > 0) (void)control_.read();
    std::vector<Row> result;
    for (index_t i = 0; i < steps; ++i) {
      const index_t at = read_++ % rows.dim(0);
      const auto field = [&](index_t f) { return double{rows.view<2>()(at, f)}; };
      result.push_back({.gradient_norm = field(kNorm),
                        .loss_scale = std::exchange(scale_before_, field(kScale)),
                        .skipped = field(kTake) == 0});
    }
    return result;
  }

  /// The loss scale and its counters; see optim::GradScaler.
  optim::GradScaler::State scale() const {
    const auto state = control_.read();
    return {.scale = state.scale,
            .good_steps = static_cast<index_t>(state.good_steps),
            .skipped_steps = static_cast<index_t>(state.skipped_steps)};
  }
  /// Goes on with them.
  void restore(const optim::GradScaler::State& scale) {
    optim::GradientControlState state = control_.read();
    state.scale = scale_before_ = scale.scale;
    state.good_steps = static_cast<double>(scale.good_steps);
    state.skipped_steps = static_cast<double>(scale.skipped_steps);
    control_.restore(state);
  }

 private:
  // Fields of GradientControlState, in doubles.
  enum : index_t { kNorm = 0, kTake = 2, kScale = 3 };

  optim::GradientControl control_;
  Tensor<float> rows_;           // the ring
  Tensor<std::int64_t> cursor_;  // where the device writes next
  index_t read_ = 0;             // rows read so far
  double scale_before_;          // of the next row to be read
};

}  // namespace mwalimu::train
