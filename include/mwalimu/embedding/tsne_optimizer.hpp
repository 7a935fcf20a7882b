// embedding/tsne_optimizer: gradient descent with gains and momentum on the KL divergence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/affinities.hpp"
#include "mwalimu/embedding/device_descent.hpp"
#include "mwalimu/embedding/field_grid.hpp"
#include "mwalimu/embedding/forces.hpp"
#include "mwalimu/embedding/map_order.hpp"
#include "mwalimu/embedding/tsne_options.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {
namespace detail {

/// The gain after a step `update` and a force F: it grows while they pull against each other.
template <class T>
T next_gain(T gain, T update, T force) {
  const auto sign = [](T x) { return (x > 0) - (x < 0); };
  return std::max(sign(update) != sign(force) ? gain + T(0.2) : gain * T(0.8), T(0.01));
}

/// How one coordinate moves: its gain, then its step u <- momentum u - rate gain F.
///
/// T is float where maps are made. Double is for comparison with a reference beyond the few steps
/// that float rounding leaves comparable.
template <class T>
struct StepRule {
  T momentum, rate;
  double longest;  ///< no point moves farther

  void advance(T& u, T& gain, T force) const {
    gain = next_gain(gain, u, force);
    u = momentum * u - rate * gain * force;
  }
  /// What a point's step is to be multiplied by, from its squared length.
  T scale(double step_square) const {
    const double length = std::sqrt(step_square);
    return length > longest ? static_cast<T>(longest / length) : T(1);
  }
};

/// One run's buffers, and the step. The state lives here axis by axis between iterations; after
/// renumber() point r here is the caller's order_[r].
class Descent {
 public:
  Descent(const Affinities& p, const TsneState& state, const TsneOptions& options)
      : p_(p),
        n_(p.n),
        dimensions_(options.components),
        max_step_(options.max_step_norm),
        fft_(uses_fft(options, p.n)),
        renumbers_(p.n > options.map_order_above),
        grid_(options.grid_spacing),
        y_(state.map, n_, dimensions_),
        update_(state.update, n_, dimensions_),
        gain_(state.gain, n_, dimensions_),
        next_(n_, dimensions_),
        repulsion_(n_, dimensions_),
        attraction_(n_, dimensions_),
        force_square_(n_) {
    if (fft_) grid_.restore(state.grid);
    if (!state.order.empty()) renumber(state.order);
  }

  std::vector<float> rows() const { return rows(y_); }
  TsneState state(int iteration) const {
    return {rows(y_), rows(update_), rows(gain_), iteration, grid_.shape(), order_};
  }

  /// Takes the steps from..until, fewer if `stop` was requested or a value is not finite any more.
  Advance advance(int from, int until, const Plan& plan, const std::stop_token& stop) {
    Advance at{from, 0};
    while (at.iteration < until && !stop.stop_requested()) {
      // The groups are in their places by now, and the map says who will stay close to whom.
      if (renumbers_ && order_.empty() && at.iteration >= plan.early) renumber(map_order(y_));
      at.gradient_norm = step(plan.step(at.iteration));
      ++at.iteration;
      if (!std::isfinite(at.gradient_norm)) break;
    }
    return at;
  }

  /// y <- y + u, u <- momentum u - rate g F, F = exaggeration A - R / Z; then the mean is removed.
  /// @return  |4 F|; not finite if any number was not, and then y is as it was before.
  double step(const Plan::Step& s) {
    const double z = repulsion(repulsion_);
    attraction(edges(), y_, attraction_);
    const float exaggeration = static_cast<float>(s.exaggeration);
    const StepRule<float> rule{static_cast<float>(s.momentum), static_cast<float>(s.rate),
                               max_step_};
    share_out(n_, 8192, [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i) {
        double force_square = 0, step_square = 0;
        for (int c = 0; c < dimensions_; ++c) {
          const float force =
              exaggeration * attraction_.axis(c)[i] - static_cast<float>(repulsion_.axis(c)[i] / z);
          float& u = update_.axis(c)[i];
          rule.advance(u, gain_.axis(c)[i], force);
          force_square += double{force} * force;
          step_square += double{u} * u;
        }
        force_square_[i] = force_square;
        const float scale = rule.scale(step_square);
        for (int c = 0; c < dimensions_; ++c) {
          float& u = update_.axis(c)[i];
          u *= scale;
          next_.axis(c)[i] = y_.axis(c)[i] + u;
        }
      }
    });
    double force = 0, mean[3] = {};
    for (const double f : force_square_) force += f;
    for (int c = 0; c < dimensions_; ++c) {
      for (index_t i = 0; i < n_; ++i) mean[c] += next_.axis(c)[i];
      mean[c] /= static_cast<double>(n_);
      if (!std::isfinite(mean[c])) return std::numeric_limits<double>::quiet_NaN();
    }
    if (!std::isfinite(force)) return force;
    for (int c = 0; c < dimensions_; ++c) {
      float* y = y_.axis(c);
      const float* next = next_.axis(c);
      for (index_t i = 0; i < n_; ++i) y[i] = static_cast<float>(next[i] - mean[c]);
    }
    return 4 * std::sqrt(force);
  }

  /// KL of the map as it stands, with Z as the steps take it: for progress, not for the report.
  double kl() {
    if (mass_ == 0) {  // what does not depend on the map
      for (const float p : p_.value) {
        if (p > 0) negative_entropy_ += p * std::log(double{p});
        mass_ += p;
      }
    }
    const double z = repulsion(next_);
    return negative_entropy_ + stretch(edges(), y_) + mass_ * std::log(z);
  }
  /// The KL to report, and whether Z in it was summed over all pairs.
  double final_kl(bool& exact) {
    exact = n_ <= kExactKlLimit;
    return exact ? exact_kl(edges(), y_) : kl();
  }
  /// Whether the map grew so wide that the grid's spacing had to grow too.
  bool coarse() const { return fft_ && grid_.coarse(); }

 private:
  double repulsion(Coordinates& r) {
    return fft_ ? grid_.repulsion(y_, r) : exact_repulsion(y_, r);
  }
  /// P between the points as they are numbered here.
  const Affinities& edges() const { return order_.empty() ? p_ : renumbered_; }
  std::vector<float> rows(const Coordinates& y) const {
    return order_.empty() ? y.rows() : scattered_rows(y, order_);
  }
  /// @param order  of the caller's points, the order in which they still are.
  void renumber(std::vector<std::int32_t> order) {
    renumbered_ = renumbered(p_, order);
    for (Coordinates* points : {&y_, &update_, &gain_}) *points = gathered(*points, order);
    order_ = std::move(order);
  }

  const Affinities& p_;
  index_t n_;
  int dimensions_;
  double max_step_;
  double negative_entropy_ = 0, mass_ = 0;
  bool fft_, renumbers_;
  std::vector<std::int32_t> order_;  // empty: the caller's
  Affinities renumbered_;
  FieldGrid grid_;
  Coordinates y_, update_, gain_, next_, repulsion_, attraction_;
  std::vector<double> force_square_;
};

/// The iterations of optimise(), by Descent or its like on a device.
template <class Steps>
TsneResult optimise_by(Steps& descent, const Affinities& p, int iteration,
                       const TsneOptions& options) {
  const Plan plan = detail::plan(options, p.n);
  constexpr int kCheckEvery = 50;
  const auto next_multiple = [](int at, int of) { return at / of * of + of; };

  TsneResult result;
  result.n = p.n;
  result.components = options.components;
  result.perplexity = p.perplexity;
  double best_kl = std::numeric_limits<double>::infinity();
  int best_iteration = iteration;
  while (iteration < plan.total) {
    int until = std::min(plan.total, next_multiple(iteration, kCheckEvery));
    if (options.callback) until = std::min(until, next_multiple(iteration, options.callback_every));
    const Advance to = descent.advance(iteration, until, plan, options.stop);
    if (to.iteration > iteration) result.gradient_norm = to.gradient_norm;
    iteration = to.iteration;
    if (!std::isfinite(result.gradient_norm)) {
      throw DivergenceError(mwalimu::detail::concatenate(
                                "tsne: a value is not finite at iteration ", iteration,
                                "; lower learning_rate (the schedule's is ",
                                detail::plan({.schedule = options.schedule}, p.n).main_step.rate,
                                ") or start from a map near 0"),
                            iteration, descent.rows());
    }
    if (iteration < until) {
      result.reason = StopReason::cancelled;
      break;
    }

    const bool early = iteration <= plan.early;  // the step just taken
    const bool check = iteration % kCheckEvery == 0;
    const bool call = options.callback && iteration % options.callback_every == 0;
    if (!check && !call) continue;
    const double kl = descent.kl();
    if (check) result.trace.emplace_back(iteration, kl);
    if (call) {
      const std::vector<float> map = descent.rows();
      if (!options.callback({iteration, plan.total, early ? Phase::early_exaggeration : Phase::main,
                             kl, result.gradient_norm, map, p.perplexity})) {
        result.reason = StopReason::callback;
        break;
      }
    }
    if (check && !early) {
      if (result.gradient_norm < options.min_gradient_norm) {
        result.reason = StopReason::converged;
        break;
      }
      if (kl < best_kl) best_kl = kl, best_iteration = iteration;
      if (options.iterations_without_progress > 0 &&
          iteration - best_iteration >= options.iterations_without_progress) {
        result.reason = StopReason::no_progress;
        break;
      }
    }
  }
  result.iterations = iteration;
  result.repulsion = detail::uses_fft(options, p.n) ? Repulsion::fft : Repulsion::exact;
  if (descent.coarse()) {
    result.warnings.push_back(mwalimu::detail::concatenate(
        "the map is so wide that the grid's spacing grew beyond ", options.grid_spacing,
        ": forces are less accurate; late_exaggeration > 1 keeps it together"));
  }
  result.state = descent.state(iteration);
  result.map = result.state.map;
  result.kl = descent.final_kl(result.kl_is_exact);
  return result;
}

}  // namespace detail

/// A state before the first iteration, from a start map (n, components).
inline TsneState initial_state(std::vector<float> start) {
  const std::size_t size = start.size();
  return {std::move(start), std::vector<float>(size, 0.0f), std::vector<float>(size, 1.0f)};
}

/// Runs the iterations that `state` has not done yet.
///
/// @param p        joint probabilities of n points.
/// @param state    initial_state(start), or the state of a result to go on from.
/// @param options  those of the optimiser count: components, schedule, ..., stop. A run resumed
///                 with the same options equals one that was not interrupted, bit for bit, but for
///                 the no-progress rule, which starts afresh.
/// @return  the map with its exact KL, and why it stopped.
/// @throws DeviceError      no such device, or a build without CUDA.
/// @throws ShapeError       the state does not fit n and components.
/// @throws ValueError       the state's order is not one of n points.
/// @throws DivergenceError  a value is not finite any more; it carries the last good map.
///
/// Cost    per iteration n^2 pairs and one visit to every edge of P.
/// Source  van der Maaten and Hinton 2008 (gains, momentum, early exaggeration); learning rate
///         n / exaggeration: Belkina et al. 2019; step limit: openTSNE.
inline TsneResult optimise(const Affinities& p, TsneState state, const TsneOptions& options) {
  detail::check(options);
  const index_t size = p.n * options.components;
  require<ShapeError>(static_cast<index_t>(state.map.size()) == size &&
                          state.update.size() == state.map.size() &&
                          state.gain.size() == state.map.size(),
                      "optimise: want a state of ", p.n, " x ", options.components, " values, got ",
                      state.map.size(), ", ", state.update.size(), " and ", state.gain.size());
  require<ValueError>(state.order.empty() || detail::is_order(state.order, p.n),
                      "optimise: want each of the ", p.n, " points once in the state's order, or "
                      "none");
  return on_device(options.device, [&](auto place) {
    using Steps = std::conditional_t<std::is_same_v<decltype(place), Cpu>, detail::Descent,
                                     detail::DeviceDescent>;
    Steps descent(p, state, options);
    return detail::optimise_by(descent, p, state.iteration, options);
  });
}

}  // namespace mwalimu::embedding
