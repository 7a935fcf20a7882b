// core/strided: two tensors of one shape and any strides, visited in runs.
//
// What costs is memory, so the order of the loops follows the strides: the tensor that is written
// is walked in the order of its memory, dimensions that lie behind one another in both count as
// one, and where the two disagree on the densest dimension (a transposition) both are walked in
// small tiles that stay in the first-level cache.
#pragma once

#include <algorithm>
#include <array>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/shape.hpp"

namespace mwalimu::detail {

/// Nested loops, the outermost first, over elements at `to` and `from` strides.
struct PairLoops {
  struct Loop {
    index_t extent, to, from;
  };
  int count = 0;
  std::array<Loop, Shape::kMaxRank> loops{};
};

/// Loops over all elements of a shape without zero extents.
inline PairLoops pair_loops(const Shape& shape, const Shape& to, const Shape& from) {
  PairLoops sorted;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] != 1) {
      sorted.loops[static_cast<std::size_t>(sorted.count++)] = {shape[i], to[i], from[i]};
    }
  }
  const auto begin = sorted.loops.begin();
  std::stable_sort(begin, begin + sorted.count,
                   [](const auto& a, const auto& b) { return a.to > b.to; });
  PairLoops merged;
  for (int i = 0; i < sorted.count; ++i) {
    const PairLoops::Loop& inner = sorted.loops[static_cast<std::size_t>(i)];
    if (merged.count > 0) {
      PairLoops::Loop& outer = merged.loops[static_cast<std::size_t>(merged.count - 1)];
      if (outer.to == inner.to * inner.extent && outer.from == inner.from * inner.extent) {
        outer = {outer.extent * inner.extent, inner.to, inner.from};
        continue;
      }
    }
    merged.loops[static_cast<std::size_t>(merged.count++)] = inner;
  }
  if (merged.count == 0) merged.loops[static_cast<std::size_t>(merged.count++)] = {1, 1, 1};
  return merged;
}

/// Calls run(to, from, n, to_step, from_step) until every element has been visited once: offsets of
/// the first of n elements, and the distance from each to the next. Runs are spread over threads,
/// which share no element; what run does to an element must not depend on others.
template <class Run>
void for_each_run(const Shape& shape, const Shape& to, const Shape& from, Run&& run) {
  constexpr index_t kTile = 16, kGrain = 16384;
  PairLoops all = pair_loops(shape, to, from);
  const auto last = all.loops.begin() + all.count - 1;
  const auto densest = std::min_element(
      all.loops.begin(), last + 1, [](const auto& a, const auto& b) { return a.from < b.from; });
  const PairLoops::Loop inner = *last;
  // A tile: `across` runs of `along` elements; without a transposition one run, as long as can be.
  PairLoops::Loop beside{1, 0, 0};
  index_t across = 1, along = std::min(kGrain, inner.extent);
  if (densest != last) {
    beside = *densest;
    across = std::min(kTile, beside.extent);
    along = std::min(4 * kTile, inner.extent);
    densest->extent = (beside.extent + across - 1) / across;
    densest->to *= across;
    densest->from *= across;
  }
  last->extent = (inner.extent + along - 1) / along;
  last->to *= along;
  last->from *= along;

  index_t tiles = 1;
  for (int i = 0; i < all.count; ++i) tiles *= all.loops[static_cast<std::size_t>(i)].extent;
  const index_t grain = std::max<index_t>(1, kGrain / (across * along));
  parallel_for(tiles, grain, [&](index_t begin, index_t end) {
    std::array<index_t, Shape::kMaxRank> at{};
    index_t rest = begin, to_offset = 0, from_offset = 0;
    for (int i = all.count - 1; i >= 0; --i) {
      const PairLoops::Loop& loop = all.loops[static_cast<std::size_t>(i)];
      at[static_cast<std::size_t>(i)] = rest % loop.extent;
      to_offset += rest % loop.extent * loop.to;
      from_offset += rest % loop.extent * loop.from;
      rest /= loop.extent;
    }
    const auto along_at = static_cast<std::size_t>(all.count - 1);
    const auto across_at = static_cast<std::size_t>(densest - all.loops.begin());
    for (index_t tile = begin; tile < end; ++tile) {
      const index_t n = std::min(along, inner.extent - at[along_at] * along);
      const index_t runs =
          across == 1 ? 1 : std::min(across, beside.extent - at[across_at] * across);
      for (index_t r = 0; r < runs; ++r) {
        run(to_offset + r * beside.to, from_offset + r * beside.from, n, inner.to, inner.from);
      }
      for (int i = all.count - 1; i >= 0; --i) {  // the next tile, as a counter of many digits
        const PairLoops::Loop& loop = all.loops[static_cast<std::size_t>(i)];
        to_offset += loop.to;
        from_offset += loop.from;
        if (++at[static_cast<std::size_t>(i)] < loop.extent) break;
        at[static_cast<std::size_t>(i)] = 0;
        to_offset -= loop.extent * loop.to;
        from_offset -= loop.extent * loop.from;
      }
    }
  });
}

}  // namespace mwalimu::detail
