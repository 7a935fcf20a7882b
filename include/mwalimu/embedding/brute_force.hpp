// embedding/brute_force: nearest neighbours by measuring all pairs, for few points, few queries or
// few columns; product_search.hpp is for many.
//
// Distances are summed directly, sum (a - b)^2, not as |a|^2 + |b|^2 - 2ab: no digits cancel, and
// D(i,j) == D(j,i) bit for bit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding::detail {

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

/// The k nearest of the points to each of the queries, nearest first.
///
/// @param self  self(q) is the point that query q must leave out, -1 for none.
/// @param index, square_distance  (queries, k), overwritten.
///
/// Cost  queries * n * d subtractions and multiply-adds, sixteen at a time.
template <class Self>
void brute_force(const Points& x, const Points& queries, Self&& self, index_t k,
                 std::int32_t* index, float* square_distance) {
  const index_t m = queries.n();
  const PackedPoints packed(x);
  constexpr index_t kTile = 32;  // queries that share a panel while it is in cache
  share_out((m + kTile - 1) / kTile, rows_a_thread(kTile * x.n() * (x.d() / 8 + 2)),
            [&](index_t begin, index_t end) {
              std::vector<SmallestK> best(kTile, SmallestK(k));
              float distance[kQueries][kPanel];
              for (index_t tile = begin; tile < end; ++tile) {
                const index_t first = tile * kTile, last = std::min(m, first + kTile);
                for (SmallestK& b : best) b.clear();
                for (index_t p = 0; p < packed.panels(); ++p) {
                  for (index_t i = first; i < last; i += kQueries) {
                    const float* query[kQueries];
                    for (index_t q = 0; q < kQueries; ++q) {
                      query[q] = queries.row(std::min(i + q, last - 1));
                    }
                    panel_distances(query, packed.panel(p), x.d(), distance);
                    for (index_t q = 0; q < kQueries && i + q < last; ++q) {
                      best[i + q - first].offer(distance[q], packed.count(p), p * kPanel,
                                                self(i + q));
                    }
                  }
                }
                for (index_t i = first; i < last; ++i) {
                  best[i - first].finish(index + i * k, square_distance + i * k);
                }
              }
            });
}

}  // namespace mwalimu::embedding::detail
