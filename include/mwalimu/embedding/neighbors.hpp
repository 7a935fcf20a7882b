// embedding/neighbors: the k nearest neighbours of every point, by the search that fits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/all_pairs.hpp"
#include "mwalimu/embedding/brute_force.hpp"
#include "mwalimu/embedding/device_neighbors.hpp"
#include "mwalimu/embedding/hnsw.hpp"
#include "mwalimu/embedding/list_search.hpp"
#include "mwalimu/embedding/neighbor_list.hpp"
#include "mwalimu/embedding/neighbor_tree.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/search_progress.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {

enum class Metric {
  euclidean,  ///< squared Euclidean distance
  cosine,     ///< the same between rows scaled to length 1: 2 - 2 cos
};

/// How neighbours are searched for.
enum class NeighborSearch {
  automatic,    ///< tree for few columns; brute force up to kBruteForceLimit, and on a device;
                ///< lists above
  brute_force,  ///< exact, O(n^2 d); the only one that runs on a device
  tree,         ///< exact, for up to a dozen columns
  lists,        ///< approximate, or exact where nothing can be left out; recall is measured on
                ///< 200 points
  hnsw,         ///< approximate, if hnswlib is there; recall is measured on 200 points
};

/// n^2 d up to which brute force is taken before lists, which find some 99.5 %: 173,000 points of
/// 50 columns. tsne_choices_bench neighbors, one core with AVX-512, 90 neighbours, a mixture: lists
/// take 0.14 of the time of all pairs at 100,000 x 50; up to there exactness is worth it.
inline constexpr double kBruteForceLimit = 1.5e12;

namespace detail {

/// Whether all pairs are measured on the device.
inline bool searches_on(Device device, index_t k) {
  return !device.is_cpu() && k <= kDeviceNeighborsLimit;
}

inline NeighborSearch chosen_search(NeighborSearch asked, index_t n, index_t d,
                                    bool on_device = false) {
  if (asked != NeighborSearch::automatic) return asked;
  if (d <= kTreeColumns) return NeighborSearch::tree;
  const double pairs = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d);
  return pairs > kBruteForceLimit && !on_device ? NeighborSearch::lists
                                                : NeighborSearch::brute_force;
}

/// Share of the true neighbours of 200 points, drawn with a fixed seed, that the list has; a
/// neighbour as near as the furthest true one counts, whatever its name.
inline double measured_recall(const Points& x, const NeighborList& list) {
  const std::vector<std::int32_t> order = drawn_points(x.n(), 200, 4);
  const std::vector<float> sample = gathered_rows(x, order);
  const index_t m = static_cast<index_t>(order.size()), k = list.k;
  std::vector<std::int32_t> index(m * k);
  std::vector<float> distance(m * k);
  brute_force(
      x, Points(sample, m, x.d()), [&](index_t s) { return index_t{order[s]}; }, k, index.data(),
      distance.data());
  index_t found = 0;
  for (index_t s = 0; s < m; ++s) {
    const float* have = list.square_distance.data() + index_t{order[s]} * k;
    const float furthest = distance[s * k + k - 1] * (1 + 1e-5f);  // sums of another order
    found += std::upper_bound(have, have + k, furthest) - have;
  }
  return static_cast<double>(found) / static_cast<double>(m * k);
}

}  // namespace detail

/// The k nearest neighbours of every point among the others.
///
/// @param x  (n, d) finite points, 1 <= d.
/// @param k  1 <= k <= n - 1.
/// @param device  where brute force measures, for k <= kDeviceNeighborsLimit; else the Cpu does.
///                Its distances may differ from the Cpu's in the last bit, and so may the order of
///                ties.
/// @param progress  told how many points have their neighbours; may be empty.
/// @return   exact in float arithmetic (of points whose distances agree to the last bits, either
///           may be named) but for NeighborSearch::lists and hnsw, whose recall is given; the same
///           for any number of threads.
/// @throws ValueError  k out of range, n >= 2^31, a zero row with Metric::cosine, or
///                     NeighborSearch::hnsw in a program built without hnswlib.
/// @throws DeviceError  there is no such device, or it has no room for the points.
inline NeighborList nearest_neighbors(const Points& x, index_t k, Metric metric = Metric::euclidean,
                                      NeighborSearch search = NeighborSearch::automatic,
                                      Device device = Device::cpu(),
                                      const SearchProgress& progress = {}) {
  require<ValueError>(x.n() < index_t{1} << 31,
                      "nearest_neighbors: want fewer than 2^31 points, got ", x.n());
  require<ValueError>(k >= 1 && k < x.n(), "nearest_neighbors: want 1 <= k <= n - 1 = ", x.n() - 1,
                      ", got ", k);
  if (metric == Metric::cosine) {
    const std::vector<float> rows = normalised_rows(x);
    return nearest_neighbors(Points(rows, x.n(), x.d()), k, Metric::euclidean, search, device,
                             progress);
  }

  NeighborList list{x.n(), k, {}, {}};
  list.index.resize(x.n() * k);
  list.square_distance.resize(x.n() * k);
  std::int32_t* index = list.index.data();
  float* distance = list.square_distance.data();
  detail::SearchCount count(progress, x.n());
  const bool there = detail::searches_on(device, k);
  switch (detail::chosen_search(search, x.n(), x.d(), there)) {
    case NeighborSearch::tree: {
      const detail::NeighborTree tree(x);
      share_out(x.n(), 64, [&](index_t begin, index_t end) {
        detail::NeighborTree::Query query(tree, k);
        for (index_t e = begin; e < end; ++e) {
          const std::int32_t i = tree.order()[e];
          query.run(x.row(i), i, index + i * k, distance + i * k);
          count.add(1);
        }
      });
      break;
    }
    case NeighborSearch::lists:
      if (!detail::list_neighbors(x, k, index, distance, count)) {
        list.recall = detail::measured_recall(x, list);
      }
      break;
    case NeighborSearch::hnsw:
      detail::hnsw_neighbors(x, k, index, distance,
                             [&](index_t i, std::int32_t* to, float* to_distance) {
                               detail::brute_force(
                                   x, Points({x.row(i), static_cast<std::size_t>(x.d())}, 1, x.d()),
                                   [&](index_t) { return i; }, k, to, to_distance);
                             },
                             count);
      list.recall = detail::measured_recall(x, list);
      break;
    default:
      on_device(there ? device : Device::cpu(), [&](auto place) {
        if constexpr (std::is_same_v<decltype(place), Gpu>) {
          detail::device_brute_force(device, x.row(0), x.n(), x.d(), k, index, distance);
          count.add(x.n());
        } else {
          detail::all_pairs(
              x, x, [](index_t i) { return i; }, k, index, distance, &count);
        }
      });
  }
  return list;
}

/// The k nearest of the points to each of other points, exactly: a list of queries.n() rows whose
/// indices name rows of x.
/// @throws ShapeError  queries of another number of columns.
/// @throws ValueError  k outside 1 ... n, or n >= 2^31.
inline NeighborList nearest_to(const Points& x, const Points& queries, index_t k) {
  require<ShapeError>(queries.d() == x.d(), "nearest_to: want queries of ", x.d(), " columns, got ",
                      queries.d());
  require<ValueError>(k >= 1 && k <= x.n() && x.n() < index_t{1} << 31,
                      "nearest_to: want 1 <= k <= n = ", x.n(), " < 2^31, got ", k);
  NeighborList list{queries.n(), k, {}, {}};
  list.index.resize(list.n * k);
  list.square_distance.resize(list.n * k);
  if (x.d() > kTreeColumns) {
    detail::all_pairs(
        x, queries, [](index_t) { return index_t{-1}; }, k, list.index.data(),
        list.square_distance.data());
    return list;
  }
  const detail::NeighborTree tree(x);
  share_out(list.n, 64, [&](index_t begin, index_t end) {
    detail::NeighborTree::Query query(tree, k);
    for (index_t i = begin; i < end; ++i) {
      query.run(queries.row(i), -1, &list.index[i * k], &list.square_distance[i * k]);
    }
  });
  return list;
}

}  // namespace mwalimu::embedding
