// bench/device: the time that a CUDA device takes for an operation, by the device's own clock.
//
// Calls are recorded as one graph and timed by two events around it, so that no host is in the time.
// They go round over as many copies of their memory as exceed the second-level cache twice. Before
// that a small case is held against the Cpu.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/gpu/graph.hpp"

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

/// One operation with memory of its own, on one device.
struct Work {
  std::function<void()> run;                    ///< queues it on the current stream
  std::function<std::vector<double>()> result;  ///< what it has left; waits for the device
};

/// The work that f does, which leaves its result in `outputs`.
template <class F, class... Outputs>
Work work(F f, const Outputs&... outputs) {
  auto result = [outputs...] {
    std::vector<double> values;
    const auto add = [&](const auto& tensor) {
      for (const auto value : tensor.to_vector()) {
        values.push_back(convert<double>(value));
      }
    };
    (add(outputs), ...);
    return values;
  };
  return {std::move(f), std::move(result)};
}

/// The same for f(place), a call of a backend.
template <class F, class... Outputs>
Work work_on(Device device, F f, const Outputs&... outputs) {
  return work([device, f]() mutable { on_device(device, f); }, outputs...);
}

/// A tile on the host, again and again: all elements of a tensor on `device`.
template <Element T>
Tensor<T> repeated(const Tensor<T>& tile, const Shape& shape, Device device) {
  const index_t count = shape.count();
  auto all = Tensor<T>::empty({count}, device);
  index_t done = std::min(count, tile.count());
  all.slice(0, 0, done).copy_from(tile.slice(0, 0, done));
  while (done < count) {
    const index_t more = std::min(done, count - done);
    all.slice(0, done, done + more).copy_from(all.slice(0, 0, more));
    done += more;
  }
  return all.reshape(shape);
}

/// Numbers of [-scale, scale), the same on every device; a tile of 65521 of them is repeated.
template <Real T>
Tensor<T> noise(const Shape& shape, Device device, std::uint64_t seed, float scale = 1) {
  auto tile = Tensor<T>::empty({std::min<index_t>(shape.count(), 65521)});
  RandomStream random(seed, Purpose::test);
  for (T& value : tile.span()) value = convert<T>(random.uniform(-scale, scale));
  return repeated(tile, shape, device);
}

/// A row of a bench.
struct DeviceCase {
  std::string name;              ///< OP/PASS/gpu/TYPE/SHAPE
  double bytes = 0;              ///< that a call has to move, by the Moves line of the kernel's head
  double flop = 0;               ///< 0: not counted
  double tolerance = 0;          ///< relative L2 distance of `small` between the device and the Cpu
  std::function<Work(Device)> make, small;
};

namespace detail {

/// The relative L2 distance of the small case's results; NaN counts as infinite.
inline double distance_from_cpu(const DeviceCase& chosen) {
  Work on_cpu = chosen.small(Device::cpu()), on_gpu = chosen.small(Device::cuda());
  on_cpu.run();
  on_gpu.run();
  const auto want = on_cpu.result(), got = on_gpu.result();
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += (got.at(i) - want[i]) * (got[i] - want[i]);
    size += want[i] * want[i];
  }
  const double distance = std::sqrt(difference / size);
  return std::isfinite(distance) ? distance : std::numeric_limits<double>::infinity();
}

inline void time_case(benchmark::State& state, const DeviceCase& chosen) {
  const auto& info = gpu::Driver::info(0);
  const gpu::StreamScope on_stream(device_stream());
  std::vector<Work> sets;
  const auto cache = 2.0 * static_cast<double>(info.l2_cache);
  const auto wanted = info.emulated ? 2.0 : std::ceil(cache / std::max(chosen.bytes, 1.0));
  for (int i = 0; i < static_cast<int>(std::clamp(wanted, 1.0, 64.0)); ++i) {
    sets.push_back((info.emulated ? chosen.small : chosen.make)(Device::cuda()));
  }
  // The first time libraries choose their algorithms, so it is the second that tells how long it takes.
  gpu::Graph graph(device_stream());
  const auto all_once = [&] {
    for (Work& set : sets) set.run();
  };
  graph.run(all_once);
  const double seconds = device_seconds([&] { graph.run(all_once); });
  // A millisecond, so that the clock's half microsecond does not count.
  const int rounds = info.emulated ? 1 : static_cast<int>(std::clamp(1e-3 / seconds, 1.0, 32.0));
  graph.record([&] {
    for (int i = 0; i < rounds; ++i) all_once();
  });
  graph.launch();

  const auto calls = static_cast<index_t>(sets.size()) * rounds;
  while (state.KeepRunningBatch(calls)) {
    state.SetIterationTime(device_seconds([&] { graph.launch(); }));
  }
  const auto iterations = static_cast<double>(state.iterations());
  const auto rate = [&](double each) {
    return benchmark::Counter(each * iterations, benchmark::Counter::kIsRate);
  };
  state.counters["bytes"] = chosen.bytes;
  state.counters["roof"] = rate(chosen.bytes / device_copy_bandwidth());
  if (chosen.flop > 0) state.counters["flop"] = rate(chosen.flop);
  state.counters["sets"] = static_cast<double>(sets.size());
  if (info.emulated) state.SetLabel("emulated device, small case: not a time");
}

}  // namespace detail

/// Registers the case, with counters `bytes`; `roof`, the fraction of device_copy_bandwidth() at which
/// they were moved; `flop` a second; and `sets`, the copies of its memory (64 of them do not pass the
/// cache where a call moves little: `roof` may then be above 1).
/// Its row is an error, which says why, where there is no device or the result is wrong.
inline void register_case(DeviceCase one) {
  auto checked = std::make_shared<bool>(false);
  const std::string name = one.name;
  const auto run = [one = std::move(one), checked](benchmark::State& state) {
    if (const std::string why = why_no_device(); !why.empty()) {
      return state.SkipWithError(why.c_str());
    }
    if constexpr (kCuda) {
      try {
        if (!*checked) {
          const gpu::StreamScope on_stream(device_stream());
          const double distance = detail::distance_from_cpu(one);
          if (distance > one.tolerance) {
            return state.SkipWithError(("wrong result: off the Cpu's by " +
                                        std::to_string(distance) + ", relative").c_str());
          }
          *checked = true;
        }
        detail::time_case(state, one);
      } catch (const Error& error) {
        state.SkipWithError(error.what());
      }
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

/// A type's part of a name.
template <Real T>
constexpr const char* short_name() {
  if constexpr (std::is_same_v<T, float>) return "f32";
  if constexpr (std::is_same_v<T, double>) return "f64";
  if constexpr (std::is_same_v<T, half>) return "f16";
  if constexpr (std::is_same_v<T, bfloat16>) return "bf16";
}

/// What two right answers may differ by: sums in another order, and one rounding to T, which may
/// fall to either side.
template <Real T>
constexpr double tolerance() {
  if constexpr (sizeof(T) == 2) return std::is_same_v<T, half> ? 1e-3 : 8e-3;
  return sizeof(T) == 4 ? 1e-5 : 1e-12;
}

}  // namespace mwalimu::bench
