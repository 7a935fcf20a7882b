// core/place: where a tensor lies (Device, a value) and where an operation runs (a place, a type).
//
// A backend is an overload on a place with otherwise equal arguments, `op(Cpu, ...)` and
// `op(Gpu, ...)`; the operation chooses one by on_device.
#pragma once

#include <ostream>

#include "mwalimu/core/check.hpp"

namespace mwalimu {

/// Where a tensor's elements lie.
struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  static constexpr Device cpu() { return {Kind::cpu, 0}; }
  static constexpr Device cuda(int index = 0) { return {Kind::cuda, index}; }
  constexpr bool operator==(const Device&) const = default;
  friend std::ostream& operator<<(std::ostream& out, Device device) {
    if (device.kind == Kind::cpu) return out << "cpu";
    return out << "cuda:" << device.index;
  }
};

/// The place of host code. An operation on it has finished when the call returns.
struct Cpu {};

/// Calls f(place) with the place that serves `device`.
/// @throws DeviceError  this build has no backend for the device.
template <class F>
decltype(auto) on_device(Device device, F&& f) {
  require<DeviceError>(device.kind == Device::Kind::cpu, "no backend for device ", device,
                       " in this build; use the cpu");
  return f(Cpu{});
}

}  // namespace mwalimu
