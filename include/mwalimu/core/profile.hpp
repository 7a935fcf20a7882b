// core/profile: named stretches of a run, for NVIDIA's profilers (NVTX) and for our own record of
// them, which report/profile_report turns into a trace and a table.
//
// A scope that nobody records costs one load of an atomic. On a Gpu each recorded scope is bracketed
// by two events on its stream, so its time is the device's own, not that of queueing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/place.hpp"

namespace mwalimu {

/// One recorded stretch. Times are microseconds since Profiler::start.
struct ProfileRecord {
  enum class Kind { layer, operation, kernel };
  std::string name;
  Kind kind = Kind::operation;
  int depth = 0;               ///< scopes of this thread around it
  int thread = 0;              ///< threads in the order of their first scope
  double begin = 0, end = 0;   ///< on the host
  bool on_gpu = false;
  double gpu_begin = 0, gpu_end = 0;  ///< on the device, where on_gpu
};

/// What the scopes of all threads have recorded.
class Profiler {
 public:
  static Profiler& instance() {
    static auto* profiler = new Profiler;
    return *profiler;
  }
  static bool active() { return flag().load(std::memory_order_relaxed); }

  /// Forgets what was recorded and begins anew.
  /// @param device  whose stream's clock the kernels' times are on.
  void start(Device device = Device::cpu()) {
    const std::lock_guard lock(mutex_);
    records_.clear();
    pending_.clear();
    origin_.reset();
    if constexpr (kCuda) {
      if (!device.is_cpu()) {
        origin_ = std::make_unique<gpu::Event>(device.index, gpu::Event::Kind::timed);
        origin_->record(gpu_place(device).stream);
        origin_->synchronize();
      }
    }
    started_ = Clock::now();
    flag().store(true, std::memory_order_relaxed);
  }
  /// Ends the recording; waits for the device's events.
  void stop() {
    flag().store(false, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    if constexpr (kCuda) {
      for (Pending& p : pending_) {
        if (origin_ == nullptr) continue;
        p.end.synchronize();
        ProfileRecord& record = records_[p.record];
        record.on_gpu = true;
        record.gpu_begin = 1000 * p.begin.milliseconds_since(*origin_);
        record.gpu_end = 1000 * p.end.milliseconds_since(*origin_);
      }
    }
    pending_.clear();
  }
  /// In the order in which the scopes ended. To be called after stop().
  const std::vector<ProfileRecord>& records() const { return records_; }

 private:
  friend class ProfileScope;
  using Clock = std::chrono::steady_clock;
  struct Pending {
    std::size_t record;
    gpu::Event begin, end;
  };

  static std::atomic<bool>& flag() {
    static std::atomic<bool> on{false};
    return on;
  }
  static int& depth() {
    thread_local int scopes = 0;
    return scopes;
  }
  static int thread_number() {
    static std::atomic<int> next{0};
    thread_local const int number = next++;
    return number;
  }
  double now() const {
    return std::chrono::duration<double, std::micro>(Clock::now() - started_).count();
  }
  std::size_t add(ProfileRecord record) {
    const std::lock_guard lock(mutex_);
    records_.push_back(std::move(record));
    return records_.size() - 1;
  }
  void add(ProfileRecord record, gpu::Event begin, gpu::Event end) {
    const std::size_t index = add(std::move(record));
    const std::lock_guard lock(mutex_);
    pending_.push_back({index, std::move(begin), std::move(end)});
  }

  std::mutex mutex_;
  std::vector<ProfileRecord> records_;
  std::vector<Pending> pending_;
  std::unique_ptr<gpu::Event> origin_;
  Clock::time_point started_{};
};

namespace detail {
// The innermost layer of this thread, which nodes of the graph remember for their backward pass.
inline const char*& current_layer() {
  thread_local const char* layer = nullptr;
  return layer;
}
// Whether this thread is in a backward pass: its operations are recorded under names of their own.
inline bool& in_backward() {
  thread_local bool backward = false;
  return backward;
}
}  // namespace detail

/// A named stretch of work while it lives; scopes nest. `name` is a literal, or outlives the scope.
class ProfileScope {
 public:
  ProfileScope(const char* name, Cpu, ProfileRecord::Kind kind = ProfileRecord::Kind::operation) {
    if (Profiler::active()) begin(name, kind);
  }
  ProfileScope(const char* name, Gpu on,
               ProfileRecord::Kind kind = ProfileRecord::Kind::operation) {
    if constexpr (kCuda) {
      gpu::Driver::push_range(name);
      ranged_ = true;
      // A captured event has no time of its own.
      if (Profiler::active() && !gpu::Driver::capturing(on.stream)) {
        begin(name, kind);
        stream_ = on.stream;
        events_ = std::make_unique<std::pair<gpu::Event, gpu::Event>>(
            gpu::Event(on.device, gpu::Event::Kind::timed),
            gpu::Event(on.device, gpu::Event::Kind::timed));
        events_->first.record(on.stream);
      }
    }
  }
  ~ProfileScope() {
    if constexpr (kCuda) {
      if (ranged_) gpu::Driver::pop_range();
    }
    if (!recording_) return;
    --Profiler::depth();
    record_.end = Profiler::instance().now();
    if constexpr (kCuda) {
      if (events_ != nullptr) {
        events_->second.record(stream_);
        Profiler::instance().add(std::move(record_), std::move(events_->first),
                                 std::move(events_->second));
        return;
      }
    }
    Profiler::instance().add(std::move(record_));
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  void begin(const char* name, ProfileRecord::Kind kind) {
    recording_ = true;
    record_.name = name;
    if (kind != ProfileRecord::Kind::kernel && detail::in_backward()) record_.name += " backward";
    record_.kind = kind;
    record_.depth = Profiler::depth()++;
    record_.thread = Profiler::thread_number();
    record_.begin = Profiler::instance().now();
  }

  bool recording_ = false, ranged_ = false;
  ProfileRecord record_;
  gpu::StreamHandle stream_ = nullptr;
  std::unique_ptr<std::pair<gpu::Event, gpu::Event>> events_;
};

/// A part of a network: operations inside belong to it, and so do their backward passes.
class LayerScope {
 public:
  /// @param name  a literal, or a string that outlives the graph recorded inside; null: no layer.
  LayerScope(const char* name, Device device)
      : before_(std::exchange(detail::current_layer(), name)) {
    if (name == nullptr) return;
    if constexpr (kCuda) {
      if (!device.is_cpu()) {
        scope_ = std::make_unique<ProfileScope>(name, gpu_place(device),
                                                ProfileRecord::Kind::layer);
        return;
      }
    }
    if (Profiler::active()) {
      scope_ = std::make_unique<ProfileScope>(name, Cpu{}, ProfileRecord::Kind::layer);
    }
  }
  ~LayerScope() { detail::current_layer() = before_; }
  LayerScope(const LayerScope&) = delete;
  LayerScope& operator=(const LayerScope&) = delete;

 private:
  const char* before_;
  std::unique_ptr<ProfileScope> scope_;
};

/// Operations inside are those of a backward pass.
class BackwardScope {
 public:
  BackwardScope() : before_(std::exchange(detail::in_backward(), true)) {}
  ~BackwardScope() { detail::in_backward() = before_; }
  BackwardScope(const BackwardScope&) = delete;
  BackwardScope& operator=(const BackwardScope&) = delete;

 private:
  bool before_;
};

/// on_device under a name: what an operation calls for its forward and its backward half.
template <class F>
decltype(auto) on_device(const char* operation, Device device, F&& f) {
  return on_device(device, [&](auto place) -> decltype(auto) {
    const ProfileScope scope(operation, place);
    return f(place);
  });
}

}  // namespace mwalimu
