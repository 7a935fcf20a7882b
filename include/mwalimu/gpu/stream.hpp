// gpu/stream: streams and events that free themselves, and the stream that operations use.
#pragma once

#include <array>
#include <mutex>
#include <utility>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/config.hpp"
#include "mwalimu/gpu/driver.hpp"

namespace mwalimu::gpu {

/// Devices that one program may use.
inline constexpr int kMaxDevices = 64;

/// @throws DeviceError  there is no such device; where there is none at all, why.
inline void require_device(int device) {
  const int count = Driver::device_count();
  if (device >= 0 && device < count) [[likely]] return;
  require<DeviceError>(count == 0, "no device cuda:", device, "; this machine has ", count);
  mwalimu::detail::fail<DeviceError>("no CUDA device: ", Driver::why_no_device(), "; use the cpu");
}

/// An order of work on one device. Never CUDA's default stream, which waits for all others.
class Stream {
 public:
  /// @throws DeviceError  there is no such device.
  explicit Stream(int device) : device_(device) {
    require_device(device);
    handle_ = Driver::create_stream(device);
  }
  ~Stream() { Driver::destroy_stream(handle_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int device() const { return device_; }
  StreamHandle handle() const { return handle_; }
  void synchronize() const { Driver::synchronize(handle_); }

 private:
  int device_;
  StreamHandle handle_ = nullptr;
};

/// A point in a stream's work.
class Event {
 public:
  enum class Kind { order, timed };
  /// @throws DeviceError  there is no such device.
  explicit Event(int device, Kind kind = Kind::order) {
    require_device(device);
    handle_ = Driver::create_event(device, kind == Kind::timed);
  }
  ~Event() {
    if constexpr (kCuda) {  // else nobody has made one, and nothing is there to link
      if (handle_ != nullptr) Driver::destroy_event(handle_);
    }
  }
  Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  void record(StreamHandle stream) { Driver::record(handle_, stream); }
  /// Work queued on `stream` from now on waits for this event; the host does not.
  void block(StreamHandle stream) const { Driver::wait(stream, handle_); }
  void synchronize() const { Driver::synchronize_event(handle_); }
  bool has_happened() const { return Driver::has_happened(handle_); }
  /// Time since an earlier event; both are timed and have happened.
  double milliseconds_since(const Event& begin) const {
    return Driver::milliseconds(begin.handle_, handle_);
  }

 private:
  EventHandle handle_ = nullptr;
};

namespace detail {

inline StreamHandle& chosen_stream(int device) {
  thread_local std::array<StreamHandle, kMaxDevices> chosen{};
  return chosen[static_cast<std::size_t>(device)];
}

// One a device and process, made at first use. Never destroyed: tensors of static duration may
// outlive it, and at exit the driver may be gone.
inline StreamHandle process_stream(int device) {
  static std::mutex mutex;
  static std::array<StreamHandle, kMaxDevices> streams{};
  const std::lock_guard lock(mutex);
  StreamHandle& stream = streams[static_cast<std::size_t>(device)];
  if (stream == nullptr) {
    require_device(device);
    stream = Driver::create_stream(device);
  }
  return stream;
}

}  // namespace detail

/// The stream that this thread's operations on the device are queued on: that of the innermost
/// StreamScope, else one that the whole process shares.
/// @throws DeviceError  there is no such device.
inline StreamHandle current_stream(int device) {
  require<DeviceError>(device >= 0 && device < kMaxDevices, "no device cuda:", device);
  const StreamHandle chosen = detail::chosen_stream(device);
  return chosen != nullptr ? chosen : detail::process_stream(device);
}

/// While it lives, this thread's operations on the stream's device are queued on it.
///
/// Memory freed by a tensor may be handed out again at once, which is right for work on the stream
/// it was used on. Who hands a tensor to another stream orders the two by an Event, both ways.
class StreamScope {
 public:
  explicit StreamScope(const Stream& stream)
      : device_(stream.device()),
        before_(std::exchange(detail::chosen_stream(device_), stream.handle())) {}
  ~StreamScope() { detail::chosen_stream(device_) = before_; }
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  int device_;
  StreamHandle before_;
};

}  // namespace mwalimu::gpu
