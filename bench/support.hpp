// bench/support: the roofline that memory-bound work is held against, and its counters.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::bench {

/// Bytes read plus bytes written a second when all threads copy 256 MiB: the best of eight copies,
/// measured once a process, on the machine as it is now. memcpy of this size writes past the
/// caches; work that stays in a large last-level cache can be faster than this roof.
inline double copy_bandwidth() {
  static const double measured = [] {
    constexpr index_t kBytes = index_t{256} << 20;
    auto from = Tensor<std::uint8_t>::full({kBytes}, 1), to = from.clone();
    const std::uint8_t* source = from.data();
    std::uint8_t* target = to.data();
    double best = std::numeric_limits<double>::infinity();
    for (int repeat = 0; repeat < 8; ++repeat) {
      const auto start = std::chrono::steady_clock::now();
      parallel_for(kBytes, index_t{1} << 20, [&](index_t begin, index_t end) {
        std::memcpy(target + begin, source + begin, static_cast<std::size_t>(end - begin));
      });
      benchmark::ClobberMemory();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::min(best, seconds.count());
    }
    return 2.0 * kBytes / best;
  }();
  return measured;
}

/// Counters of a memory-bound operation: `bytes` it has to move an iteration, by the Moves line of
/// its header, and `roof`, the fraction of the copy bandwidth at which it moved them.
/// The benchmark must be one that UseRealTime() or UseManualTime().
inline void count_bytes(benchmark::State& state, double bytes) {
  state.counters["bytes"] = bytes;
  state.counters["roof"] =
      benchmark::Counter(bytes * static_cast<double>(state.iterations()) / copy_bandwidth(),
                         benchmark::Counter::kIsRate);
}

}  // namespace mwalimu::bench
