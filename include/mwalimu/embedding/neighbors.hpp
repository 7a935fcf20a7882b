// embedding/neighbors: exact k nearest neighbours by blocked brute force.
//
// Distances are summed directly, sum (a - b)^2, not as |a|^2 + |b|^2 - 2ab: no digits cancel,
// D(i,j) == D(j,i) bit for bit, and a subtraction and a fused multiply-add go to different ports,
// so the direct form costs little more than a matrix product would.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {

enum class Metric {
  euclidean,  ///< squared Euclidean distance
  cosine,     ///< the same between rows scaled to length 1: 2 - 2 cos
};

/// k neighbours of each of n points, nearest first; ties by the smaller index, the point itself is
/// never among them.
struct NeighborList {
  index_t n = 0, k = 0;
  std::vector<std::int32_t> index;     ///< (n, k)
  std::vector<float> square_distance;  ///< (n, k), ascending in each row
};

namespace detail {

inline constexpr index_t kPanel = 2 * kLanes;  // candidates that one inner step measures
inline constexpr index_t kQueries = 4;         // against this many queries

/// A copy of the points in panels of kPanel, coordinate by coordinate, so that an inner step loads
/// whole vectors; the last panel is filled up with zeros.
class PackedPoints {
 public:
  explicit PackedPoints(const Points& x)
      : n_(x.n()), d_(x.d()), values_(round_up(x.n(), kPanel) * x.d(), 0.0f) {
    share_out(panels(), rows_a_thread(kPanel * d_), [&](index_t begin, index_t end) {
      for (index_t p = begin; p < end; ++p) {
        float* to = values_.data() + p * kPanel * d_;
        const index_t count = std::min(kPanel, n_ - p * kPanel);
        for (index_t lane = 0; lane < count; ++lane) {
          const float* from = x.row(p * kPanel + lane);
          for (index_t c = 0; c < d_; ++c) to[c * kPanel + lane] = from[c];
        }
      }
    });
  }
  index_t panels() const { return round_up(n_, kPanel) / kPanel; }
  index_t count(index_t panel) const { return std::min(kPanel, n_ - panel * kPanel); }
  const float* panel(index_t p) const { return values_.data() + p * kPanel * d_; }

 private:
  index_t n_, d_;
  std::vector<float> values_;
};

/// out[q][lane] <- squared distance of query q to the panel's point `lane`.
/// Coordinates are summed in runs of 64 and the runs added up: at d = 2048 the rounding error stays
/// that of a sum of 64 + 32 terms.
inline void panel_distances(const float* const (&query)[kQueries], const float* panel, index_t d,
                            float (&out)[kQueries][kPanel]) {
  constexpr index_t kRun = 64;
  Lanes total[kQueries][2] = {};
  for (index_t begin = 0; begin < d; begin += kRun) {
    const index_t end = std::min(d, begin + kRun);
    Lanes run[kQueries][2] = {};
    for (index_t c = begin; c < end; ++c) {
      Lanes a, b;
      load(a, panel + c * kPanel);
      load(b, panel + c * kPanel + kLanes);
      for (index_t q = 0; q < kQueries; ++q) {
        const float x = query[q][c];
        const Lanes da = a - x, db = b - x;
        run[q][0] += da * da;
        run[q][1] += db * db;
      }
    }
    for (index_t q = 0; q < kQueries; ++q) {
      total[q][0] += run[q][0];
      total[q][1] += run[q][1];
    }
  }
  for (index_t q = 0; q < kQueries; ++q) {
    store(out[q], total[q][0]);
    store(out[q] + kLanes, total[q][1]);
  }
}

/// The k smallest of a stream of (distance, index) that arrives in ascending order of index.
class SmallestK {
 public:
  explicit SmallestK(index_t k) : k_(k) { kept_.reserve(4 * k + kPanel); }

  void clear() {
    kept_.clear();
    threshold_ = std::numeric_limits<float>::infinity();
    pruned_ = false;
  }
  /// Offers `count` distances of the points first, first + 1, ..., but not of `self`.
  void offer(const float* distance, index_t count, index_t first, index_t self) {
    if (pruned_) {
      bool any = false;
      for (index_t lane = 0; lane < kPanel; ++lane) any |= distance[lane] < threshold_;
      if (!any) return;
    }
    for (index_t lane = 0; lane < count; ++lane) {
      // A later index loses a tie, hence "<" once k are kept.
      if ((!pruned_ || distance[lane] < threshold_) && first + lane != self) {
        kept_.emplace_back(distance[lane], static_cast<std::int32_t>(first + lane));
      }
    }
    if (static_cast<index_t>(kept_.size()) > 4 * k_) prune();
  }
  void finish(std::int32_t* index, float* distance) {
    std::sort(kept_.begin(), kept_.end());
    for (index_t r = 0; r < k_; ++r) {
      distance[r] = kept_[r].first;
      index[r] = kept_[r].second;
    }
  }

 private:
  void prune() {
    std::nth_element(kept_.begin(), kept_.begin() + (k_ - 1), kept_.end());
    kept_.resize(k_);
    threshold_ = kept_[k_ - 1].first;
    pruned_ = true;
  }

  index_t k_;
  std::vector<std::pair<float, std::int32_t>> kept_;
  float threshold_ = std::numeric_limits<float>::infinity();
  bool pruned_ = false;
};

}  // namespace detail

/// The k nearest neighbours of every point among the others.
///
/// @param x  (n, d) finite points, 1 <= d.
/// @param k  1 <= k <= n - 1.
/// @return   exact in float arithmetic, the same bits for any number of threads.
/// @throws ValueError  k out of range, n >= 2^31, or a zero row with Metric::cosine.
///
/// Cost      n^2 d subtractions and multiply-adds, sixteen at a time; n d + O(k) floats of memory.
inline NeighborList nearest_neighbors(const Points& x, index_t k,
                                      Metric metric = Metric::euclidean) {
  require<ValueError>(x.n() < index_t{1} << 31,
                      "nearest_neighbors: want fewer than 2^31 points, got ", x.n());
  require<ValueError>(k >= 1 && k < x.n(), "nearest_neighbors: want 1 <= k <= n - 1 = ", x.n() - 1,
                      ", got ", k);
  if (metric == Metric::cosine) {
    const std::vector<float> rows = normalised_rows(x);
    return nearest_neighbors(Points(rows, x.n(), x.d()), k);
  }

  using namespace detail;
  NeighborList list{x.n(), k, {}, {}};
  list.index.resize(x.n() * k);
  list.square_distance.resize(x.n() * k);
  const PackedPoints packed(x);

  constexpr index_t kTile = 32;  // queries that share a panel while it is in cache
  const index_t tiles = (x.n() + kTile - 1) / kTile;
  share_out(tiles, rows_a_thread(kTile * x.n() * (x.d() / 8 + 2)), [&](index_t begin, index_t end) {
    std::vector<SmallestK> best(kTile, SmallestK(k));
    float distance[kQueries][kPanel];
    for (index_t tile = begin; tile < end; ++tile) {
      const index_t first = tile * kTile, last = std::min(x.n(), first + kTile);
      for (SmallestK& b : best) b.clear();
      for (index_t p = 0; p < packed.panels(); ++p) {
        for (index_t i = first; i < last; i += kQueries) {
          const float* query[kQueries];
          for (index_t q = 0; q < kQueries; ++q) query[q] = x.row(std::min(i + q, last - 1));
          panel_distances(query, packed.panel(p), x.d(), distance);
          for (index_t q = 0; q < kQueries && i + q < last; ++q) {
            best[i + q - first].offer(distance[q], packed.count(p), p * kPanel, i + q);
          }
        }
      }
      for (index_t i = first; i < last; ++i) {
        best[i - first].finish(&list.index[i * k], &list.square_distance[i * k]);
      }
    }
  });
  return list;
}

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
  NeighborList out{list.n, k, {}, {}};
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
