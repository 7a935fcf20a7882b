// bench/support: the ceilings that work on the host is held against, and the loop that times it.
//
// Other work on the machine makes a call slower, never faster. So both the ceilings and the rows are
// judged by their fastest call, and `roof` is a ratio of two such numbers from one process.
#pragma once

#include <benchmark/benchmark.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/matmul.hpp"

namespace mwalimu::bench {

/// MWALIMU_BENCH_QUICK=1: small working sets and short ceilings, to see that all runs.
inline bool quick() {
  const char* text = std::getenv("MWALIMU_BENCH_QUICK");
  return text != nullptr && *text != '\0' && *text != '0';
}

/// Bytes of the last level cache; 32 MiB where the system does not tell.
inline double last_level_cache() {
  const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? static_cast<double>(bytes) : 32.0 * (1 << 20);
}

/// Bytes that a row goes round over, so that a call does not find its operands in the cache: twice
/// the last level, at most 1 GiB.
inline double working_set() {
  if (quick()) return 32.0 * (1 << 20);
  return std::min(2 * last_level_cache(), 1024.0 * (1 << 20));
}

/// Seconds by the wall's clock, and of all threads of this process on a processor.
struct Seconds {
  double wall = 0, cpu = 0;
};

template <class F>
Seconds seconds_of(F&& f) {
  const auto on_processors = [] {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  const double cpu = on_processors();
  const auto wall = std::chrono::steady_clock::now();
  std::forward<F>(f)();
  benchmark::ClobberMemory();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - wall;
  return {took.count(), on_processors() - cpu};
}

/// The fastest of many calls, each clock by itself.
struct Best {
  Seconds seconds{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};

  void add(const Seconds& one, double calls = 1) {
    seconds.wall = std::min(seconds.wall, one.wall / calls);
    seconds.cpu = std::min(seconds.cpu, one.cpu / calls);
  }
};

/// The fastest of eight calls or more, for about half a second.
template <class F>
Seconds best_of(F&& f) {
  f();  // pages, plans
  Best best;
  double spent = 0;
  for (int calls = 0; calls < 8 || (spent < 0.5 && !quick()); ++calls) {
    const Seconds one = seconds_of(f);
    best.add(one);
    spent += one.wall;
  }
  return best.seconds;
}

/// What the machine can do in a second of each clock.
struct Rate {
  double wall = 0, cpu = 0;
};

/// Memory past the cache, copied by all threads: by the C library's memcpy, which writes so much
/// around the caches, or by a loop that writes through them, whichever takes less CPU time. Where it is
/// memcpy, an operation that writes through the caches reads its output's lines first, and at most two
/// thirds of the rate (one operand in, one out) are left to it.
class Copier {
 public:
  static Copier& instance() {
    static Copier copier;
    return copier;
  }
  /// Bytes read plus bytes written in a second: the fastest of many whole copies, either way.
  const Rate& rate() const { return rate_; }

  static constexpr index_t kPiece = index_t{32} << 20;
  /// Copies the next kPiece bytes, round and round.
  void piece() {
    next_ = next_ + 2 * kPiece <= from_.count() ? next_ + kPiece : 0;
    around_ ? copy_around(next_, kPiece) : copy_through(next_, kPiece);
  }

 private:
  Copier()
      : from_(Tensor<std::uint8_t>::full(
            {quick() ? kPiece
                     : std::max(index_t{256} << 20, static_cast<index_t>(working_set() / 2))},
            1)),
        to_(from_.clone()) {
    const index_t bytes = from_.count();
    const Seconds around = best_of([&] { copy_around(0, bytes); });
    const Seconds through = best_of([&] { copy_through(0, bytes); });
    const double moved = 2.0 * static_cast<double>(bytes);
    rate_ = {moved / std::min(around.wall, through.wall),
             moved / std::min(around.cpu, through.cpu)};
    around_ = around.cpu < through.cpu;
  }
  void copy_around(index_t first, index_t bytes) {
    parallel_for(bytes, index_t{1} << 20, [&](index_t begin, index_t end) {
      std::memcpy(to_.data() + first + begin, from_.data() + first + begin,
                  static_cast<std::size_t>(end - begin));
    });
  }
  void copy_through(index_t first, index_t bytes) {
    const std::uint8_t* s = from_.data() + first;
    std::uint8_t* t = to_.data() + first;
    parallel_for(bytes, index_t{1} << 20, [&](index_t begin, index_t end) {
#pragma omp simd
      for (index_t i = begin; i < end; ++i) t[i] = static_cast<std::uint8_t>(s[i] ^ 1);  // not memcpy
    });
  }

  Tensor<std::uint8_t> from_, to_;
  Rate rate_;
  bool around_ = false;
  index_t next_ = 0;
};

inline const Rate& copy_rate() { return Copier::instance().rate(); }

/// What share of the copy's bandwidth f() reaches, which moves `bytes`, by each clock: the median of
/// nine rounds of copying, calls of f, copying, so that what slows the machine meets both alike.
template <class F>
Seconds copy_share(double bytes, F&& f) {
  auto& copier = Copier::instance();
  const auto copy = [&] { copier.piece(); };
  const double once = seconds_of(f).wall;
  const auto calls = static_cast<index_t>(std::clamp(0.01 / std::max(once, 1e-9), 1.0, 1e5));
  const double pieces = static_cast<double>(calls) * bytes / (2.0 * Copier::kPiece);
  std::array<double, 9> wall{}, cpu{};
  for (std::size_t round = 0; round < wall.size(); ++round) {
    const Seconds before = seconds_of(copy);
    const Seconds all = seconds_of([&] {
      for (index_t i = 0; i < calls; ++i) f();
    });
    const Seconds after = seconds_of(copy);
    wall[round] = pieces * (before.wall + after.wall) / 2 / all.wall;
    cpu[round] = pieces * (before.cpu + after.cpu) / 2 / all.cpu;
  }
  std::sort(wall.begin(), wall.end());
  std::sort(cpu.begin(), cpu.end());
  return {wall[wall.size() / 2], cpu[cpu.size() / 2]};
}

inline double copy_bandwidth() { return copy_rate().wall; }

/// Side of the square matrices whose product is the arithmetic ceiling: 12 MiB of float.
inline constexpr index_t kMatrix = 1024;

/// Operations (a multiplication and an addition are two) that oneDNN's product of square matrices
/// of T does; double is given float's, which nothing here is held against.
template <Real T>
const Rate& matrix_rate() {
  static const Rate measured = [] {
    using U = std::conditional_t<std::is_same_v<T, bfloat16>, bfloat16, float>;
    const Shape square{kMatrix, kMatrix};
    const auto a = Tensor<U>::full(square, convert<U>(0.5f)), b = a.clone();
    auto c = Tensor<U>::empty(square);
    const Seconds best = best_of([&] {
      ops::matmul<U>(Cpu{}, a.template view<2>(), b.template view<2>(), false,
                     c.template view<2>());
    });
    const double flop = 2.0 * kMatrix * kMatrix * kMatrix;
    return Rate{flop / best.wall, flop / best.cpu};
  }();
  return measured;
}

/// What one call has to do, by the head of its operation.
struct Cost {
  double bytes = 0;  ///< moved
  double flop = 0;   ///< 0: not counted
};

/// Counters of a row whose fastest call took `best`:
///   bytes, flop      of one call
///   best_ms          its time
///   roof             the roofline's time for the call over the time it took: the larger of bytes at
///                    copy_rate() and flop at matrix_rate<T>(), so 1 is as fast as the machine
///   roof_cpu         the same by the processors' clock, which does not run while others hold them
/// and of a row that memory bounds, beside them (time_host):
///   copy_share       bytes of a second over those of a copy timed in turn with the row; copy_share_cpu
///                    the same by the processors' clock
template <Real T>
void count(benchmark::State& state, const Cost& cost, const Seconds& best) {
  const Rate arithmetic = cost.flop > 0 ? matrix_rate<T>() : Rate{1, 1};
  const double wall = std::max(cost.bytes / copy_rate().wall, cost.flop / arithmetic.wall);
  const double cpu = std::max(cost.bytes / copy_rate().cpu, cost.flop / arithmetic.cpu);
  if (cost.bytes > 0) state.counters["bytes"] = cost.bytes;
  if (cost.flop > 0) state.counters["flop"] = cost.flop;
  state.counters["best_ms"] = 1e3 * best.wall;
  if (wall <= 0) return;
  state.counters["roof"] = wall / best.wall;
  state.counters["roof_cpu"] = cpu / best.cpu;
}

/// Times f(), which has run once already: a row that UseManualTime(). Short calls are timed in
/// batches of a tenth of a millisecond, so that the clock does not count.
template <Real T = float, class F>
void time_host(benchmark::State& state, const Cost& cost, F&& f) {
  const double once = seconds_of(f).wall;
  const auto batch = static_cast<index_t>(std::clamp(1e-4 / std::max(once, 1e-9), 1.0, 1000.0));
  Best best;
  while (state.KeepRunningBatch(batch)) {
    const Seconds all = seconds_of([&] {
      for (index_t i = 0; i < batch; ++i) f();
    });
    best.add(all, static_cast<double>(batch));
    state.SetIterationTime(all.wall);
  }
  count<T>(state, cost, best.seconds);
  const bool memory_bound = cost.bytes / copy_rate().wall > cost.flop / matrix_rate<T>().wall;
  if (cost.bytes == 0 || !memory_bound) return;
  const Seconds share = copy_share(cost.bytes, f);
  state.counters["copy_share"] = share.wall;
  state.counters["copy_share_cpu"] = share.cpu;
}

/// How every row of the host is registered: real time by our own clock, processor time beside it.
inline benchmark::internal::Benchmark* on_host(benchmark::internal::Benchmark* row) {
  return row->UseManualTime()->MeasureProcessCPUTime()->Unit(benchmark::kMillisecond);
}

}  // namespace mwalimu::bench
