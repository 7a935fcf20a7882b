// embedding/tsne_options: what t-SNE can be asked for, and what it gives back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/affinities.hpp"
#include "mwalimu/embedding/field_grid.hpp"
#include "mwalimu/embedding/neighbors.hpp"

namespace mwalimu::embedding {

enum class PerplexityPolicy {
  strict,  ///< a perplexity above (n - 1) / 3 is an error
  clamp,   ///< it is lowered to (n - 1) / 3, with a warning in the result
};
enum class Start {
  pca,     ///< principal components scaled to standard deviation 1e-4, plus jitter
  random,  ///< N(0, 1e-4^2)
  given,   ///< TsneOptions::given_start, copied
};
/// Learning rate and momentum. Steps are taken with F = gradient / 4, as openTSNE and bhtsne do;
/// scikit-learn steps with 4 F, so its learning rate is a quarter of ours.
enum class Schedule {
  automatic,  ///< rate n / exaggeration, momentum 0.8, 250 + 500 iterations (Belkina et al. 2019)
  classic,    ///< rate max(200, n / 12), momentum 0.5 then 0.8, 250 + 750 iterations
};
/// How the sums over all pairs of points are taken.
enum class Repulsion {
  automatic,  ///< fft where it is faster (two components, kExactRepulsionLimit), else exact
  exact,      ///< every pair, O(n^2)
  fft,        ///< two components only: FieldGrid, O(n + G log G) with G nodes of a grid
};
/// Points up to which Repulsion::automatic takes exact sums of two components. tsne_choices_bench
/// repulsion, all 750 iterations on one core with AVX-512: exact sums take 0.89 of the grid's time
/// at 2,000 points, 1.08 at 2,500 and 1.35 at 3,000; clusters that fly far apart make the grid wide
/// and slow, and exact sums have no error.
inline constexpr index_t kExactRepulsionLimit = 2500;
/// The same on a CUDA device: an estimate, not measured yet.
inline constexpr index_t kDeviceExactRepulsionLimit = 20000;
/// Points up to which the KL that is reported takes Z over all pairs: 7 s of one core at the limit.
inline constexpr index_t kExactKlLimit = 200000;
/// Points above which the Cpu numbers them along their map after early exaggeration.
/// tsne_choices_bench order, one core with AVX-512: a step is 1.17 times as fast at 50,000 points,
/// 1.28 at 200,000 and 1.38 at 600,000.
inline constexpr index_t kMapOrderLimit = 50000;
enum class Phase { early_exaggeration, main };
enum class StopReason { finished, converged, no_progress, callback, cancelled };

inline const char* name(Phase phase) {
  return phase == Phase::main ? "main" : "early exaggeration";
}
inline const char* name(StopReason reason) {
  switch (reason) {
    case StopReason::finished:
      return "all iterations done";
    case StopReason::converged:
      return "gradient below min_gradient_norm";
    case StopReason::no_progress:
      return "no progress";
    case StopReason::callback:
      return "stopped by the callback";
    case StopReason::cancelled:
      return "cancelled";
  }
  return "unknown";
}

/// What a callback sees after `iteration` of `total` iterations.
struct TsneProgress {
  int iteration = 0, total = 0;
  Phase phase = Phase::early_exaggeration;
  double kl = 0;                    ///< of P without exaggeration, in nats
  double gradient_norm = 0;         ///< |dKL/dY| of the step just taken, with its exaggeration
  std::span<const float> map = {};  ///< (n, components), valid during the call
  double perplexity = 0;            ///< of the map being made
  std::size_t run = 0;              ///< its position in a sweep
};

struct TsneOptions {
  int components = 2;  ///< 1, 2 or 3
  double perplexity = 30;
  /// Not empty: one map over these perplexities at once, instead of `perplexity`.
  std::vector<double> multiscale = {};
  Multiscale multiscale_kind = Multiscale::mean;
  PerplexityPolicy perplexity_policy = PerplexityPolicy::strict;
  Metric metric = Metric::euclidean;
  NeighborSearch neighbor_search = NeighborSearch::automatic;
  index_t pca_dims = 0;  ///< reduce the points to so many principal components first; 0: do not

  Start start = Start::pca;
  std::span<const float> given_start = {};  ///< (n, components)
  double jitter = 0.01;  ///< standard deviation added to a pca start, in units of 1e-4
  std::uint64_t seed = 0;

  Schedule schedule = Schedule::automatic;
  std::optional<int> early_iterations = {}, main_iterations = {};  ///< unset: the schedule's
  std::optional<double> learning_rate = {};                        ///< for F; unset: the schedule's
  double early_exaggeration = 12;
  /// Of the main phase: > 1 tightens the clusters of very large sets.
  double late_exaggeration = 1;
  /// Only the last so many of the main iterations take late_exaggeration; unset: all of them.
  std::optional<int> late_iterations = {};
  double max_step_norm = 5;  ///< a longer step of a point is shortened to this

  Repulsion repulsion = Repulsion::automatic;
  double grid_spacing = 1.0 / 3;  ///< of Repulsion::fft, in units of the map, see FieldGrid

  /// More points than this are numbered along a curve through their map when early exaggeration
  /// ends: the same sums in another order, over shorter ways in memory. All that is handed back is
  /// in the caller's order. Not on a CUDA device.
  index_t map_order_above = kMapOrderLimit;

  /// Where the iterations run and neighbours are searched for, see nearest_neighbors(). On a CUDA
  /// device `stop` is looked at when a step is queued, up to 50 ahead of the device.
  Device device = Device::cpu();

  SearchProgress search_progress = {};    ///< of the neighbours, before the iterations
  double min_gradient_norm = 0;           ///< stop the main phase below it; 0: never
  int iterations_without_progress = 300;  ///< of KL, checked every 50; 0: never stop for it
  int callback_every = 50;
  std::function<bool(const TsneProgress&)> callback = {};  ///< false stops; may be empty
  std::stop_token stop = {};                               ///< looked at before every iteration
};

/// The optimiser between two iterations. Given back, a run goes on as if it had not stopped.
struct TsneState {
  std::vector<float> map;      ///< (n, components)
  std::vector<float> update;   ///< (n, components) the last step
  std::vector<float> gain;     ///< (n, components)
  int iteration = 0;           ///< iterations done
  FieldGrid::Shape grid = {};  ///< of Repulsion::fft
  /// The points in the order that sums are taken in, see TsneOptions::map_order_above; empty: as
  /// they came.
  std::vector<std::int32_t> order = {};
};

struct TsneResult {
  index_t n = 0;
  int components = 0;
  std::vector<float> map;  ///< (n, components) row-major, mean 0
  double perplexity = 0;   ///< as used: lower than asked for where it was clamped
  index_t neighbors = 0, pca_dims = 0;
  double neighbor_recall = 1;  ///< measured where neighbours were searched approximately
  double kl = 0;               ///< in nats, with Z over all pairs if kl_is_exact
  bool kl_is_exact = true;     ///< on a device, and up to kExactKlLimit points; else Z is the grid's
  double gradient_norm = 0;    ///< |dKL/dY| of the last step
  int iterations = 0;
  Repulsion repulsion = Repulsion::exact;  ///< what was used
  StopReason reason = StopReason::finished;
  std::vector<std::pair<int, double>> trace;  ///< (iteration, KL) every 50 iterations
  std::vector<std::string> warnings;          ///< one line each
  TsneState state;                            ///< to go on from here
};

/// A number that is not finite appeared; the last map that was finite comes along.
struct DivergenceError : Error {
  DivergenceError(const std::string& text, int iteration, std::vector<float> last_map)
      : Error(text), iteration(iteration), last_map(std::move(last_map)) {}
  int iteration;                ///< the step that failed, from 1
  std::vector<float> last_map;  ///< (n, components) before it
};

namespace detail {

inline void check(const TsneOptions& o) {
  require<ValueError>(o.components >= 1 && o.components <= 3,
                      "tsne: want 1, 2 or 3 components, got ", o.components);
  require<ValueError>(o.perplexity > 0, "tsne: want perplexity > 0, got ", o.perplexity);
  for (const double perplexity : o.multiscale) {
    require<ValueError>(perplexity > 0, "tsne: want perplexities > 0, got ", perplexity);
  }
  require<ValueError>(o.early_iterations.value_or(0) >= 0 && o.main_iterations.value_or(0) >= 0,
                      "tsne: want no negative number of iterations, got ",
                      o.early_iterations.value_or(0), " and ", o.main_iterations.value_or(0));
  require<ValueError>(o.learning_rate.value_or(1) > 0 && o.learning_rate.value_or(1) <= 1e12,
                      "tsne: want 0 < learning_rate <= 1e12, got ", o.learning_rate.value_or(1));
  require<ValueError>(o.early_exaggeration >= 1 && o.late_exaggeration >= 1,
                      "tsne: want exaggerations >= 1, got ", o.early_exaggeration, " and ",
                      o.late_exaggeration);
  require<ValueError>(o.late_iterations.value_or(0) >= 0,
                      "tsne: want no negative number of late iterations, got ",
                      o.late_iterations.value_or(0));
  require<ValueError>(o.max_step_norm > 0, "tsne: want max_step_norm > 0, got ", o.max_step_norm);
  require<ValueError>(o.repulsion != Repulsion::fft || o.components == 2,
                      "tsne: Repulsion::fft makes maps of 2 components, got ", o.components,
                      "; take Repulsion::exact");
  require<ValueError>(o.grid_spacing > 0 && o.grid_spacing <= 1,
                      "tsne: want 0 < grid_spacing <= 1, got ", o.grid_spacing);
  require<ValueError>(o.map_order_above >= 0, "tsne: want map_order_above >= 0, got ",
                      o.map_order_above);
  require<ValueError>(o.jitter >= 0 && o.pca_dims >= 0 && o.min_gradient_norm >= 0 &&
                          o.iterations_without_progress >= 0 && o.callback_every >= 1,
                      "tsne: want jitter, pca_dims, min_gradient_norm, iterations_without_progress "
                      ">= 0 and callback_every >= 1, got ",
                      o.jitter, ", ", o.pca_dims, ", ", o.min_gradient_norm, ", ",
                      o.iterations_without_progress, " and ", o.callback_every);
}

/// Where a descent has got to.
struct Advance {
  int iteration;         ///< done by now, or the one that failed
  double gradient_norm;  ///< of the last of them; not finite if it failed
};

inline bool uses_fft(const TsneOptions& o, index_t n) {
  if (o.repulsion != Repulsion::automatic) return o.repulsion == Repulsion::fft;
  return o.components == 2 &&
         n > (o.device.is_cpu() ? kExactRepulsionLimit : kDeviceExactRepulsionLimit);
}

/// The schedule with the caller's wishes applied.
struct Plan {
  int early, late_begin, total;
  struct Step {
    double exaggeration, rate, momentum;
  } early_step, main_step, late_step;

  /// What the step after `iteration` of them is made with.
  const Step& step(int iteration) const {
    if (iteration < early) return early_step;
    return iteration < late_begin ? main_step : late_step;
  }
};

inline Plan plan(const TsneOptions& o, index_t n) {
  const bool classic = o.schedule == Schedule::classic;
  const auto rate = [&](double exaggeration) {
    if (o.learning_rate) return *o.learning_rate;
    const double points = static_cast<double>(n);
    return classic ? std::max(200.0, points / 12) : points / exaggeration;
  };
  const double early = std::max(o.early_exaggeration, o.late_exaggeration);
  const double main = o.late_iterations ? 1 : o.late_exaggeration;
  const int first = o.early_iterations.value_or(250);
  const int second = o.main_iterations.value_or(classic ? 750 : 500);
  return {first,
          first + second - std::min(second, o.late_iterations.value_or(0)),
          first + second,
          {early, rate(early), classic ? 0.5 : 0.8},
          {main, rate(main), 0.8},
          {o.late_exaggeration, rate(o.late_exaggeration), 0.8}};
}

}  // namespace detail
}  // namespace mwalimu::embedding
