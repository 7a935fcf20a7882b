// optim/gradient_control: what the size of all gradients decides about a step: whether it is taken,
// how far they are clipped, and by what the next loss is scaled. On a device nobody waits for it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "mwalimu/core/config.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/optim/grad_scaler.hpp"
#include "mwalimu/optim/gradients.hpp"

namespace mwalimu::optim {

struct GradientControlOptions {
  double gradient_scale = 1;  ///< 1 / accumulated batches
  double max_norm = 0;        ///< gradients are scaled down to this norm; 0: never
  bool scale_loss = false;    ///< float16: multiply the loss by a dynamic scale
  GradScalerOptions scaler = {};  ///< of that scale
};

/// Where the control stands after a step's gradients have been measured. Doubles, so that a device
/// holds it as a tensor.
struct GradientControlState {
  double norm = 0;           ///< of the gradients, without the loss scale and before clipping
  double factor = 1;         ///< what the optimiser multiplies them by
  double take = 1;           ///< 0: they are not finite, the step is skipped
  double scale = 1;          ///< factor on the loss of the step to come
  double good_steps = 0;     ///< in a row, since the scale last changed
  double skipped_steps = 0;  ///< in a row, up to now
  double all_skipped = 0;    ///< of the whole run
  double exhausted = 0;      ///< 1: not finite even at the smallest scale

  static constexpr index_t kCount = 8;

  /// Takes in the sum of squares of the gradients as they lie in memory, in double: finite exactly
  /// where all of them are.
  MWALIMU_HOST_DEVICE void measure(const GradientControlOptions& options, double sum_of_squares) {
    const double share = options.gradient_scale / scale;
    norm = std::sqrt(sum_of_squares) * share;
    const bool finite = norm <= std::numeric_limits<double>::max();  // false for NaN, too
    take = finite ? 1 : 0;
    factor = share;
    if (options.max_norm > 0) {
      const double clip = options.max_norm / (norm + 1e-6);
      if (clip < 1) factor *= clip;
    }
    skipped_steps = finite ? 0 : skipped_steps + 1;
    all_skipped += finite ? 0 : 1;
    if (options.scale_loss) {
      exhausted = detail::adapt_scale(options.scaler, finite, scale, good_steps) ? 0 : 1;
    }
  }
};
static_assert(sizeof(GradientControlState) == GradientControlState::kCount * sizeof(double));

// Backends, one overload per place. gradients (n), contiguous; sums (chunks of kSumChunk), scratch;
// state (GradientControlState::kCount), overwritten; loss_scale (1), overwritten.

/// Elements whose squares are added up by one block.
inline constexpr index_t kSumChunk = 8192;

/// state <- state.measure(options, sum of gradients[i]^2);  loss_scale <- state.scale.
template <class T>
void measure_gradients(Gpu, View<const T, 1> gradients, const GradientControlOptions& options,
                       View<double, 1> sums, View<double, 1> state, View<float, 1> loss_scale);
template <class T>
void measure_gradients(Cpu, View<const T, 1> gradients, const GradientControlOptions& options,
                       View<double, 1>, View<double, 1> state, View<float, 1> loss_scale) {
  GradientControlState now;
  std::memcpy(static_cast<void*>(&now), state.data(), sizeof(now));
  now.measure(options, sum_of_squares(std::span(gradients.data(),
                                                static_cast<std::size_t>(gradients.count()))));
  std::memcpy(state.data(), &now, sizeof(now));
  *loss_scale.data() = static_cast<float>(now.scale);
}

/// Norm, clipping, overflow check and dynamic loss scale of a training step, on the device where the
/// gradients lie. Nothing here waits for the device but read().
///
///     loss.backward(control.loss_scale());    // instead of loss.backward()
///     control.measure(arena.gradient_buffer());
///     optimizer.step(arena, {.lr = lr}, &control);
///
/// A step whose gradients are not finite is skipped: parameters and the optimiser's state stay as
/// they are. With scale_loss the loss scale adapts as that of GradScaler.
class GradientControl {
 public:
  /// @throws ValueError  an option outside its range.
  explicit GradientControl(Device device = Device::cpu(), const GradientControlOptions& options = {})
      : options_(options),
        state_(Tensor<double>::zeros({GradientControlState::kCount}, device)),
        loss_scale_(Tensor<float>::zeros({1}, device)) {
    require<ValueError>(options.gradient_scale > 0 && std::isfinite(options.gradient_scale),
                        "gradient_control: want gradient_scale > 0, got ", options.gradient_scale);
    require<ValueError>(options.max_norm >= 0, "gradient_control: want max_norm >= 0, got ",
                        options.max_norm);
    GradientControlState state;
    if (options.scale_loss) state.scale = GradScaler(options.scaler).scale();
    restore(state);
  }
  GradientControl(const GradientControl&) = delete;
  GradientControl& operator=(const GradientControl&) = delete;

  Device device() const { return state_.device(); }
  const GradientControlOptions& options() const { return options_; }

  /// The gradient to begin backward with, (): the loss scale, 1 without scale_loss.
  Tensor<float> loss_scale() const { return loss_scale_.reshape({}); }

  /// Decides about the step that these gradients are of.
  /// @param gradients  (n), contiguous, on this device; of the scaled loss.
  /// @throws DeviceError  they are on another device.
  void measure(const Tensor<float>& gradients) {
    require<DeviceError>(gradients.device() == device(), "gradient_control: on ", device(),
                         ", but the gradients are on ", gradients.device());
    const index_t chunks = (gradients.count() + kSumChunk - 1) / kSumChunk;
    if (sums_.count() < chunks) sums_ = Tensor<double>::empty({chunks}, device());
    on_device(device(), [&](auto place) {
      measure_gradients<float>(place, gradients.view<1>(), options_, sums_.view<1>(),
                               state_.view<1>(), loss_scale_.view<1>());
    });
  }

  /// Where it stands; waits for the device.
  /// @throws ValueError  no gradients were finite down to the smallest loss scale.
  GradientControlState read() const {
    const Tensor<double> host = state_.to(Device::cpu());
    GradientControlState state;
    std::memcpy(static_cast<void*>(&state), host.data(), sizeof(state));
    if (state.exhausted != 0) detail::fail_exhausted(state.skipped_steps);
    return state;
  }
  /// Goes on from what read() gave, on any device.
  void restore(const GradientControlState& state) {
    auto host = Tensor<double>::empty({GradientControlState::kCount});
    std::memcpy(host.data(), &state, sizeof(state));
    state_.copy_from(host);
    loss_scale_.fill(static_cast<float>(state.scale));
  }

  /// The state as a tensor, (GradientControlState::kCount) in the order of its fields.
  const Tensor<double>& state() const { return state_; }
  /// For the optimiser: the state where it lies.
  const GradientControlState* address() const {
    return reinterpret_cast<const GradientControlState*>(state_.data());
  }

 private:
  GradientControlOptions options_;
  Tensor<double> state_, sums_;
  Tensor<float> loss_scale_;
};

}  // namespace mwalimu::optim
