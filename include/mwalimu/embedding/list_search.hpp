// embedding/list_search: nearest neighbours of very many points, among lists of points close by.
//
// Each point goes to the list of its nearest centre. The neighbours of a list's points are searched
// for among the points of the lists whose centres are nearest to its own, by products of matrices.
// How many lists that takes is measured beforehand: a sample is compared with everybody, and as
// many are visited as hold 99.5 % of the sample's true neighbours. Points in a few groups need few
// lists; where no list is far enough away to be left out, all pairs are measured.
//
// Everything is a function of the points alone: the same bits for any number of threads.
//
// Source: lists by the nearest centre: Sivic and Zisserman 2003, "Video Google" (inverted files);
// Jegou, Douze and Schmid 2011, "Product quantization for nearest neighbor search". That a whole
// list shares its visits, so that products of matrices apply, and that their number follows from a
// sample, is our own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/all_pairs.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/search_progress.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding::detail {

/// The rows named, one after the other.
inline std::vector<float> gathered_rows(const Points& x, std::span<const std::int32_t> rows) {
  std::vector<float> out;
  out.reserve(rows.size() * static_cast<std::size_t>(x.d()));
  for (const std::int32_t i : rows) out.insert(out.end(), x.row(i), x.row(i) + x.d());
  return out;
}

/// So many points drawn without repetition; `step` tells draws apart.
inline std::vector<std::int32_t> drawn_points(index_t n, index_t count, std::uint64_t step) {
  const auto order = random_permutation(n, RandomStream(0, Purpose::embedding, step));
  return {order.begin(), order.begin() + std::min(n, count)};
}

/// Points in lists by their nearest centre; the centres are the means of k-means on a sample.
class PointLists {
 public:
  /// @param points_a_list  on average.
  PointLists(const Points& x, index_t points_a_list)
      : count_(std::max<index_t>(1, x.n() / points_a_list)) {
    constexpr index_t kSampleAList = 64;
    constexpr int kRounds = 8;  // of k-means: lists need be compact, not the best
    const std::vector<float> sample =
        gathered_rows(x, drawn_points(x.n(), count_ * kSampleAList, 5));
    const index_t d = x.d(), m = static_cast<index_t>(sample.size()) / d;
    centres_.assign(sample.begin(), sample.begin() + count_ * d);
    for (int round = 0; round < kRounds; ++round) {
      const std::vector<std::int32_t> nearest = assigned(Points(sample, m, d));
      std::vector<double> sum(count_ * d, 0.0);
      std::vector<index_t> members(count_, 0);
      for (index_t i = 0; i < m; ++i) {
        ++members[nearest[i]];
        for (index_t c = 0; c < d; ++c) sum[nearest[i] * d + c] += sample[i * d + c];
      }
      for (index_t e = 0; e < count_ * d; ++e) {  // a centre that lost all its points stays
        if (members[e / d] == 0) continue;
        centres_[e] = static_cast<float>(sum[e] / static_cast<double>(members[e / d]));
      }
    }
    list_ = assigned(x);
    begin_.assign(count_ + 1, 0);
    for (const std::int32_t l : list_) ++begin_[l + 1];
    for (index_t l = 0; l < count_; ++l) begin_[l + 1] += begin_[l];
    points_.resize(x.n());
    std::vector<index_t> fill(begin_.begin(), begin_.end() - 1);
    for (index_t i = 0; i < x.n(); ++i) points_[fill[list_[i]]++] = static_cast<std::int32_t>(i);
  }

  index_t count() const { return count_; }
  std::int32_t list_of(index_t point) const { return list_[point]; }
  std::span<const std::int32_t> points(index_t list) const {
    return {points_.data() + begin_[list], points_.data() + begin_[list + 1]};
  }
  /// All lists, itself first, then by the distance of their centres.
  std::vector<std::int32_t> by_distance(index_t list) const {
    const index_t d = static_cast<index_t>(centres_.size()) / count_;
    std::vector<std::pair<float, std::int32_t>> keyed(count_);
    for (index_t l = 0; l < count_; ++l) {
      const float distance =
          l == list ? -1 : row_distance(&centres_[list * d], &centres_[l * d], d);
      keyed[l] = {distance, static_cast<std::int32_t>(l)};
    }
    std::sort(keyed.begin(), keyed.end());
    std::vector<std::int32_t> lists(count_);
    for (index_t l = 0; l < count_; ++l) lists[l] = keyed[l].second;
    return lists;
  }

 private:
  /// The nearest centre of each row, in blocks, so that no second copy of all rows is made.
  std::vector<std::int32_t> assigned(const Points& rows) const {
    constexpr index_t kBlock = 1 << 16;
    const Points centres(centres_, count_, rows.d());
    std::vector<std::int32_t> nearest(rows.n());
    std::vector<float> unused(std::min(kBlock, rows.n()));
    for (index_t first = 0; first < rows.n(); first += kBlock) {
      const index_t count = std::min(kBlock, rows.n() - first);
      const auto block = rows.values().subspan(first * rows.d(), count * rows.d());
      all_pairs(
          centres, Points(block, count, rows.d()), [](index_t) { return index_t{-1}; }, 1,
          nearest.data() + first, unused.data());
    }
    return nearest;
  }

  index_t count_;
  std::vector<float> centres_;               // (lists, d)
  std::vector<std::int32_t> list_, points_;  // of each point; those of each list, ascending
  std::vector<index_t> begin_;               // of each list in points_
};

/// How many lists must be visited to find `share` of the k nearest neighbours of a sample.
inline index_t visits_needed(const Points& x, const PointLists& lists, index_t k, double share) {
  constexpr index_t kSample = 1024;  // most miss nothing, and those at the rim of a group much
  const std::vector<std::int32_t> sample = drawn_points(x.n(), kSample, 6);
  const std::vector<float> rows = gathered_rows(x, sample);
  const index_t m = static_cast<index_t>(sample.size());
  std::vector<std::int32_t> index(m * k);
  std::vector<float> distance(m * k);
  all_pairs(
      x, Points(rows, m, x.d()), [&](index_t s) { return index_t{sample[s]}; }, k, index.data(),
      distance.data());
  std::vector<index_t> found(lists.count(), 0);  // at the r-th visit
  for (index_t s = 0; s < m; ++s) {
    const std::vector<std::int32_t> visited = lists.by_distance(lists.list_of(sample[s]));
    std::vector<index_t> turn(lists.count());
    for (index_t v = 0; v < lists.count(); ++v) turn[visited[v]] = v;
    for (index_t r = 0; r < k; ++r) ++found[turn[lists.list_of(index[s * k + r])]];
  }
  index_t visits = 0, total = 0;
  while (static_cast<double>(total) < share * static_cast<double>(m * k)) total += found[visits++];
  return visits;
}

/// The k nearest of the points of the lists visited to a run of points of the first of them.
///
/// @param visited     the lists, that of the queries first.
/// @param begin, end  the queries in it.
/// @param index, square_distance  (n, k); the queries' rows are overwritten, nearest first, ties by
///                                the smaller index.
inline void search_lists(const Points& x, const PointLists& lists,
                         std::span<const std::int32_t> visited, index_t begin, index_t end,
                         index_t k, std::int32_t* index, float* square_distance) {
  std::vector<std::int32_t> near;
  for (const std::int32_t l : visited) {
    const auto more = lists.points(l);
    near.insert(near.end(), more.begin(), more.end());
  }
  const std::vector<float> rows = gathered_rows(x, near);
  const index_t n = static_cast<index_t>(near.size()), m = end - begin;
  const Points candidates(rows, n, x.d());
  const Points queries(candidates.values().subspan(begin * x.d(), m * x.d()), m, x.d());
  std::vector<std::int32_t> found(m * k);
  std::vector<float> distance(m * k);
  all_pairs(
      candidates, queries, [&](index_t q) { return begin + q; }, k, found.data(), distance.data());
  std::vector<std::pair<float, std::int32_t>> row(k);
  for (index_t q = 0; q < m; ++q) {
    for (index_t r = 0; r < k; ++r) row[r] = {distance[q * k + r], near[found[q * k + r]]};
    std::sort(row.begin(), row.end());
    const index_t at = index_t{near[begin + q]} * k;
    for (index_t r = 0; r < k; ++r) {
      square_distance[at + r] = row[r].first;
      index[at + r] = row[r].second;
    }
  }
}

/// Writes k neighbours of every point, nearest first: 99.5 % of the true ones of a sample, or all.
/// @return  whether all pairs were measured, which they are where the lists would spare less than
///          two thirds of them.
inline bool list_neighbors(const Points& x, index_t k, std::int32_t* index, float* square_distance,
                           SearchCount& count) {
  constexpr index_t kPointsAList = 512, kMostQueries = 2048;
  constexpr double kShare = 0.995;
  const index_t n = x.n();
  const PointLists lists(x, kPointsAList);
  const index_t visits = visits_needed(x, lists, k, kShare);

  struct Run {  // of points of a list, with what is visited for them
    std::vector<std::int32_t> visited;
    index_t begin, end;
  };
  std::vector<Run> runs;
  double pairs = 0;
  for (index_t l = 0; l < lists.count(); ++l) {
    const index_t own = static_cast<index_t>(lists.points(l).size());
    if (own == 0) continue;
    std::vector<std::int32_t> visited = lists.by_distance(l);
    index_t most = 0, near = 0;  // at least k others
    while (most < lists.count() && (most < visits || near <= k)) {
      near += static_cast<index_t>(lists.points(visited[most++]).size());
    }
    visited.resize(most);
    pairs += static_cast<double>(own) * static_cast<double>(near);
    for (index_t begin = 0; begin < own; begin += kMostQueries) {
      runs.push_back({visited, begin, std::min(own, begin + kMostQueries)});
    }
  }
  if (3 * pairs > static_cast<double>(n) * static_cast<double>(n)) {
    all_pairs(
        x, x, [](index_t i) { return i; }, k, index, square_distance, &count);
    return true;
  }
  count.add(0);  // what came before says nothing about the pace
  share_out(static_cast<index_t>(runs.size()), 1, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const Run& run = runs[r];
      search_lists(x, lists, run.visited, run.begin, run.end, k, index, square_distance);
      count.add(run.end - run.begin);
    }
  });
  return false;
}

}  // namespace mwalimu::embedding::detail
