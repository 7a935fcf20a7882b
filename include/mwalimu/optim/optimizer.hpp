// optim/optimizer: one optimiser over the flat parameter arena.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mwalimu/optim/adaptive_rules.hpp"
#include "mwalimu/optim/device_step.hpp"
#include "mwalimu/optim/gradient_control.hpp"
#include "mwalimu/optim/momentum_rules.hpp"
#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/optim/segment.hpp"
#include "mwalimu/optim/state.hpp"

namespace mwalimu::optim {

/// An optimiser: a rule (the options say which), and what the rule remembers for every parameter.
/// A value: a copy has its own state.
///
///     Optimizer optimizer(LambOptions{.weight_decay = 1e-6}, arena);
///     optimizer.step(arena, {.lr = 1e-4});
///
/// It works on the arena's device. A step is two parts, so that a CUDA graph can hold the second:
///
///     graph.record([&] { ...; optimizer.run(arena, &control); });   // once
///     optimizer.prepare(arena, {.lr = lr});                         // before every launch
///     graph.launch();
///
/// A segment counts its own steps: one that is frozen (trainable = false) is skipped whole, and its
/// bias correction starts where it stopped when it is trainable again.
/// The result does not depend on the number of threads, bit for bit.
///
/// Moves     bytes a step and parameter: SGD 20, LARC and LARS 28, Adam and RAdam 28, ranger 28 (36
///           on every `period`-th step), LAMB 40; 2 more for a 16-bit copy.
/// Accuracy  arithmetic in float, norms in double: within 5e-7 relative L2 of fp64 after 13 steps
///           (Optimizer.EveryRuleMatchesItsFp64Reference).
class Optimizer {
 public:
  /// @param segments    layout of the arena: names, offsets and counts. Copied. On a device, offsets
  ///                    are multiples of 4, as those of a ParameterArena.
  /// @param arena_size  elements in the arena, padding included.
  /// @throws ValueError  an option outside its range.  @throws ShapeError  segments that overlap.
  Optimizer(OptimizerOptions options, std::span<const Segment> segments, index_t arena_size,
            Device device = Device::cpu())
      : options_(std::move(options)),
        layout_(checked(segments, arena_size)),
        arena_size_(arena_size),
        plan_(layout_) {
    std::visit([](const auto& chosen) { detail::check_options(chosen); }, options_);
    state_.steps = Tensor<std::int64_t>::zeros({static_cast<index_t>(layout_.size())}, device);
    state_.momentum = Tensor<float>::zeros({arena_size}, device);
    std::visit(
        [&]<class Options>(const Options&) {
          if constexpr (detail::HasSquaredMomentum<Options>) {
            state_.squared = Tensor<float>::zeros({arena_size}, device);
          }
          if constexpr (std::is_same_v<Options, RangerOptions>) {
            state_.slow = Tensor<float>::zeros({arena_size}, device);
          }
        },
        options_);
    allocate_device_memory();
  }
  /// An optimiser for the arena, on its device.
  Optimizer(OptimizerOptions options, ParameterArena& arena)
      : Optimizer(std::move(options), arena.segments(), arena.size(), arena.device()) {}

  Optimizer(Optimizer&&) noexcept = default;
  Optimizer& operator=(Optimizer&&) noexcept = default;
  Optimizer(const Optimizer& other)
      : options_(other.options_),
        layout_(other.layout_),
        arena_size_(other.arena_size_),
        plan_(other.plan_),
        state_(other.state_) {
    allocate_device_memory();
  }
  Optimizer& operator=(const Optimizer& other) { return *this = Optimizer(other); }

  Device device() const { return state_.momentum.device(); }

  /// One step of all trainable segments. The gradients are read, not changed.
  /// @param control  decides whether the step is taken and scales the gradients; null: taken.
  /// @throws ShapeError   other sizes or another layout.
  /// @throws ValueError   lr, a group's scale or momentum outside its range; nothing has changed.
  /// @throws DeviceError  arena, optimiser and control are not on one device.
  void step(ParameterArena& arena, const HyperParameters& hyper,
            const GradientControl* control = nullptr) {
    prepare(arena, hyper);
    run(arena, control);
  }

  /// What run() will work with, until the next call. On a device: queued on the current stream.
  /// @throws as step(); ValueError also where the stream is capturing a graph.
  void prepare(ParameterArena& arena, const HyperParameters& hyper) {
    const auto size = static_cast<std::size_t>(arena.size());
    const auto segments = arena.segments();
    check(size, size, segments, hyper);
    require_device(arena.device());
    for (std::size_t s = 0; s < segments.size(); ++s) {
      layout_[s].decay = segments[s].decay;
      layout_[s].trainable = segments[s].trainable;
      layout_[s].group = segments[s].group;
    }
    group_scale_.assign(hyper.group_scale.begin(), hyper.group_scale.end());
    prepared_ = with_momentum(hyper);
    prepared_->group_scale = {};  // the caller's memory
    on_device(device(), [&](auto place) { write(place); });
  }

  /// The step that was prepared. On a device: queued; it reads what prepare() and the control have
  /// left there when its turn comes.
  /// @throws ValueError  nothing was prepared.
  void run(ParameterArena& arena, const GradientControl* control = nullptr) {
    require<ValueError>(prepared_.has_value(), "optimizer: run() without prepare()");
    require_device(arena.device());
    require<DeviceError>(control == nullptr || control->device() == device(),
                         "optimizer: on ", device(), ", but its gradient control is elsewhere");
    on_device("optimizer", device(), [&](auto place) { run_on(place, arena, control); });
    arena.invalidate();
  }

  /// One step on the cpu over the caller's memory.
  /// @param values     the parameters, arena_size elements.
  /// @param gradients  as many; finite (a step with overflow is to be skipped, see GradScaler).
  /// @param segments   the layout given at construction; flags and groups may have changed.
  /// @throws as above.
  void step(std::span<float> values, std::span<const float> gradients,
            std::span<const Segment> segments, const HyperParameters& hyper) {
    check(values.size(), gradients.size(), segments, hyper);
    require_device(Device::cpu());
    const ProfileScope scope("optimizer", Cpu{});
    step_on_host(values, gradients, segments, with_momentum(hyper));
  }

  /// Forgets all state, as if no step had been taken: what fastai does on freeze and unfreeze.
  void reset() {
    for_each_state([](std::string_view, Tensor<float>& values) { values.zero(); });
    state_.steps.zero();
  }

  const OptimizerOptions& options() const { return options_; }

  /// Calls f(name, tensor) for each running average in use: "momentum", "squared_momentum", "slow";
  /// (arena_size), laid out as the arena, on the optimiser's device. With the counters they are the
  /// whole state: writing back what was read makes the next steps the same bit for bit.
  template <class F>
  void for_each_state(F&& f) {
    visit_state(state_, f);
  }
  template <class F>
  void for_each_state(F&& f) const {
    visit_state(state_, f);
  }
  /// Calls f("steps", tensor): (segments) int64, the steps each segment took.
  template <class F>
  void for_each_counter(F&& f) {
    f(std::string_view("steps"), state_.steps);
  }
  template <class F>
  void for_each_counter(F&& f) const {
    f(std::string_view("steps"), state_.steps);
  }

 private:
  template <class State, class F>
  static void visit_state(State& state, F& f) {
    if (state.momentum.count() > 0) f(std::string_view("momentum"), state.momentum);
    if (state.squared.count() > 0) f(std::string_view("squared_momentum"), state.squared);
    if (state.slow.count() > 0) f(std::string_view("slow"), state.slow);
  }

  // Made where there is a device to have it on: a build without CUDA has no destructor for it.
  void allocate_device_memory() {
    on_device(device(), [&](auto place) {
      if constexpr (!std::is_same_v<decltype(place), Cpu>) {
        device_memory_ = std::make_shared<detail::DeviceStepMemory>(device(), layout_);
      }
    });
  }

  HyperParameters prepared() const {
    HyperParameters hyper = *prepared_;
    hyper.group_scale = group_scale_;
    return hyper;
  }
  void write(Cpu) {}
  template <class Place>
  void write(Place) {
    device_memory_->write(prepared(), layout_);
  }

  void run_on(Cpu, ParameterArena& arena, const GradientControl* control) {
    HyperParameters hyper = prepared();
    if (control != nullptr) {
      if (control->address()->take == 0) return;
      hyper.gradient_scale *= control->address()->factor;
    }
    step_on_host(arena.values(), arena.gradients(), layout_, hyper);
  }
  template <class Place>
  void run_on(Place place, ParameterArena& arena, const GradientControl* control) {
    detail::DeviceStep step = device_memory_->step();
    step.values = arena.value_buffer().data();
    step.gradients = arena.gradient_buffer().data();
    step.momentum = state_.momentum.data();
    step.squared = state_.squared.data();
    step.slow = state_.slow.data();
    step.steps = state_.steps.data();
    step.control = control == nullptr ? nullptr : control->address();
    std::visit(
        [&](auto copy) {
          if constexpr (!std::is_same_v<decltype(copy), std::monostate>) {
            step.copy_type = element_type<std::remove_cvref_t<decltype(copy.data()[0])>>();
            step.copy = copy.data();
          }
        },
        arena.copy_buffer());
    std::visit([&](const auto& chosen) { detail::apply(place, chosen, step); }, options_);
  }

  void step_on_host(std::span<float> values, std::span<const float> gradients,
                    std::span<const Segment> segments, const HyperParameters& hyper) {
    for (std::size_t s = 0; s < segments.size(); ++s) {
      state_.steps.data()[s] += segments[s].trainable;
    }
    const detail::Step step{values, gradients, segments, plan_, hyper, state_};
    std::visit([&](const auto& chosen) { detail::apply(Cpu{}, chosen, step); }, options_);
  }

  HyperParameters with_momentum(HyperParameters hyper) const {
    if (!hyper.momentum) hyper.momentum = momentum_of(options_);
    return hyper;
  }

  static std::vector<Segment> checked(std::span<const Segment> segments, index_t arena_size) {
    check_segments(segments, arena_size);
    return {segments.begin(), segments.end()};
  }

  void check(std::size_t values, std::size_t gradients, std::span<const Segment> segments,
             const HyperParameters& hyper) const {
    const auto size = static_cast<std::size_t>(arena_size_);
    require<ShapeError>(values == size && gradients == size, "optimizer: want ", size,
                        " values and gradients, got ", values, " and ", gradients);
    require<ShapeError>(segments.size() == layout_.size(), "optimizer: want the ", layout_.size(),
                        " segments given at construction, got ", segments.size());
    require<ValueError>(hyper.lr >= 0 && std::isfinite(hyper.lr),
                        "optimizer: want a learning rate >= 0, got ", hyper.lr);
    for (double scale : hyper.group_scale) {
      require<ValueError>(scale >= 0 && std::isfinite(scale),
                          "optimizer: want group scales >= 0, got ", scale);
    }
    if (hyper.momentum) {
      require<ValueError>(*hyper.momentum >= 0 && *hyper.momentum < 1,
                          "optimizer: want momentum in [0, 1), got ", *hyper.momentum);
    }
    require<ValueError>(hyper.gradient_scale >= 0 && std::isfinite(hyper.gradient_scale),
                        "optimizer: want gradient_scale >= 0, got ", hyper.gradient_scale);
    for (std::size_t s = 0; s < segments.size(); ++s) {
      const Segment& now = segments[s];
      require<ShapeError>(now.offset == layout_[s].offset && now.count == layout_[s].count,
                          "optimizer: segment '", now.name, "' has moved: it was [",
                          layout_[s].offset, ", +", layout_[s].count, "), now [", now.offset, ", +",
                          now.count, ")");
      require<ValueError>(
          now.group >= 0 && (hyper.group_scale.empty() ||
                             static_cast<std::size_t>(now.group) < hyper.group_scale.size()),
          "optimizer: segment '", now.name, "' is of group ", now.group, ", but there are ",
          hyper.group_scale.size(), " group scales");
    }
  }

  void require_device(Device arena) const {
    require<DeviceError>(arena == device(), "optimizer: made for ", device(),
                         ", but the parameters are on ", arena);
  }

  OptimizerOptions options_;
  std::vector<Segment> layout_;  // with the flags and groups of the last prepare()
  index_t arena_size_;
  ChunkPlan plan_;
  detail::OptimizerState state_;
  std::optional<HyperParameters> prepared_;  // without its group scales, which are the next
  std::vector<double> group_scale_;
  std::shared_ptr<detail::DeviceStepMemory> device_memory_;  // never shared by two
};

}  // namespace mwalimu::optim
