// embedding/tsne: t-distributed stochastic neighbour embedding, from points to a map.
//
//   const TsneResult r = tsne(Points(features, n, d), {.perplexity = 30, .seed = 1});
//   // r.map is (n, 2), r.kl its exact Kullback-Leibler divergence in nats
//
// Source: van der Maaten and Hinton 2008, "Visualizing data using t-SNE".
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/affinities.hpp"
#include "mwalimu/embedding/neighbors.hpp"
#include "mwalimu/embedding/pca.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/tsne_optimizer.hpp"
#include "mwalimu/embedding/tsne_options.hpp"

namespace mwalimu::embedding {
namespace detail {

/// The perplexity to use for n points; see the table of errors at tsne().
inline double allowed_perplexity(double asked, index_t n, PerplexityPolicy policy,
                                 std::vector<std::string>& warnings) {
  require<ValueError>(asked > 0, "tsne: want perplexity > 0, got ", asked);
  const double largest = static_cast<double>(n - 1) / 3;
  double used = asked;
  if (asked > largest) {
    require<ValueError>(policy == PerplexityPolicy::clamp, "tsne: perplexity ", asked,
                        " needs at least 3P+1 = ", std::ceil(3 * asked) + 1, " points, got ", n,
                        "; largest allowed (n-1)/3 = ", largest);
    used = largest;
    warnings.push_back(mwalimu::detail::concatenate("perplexity ", asked, " is too large for ", n,
                                                    " points: lowered to (n-1)/3 = ", largest));
  }
  require<ValueError>(used > 1 || neighbors_for(used, n) >= 2, "tsne: perplexity ", used,
                      " leaves fewer than two neighbours; want at least 0.67");
  return used;
}

/// The perplexities to use: one, or several at once.
inline std::vector<double> allowed_perplexities(const TsneOptions& o, index_t n,
                                                std::vector<std::string>& warnings) {
  std::vector<double> used;
  for (const double asked : o.multiscale) {
    used.push_back(allowed_perplexity(asked, n, o.perplexity_policy, warnings));
  }
  if (used.empty()) {
    used.push_back(allowed_perplexity(o.perplexity, n, o.perplexity_policy, warnings));
  }
  return used;
}

inline void check_extents(const Points& x) {
  require<ValueError>(x.n() >= 4, "tsne: want at least 4 points, got ", x.n());
  require<ValueError>(x.n() < index_t{1} << 31, "tsne: want fewer than 2^31 points, got ", x.n());
  require<ValueError>(x.d() >= 1, "tsne: want at least 1 column, got ", x.d());
}

/// The map to start from, (n, components).
inline std::vector<float> start_map(const Points& x, const TsneOptions& o,
                                    std::vector<std::string>& warnings) {
  constexpr double kScale = 1e-4;
  const index_t n = x.n(), size = n * o.components;
  // Step 0 draws a random start, step 1 the jitter; sample i is the point.
  const auto add_noise = [&](std::vector<float>& map, std::uint64_t step, double deviation) {
    for (index_t i = 0; i < n; ++i) {
      RandomStream random(o.seed, Purpose::embedding, step, static_cast<std::uint64_t>(i));
      for (int c = 0; c < o.components; ++c) {
        map[i * o.components + c] += static_cast<float>(deviation * random.normal());
      }
    }
  };
  if (o.start == Start::given) {
    require<ShapeError>(static_cast<index_t>(o.given_start.size()) == size,
                        "tsne: want a given start of ", n, " x ", o.components, " = ", size,
                        " values, got ", o.given_start.size());
    const Points given(o.given_start, n, o.components);
    require_usable(given, "tsne: the given start");
    for (int c = 0; c < o.components; ++c) {
      double sum = 0, square = 0;
      for (index_t i = 0; i < n; ++i) sum += given.row(i)[c];
      for (index_t i = 0; i < n; ++i) {
        const double v = given.row(i)[c] - sum / static_cast<double>(n);
        square += v * v;
      }
      const double deviation = std::sqrt(square / static_cast<double>(n));
      if (deviation > 1) {
        warnings.push_back(mwalimu::detail::concatenate(
            "the given start has standard deviation ", deviation, " in column ", c,
            "; a start wider than 1 hinders the arrangement, scale it to about 1e-4"));
      }
    }
    return {o.given_start.begin(), o.given_start.end()};
  }
  if (o.start == Start::pca) {
    std::vector<float> map = pca_start(pca(x, o.components, o.seed));
    if (std::any_of(map.begin(), map.end(), [](float v) { return v != 0; })) {
      if (o.jitter > 0) add_noise(map, 1, o.jitter * kScale);
      return map;
    }
    warnings.emplace_back("the data are constant: no principal components, started at random");
  }
  std::vector<float> map(size, 0.0f);
  add_noise(map, 0, kScale);
  return map;
}

}  // namespace detail

/// Whether n points can be mapped with a perplexity, to be asked before any work.
/// @throws ValueError  perplexity <= 0, too small for two neighbours, or above (n - 1) / 3; the
///                     text names the largest allowed.
inline void require_perplexity(double perplexity, index_t n) {
  std::vector<std::string> none;
  detail::allowed_perplexity(perplexity, n, PerplexityPolicy::strict, none);
}

/// What all maps of the same points share, found once: neighbours and the map to start from.
struct TsneInput {
  NeighborList neighbors;                  ///< for the largest perplexity that will be asked for
  std::vector<float> start;                ///< (n, components)
  int components = 2;                      ///< of the start
  index_t pca_dims = 0;                    ///< that the points were reduced to; 0: they were not
  std::vector<std::string> warnings = {};  ///< one line each
};

/// Checks points, finds their neighbours and the map to start from.
///
/// @param x        as for tsne().
/// @param options  perplexity is the largest that tsne(input, ...) will be asked for; components,
///                 metric, neighbor_search, pca_dims, start, given_start, jitter, seed, device and
///                 search_progress count, the rest does not.
/// @throws  as tsne().
inline TsneInput prepare_tsne(const Points& x, const TsneOptions& options) {
  detail::check_extents(x);
  detail::check(options);
  std::vector<std::string> none;
  const std::vector<double> used = detail::allowed_perplexities(options, x.n(), none);
  const double largest = *std::max_element(used.begin(), used.end());
  require_usable(x, "tsne: the data");

  TsneInput input;
  input.components = options.components;
  Points points = x;
  std::vector<float> reduced;
  if (options.pca_dims > 0 && options.pca_dims < std::min(x.n(), x.d())) {
    const Pca p = pca(x, options.pca_dims, options.seed);
    reduced.assign(p.scores.begin(), p.scores.end());
    input.pca_dims = options.pca_dims;
    points = Points(reduced, x.n(), input.pca_dims);
  }
  input.start = detail::start_map(points, options, input.warnings);
  input.neighbors = nearest_neighbors(points, neighbors_for(largest, x.n()), options.metric,
                                      options.neighbor_search, options.device,
                                      options.search_progress);
  if (input.neighbors.recall < 0.99) {
    input.warnings.push_back(mwalimu::detail::concatenate(
        "the approximate search found ", 100 * input.neighbors.recall,
        " % of the neighbours of 200 points; NeighborSearch::brute_force finds all"));
  }
  return input;
}

/// The same for neighbours found elsewhere. Without the points there are no principal components:
/// the map starts from options.given_start, or at random.
/// @throws ValueError  options.start is Start::pca, or the list is not usable.
inline TsneInput prepare_tsne(NeighborList neighbors, const TsneOptions& options) {
  require<ValueError>(neighbors.n >= 4, "tsne: want at least 4 points, got ", neighbors.n);
  detail::check(options);
  require_usable(neighbors, "tsne: the neighbours");
  require<ValueError>(options.start != Start::pca,
                      "tsne: neighbours without points have no principal components; want "
                      "Start::random or Start::given");
  TsneInput input;
  input.components = options.components;
  input.start = detail::start_map(Points({}, neighbors.n, 0), options, input.warnings);
  input.neighbors = std::move(neighbors);
  return input;
}

namespace detail {

/// As tsne(input, options); made() is called once the neighbours are not needed any more.
template <class Made>
TsneResult map_of(const TsneInput& input, const TsneOptions& options, Made&& made) {
  const index_t n = input.neighbors.n;
  check(options);
  std::vector<std::string> warnings;
  const std::vector<double> used = allowed_perplexities(options, n, warnings);
  const double perplexity = *std::max_element(used.begin(), used.end());
  const index_t k = neighbors_for(perplexity, n);
  require<ValueError>(k <= input.neighbors.k, "tsne: perplexity ", perplexity, " takes ", k,
                      " neighbours, the input has ", input.neighbors.k,
                      "; prepare it for the largest perplexity");
  std::vector<float> start;
  if (options.start == Start::given) {
    start = start_map(Points({}, n, 0), options, warnings);
  } else {
    require<ValueError>(options.components == input.components, "tsne: want ", input.components,
                        " components as in the input's start, got ", options.components);
    start = input.start;
  }
  const auto affinities_of = [&](const NeighborList& list) {
    return options.multiscale.empty() ? affinities(list, perplexity)
                                      : multiscale_affinities(list, used, options.multiscale_kind);
  };
  const Affinities p = k == input.neighbors.k ? affinities_of(input.neighbors)
                                              : affinities_of(truncated(input.neighbors, k));
  made();
  TsneResult r = optimise(p, initial_state(std::move(start)), options);
  r.neighbors = k;
  r.neighbor_recall = input.neighbors.recall;
  r.pca_dims = input.pca_dims;
  r.warnings.insert(r.warnings.end(), warnings.begin(), warnings.end());
  r.warnings.insert(r.warnings.end(), input.warnings.begin(), input.warnings.end());
  return r;
}

}  // namespace detail

/// One map of prepared points.
///
/// @param options  perplexity, its policy, and all that concerns the optimiser. Start::given starts
///                 from given_start instead of input.start: with rescaled_start() of another map,
///                 maps of several perplexities look alike and can be compared by eye.
/// @throws ValueError  a perplexity that needs more neighbours than input has, or components other
///                     than those of the input's start; and as tsne().
inline TsneResult tsne(const TsneInput& input, const TsneOptions& options) {
  return detail::map_of(input, options, [] {});
}
/// The same of an input that nobody needs afterwards: the iterations run without its neighbours.
inline TsneResult tsne(TsneInput&& input, const TsneOptions& options) {
  return detail::map_of(input, options, [&] {
    input.neighbors.index = {};
    input.neighbors.square_distance = {};
  });
}

/// A map as a start for another: centred, and scaled so that the wider column has standard
/// deviation 1e-4. A map of no width stays as it is.
/// @param map  (n, components) finite values.
/// @throws ShapeError  map.size() != n * components.
inline std::vector<float> rescaled_start(std::span<const float> map, index_t n, int components) {
  require<ShapeError>(n >= 1 && static_cast<index_t>(map.size()) == n * components,
                      "rescaled_start: want ", n, " x ", components, " values, got ", map.size());
  const Points rows(map, n, components);
  std::vector<double> mean(components, 0.0);
  double widest = 0;
  for (int c = 0; c < components; ++c) {
    for (index_t i = 0; i < n; ++i) mean[c] += rows.row(i)[c];
    mean[c] /= static_cast<double>(n);
    double square = 0;
    for (index_t i = 0; i < n; ++i) square += std::pow(rows.row(i)[c] - mean[c], 2);
    widest = std::max(widest, std::sqrt(square / static_cast<double>(n)));
  }
  std::vector<float> out(map.begin(), map.end());
  if (!(widest > 0)) return out;
  for (index_t i = 0; i < n; ++i) {
    for (int c = 0; c < components; ++c) {
      float& v = out[i * components + c];
      v = static_cast<float>((v - mean[c]) * (1e-4 / widest));
    }
  }
  return out;
}

/// Maps of the same points for several perplexities. Neighbours (for the largest perplexity) and
/// principal components are found once.
///
/// @param perplexities  in any order, at least one; options.perplexity is not used.
/// @return  one result for each, in the order given; warnings about the input are in all of them.
///          Fewer if options.stop was requested: the last is then the one interrupted.
/// @throws  as tsne().
///
/// A callback reads TsneProgress::run to know which of the maps it sees.
inline std::vector<TsneResult> tsne_sweep(const Points& x, std::span<const double> perplexities,
                                          const TsneOptions& options = {}) {
  require<ValueError>(!perplexities.empty(), "tsne_sweep: want at least one perplexity");
  require<ValueError>(options.multiscale.empty(),
                      "tsne_sweep: makes a map of each perplexity, multiscale one of several; want "
                      "one of the two");
  detail::check_extents(x);
  TsneOptions o = options;
  for (const double perplexity : perplexities) {  // all are checked before any work
    std::vector<std::string> none;
    detail::allowed_perplexity(perplexity, x.n(), o.perplexity_policy, none);
  }
  o.perplexity = *std::max_element(perplexities.begin(), perplexities.end());
  const TsneInput input = prepare_tsne(x, o);
  if (o.start == Start::given) o.start = Start::pca;  // it is the input's start by now
  std::vector<TsneResult> results;
  for (std::size_t s = 0; s < perplexities.size(); ++s) {
    o.perplexity = perplexities[s];
    if (options.callback) {
      o.callback = [&](const TsneProgress& progress) {
        TsneProgress at = progress;
        at.run = s;
        return options.callback(at);
      };
    }
    results.push_back(tsne(input, o));
    if (results.back().reason == StopReason::cancelled) break;
  }
  return results;
}

/// Maps points to 1, 2 or 3 dimensions so that close points stay close.
///
/// @param x  (n, d), n >= 4, d >= 1, finite. Duplicate rows are allowed; constant data start at
/// random.
/// @return   the map, its exact KL, how and why the optimiser stopped, and warnings.
/// @throws ValueError  n < 4; d < 1; components not 1, 2 or 3; NaN, infinity or an overflowing
///                     value in x or in a given start (row and column are named); perplexity <= 0,
///                     or > (n - 1) / 3 under PerplexityPolicy::strict; a zero row with
///                     Metric::cosine.
/// @throws ShapeError  a given start of another size.
/// @throws DivergenceError  the optimisation left the finite numbers.
///
/// The result depends on x, options and the seed, not on the number of threads.
/// Cost  neighbours n^2 d up to kBruteForceLimit, then less; an iteration n + G log G with a grid of
///       G nodes, n^2 by exact sums.
inline TsneResult tsne(const Points& x, const TsneOptions& options = {}) {
  TsneInput input = prepare_tsne(x, options);
  TsneOptions o = options;
  if (o.start == Start::given) o.start = Start::pca;  // it is the input's start by now
  return tsne(std::move(input), o);
}

/// Which result of a sweep to show, by Cao and Wang's criterion.
struct PerplexityChoice {
  std::size_t best = 0;           ///< position of the smallest criterion; the first of equals
  std::vector<double> criterion;  ///< 2 KL + ln(n) perplexity / n, one a result
};

/// KL falls, as a rule, as the perplexity grows; the second term, as a Bayesian information criterion
/// would, charges for it. A guide for the eye, not a test: report all values.
/// @throws ValueError  no results.
/// Source  Cao and Wang 2017, "Automatic selection of t-SNE perplexity", arXiv:1708.03229.
inline PerplexityChoice select_perplexity(std::span<const TsneResult> results) {
  require<ValueError>(!results.empty(), "select_perplexity: want at least one result");
  PerplexityChoice choice;
  for (const TsneResult& r : results) {
    const double n = static_cast<double>(r.n);
    choice.criterion.push_back(2 * r.kl + std::log(n) * r.perplexity / n);
  }
  choice.best =
      static_cast<std::size_t>(std::min_element(choice.criterion.begin(), choice.criterion.end()) -
                               choice.criterion.begin());
  return choice;
}

}  // namespace mwalimu::embedding
