// core/scalar: a number that an operation takes from the host, or finds on the device when it runs.
#pragma once

#include "mwalimu/core/config.hpp"

namespace mwalimu {

/// A host number, or the address of one on the device. A captured graph keeps host numbers as they
/// were; a number on the device may change between replays (learning rate, temperature, a switch).
struct Scalar {
  double value = 0;                ///< used where `device` is null; the host's copy otherwise
  const double* device = nullptr;  ///< device memory that outlives every launch that was given it

  constexpr Scalar() = default;
  constexpr Scalar(double number) : value(number) {}  // NOLINT: a number is a Scalar
  static constexpr Scalar at(const double* address, double host_copy) {
    Scalar scalar(host_copy);
    scalar.device = address;
    return scalar;
  }
  /// In a kernel: the number at this moment.
  constexpr double load() const { return device != nullptr ? *device : value; }
};

}  // namespace mwalimu
