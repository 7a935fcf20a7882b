// optim/optimizer: one optimiser over the flat parameter arena.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mwalimu/optim/adaptive_rules.hpp"
#include "mwalimu/optim/momentum_rules.hpp"
#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/segment.hpp"
#include "mwalimu/optim/state.hpp"

namespace mwalimu::optim {

/// An optimiser: a rule (the options say which), and what the rule remembers for every parameter.
/// A value: a copy has its own state.
///
///     Optimizer optimizer(LambOptions{.weight_decay = 1e-6}, arena.segments(), arena.size());
///     optimizer.step(arena.values(), arena.gradients(), arena.segments(), {.lr = 1e-4});
///
/// A segment counts its own steps: one that is frozen (trainable = false) is skipped whole, and its
/// bias correction starts where it stopped when it is trainable again.
/// The result does not depend on the number of threads, bit for bit.
///
/// Moves     bytes a step and parameter: SGD 20, LARC and LARS 28, Adam and RAdam 28, ranger 28 (36
///           on every `period`-th step), LAMB 40.
/// Accuracy  arithmetic in float, norms in double: within 5e-7 relative L2 of fp64 after 13 steps
///           (Optimizer.EveryRuleMatchesItsFp64Reference).
class Optimizer {
 public:
  /// @param segments    layout of the arena: names, offsets and counts. Copied.
  /// @param arena_size  elements in the arena, padding included.
  /// @throws ValueError  an option outside its range.  @throws ShapeError  segments that overlap.
  Optimizer(OptimizerOptions options, std::span<const Segment> segments, index_t arena_size)
      : options_(std::move(options)),
        layout_(checked(segments, arena_size)),
        arena_size_(arena_size),
        plan_(layout_) {
    std::visit([](const auto& chosen) { detail::check_options(chosen); }, options_);
    state_.steps.assign(layout_.size(), 0);
    state_.momentum = Tensor<float>::zeros({arena_size});
    std::visit(
        [&]<class Options>(const Options&) {
          if constexpr (detail::HasSquaredMomentum<Options>) {
            state_.squared = Tensor<float>::zeros({arena_size});
          }
          if constexpr (std::is_same_v<Options, RangerOptions>) {
            state_.slow = Tensor<float>::zeros({arena_size});
          }
        },
        options_);
  }

  /// One step of all trainable segments. The gradients are read, not changed.
  /// @param values     the parameters, arena_size elements.
  /// @param gradients  as many; finite (a step with overflow is to be skipped, see GradScaler).
  /// @param segments   the layout given at construction; flags and groups may have changed.
  /// @throws ShapeError  other sizes or another layout.
  /// @throws ValueError  lr, a group's scale or momentum outside its range; nothing has changed.
  void step(std::span<float> values, std::span<const float> gradients,
            std::span<const Segment> segments, const HyperParameters& hyper) {
    check(values.size(), gradients.size(), segments, hyper);
    for (std::size_t s = 0; s < segments.size(); ++s) state_.steps[s] += segments[s].trainable;
    const detail::Step step{values, gradients, segments, plan_, hyper, state_};
    std::visit([&](const auto& chosen) { detail::apply(chosen, step); }, options_);
  }

  /// Forgets all state, as if no step had been taken: what fastai does on freeze and unfreeze.
  void reset() {
    for_each_state([](std::string_view, std::span<float> values) {
      std::fill(values.begin(), values.end(), 0.0f);
    });
    std::fill(state_.steps.begin(), state_.steps.end(), 0);
  }

  const OptimizerOptions& options() const { return options_; }

  /// Calls f(name, std::span<float>) for each running average in use: "momentum",
  /// "squared_momentum", "slow"; arena_size elements each. With the counters they are the whole
  /// state: writing back what was read makes the next steps the same bit for bit.
  template <class F>
  void for_each_state(F&& f) {
    visit_state(state_, f);
  }
  template <class F>
  void for_each_state(F&& f) const {
    visit_state(state_, f);
  }
  /// Calls f("steps", std::span<std::int64_t>): the steps each segment took, in order.
  template <class F>
  void for_each_counter(F&& f) {
    f(std::string_view("steps"), std::span<std::int64_t>(state_.steps));
  }
  template <class F>
  void for_each_counter(F&& f) const {
    f(std::string_view("steps"), std::span<const std::int64_t>(state_.steps));
  }

 private:
  template <class State, class F>
  static void visit_state(State& state, F& f) {
    if (state.momentum.count() > 0) f(std::string_view("momentum"), state.momentum.span());
    if (state.squared.count() > 0) f(std::string_view("squared_momentum"), state.squared.span());
    if (state.slow.count() > 0) f(std::string_view("slow"), state.slow.span());
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

  OptimizerOptions options_;
  std::vector<Segment> layout_;
  index_t arena_size_;
  ChunkPlan plan_;
  detail::OptimizerState state_;
};

}  // namespace mwalimu::optim
