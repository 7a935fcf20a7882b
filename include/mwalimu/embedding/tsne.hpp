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
/// text
///                     names the largest allowed.
inline void require_perplexity(double perplexity, index_t n) {
  std::vector<std::string> none;
  detail::allowed_perplexity(perplexity, n, PerplexityPolicy::strict, none);
}

/// Maps of the same points for several perplexities. Neighbours (for the largest perplexity) and
/// principal components are found once.
///
/// @param perplexities  in any order, at least one; options.perplexity is not used.
/// @return  one result for each, in the order given; warnings about the input are in all of them.
/// @throws  as tsne().
inline std::vector<TsneResult> tsne_sweep(const Points& x, std::span<const double> perplexities,
                                          const TsneOptions& options = {}) {
  require<ValueError>(!perplexities.empty(), "tsne_sweep: want at least one perplexity");
  require<ValueError>(x.n() >= 4, "tsne: want at least 4 points, got ", x.n());
  require<ValueError>(x.n() < index_t{1} << 31, "tsne: want fewer than 2^31 points, got ", x.n());
  require<ValueError>(x.d() >= 1, "tsne: want at least 1 column, got ", x.d());
  detail::check(options);
  std::vector<double> used;
  std::vector<std::vector<std::string>> warnings(perplexities.size());
  for (std::size_t s = 0; s < perplexities.size(); ++s) {
    used.push_back(
        detail::allowed_perplexity(perplexities[s], x.n(), options.perplexity_policy, warnings[s]));
  }
  require_usable(x, "tsne: the data");

  Points points = x;
  std::vector<float> reduced;
  index_t pca_dims = 0;
  if (options.pca_dims > 0 && options.pca_dims < std::min(x.n(), x.d())) {
    const Pca p = pca(x, options.pca_dims, options.seed);
    reduced.assign(p.scores.begin(), p.scores.end());
    pca_dims = options.pca_dims;
    points = Points(reduced, x.n(), pca_dims);
  }
  std::vector<std::string> start_warnings;
  const std::vector<float> start = detail::start_map(points, options, start_warnings);
  const double largest = *std::max_element(used.begin(), used.end());
  const NeighborList list =
      nearest_neighbors(points, neighbors_for(largest, x.n()), options.metric);

  std::vector<TsneResult> results;
  for (std::size_t s = 0; s < used.size(); ++s) {
    const index_t k = neighbors_for(used[s], x.n());
    const Affinities p =
        k == list.k ? affinities(list, used[s]) : affinities(truncated(list, k), used[s]);
    TsneResult r = optimise(p, initial_state(start), options);
    r.neighbors = k;
    r.pca_dims = pca_dims;
    r.warnings = std::move(warnings[s]);
    r.warnings.insert(r.warnings.end(), start_warnings.begin(), start_warnings.end());
    results.push_back(std::move(r));
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
/// value
///                     in x or in a given start (row and column are named); perplexity <= 0, or
///                     > (n - 1) / 3 under PerplexityPolicy::strict; a zero row with
///                     Metric::cosine.
/// @throws ShapeError  a given start of another size.
/// @throws DivergenceError  the optimisation left the finite numbers.
///
/// The result depends on x, options and the seed, not on the number of threads.
/// Cost  neighbours n^2 d, then n^2 a iteration: about 10^4 points are comfortable.
inline TsneResult tsne(const Points& x, const TsneOptions& options = {}) {
  return std::move(tsne_sweep(x, std::span<const double>(&options.perplexity, 1), options)[0]);
}

/// Which result of a sweep to show, by Cao and Wang's criterion.
struct PerplexityChoice {
  std::size_t best = 0;           ///< position of the smallest criterion; the first of equals
  std::vector<double> criterion;  ///< 2 KL + ln(n) perplexity / n, one a result
};

/// KL always falls as the perplexity grows; the second term, as a Bayesian information criterion
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
