// core/place: where a tensor lies (Device, a value) and where an operation runs (a place, a type).
//
// A backend is an overload on a place with otherwise equal arguments, `op(Cpu, ...)` and
// `op(Gpu, ...)`; the operation chooses one by on_device.
#pragma once

#include <ostream>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/config.hpp"
#include "mwalimu/gpu/stream.hpp"

namespace mwalimu {

/// Where a tensor's elements lie.
struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  static constexpr Device cpu() { return {Kind::cpu, 0}; }
  static constexpr Device cuda(int index = 0) { return {Kind::cuda, index}; }
  constexpr bool is_cpu() const { return kind == Kind::cpu; }
  constexpr bool operator==(const Device&) const = default;
  friend std::ostream& operator<<(std::ostream& out, Device device) {
    if (device.kind == Kind::cpu) return out << "cpu";
    return out << "cuda:" << device.index;
  }
};

/// The place of host code. An operation on it has finished when the call returns.
struct Cpu {};

/// A stream of a CUDA device. An operation on it is queued when the call returns; operations on one
/// stream run in order.
struct Gpu {
  int device = 0;
  gpu::StreamHandle stream = nullptr;
};

/// The place of a CUDA device: the calling thread's current stream (gpu::StreamScope chooses
/// another).
/// @throws DeviceError  there is no such device.
inline Gpu gpu_place(Device device) { return {device.index, gpu::current_stream(device.index)}; }

/// Calls f(place) with the place that serves `device`.
/// @throws DeviceError  this build has no backend for the device.
template <class F>
decltype(auto) on_device(Device device, F&& f) {
  if constexpr (kCuda) {
    if (device.kind == Device::Kind::cuda) return f(gpu_place(device));
  }
  require<DeviceError>(device.kind == Device::Kind::cpu, "no backend for device ", device,
                       " in this build; use the cpu, or build with the preset `cuda`");
  return f(Cpu{});
}

/// Whether this build has CUDA and this machine a device for it.
inline bool cuda_available() {
  if constexpr (kCuda) return gpu::Driver::device_count() > 0;
  return false;
}

/// Waits until everything queued for the device by this thread has run. At once for the cpu.
inline void synchronize(Device device) {
  if constexpr (kCuda) {
    if (device.kind == Device::Kind::cuda) gpu::Driver::synchronize(gpu_place(device).stream);
  }
}

}  // namespace mwalimu
