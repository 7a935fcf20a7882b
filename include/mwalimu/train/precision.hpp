// train/precision: the type that a run computes in, and the loss scale that goes with it.
//
// Layers compute in the type of their input (nn/parameter.hpp says which tensor has which type), so
// all that a trainer does is to cast its images. with_precision is the only place where a choice
// made at run time becomes a type.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/config.hpp"
#include "mwalimu/core/device_copy.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/optim/grad_scaler.hpp"
#include "mwalimu/train/checkpoint.hpp"

namespace mwalimu::train {

/// What images, activations and their gradients are. Parameters, statistics, losses, gradients of
/// parameters and the optimiser's state are float32 in any case.
enum class Precision {
  float32,
  float16,   ///< for a GPU; needs a loss scale
  bfloat16,  ///< float32's range, 8 significant bits
};

/// @throws ValueError  another name than float32, float16 or bfloat16.
inline Precision precision_of(std::string_view name) {
  if (name == "float32") return Precision::float32;
  if (name == "float16") return Precision::float16;
  if (name == "bfloat16") return Precision::bfloat16;
  mwalimu::detail::fail<ValueError>("--precision: want float32, bfloat16 or float16, got '", name,
                                    "'");
}
inline std::string_view name_of(Precision precision) {
  switch (precision) {
    case Precision::float32:
      return type_name<float>();
    case Precision::float16:
      return type_name<half>();
    case Precision::bfloat16:
      return type_name<bfloat16>();
  }
  return "";
}

constexpr ElementType element_type_of(Precision precision) {
  switch (precision) {
    case Precision::float16:
      return ElementType::float16;
    case Precision::bfloat16:
      return ElementType::bfloat16;
    case Precision::float32:
      break;
  }
  return ElementType::float32;
}

/// Calls f(T{}) with the type T that `precision` names, and returns what it returns. A build without
/// CUDA leaves float16 out: on the host it would be slow, and every program would take longer to
/// compile.
/// @throws ValueError  float16 in such a build.
template <class F>
decltype(auto) with_precision(Precision precision, F&& f) {
  switch (precision) {
    case Precision::float16:
      if constexpr (kCuda) {
        return f(half{});
      } else {
        mwalimu::detail::fail<ValueError>("--precision: float16 needs a GPU; use bfloat16");
      }
    case Precision::bfloat16:
      return f(bfloat16{});
    case Precision::float32:
      break;
  }
  return f(float{});
}

/// How a run of this precision scales its loss: as chosen; else not at all, but in float16, which
/// has no numbers below 6e-8 and would lose its small gradients, by GradScaler's standard.
inline std::optional<optim::GradScalerOptions> loss_scale_options(
    Precision precision, const std::optional<optim::GradScalerOptions>& chosen) {
  if (chosen || precision != Precision::float16) return chosen;
  return optim::GradScalerOptions{};
}

/// What the gradient of a run's loss is multiplied by: an optim::GradScaler's scale, or 1, always.
class LossScale {
 public:
  explicit LossScale(const std::optional<optim::GradScalerOptions>& options) {
    if (options) scaler_.emplace(*options);
  }

  /// Of the step to come; HyperParameters::gradient_scale takes it out again.
  double value() const { return scaler_ ? scaler_->scale() : 1.0; }
  /// Whether steps with overflow are expected now and then, and skipped.
  bool is_dynamic() const { return scaler_.has_value(); }
  /// To be called once a step, where is_dynamic().
  /// @return true: take the step; false: skip it.
  /// @throws ValueError  no scale gives finite gradients.
  bool update(bool gradients_are_finite) { return scaler_->update(gradients_are_finite); }

  /// Scale 1 and no counts where it is not dynamic.
  optim::GradScaler::State state() const {
    return scaler_ ? scaler_->state() : optim::GradScaler::State{.scale = 1};
  }
  void restore(const optim::GradScaler::State& state) {
    if (scaler_) scaler_->restore(state);
  }
  void save(CheckpointWriter& checkpoint) const {
    if (!scaler_) return;
    const auto state = scaler_->state();
    checkpoint.put("loss_scale", state.scale);
    checkpoint.put("loss_scale.good_steps", std::int64_t{state.good_steps});
    checkpoint.put("loss_scale.skipped_steps", std::int64_t{state.skipped_steps});
  }
  void restore(const CheckpointReader& checkpoint) {
    if (!scaler_) return;
    scaler_->restore({.scale = checkpoint.value<double>("loss_scale"),
                      .good_steps = checkpoint.value<std::int64_t>("loss_scale.good_steps"),
                      .skipped_steps = checkpoint.value<std::int64_t>("loss_scale.skipped_steps")});
  }

 private:
  std::optional<optim::GradScaler> scaler_;
};

}  // namespace mwalimu::train
