// The moving average of weights on a device.
#include "mwalimu/optim/weight_average.hpp"

#include <gtest/gtest.h>

#include "kernels/both_devices.hpp"

namespace mwalimu::optim {
namespace {

TEST(DeviceWeightAverage, IsTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  // Below a pack, whole packs, and a rest behind them; the second tensor begins off a pack.
  for (const index_t n : {1, 3, 4, 31, 1024, 1027}) {
    SCOPED_TRACE(n);
    const auto values = test::random_tensor<float>({n + 1}, 1);
    const auto start = test::random_tensor<float>({n + 1}, 2);
    for (const index_t offset : {index_t{0}, index_t{1}}) {
      auto want = start.clone().slice(0, offset, n + offset);
      weight_average<float>(Cpu{}, values.slice(0, offset, n + offset).view<1>(), 0.3f,
                            want.view<1>());
      std::vector<double> exact;
      for (index_t i = offset; i < n + offset; ++i) {
        const double average = start.data()[i], value = values.data()[i];
        exact.push_back(average + double{0.3f} * (value - average));
      }
      std::vector<float> first;
      test::under_schedules(0, [&] {
        auto whole = start.to(Device::cuda());
        auto got = whole.slice(0, offset, n + offset);
        const auto from = values.to(Device::cuda());
        on_device(Device::cuda(), [&](auto place) {
          weight_average<float>(place, from.slice(0, offset, n + offset).template view<1>(), 0.3f,
                                got.template view<1>());
        });
        // A fused multiply-add rounds once where the host may round twice.
        EXPECT_TRUE(test::near_max(test::values(got), test::values(want), 2e-7));
        EXPECT_TRUE(test::near_max(test::values(got), exact, 2e-7));
        if (first.empty()) first = got.to_vector();
        EXPECT_EQ(got.to_vector(), first) << "another order of threads";
        EXPECT_EQ(whole.to_vector()[offset == 0 ? static_cast<std::size_t>(n) : 0],
                  start.to_vector()[offset == 0 ? static_cast<std::size_t>(n) : 0])
            << "the neighbour";
      });
    }
  }
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceWeightAverage, MovesEachWeightOnceInPacks) {
  const auto values = test::random_tensor<float>({4096}, 1).to(Device::cuda());
  auto average = test::random_tensor<float>({4096}, 2).to(Device::cuda());
  const bool counted = test::with_traffic([&] {
    on_device(Device::cuda(), [&](auto place) {
      weight_average<float>(place, values.view<1>(), 0.3f, average.view<1>());
    });
  });
  if (!counted) GTEST_SKIP() << "not a build that counts traffic";
  const auto& moved = simt::traffic_of("weight_average");
  EXPECT_TRUE(moved.coalesced() && moved.each_byte_once()) << simt::describe(moved);
  EXPECT_EQ(moved.narrowest_access(), 16.0) << simt::describe(moved);
  EXPECT_EQ(moved.read_bytes, 8 * 4096u);
  EXPECT_EQ(moved.write_bytes, 4 * 4096u);
}
#endif

}  // namespace
}  // namespace mwalimu::optim
