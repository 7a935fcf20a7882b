// bench/device: the time that a CUDA device takes for an operation, by the device's own clock.
//
// Calls are recorded as one graph and timed by two events around it, so that no host is in the time.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "mwalimu/core/tensor.hpp"
#include "mwalimu/gpu/graph.hpp"
#include "support.hpp"

namespace mwalimu::bench {

/// Why nothing can be timed on a device here; empty where it can.
inline std::string why_no_device() {
  if constexpr (kCuda) {
    if (gpu::Driver::device_count() > 0) return {};
    return "no CUDA device: " + gpu::Driver::why_no_device();
  } else {
    return "built without CUDA; build with the preset `cuda`";
  }
}

/// The stream that benches work on. Never destroyed: at exit the driver may be gone.
inline const gpu::Stream& device_stream() {
  static const gpu::Stream& stream = *new gpu::Stream(0);
  return stream;
}

/// Seconds from the first to the last of the work that f queues on device_stream().
template <class F>
double device_seconds(F&& f) {
  gpu::Event begin(0, gpu::Event::Kind::timed), end(0, gpu::Event::Kind::timed);
  begin.record(device_stream().handle());
  std::forward<F>(f)();
  end.record(device_stream().handle());
  end.synchronize();
  return end.milliseconds_since(begin) * 1e-3;
}

/// Bytes read plus bytes written a second when the driver copies 1 GiB within device 0 (less where
/// the device is small): the best of eight copies, measured once a process.
inline double device_copy_bandwidth() {
  static const double measured = [] {
    const auto& info = gpu::Driver::info(0);
    const auto gibibyte = index_t{1} << 30, share = static_cast<index_t>(info.memory / 8);
    const index_t bytes = info.emulated ? index_t{1} << 24 : std::min(gibibyte, share);
    const gpu::StreamScope on_stream(device_stream());
    const auto from = Tensor<std::uint8_t>::full({bytes}, 1, Device::cuda());
    auto to = from.clone();
    double best = std::numeric_limits<double>::infinity();
    for (int repeat = 0; repeat < 8; ++repeat) {
      best = std::min(best, device_seconds([&] {
        gpu::Driver::copy(to.data(), from.data(), static_cast<std::size_t>(bytes),
                          gpu::CopyKind::device_to_device, device_stream().handle());
      }));
    }
    return 2.0 * static_cast<double>(bytes) / best;
  }();
  return measured;
}

namespace detail {

/// Times all_once(), which queues `calls` calls on device_stream(). Counters: bytes and flop of one
/// call, `sets`, and `roof`, the fraction of device_copy_bandwidth() at which the bytes moved.
template <class F>
void time_on_device(benchmark::State& state, const Cost& cost, index_t calls, F&& all_once) {
  const bool emulated = gpu::Driver::info(0).emulated;
  // The first time libraries choose their algorithms, so it is the second that tells how long it takes.
  gpu::Graph graph(device_stream());
  graph.run(all_once);
  const double seconds = device_seconds([&] { graph.run(all_once); });
  // A millisecond, so that the clock's half microsecond does not count.
  const int rounds = emulated ? 1 : static_cast<int>(std::clamp(1e-3 / seconds, 1.0, 32.0));
  graph.record([&] {
    for (int i = 0; i < rounds; ++i) all_once();
  });
  graph.launch();

  while (state.KeepRunningBatch(calls * rounds)) {
    state.SetIterationTime(device_seconds([&] { graph.launch(); }));
  }
  const auto iterations = static_cast<double>(state.iterations());
  if (cost.bytes > 0) state.counters["bytes"] = cost.bytes;
  if (cost.flop > 0) state.counters["flop"] = cost.flop;
  state.counters["roof"] = benchmark::Counter(cost.bytes / device_copy_bandwidth() * iterations,
                                              benchmark::Counter::kIsRate);
  state.counters["sets"] = static_cast<double>(calls);
  if (emulated) state.SetLabel("emulated device, small case: not a time");
}

}  // namespace detail
}  // namespace mwalimu::bench
