// embedding/map_order: points numbered along a curve through their map.
//
// Attraction reads the places of a point's neighbours, and the grid the nodes around it. Numbered
// as they came, the neighbours in a map of a million points lie anywhere in eight megabytes, and
// most reads miss the caches. Numbered along a curve that fills the plane, what is close in the map
// is close in memory.
//
// Source: the curve: Morton 1966, "A computer oriented geodetic data base and a new technique in
// file sequencing".
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/affinities.hpp"
#include "mwalimu/embedding/coordinates.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding::detail {

/// The points along a Morton curve through their map: order[r] is the r-th of them. Points of the
/// same cell stay in their order.
inline std::vector<std::int32_t> map_order(const Coordinates& y) {
  const int dimensions = y.dimensions(), bits = dimensions < 3 ? 16 : 10;  // an axis, 32 at most
  const float cells = static_cast<float>((1 << bits) - 1);
  std::vector<std::pair<std::uint32_t, std::int32_t>> keyed(y.n());
  for (index_t i = 0; i < y.n(); ++i) keyed[i] = {0, static_cast<std::int32_t>(i)};
  for (int c = 0; c < dimensions; ++c) {
    const auto [low, high] = std::minmax_element(y.axis(c), y.axis(c) + y.n());
    const float scale = *high > *low ? cells / (*high - *low) : 0;
    for (index_t i = 0; i < y.n(); ++i) {
      const auto cell = static_cast<std::uint32_t>(std::min((y.axis(c)[i] - *low) * scale, cells));
      for (int b = 0; b < bits; ++b) {  // bit b of axis c is bit b * dimensions + c of the key
        keyed[i].first |= (cell >> b & 1) << (b * dimensions + c);
      }
    }
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<std::int32_t> order(y.n());
  for (index_t r = 0; r < y.n(); ++r) order[r] = keyed[r].second;
  return order;
}

/// Whether each of the points 0 ... n - 1 is there once.
inline bool is_order(const std::vector<std::int32_t>& order, index_t n) {
  std::vector<bool> seen(n, false);
  for (const std::int32_t i : order) {
    if (i < 0 || i >= n || seen[i]) return false;
    seen[i] = true;
  }
  return static_cast<index_t>(order.size()) == n;
}

/// Row r <- row order[r].
inline Coordinates gathered(const Coordinates& y, const std::vector<std::int32_t>& order) {
  Coordinates out(y.n(), y.dimensions());
  for (int c = 0; c < y.dimensions(); ++c) {
    for (index_t r = 0; r < y.n(); ++r) out.axis(c)[r] = y.axis(c)[order[r]];
  }
  return out;
}

/// Row order[r] <- row r, and to row-major (n, dimensions).
inline std::vector<float> scattered_rows(const Coordinates& y,
                                         const std::vector<std::int32_t>& order) {
  std::vector<float> out(y.n() * y.dimensions());
  for (int c = 0; c < y.dimensions(); ++c) {
    for (index_t r = 0; r < y.n(); ++r) out[order[r] * y.dimensions() + c] = y.axis(c)[r];
  }
  return out;
}

/// The same probabilities between points of new numbers: r was order[r]. Columns are ascending.
/// Without beta, which no iteration reads.
inline Affinities renumbered(const Affinities& p, const std::vector<std::int32_t>& order) {
  const index_t n = p.n;
  std::vector<std::int32_t> number(n);  // the way back: old to new
  for (index_t r = 0; r < n; ++r) number[order[r]] = static_cast<std::int32_t>(r);
  Affinities out;
  out.n = n;
  out.perplexity = p.perplexity;
  out.row_begin.assign(n + 1, 0);
  for (index_t r = 0; r < n; ++r) {
    out.row_begin[r + 1] = out.row_begin[r] + p.row_begin[order[r] + 1] - p.row_begin[order[r]];
  }
  out.column.resize(p.column.size());
  out.value.resize(p.value.size());
  share_out(n, rows_a_thread(16 * (p.row_begin[n] / n + 1)), [&](index_t begin, index_t end) {
    std::vector<std::pair<std::int32_t, float>> row;
    for (index_t r = begin; r < end; ++r) {
      row.clear();
      for (index_t e = p.row_begin[order[r]]; e < p.row_begin[order[r] + 1]; ++e) {
        row.emplace_back(number[p.column[e]], p.value[e]);
      }
      std::sort(row.begin(), row.end());
      index_t at = out.row_begin[r];
      for (const auto& [column, value] : row) {
        out.column[at] = column;
        out.value[at++] = value;
      }
    }
  });
  return out;
}

}  // namespace mwalimu::embedding::detail
