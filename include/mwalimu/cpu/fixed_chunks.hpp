// cpu/fixed_chunks: loops whose split does not depend on the number of threads. A sum that is taken
// chunk by chunk, and then over the chunks in order, has the same bits on any number of threads.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::ops::detail {

/// Elements that are worth a thread: below this the fork costs more than it saves.
inline constexpr index_t kGrain = 16384;

/// Chunks of `size` items that cover n items.
constexpr index_t chunk_count(index_t n, index_t size) { return (n + size - 1) / size; }

/// Calls body(chunk, begin, end) for each chunk of `size` consecutive items of [0, n); the last may
/// be shorter. Chunks run on several threads where there is work for them.
/// @param cost  elements that one item touches.
template <class Body>
void for_each_chunk(index_t n, index_t size, index_t cost, Body&& body) {
  const index_t grain = std::max<index_t>(1, kGrain / std::max<index_t>(1, size * cost));
  parallel_for(chunk_count(n, size), grain, [&](index_t first, index_t last) {
    for (index_t chunk = first; chunk < last; ++chunk) {
      body(chunk, chunk * size, std::min(n, (chunk + 1) * size));
    }
  });
}

/// parallel_for over rows of `width` elements each.
template <class Body>
void for_each_row_range(index_t rows, index_t width, Body&& body) {
  parallel_for(rows, std::max<index_t>(1, kGrain / std::max<index_t>(1, width)),
               std::forward<Body>(body));
}

/// Calls f with std::true_type or std::false_type: a run-time choice between two compiled loops.
template <class F>
decltype(auto) with_flag(bool flag, F&& f) {
  return flag ? f(std::true_type{}) : f(std::false_type{});
}

}  // namespace mwalimu::ops::detail
