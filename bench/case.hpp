// bench/case: a row for one operation of a backend, on the host and on a CUDA device.
//
// One description serves both: what to move and to compute, and how to make the work on a device.
// Before a row is timed, a small case is held against a reference: on the host its own computation in
// double, on a CUDA device the host's. Calls go round over as many copies of their memory as pass the
// caches, so that a call does not find its operands there.
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

#include "device.hpp"
#include "mwalimu/core/allocator.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "support.hpp"

namespace mwalimu::bench {

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

/// Numbers of [-scale, scale], the same on every device and in every type: each is one that bfloat16
/// and half hold, so that results differ by arithmetic alone. A tile of 65521 of them is repeated.
template <Real T>
Tensor<T> noise(const Shape& shape, Device device, std::uint64_t seed, float scale = 1) {
  auto tile = Tensor<T>::empty({std::min<index_t>(shape.count(), 65521)});
  RandomStream random(seed, Purpose::test);
  for (T& value : tile.span()) {
    // 8 bits: multiples of scale / 128, where scale has few bits itself; rounded where it has not.
    const float step = std::round(random.uniform(-128.0f, 128.0f));
    value = convert<T>(convert<bfloat16>(step * scale / 128.0f));
  }
  return repeated(tile, shape, device);
}

/// A row of a bench.
struct Case {
  std::string op, type, shape;   ///< named OP/PASS, as short_name(), and "N:3/px:5"
  Cost cost;                     ///< of a call, by the Moves line of the operation's head
  double tolerance = 0;          ///< relative L2 distance between the small case and its reference
  std::function<Work(Device)> make, small;
  std::function<Work()> reference;  ///< `small` on the host in double; null: no row for the host
  bool device = true;            ///< whether there is a row for a CUDA device
};

namespace detail {

/// The relative L2 distance between two works' results; NaN counts as infinite.
inline double distance(Work got, Work want) {
  got.run();
  want.run();
  const auto left = got.result(), right = want.result();
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    difference += (left.at(i) - right[i]) * (left[i] - right[i]);
    size += right[i] * right[i];
  }
  const double relative = std::sqrt(difference / size);
  return std::isfinite(relative) ? relative : std::numeric_limits<double>::infinity();
}

/// Skips the row unless the results agree.
inline bool is_right(benchmark::State& state, Work got, Work want, double tolerance) {
  const double off = distance(std::move(got), std::move(want));
  if (off <= tolerance) return true;
  state.SkipWithError(("wrong result: off its reference by " + std::to_string(off) +
                       ", relative, with " + std::to_string(tolerance) + " allowed").c_str());
  return false;
}

template <Real T>
void time_case_on_host(benchmark::State& state, const Case& one) {
  if (!is_right(state, one.small(Device::cpu()), one.reference(), one.tolerance)) return;
  auto& pool = CachingAllocator::instance();
  const auto before = static_cast<double>(pool.statistics().in_use);
  std::vector<Work> sets;
  double each = 0;
  do {
    sets.push_back(one.make(Device::cpu()));
    sets.back().run();  // pages, plans
    each = (static_cast<double>(pool.statistics().in_use) - before) /
           static_cast<double>(sets.size());
  } while (sets.size() < 64 && static_cast<double>(sets.size()) * each < working_set());
  std::size_t next = 0;
  time_host<T>(state, one.cost, [&] {
    sets[next].run();
    next = (next + 1) % sets.size();
  });
  state.counters["sets"] = static_cast<double>(sets.size());
  sets.clear();
  pool.release_cached();  // the next row's tensors have other sizes
}

inline void time_case_on_device(benchmark::State& state, const Case& one) {
  const auto& info = gpu::Driver::info(0);
  const gpu::StreamScope on_stream(device_stream());
  if (!is_right(state, one.small(Device::cuda()), one.small(Device::cpu()), one.tolerance)) return;
  std::vector<Work> sets;
  const auto cache = 2.0 * static_cast<double>(info.l2_cache);
  const auto wanted = info.emulated ? 2.0 : std::ceil(cache / std::max(one.cost.bytes, 1.0));
  for (int i = 0; i < static_cast<int>(std::clamp(wanted, 1.0, 64.0)); ++i) {
    sets.push_back((info.emulated ? one.small : one.make)(Device::cuda()));
  }
  time_on_device(state, one.cost, static_cast<index_t>(sets.size()), [&] {
    for (Work& set : sets) set.run();
  });
}

}  // namespace detail

/// Registers the rows OP/PASS/cpu/TYPE/SHAPE and OP/PASS/gpu/TYPE/SHAPE, with the counters of
/// count() and `sets`, the copies of the case's memory (64 of them do not pass the cache where a call
/// moves little: `roof` may then be above 1). A row is an error, which says why, where there is no
/// such device or the result is wrong.
template <Real T>
void register_case(Case described) {
  const auto one = std::make_shared<const Case>(std::move(described));
  const auto name = [&](const char* place) {
    return one->op + "/" + place + "/" + one->type + "/" + one->shape;
  };
  const auto guarded = [](benchmark::State& state, auto&& f) {
    try {
      f();
    } catch (const Error& error) {
      state.SkipWithError(error.what());
    }
  };
  if (one->reference) {
    on_host(benchmark::RegisterBenchmark(name("cpu").c_str(), [=](benchmark::State& state) {
      guarded(state, [&] { detail::time_case_on_host<T>(state, *one); });
    }));
  }
  if (!one->device) return;
  benchmark::RegisterBenchmark(name("gpu").c_str(), [=](benchmark::State& state) {
    if (const std::string why = why_no_device(); !why.empty()) {
      return state.SkipWithError(why.c_str());
    }
    if constexpr (kCuda) {
      guarded(state, [&] { detail::time_case_on_device(state, *one); });
    }
  })
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

/// Fills in what follows from a type: `pass(R{}, device, small)` makes the work in the type R.
template <Real T, class Make, class Small>
Case case_of(std::string op, std::string shape, Cost cost, double allowed, Make make, Small small) {
  return {.op = std::move(op),
          .type = short_name<T>(),
          .shape = std::move(shape),
          .cost = cost,
          .tolerance = allowed,
          .make = [=](Device d) { return make(T{}, d); },
          .small = [=](Device d) { return small(T{}, d); },
          .reference = [=] { return small(double{}, Device::cpu()); }};
}

}  // namespace mwalimu::bench
