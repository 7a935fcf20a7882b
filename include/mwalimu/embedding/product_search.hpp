// embedding/product_search: exact nearest neighbours of many queries, by products of matrices.
//
// |q - c|^2 - |q|^2 = |c|^2 - 2 q.c ranks the points c around a query q, and a product of matrices
// gives it for a block of queries against a block of points at three to four times the speed of
// sums of squared differences. It loses digits where the points lie far from the origin compared to
// their distances. So it only sorts out: with a bound e on its error, whoever is beyond the k-th
// smallest value by more than 2 e cannot be among the k nearest, whatever was rounded. The few that
// remain are measured directly, sum (q - c)^2, and those distances decide. The result therefore has
// the same bits however the products were summed, for any number of threads.
//
// Source: the bound on a sum of products in any order, |error| <= d u |q| |c| to first order with u
// half a unit in the last place: Higham, "Accuracy and Stability of Numerical Algorithms", 3.5.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "mwalimu/core/types.hpp"
#include "mwalimu/cpu/matmul.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/search_progress.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding::detail {

inline constexpr index_t kProductQueries = 256;  // of a block
inline constexpr index_t kProductPoints = 1024;  // against so many points

/// Squared distance of two rows of d floats: sixteen running sums, added in their order. The same
/// bits with a and b exchanged.
inline float row_distance(const float* a, const float* b, index_t d) {
  Lanes sums[2] = {};
  index_t c = 0;
  for (; c + 2 * kLanes <= d; c += 2 * kLanes) {
    for (index_t h = 0; h < 2; ++h) {
      Lanes x, y;
      load(x, a + c + h * kLanes);
      load(y, b + c + h * kLanes);
      const Lanes difference = x - y;
      sums[h] += difference * difference;
    }
  }
  float rest = 0;
  for (; c < d; ++c) {
    const float difference = a[c] - b[c];
    rest += difference * difference;
  }
  float lane[kLanes];
  store(lane, sums[0] + sums[1]);
  for (index_t half = kLanes / 2; half > 0; half /= 2) {
    for (index_t l = 0; l < half; ++l) lane[l] += lane[l + half];
  }
  return lane[0] + rest;
}

/// The points whose value may be among the `rank` smallest of a stream of values with errors.
class Contenders {
 public:
  /// @param slack  twice the error's bound, >= 0; may be infinite.
  void begin(index_t rank, float slack) {
    rank_ = rank;
    slack_ = slack;
    limit_ = std::numeric_limits<float>::max();
    count_ = 0;
    most_ = 8 * rank + 512;
    prune_at_ = 2 * rank + 64;
    value_.resize(static_cast<std::size_t>(most_ + kProductPoints + kLanes));
    index_.resize(value_.size());
    crowded_ = !std::isfinite(slack);
  }
  /// Offers product[j] + norm[j] of the points first + j, j < count (a multiple of 16, at most
  /// kProductPoints); infinities are nobody.
  void offer(const float* product, const float* norm, index_t count, index_t first) {
    if (crowded_) return;
    float* value = value_.data();
    std::int32_t* index = index_.data();
    index_t kept = count_;
#ifdef __AVX512F__
    const __m512 limit = _mm512_set1_ps(limit_);
    const __m512i lanes =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (index_t j = 0; j < count; j += kLanes) {
      const __m512 v = _mm512_add_ps(_mm512_loadu_ps(product + j), _mm512_loadu_ps(norm + j));
      const __mmask16 inside = _mm512_cmp_ps_mask(v, limit, _CMP_LE_OQ);
      if (inside == 0) continue;
      const __m512i at =
          _mm512_add_epi32(lanes, _mm512_set1_epi32(static_cast<int>(first + j)));
      _mm512_storeu_ps(value + kept, _mm512_maskz_compress_ps(inside, v));
      _mm512_storeu_si512(index + kept, _mm512_maskz_compress_epi32(inside, at));
      kept += __builtin_popcount(inside);
    }
#else
    const float limit = limit_;
    for (index_t j = 0; j < count; ++j) {
      const float v = product[j] + norm[j];
      value[kept] = v;
      index[kept] = static_cast<std::int32_t>(first + j);
      kept += v <= limit;
    }
#endif
    count_ = kept;
    if (count_ >= prune_at_) prune();
  }
  /// Whether too many lie within the error of the rank-th: then every point must be measured.
  bool crowded() const { return crowded_; }
  /// Those that are left, in no order.
  std::pair<const std::int32_t*, index_t> points() {
    if (!crowded_ && count_ > rank_) prune();
    return {index_.data(), count_};
  }

 private:
  void prune() {
    if (count_ <= rank_) return;
    limit_ = std::min(upper_bound() + slack_, std::numeric_limits<float>::max());
    index_t kept = 0;
    for (index_t e = 0; e < count_; ++e) {
      value_[kept] = value_[e];
      index_[kept] = index_[e];
      kept += value_[e] <= limit_;
    }
    count_ = kept;
    prune_at_ = std::clamp(count_ + count_ / 2, prune_at_, most_);
    crowded_ = count_ >= most_;
  }
  /// A value that at least rank_ of those kept do not exceed, and not many more: by halving an
  /// interval, whose counts have no branches, a fifth of the time of a selection.
  float upper_bound() const {
    const float* value = value_.data();
    const auto n = static_cast<std::int32_t>(count_), rank = static_cast<std::int32_t>(rank_);
    float low = value[0], high = value[0];
    for (std::int32_t e = 0; e < n; ++e) {
      low = value[e] < low ? value[e] : low;
      high = value[e] > high ? value[e] : high;
    }
    constexpr int kSteps = 32;
    for (int step = 0; step < kSteps; ++step) {
      const float middle = low + (high - low) / 2;
      std::int32_t below = 0;
      for (std::int32_t e = 0; e < n; ++e) below += value[e] <= middle;
      (below >= rank ? high : low) = middle;
      if (below >= rank && below <= rank + rank / 16) break;
    }
    return high;
  }

  index_t rank_ = 1, count_ = 0, most_ = 0, prune_at_ = 0;
  float slack_ = 0, limit_ = 0;
  bool crowded_ = false;
  std::vector<float> value_;
  std::vector<std::int32_t> index_;
};

/// The points less their mean, and |c|^2 of each: short rows keep the products' errors small.
struct CentredRows {
  CentredRows(const Points& x, const std::vector<double>& mean)
      : n(x.n()), d(x.d()), rows(n * d), square(n) {
    share_out(n, rows_a_thread(4 * d), [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i) {
        double sum = 0;
        for (index_t c = 0; c < d; ++c) {
          const float v = static_cast<float>(x.row(i)[c] - mean[c]);
          rows[i * d + c] = v;
          sum += double{v} * v;
        }
        square[i] = sum;
      }
    });
  }
  index_t n, d;
  std::vector<float> rows;
  std::vector<double> square;
};

inline std::vector<double> column_means(const Points& x) {
  std::vector<double> mean(x.d(), 0.0);
  for (index_t i = 0; i < x.n(); ++i) {
    for (index_t c = 0; c < x.d(); ++c) mean[c] += x.row(i)[c];
  }
  for (double& m : mean) m /= static_cast<double>(x.n());
  return mean;
}

/// A product in this thread alone: what is shared out are the blocks.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

/// Bound on |product + norm + |q|^2 - row_distance(q, c)| / (|q| + |c|)^2: half units in the last
/// place of the product (d / 2 of them, for 2 |q| |c| <= (|q| + |c|)^2 / 2), of the rounded centred
/// rows, of |c|^2, of the sum and of row_distance() itself (d / 32 + 10), with something to spare.
inline double product_error(index_t d) {
  return (0.6 * static_cast<double>(d) + 40) * 0x1p-24;
}

/// The k nearest of the points x to each of the queries, nearest first, ties by the smaller index:
/// as brute_force(), with distances that may differ from its in the last bit.
///
/// @param self  self(q) is the point that query q must leave out, -1 for none.
/// @param index, square_distance  (queries, k), overwritten.
/// @param count  told of the queries as they are done; may be null.
///
/// Cost  queries * n * d multiply-adds, a comparison a pair, and the k nearest measured again.
template <class Self>
void product_search(const Points& x, const Points& queries, Self&& self, index_t k,
                    std::int32_t* index, float* square_distance, SearchCount* count = nullptr) {
  const index_t n = x.n(), m = queries.n(), d = x.d();
  const std::vector<double> mean = column_means(x);
  const CentredRows points(x, mean);
  const bool same = &x == &queries;
  const CentredRows others(same ? Points({}, 0, d) : queries, mean);
  const CentredRows& asked = same ? points : others;
  std::vector<float> norm(round_up(n, kProductPoints), std::numeric_limits<float>::infinity());
  double longest = 0;
  for (index_t i = 0; i < n; ++i) {
    norm[i] = static_cast<float>(points.square[i]);
    longest = std::max(longest, points.square[i]);
  }
  longest = std::sqrt(longest);

  const index_t blocks = (m + kProductQueries - 1) / kProductQueries;
  share_out(blocks, 1, [&](index_t begin, index_t end) {
    const OneThread alone;
    std::vector<float> product(kProductQueries * kProductPoints), twice(kProductQueries * d);
    std::vector<Contenders> best(kProductQueries);
    std::vector<std::pair<float, std::int32_t>> found;
    for (index_t block = begin; block < end; ++block) {
      const index_t first = block * kProductQueries, rows = std::min(kProductQueries, m - first);
      for (index_t e = 0; e < rows * d; ++e) twice[e] = -2 * asked.rows[first * d + e];
      for (index_t q = 0; q < rows; ++q) {
        const double reach = std::sqrt(asked.square[first + q]) + longest;
        // What underflows loses less than the smallest normal number a term.
        const double error =
            product_error(d) * reach * reach +
            4 * static_cast<double>(d) * std::numeric_limits<float>::min();
        best[q].begin(k + 1, static_cast<float>(2 * error));  // one more: the query itself
      }
      for (index_t c = 0; c < n; c += kProductPoints) {
        const index_t columns = std::min(kProductPoints, n - c);
        ops::matmul<float>(
            Cpu{}, View<const float, 2>(twice.data(), {rows, d}, {d, 1}),
            View<const float, 2>(points.rows.data() + c * d, {d, columns}, {1, d}), false,
            View<float, 2>(product.data(), {rows, columns}, {kProductPoints, 1}));
        for (index_t q = 0; q < rows; ++q) {
          best[q].offer(product.data() + q * kProductPoints, norm.data() + c,
                        round_up(columns, kLanes), c);
        }
      }
      for (index_t q = 0; q < rows; ++q) {
        const float* row = queries.row(first + q);
        const index_t itself = self(first + q);
        found.clear();
        const auto measure = [&](index_t i) {
          if (i != itself) {
            found.emplace_back(row_distance(row, x.row(i), d), static_cast<std::int32_t>(i));
          }
        };
        const auto [left, number] = best[q].points();
        if (best[q].crowded()) {
          for (index_t i = 0; i < n; ++i) measure(i);
        } else {
          for (index_t e = 0; e < number; ++e) measure(left[e]);
        }
        std::sort(found.begin(), found.end());
        for (index_t r = 0; r < k; ++r) {
          square_distance[(first + q) * k + r] = found[r].first;
          index[(first + q) * k + r] = found[r].second;
        }
      }
      if (count != nullptr) count->add(rows);
    }
  });
}

}  // namespace mwalimu::embedding::detail
