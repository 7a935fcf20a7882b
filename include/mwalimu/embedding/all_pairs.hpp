// embedding/all_pairs: exact nearest neighbours by measuring every pair, by products or directly.
#pragma once

#include <cstdint>
#include <utility>

#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/brute_force.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/product_search.hpp"
#include "mwalimu/embedding/search_progress.hpp"

namespace mwalimu::embedding {

/// Columns up to which a tree beats measuring all pairs.
inline constexpr index_t kTreeColumns = 10;

namespace detail {

/// Whether products of matrices find the k nearest of n points to m queries sooner than direct
/// sums: they do from 1,000 points on (1.6 to 2.6 times, bench/NOTES.md), unless many are kept.
inline bool by_products(index_t n, index_t m, index_t d, index_t k) {
  return n >= 1000 && m >= kProductQueries && d > kTreeColumns && 8 * k <= n;
}

/// The k nearest of the points to each of the queries by all pairs, as brute_force().
/// @param count  told of the queries as they are done; may be null.
template <class Self>
void all_pairs(const Points& x, const Points& queries, Self&& self, index_t k, std::int32_t* index,
               float* square_distance, SearchCount* count = nullptr) {
  if (by_products(x.n(), queries.n(), x.d(), k)) {
    product_search(x, queries, self, k, index, square_distance, count);
  } else {
    brute_force(x, queries, self, k, index, square_distance);
    if (count != nullptr) count->add(queries.n());
  }
}

}  // namespace detail
}  // namespace mwalimu::embedding
