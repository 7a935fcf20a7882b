// embedding/neighbor_list: the k nearest neighbours of each point, wherever they come from.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding {

/// k neighbours of each of n points, nearest first; ties by the smaller index, the point itself is
/// never among them.
struct NeighborList {
  index_t n = 0, k = 0;
  std::vector<std::int32_t> index;     ///< (n, k)
  std::vector<float> square_distance;  ///< (n, k), ascending in each row
  double recall = 1;                   ///< share of true neighbours, measured where it may be < 1
};

/// The k nearest neighbours by distances that the caller has measured.
///
/// @param square_distance  (n, n) squared distances, finite and >= 0; the diagonal is not looked
/// at.
/// @throws ShapeError  not n x n values.
/// @throws ValueError  k out of range, or a distance that is negative or not finite.
inline NeighborList neighbors_of_distances(std::span<const float> square_distance, index_t n,
                                           index_t k) {
  require<ShapeError>(n >= 0 && static_cast<index_t>(square_distance.size()) == n * n,
                      "neighbors_of_distances: want ", n, " x ", n, " values, got ",
                      square_distance.size());
  require<ValueError>(k >= 1 && k < n, "neighbors_of_distances: want 1 <= k <= n - 1 = ", n - 1,
                      ", got ", k);
  NeighborList list{n, k, {}, {}};
  list.index.resize(n * k);
  list.square_distance.resize(n * k);
  std::vector<std::pair<float, std::int32_t>> row;
  for (index_t i = 0; i < n; ++i) {
    row.clear();
    for (index_t j = 0; j < n; ++j) {
      const float distance = square_distance[i * n + j];
      if (j == i) continue;
      require<ValueError>(distance >= 0 && std::isfinite(distance), "neighbors_of_distances: row ",
                          i, ", column ", j, " is ", distance, "; want finite and >= 0");
      row.emplace_back(distance, static_cast<std::int32_t>(j));
    }
    std::partial_sort(row.begin(), row.begin() + k, row.end());
    for (index_t r = 0; r < k; ++r) {
      list.square_distance[i * k + r] = row[r].first;
      list.index[i * k + r] = row[r].second;
    }
  }
  return list;
}

/// Whether a list that was made elsewhere is what this library takes.
/// @throws ShapeError  its arrays are not (n, k).
/// @throws ValueError  a row that is not in ascending order, names itself or a point that is not
///                     there, or holds a distance that is negative or not finite.
inline void require_usable(const NeighborList& list, const char* what) {
  require<ShapeError>(list.n >= 1 && list.k >= 1 &&
                          static_cast<index_t>(list.index.size()) == list.n * list.k &&
                          list.square_distance.size() == list.index.size(),
                      what, ": want ", list.n, " x ", list.k, " indices and distances, got ",
                      list.index.size(), " and ", list.square_distance.size());
  for (index_t i = 0; i < list.n; ++i) {
    for (index_t r = 0; r < list.k; ++r) {
      const std::int32_t j = list.index[i * list.k + r];
      const float distance = list.square_distance[i * list.k + r];
      require<ValueError>(j >= 0 && j < list.n && j != i, what, ": neighbour ", r, " of point ", i,
                          " is ", j, "; want another of the points 0 ... ", list.n - 1);
      require<ValueError>(distance >= 0 && std::isfinite(distance) &&
                              (r == 0 || distance >= list.square_distance[i * list.k + r - 1]),
                          what, ": distance ", r, " of point ", i, " is ", distance,
                          "; want finite squared distances, ascending");
    }
  }
}

/// The first k neighbours of each row of a longer list.
/// @throws ValueError  k < 1 or k > list.k.
inline NeighborList truncated(const NeighborList& list, index_t k) {
  require<ValueError>(k >= 1 && k <= list.k, "truncated: want 1 <= k <= ", list.k, ", got ", k);
  if (k == list.k) return list;
  NeighborList out{list.n, k, {}, {}, list.recall};
  out.index.reserve(list.n * k);
  out.square_distance.reserve(list.n * k);
  for (index_t i = 0; i < list.n; ++i) {
    const auto index = list.index.begin() + i * list.k;
    const auto distance = list.square_distance.begin() + i * list.k;
    out.index.insert(out.index.end(), index, index + k);
    out.square_distance.insert(out.square_distance.end(), distance, distance + k);
  }
  return out;
}

}  // namespace mwalimu::embedding
