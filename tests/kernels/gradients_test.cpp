// The norm of all gradients on a device, and what it decides.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/captured.hpp"
#include "kernels/device.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/optim/gradient_control.hpp"
#if defined(MWALIMU_EMULATED)
#include "emulated/stream.hpp"
#endif

namespace mwalimu::optim {
namespace {

using test::under_schedules;

Tensor<float> noise(index_t n) {
  RandomStream random(1, Purpose::test);
  auto x = Tensor<float>::empty({n});
  for (float& value : x.span()) value = 100 * random.normal();
  return x;
}

TEST(DeviceGradients, NormMatchesFp64ForEveryLengthAndAlignment) {
  MWALIMU_NEEDS_DEVICE();
  for (const index_t n : {index_t{1}, index_t{3}, index_t{257}, kSumChunk - 1, kSumChunk,
                          kSumChunk + 1, 3 * kSumChunk + 5}) {
    const auto host = noise(n + 1);
    const auto device = host.to(Device::cuda());
    for (const index_t first : {0, 1}) {
      double want = 0;
      for (index_t i = first; i < first + n; ++i) {
        want += static_cast<double>(host.data()[i]) * host.data()[i];
      }
      want = std::sqrt(want);
      double got = 0;
      under_schedules(1, [&] {
        GradientControl control(Device::cuda());
        control.measure(device.slice(0, first, first + n));
        const double norm = control.read().norm;
        if (got != 0) {
          EXPECT_EQ(norm, got) << "another order of threads";
        }
        got = norm;
      });
      // The reference adds one by one: n roundings of 1.1e-16.
      EXPECT_NEAR(got, want, 3e-12 * want) << n << " from " << first;
    }
  }
}

TEST(DeviceGradients, NoGradientsAreOfNormZero) {
  MWALIMU_NEEDS_DEVICE();
  GradientControl control(Device::cuda(), {.max_norm = 1});
  control.measure(Tensor<float>::empty({0}, Device::cuda()));
  EXPECT_EQ(control.read().norm, 0);
  EXPECT_EQ(control.read().factor, 1);
}

TEST(DeviceGradients, FindsWhatIsNotFiniteWhereverItIs) {
  MWALIMU_NEEDS_DEVICE();
  const index_t n = kSumChunk + 7;
  for (const float bad : {std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), std::nanf("")}) {
    for (const index_t at : {index_t{0}, index_t{255}, kSumChunk - 1, n - 1}) {
      auto host = noise(n);
      host.data()[at] = bad;
      GradientControl control(Device::cuda());
      control.measure(host.to(Device::cuda()));
      EXPECT_EQ(control.read().take, 0) << at;
    }
  }
  GradientControl control(Device::cuda());
  control.measure(Tensor<float>::full({n}, std::numeric_limits<float>::max(), Device::cuda()));
  EXPECT_EQ(control.read().take, 1) << "large gradients are numbers";
  control.measure(Tensor<float>::full({n}, std::numeric_limits<float>::denorm_min(),
                                      Device::cuda()));
  EXPECT_GT(control.read().norm, 0) << "small ones, too";
}

TEST(DeviceGradients, ClipsAsClipCoefficientSays) {
  MWALIMU_NEEDS_DEVICE();
  GradientControl control(Device::cuda(), {.gradient_scale = 0.5, .max_norm = 2});
  for (const float g : {0.0f, 1.0f, 3.9f, 4.1f, 1e20f}) {
    control.measure(Tensor<float>::full({1}, g, Device::cuda()));
    const auto state = control.read();
    EXPECT_DOUBLE_EQ(state.norm, 0.5 * static_cast<double>(g));
    EXPECT_DOUBLE_EQ(state.factor, 0.5 * clip_coefficient(state.norm, 2));
  }
}

TEST(DeviceGradients, AGraphScalesTheLossAsGradScalerDoes) {
  MWALIMU_NEEDS_DEVICE();
  const GradScalerOptions options{.initial = 64, .growth_interval = 3};
  GradScaler scaler(options);
  GradientControl control(Device::cuda(), {.scale_loss = true, .scaler = options});
  auto gradients = Tensor<float>::zeros({300}, Device::cuda());
  // What the trainer multiplies its loss by stays at its address.
  const auto loss_scale = control.loss_scale();
  test::Captured graph;
  graph.run([&] { control.measure(gradients); });
  scaler.update(true);
  graph.record([&] { control.measure(gradients); });
  RandomStream random(1, Purpose::test);
  for (int step = 0; step < 60; ++step) {
    const bool finite = random.uniform() < 0.8f;
    const gpu::StreamScope on_stream(graph.stream());
    gradients.fill(finite ? 1.0f : std::numeric_limits<float>::infinity());
    graph.launch();
    EXPECT_EQ(control.read().take != 0, scaler.update(finite));
    EXPECT_EQ(loss_scale.item(), static_cast<float>(scaler.scale()));
    EXPECT_EQ(control.read().good_steps, static_cast<double>(scaler.state().good_steps));
  }
}

TEST(DeviceGradients, SaysWhenNoScaleHelpsAndKeepsTheSmallest) {
  MWALIMU_NEEDS_DEVICE();
  GradientControl control(Device::cuda(), {.scale_loss = true, .scaler = {.initial = 0x1p-125}});
  const auto bad = Tensor<float>::full({1}, INFINITY, Device::cuda());
  control.measure(bad);
  EXPECT_EQ(control.read().scale, 0x1p-126);
  control.measure(bad);
  EXPECT_THROW((void)control.read(), ValueError);
  EXPECT_EQ(control.loss_scale().item(), 0x1p-126f);
}

TEST(DeviceGradients, NobodyWaitsForAMeasurement) {
  MWALIMU_NEEDS_DEVICE();
#if defined(MWALIMU_EMULATED)
  GradientControl control(Device::cuda());
  const auto gradients = noise(100).to(Device::cuda());
  const auto before = emulated::counters();
  control.measure(gradients);
  EXPECT_EQ(emulated::counters().synchronizations, before.synchronizations);
  EXPECT_EQ(emulated::counters().device_to_host, before.device_to_host);
  EXPECT_EQ(emulated::counters().works, before.works + 2) << "two launches";
#else
  GTEST_SKIP() << "only the emulated device counts";
#endif
}

TEST(DeviceGradients, RefusesGradientsOfAnotherDevice) {
  MWALIMU_NEEDS_DEVICE();
  GradientControl control(Device::cuda());
  EXPECT_THROW(control.measure(noise(3)), DeviceError);
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceGradients, ReadsEveryGradientOnceInPacks) {
  if (!simt::checks_accesses()) GTEST_SKIP() << "no traffic but in the check flavour";
  const index_t n = 2 * kSumChunk;
  GradientControl control(Device::cuda());
  const auto gradients = noise(n).to(Device::cuda());
  const simt::ScopedOptions keep;
  simt::options().traffic = true;
  simt::reset_traffic();
  control.measure(gradients);
  const simt::LaunchTraffic& squares = simt::traffic_of("gradient_squares");
  EXPECT_TRUE(squares.coalesced() && squares.each_byte_once() &&
              squares.without_bank_conflicts())
      << simt::describe(squares);
  EXPECT_EQ(squares.of(gradients.data(), static_cast<std::size_t>(n) * 4).read_bytes,
            static_cast<std::uint64_t>(n) * 4);
  for (const simt::LineTraffic& line : squares.lines) {
    if (!line.shared && !line.write) {
      EXPECT_EQ(line.bytes_per_lane(), 16) << simt::describe(squares);
    }
  }
  const std::uint64_t chunks = 2, state = sizeof(GradientControlState);
  EXPECT_EQ(squares.write_bytes, 8 * chunks);
  const auto& control_traffic = simt::traffic_of("gradient_control");
  EXPECT_TRUE(control_traffic.coalesced() && control_traffic.without_bank_conflicts())
      << simt::describe(control_traffic);
  EXPECT_GE(control_traffic.distinct_read, 8 * chunks);
  EXPECT_LE(control_traffic.distinct_read, 8 * chunks + state);
  EXPECT_LE(control_traffic.distinct_written, 5 * 8 + 4u);  // the loss scale, without adapting it
}
#endif

}  // namespace
}  // namespace mwalimu::optim
