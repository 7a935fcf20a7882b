// embedding/quality: how faithful a map is to the points it was made from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/neighbors.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {

/// How far the neighbours that the map shows are neighbours of the points, in [0, 1], 1 best:
///
///   T = 1 - 2 / (m k (2n - 3k - 1)) sum_i sum_{j in N_map(i)} max(0, rank_x(i, j) - k)
///
/// with rank 1 the nearest, the point itself left out and ties by the smaller index.
///
/// @param x     (n, d) the points; measure against the original ones, not against reduced ones.
/// @param map   (n, c).
/// @param k     neighbours looked at, 1 <= k < n / 2.
/// @param rows  how many rows i to sum over, drawn with `seed`; 0 or >= n: all.
/// @throws ShapeError  another number of points.
/// @throws ValueError  k out of range, or a value that is not finite.
///
/// Cost    m n (d + k); O(n) floats a thread.
/// Source  Venna and Kaski 2001, "Neighborhood preservation in nonlinear projection methods".
inline double trustworthiness(const Points& x, const Points& map, index_t k, index_t rows = 0,
                              std::uint64_t seed = 0) {
  const index_t n = x.n();
  require<ShapeError>(map.n() == n, "trustworthiness: want as many points as map rows, got ", n,
                      " and ", map.n());
  require<ValueError>(k >= 1 && 2 * k < n, "trustworthiness: want 1 <= k < n / 2 with n = ", n,
                      ", got ", k);
  require_usable(x, "trustworthiness: the points");
  require_usable(map, "trustworthiness: the map");

  std::vector<index_t> chosen(n);
  std::iota(chosen.begin(), chosen.end(), index_t{0});
  if (rows > 0 && rows < n) {
    chosen = random_permutation(n, RandomStream(seed, Purpose::embedding, 3));
    chosen.resize(rows);
  }
  using namespace detail;
  const PackedPoints packed_x(x), packed_map(map);
  const index_t m = static_cast<index_t>(chosen.size());
  const index_t blocks = (m + kQueries - 1) / kQueries;
  std::vector<index_t> excess(blocks, 0);  // whole numbers: the sum has no rounding
  share_out(blocks, rows_a_thread(kQueries * n * (x.d() / 8 + k)), [&](index_t begin, index_t end) {
    std::vector<float> distance(kQueries * packed_x.panels() * kPanel);
    std::vector<SmallestK> nearest(kQueries, SmallestK(k));
    std::vector<std::int32_t> index(k);
    std::vector<float> ignored(k);
    float tile[kQueries][kPanel];
    for (index_t b = begin; b < end; ++b) {
      const index_t count = std::min(kQueries, m - b * kQueries);
      index_t point[kQueries];
      const float *in_x[kQueries], *in_map[kQueries];
      for (index_t q = 0; q < kQueries; ++q) {
        point[q] = chosen[std::min(b * kQueries + q, m - 1)];
        in_x[q] = x.row(point[q]);
        in_map[q] = map.row(point[q]);
        nearest[q].clear();
      }
      const index_t stride = packed_x.panels() * kPanel;
      for (index_t p = 0; p < packed_x.panels(); ++p) {
        panel_distances(in_x, packed_x.panel(p), x.d(), tile);
        for (index_t q = 0; q < kQueries; ++q) {
          std::copy(tile[q], tile[q] + kPanel, distance.data() + q * stride + p * kPanel);
        }
        panel_distances(in_map, packed_map.panel(p), map.d(), tile);
        for (index_t q = 0; q < count; ++q) {
          nearest[q].offer(tile[q], packed_map.count(p), p * kPanel, point[q]);
        }
      }
      for (index_t q = 0; q < count; ++q) {
        nearest[q].finish(index.data(), ignored.data());
        float* d = distance.data() + q * stride;
        d[point[q]] = std::numeric_limits<float>::infinity();  // never nearer than anybody
        for (const std::int32_t j : index) {
          const float limit = d[j];
          index_t rank = 1;
          for (index_t l = 0; l < j; ++l) rank += d[l] <= limit;
          for (index_t l = j + 1; l < n; ++l) rank += d[l] < limit;
          excess[b] += std::max<index_t>(0, rank - k);
        }
      }
    }
  });
  double total = 0;
  for (const index_t e : excess) total += static_cast<double>(e);
  return 1 - 2 * total / (static_cast<double>(m * k) * static_cast<double>(2 * n - 3 * k - 1));
}

/// Leave-one-out k-nearest-neighbour label accuracy: the fraction of points whose label is the most
/// frequent among their k neighbours; of equally frequent labels the smallest counts.
///
/// @param points  (n, c), the map or the points themselves.
/// @param labels  (n).
/// @throws ShapeError  another number of labels.
/// @throws ValueError  k outside 1 ... n - 1.
inline double knn_accuracy(const Points& points, std::span<const int> labels, index_t k) {
  require<ShapeError>(static_cast<index_t>(labels.size()) == points.n(), "knn_accuracy: want ",
                      points.n(), " labels, got ", labels.size());
  const NeighborList list = nearest_neighbors(points, k);
  index_t right = 0;
  for (index_t i = 0; i < points.n(); ++i) {
    std::map<int, index_t> votes;  // ascending: max_element finds the smallest of equals
    for (index_t r = 0; r < k; ++r) ++votes[labels[list.index[i * k + r]]];
    const auto winner =
        std::max_element(votes.begin(), votes.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    right += winner->first == labels[i];
  }
  return static_cast<double>(right) / static_cast<double>(points.n());
}

}  // namespace mwalimu::embedding
