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
/// of the arena.
class ChunkPlan {
 public:
  explicit ChunkPlan(std::span<const Segment> segments) {
    for (int s = 0; s < static_cast<int>(segments.size()); ++s) {
      const Segment& segment = segments[static_cast<std::size_t>(s)];
      for (index_t at = 0; at < segment.count; at += kChunk) {
        chunks_.push_back({segment.offset + at, std::min(kChunk, segment.count - at), s});
      }
    }
  }

  std::span<const Chunk> chunks() const { return chunks_; }

  /// Calls f(chunk, index) for every chunk, spread over the threads by elements (not by chunks:
  /// those of biases are short). f must write to its own chunk, or to slot `index`, only.
  template <class F>
  void for_each(F&& f) const {
    if (chunks_.empty()) return;
    const index_t base = chunks_.front().begin;
    const index_t total = chunks_.back().begin + chunks_.back().count - base;
    const auto chunk_at = [&](index_t offset) {
      const auto at =
          std::lower_bound(chunks_.begin(), chunks_.end(), base + offset,
                           [](const Chunk& chunk, index_t begin) { return chunk.begin < begin; });
      return static_cast<std::size_t>(at - chunks_.begin());
    };
    parallel_for(total, kChunk, [&](index_t begin, index_t end) {
      for (std::size_t i = chunk_at(begin), stop = chunk_at(end); i < stop; ++i) f(chunks_[i], i);
    });
  }

 private:
  std::vector<Chunk> chunks_;
};

}  // namespace mwalimu::optim
