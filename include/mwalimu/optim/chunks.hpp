// optim/chunks: how passes over the arena are cut, so that sums and results do not depend on the
// number of threads.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/optim/segment.hpp"

namespace mwalimu::optim {

/// Elements a chunk: 64 KiB an array, so that the four or five arrays of an optimiser's chunk stay
/// in a core's L2 cache between the loops that a rule runs over it.
inline constexpr index_t kChunk = 16384;

/// A run of consecutive elements of one segment. The work unit of a thread.
struct Chunk {
  index_t begin = 0;  ///< in the arena
  index_t count = 0;
  int segment = 0;
};

/// The segments cut into chunks of kChunk elements (the last of each may be shorter), in the order
/// of the arena, and grouped into waves: runs of whole segments that rules with two passes (norms
/// first, then the update) finish before they go on, so that the second pass finds its data in
/// cache.
class ChunkPlan {
 public:
  /// Elements a wave: a segment larger than this is a wave of its own.
  static constexpr index_t kWave = index_t{1} << 19;

  struct Wave {
    int first_segment = 0, last_segment = 0;  ///< half open
    std::size_t first_chunk = 0, last_chunk = 0;
  };

  explicit ChunkPlan(std::span<const Segment> segments) {
    index_t filled = 0;
    for (int s = 0; s < static_cast<int>(segments.size()); ++s) {
      const Segment& segment = segments[static_cast<std::size_t>(s)];
      if (waves_.empty() || filled + segment.count > kWave) {
        waves_.push_back({s, s, chunks_.size(), chunks_.size()});
        filled = 0;
      }
      filled += segment.count;
      for (index_t at = 0; at < segment.count; at += kChunk) {
        chunks_.push_back({segment.offset + at, std::min(kChunk, segment.count - at), s});
      }
      waves_.back().last_segment = s + 1;
      waves_.back().last_chunk = chunks_.size();
    }
  }

  std::span<const Chunk> chunks() const { return chunks_; }
  std::span<const Wave> waves() const { return waves_; }

  /// Calls f(chunk, index) for the chunks [first, last), spread over the threads by elements (not
  /// by chunks: those of biases are short). f must write to its own chunk, or to slot `index`,
  /// only.
  template <class F>
  void for_each(std::size_t first, std::size_t last, F&& f) const {
    if (first == last) return;
    const index_t base = chunks_[first].begin;
    const index_t total = chunks_[last - 1].begin + chunks_[last - 1].count - base;
    const auto chunk_at = [&](index_t offset) {
      const auto at =
          std::lower_bound(chunks_.begin() + static_cast<std::ptrdiff_t>(first),
                           chunks_.begin() + static_cast<std::ptrdiff_t>(last), base + offset,
                           [](const Chunk& chunk, index_t begin) { return chunk.begin < begin; });
      return static_cast<std::size_t>(at - chunks_.begin());
    };
    parallel_for(total, kChunk, [&](index_t begin, index_t end) {
      const std::size_t stop = end == total ? last : chunk_at(end);
      for (std::size_t i = chunk_at(begin); i < stop; ++i) f(chunks_[i], i);
    });
  }
  template <class F>
  void for_each(F&& f) const {
    for_each(0, chunks_.size(), f);
  }

 private:
  std::vector<Chunk> chunks_;
  std::vector<Wave> waves_;
};

}  // namespace mwalimu::optim
