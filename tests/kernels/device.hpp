// tests/kernels/device: what every test on a device begins with.
#pragma once

#include <gtest/gtest.h>

#include <functional>

#include "mwalimu/core/place.hpp"
#if defined(MWALIMU_EMULATED)
#include "simt/host.hpp"
#endif

namespace mwalimu::test {

/// Skips the test, visibly, where there is no device.
#define MWALIMU_NEEDS_DEVICE()                                                      \
  if (::mwalimu::gpu::Driver::device_count() == 0) {                               \
    GTEST_SKIP() << "no CUDA device: " << ::mwalimu::gpu::Driver::why_no_device(); \
  }

/// Calls f once on a real device; on the emulated one under forward, reverse and `shuffled` random
/// orders of threads and blocks.
inline void under_schedules(int shuffled, const std::function<void()>& f) {
#if defined(MWALIMU_EMULATED)
  simt::for_each_schedule(shuffled, f);
#else
  (void)shuffled;
  f();
#endif
}

}  // namespace mwalimu::test
