// tests/kernels/both_devices: one computation on the Cpu and on a device, compared.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "kernels/device.hpp"
#include "mwalimu/core/tensor.hpp"
#include "support/compare.hpp"
#include "support/reference.hpp"
#if defined(MWALIMU_EMULATED)
#include "emulated/stream.hpp"
#endif

namespace mwalimu::test {

/// What a computation gives: tensors, by name.
struct Result {
  std::string name;
  std::vector<double> values;
};
class Results {
 public:
  template <class T>
  void add(const char* name, const Tensor<T>& tensor) {
    all_.push_back({name, values(tensor)});
  }
  const std::vector<Result>& all() const { return all_; }

 private:
  std::vector<Result> all_;
};

/// Half a step of T at 1, the error of one rounding; for float and double also that of sums.
template <class T>
constexpr double rounding() {
  if constexpr (std::is_same_v<T, double>) return 1e-12;
  if constexpr (std::is_same_v<T, float>) return 1e-6;
  if constexpr (std::is_same_v<T, half>) return 0x1.0p-11;
  return 0x1.0p-8;
}

inline void expect_near(const Results& got, const Results& want, double tolerance) {
  ASSERT_EQ(got.all().size(), want.all().size());
  for (std::size_t i = 0; i < got.all().size(); ++i) {
    EXPECT_TRUE(near_l2(got.all()[i].values, want.all()[i].values, tolerance))
        << got.all()[i].name;
  }
}

/// The same bits; NaN equals NaN.
inline void expect_same(const Results& got, const Results& want) {
  ASSERT_EQ(got.all().size(), want.all().size());
  for (std::size_t i = 0; i < got.all().size(); ++i) {
    const auto &a = got.all()[i].values, &b = want.all()[i].values;
    ASSERT_EQ(a.size(), b.size()) << got.all()[i].name;
    for (std::size_t k = 0; k < a.size(); ++k) {
      ASSERT_TRUE(a[k] == b[k] || (std::isnan(a[k]) && std::isnan(b[k])))
          << got.all()[i].name << "[" << k << "]: " << a[k] << ", want " << b[k];
    }
  }
}

/// f(device) on a device, under several orders of threads and blocks where they can be chosen: each
/// gives the same bits.
template <class F>
Results on_device_in_any_order(F&& f, int shuffled = 1) {
  std::optional<Results> first;
  under_schedules(shuffled, [&] {
    const Results now = f(Device::cuda());
    if (first) {
      expect_same(now, *first);
    } else {
      first = now;
    }
  });
  return *first;
}

/// The same values on a device, laid out as on the host: ranges of channels stay ranges.
template <Element T>
Tensor<T> placed(const Tensor<T>& host, Device device) {
  if (device.is_cpu() || host.is_dense()) return host.to(device);
  // The whole block that the range is part of, as one row, then the same extents over it.
  const int last = host.rank() - 1;
  Shape wide = host.shape();
  wide[last] = host.strides()[last - 1];
  auto whole = Tensor<T>::empty(wide, device);
  whole.fill(convert<T>(std::numeric_limits<float>::quiet_NaN()));
  auto view = whole.slice(last, 3, 3 + host.dim(last));
  view.copy_from(host.contiguous().to(device));
  return view;
}

#if defined(MWALIMU_EMULATED)
/// Kernels, copies and fills that f() queues, if it neither waits for the device nor reads from it.
template <class F>
unsigned long long works_without_waiting(F&& f) {
  const auto before = emulated::counters();
  f();
  const auto after = emulated::counters();
  EXPECT_EQ(after.synchronizations, before.synchronizations) << "the host waited";
  EXPECT_EQ(after.device_to_host, before.device_to_host) << "the host read from the device";
  return after.works - before.works;
}

/// f() with its memory traffic recorded. False: not a build that counts it.
template <class F>
bool with_traffic(F&& f) {
  if (!simt::checks_accesses()) return false;
  const simt::ScopedOptions keep;
  simt::options().traffic = true;
  simt::reset_traffic();
  f();
  return true;
}
#endif

}  // namespace mwalimu::test
