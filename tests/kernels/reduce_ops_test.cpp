// Sum and mean of all elements on a device, against the host's.
#include <gtest/gtest.h>

#include "kernels/both_devices.hpp"
#include "mwalimu/ops/reduce.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;

template <class T>
test::Results sum_and_mean(const Tensor<T>& x, Device device) {
  const auto leaf = Variable<T>::leaf(test::placed(x, device));
  const auto total = sum(leaf), middle = mean(leaf);
  test::Results results;
  results.add("sum", total.value());
  results.add("mean", middle.value());
  middle.backward();
  results.add("dx", leaf.grad());
  return results;
}

template <class T>
void expect_the_hosts() {
  SCOPED_TRACE(type_name<T>());
  for (const Shape& shape : {Shape{1}, Shape{7}, Shape{255}, Shape{16, 16}, Shape{257, 3},
                             Shape{16384}, Shape{16391}, Shape{40001}}) {
    SCOPED_TRACE(::testing::Message() << shape);
    const auto x = random_tensor<T>(shape, 1, -1, 2);
    const auto got =
        test::on_device_in_any_order([&](Device device) { return sum_and_mean(x, device); }, 0);
    // Both sum in double: what differs is the order, and one rounding to float.
    const double tolerance = std::is_same_v<T, double> ? 1e-13 : 1e-7;
    test::expect_near(got, sum_and_mean(x, Device::cpu()), tolerance);
  }
}

TEST(DeviceSum, MatchesTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_the_hosts<float>();
  expect_the_hosts<double>();
  expect_the_hosts<half>();
  expect_the_hosts<bfloat16>();
}

TEST(DeviceSum, TakesStridedAndEmptyTensors) {
  MWALIMU_NEEDS_DEVICE();
  const auto x = test::channels_of_wider(random_tensor<float>({9, 5}, 1));
  test::expect_near(sum_and_mean(x, Device::cuda()), sum_and_mean(x, Device::cpu()), 1e-7);
  EXPECT_EQ(sum(Variable<float>(Tensor<float>::empty({0}, Device::cuda()))).value().item(), 0);
}

TEST(DeviceSum, IntegersAreExact) {
  MWALIMU_NEEDS_DEVICE();
  const auto ones = Tensor<half>::full({70000}, half(1), Device::cuda());
  EXPECT_EQ(sum(Variable<half>(ones)).value().item(), 70000);  // beyond half's range
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceSum, MovesEachElementOnce) {
  const auto leaf = Variable<float>::leaf(random_tensor<float>({40000}, 1).to(Device::cuda()));
  const auto run = [&] { (void)sum(leaf); };
  EXPECT_EQ(test::works_without_waiting(run), 2u);
  if (!test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const auto& chunks = simt::traffic_of("sum_kernel<float");
  EXPECT_EQ(chunks.read_bytes, 160000u);
  EXPECT_EQ(chunks.write_bytes, 3 * 8u);
  const auto& total = simt::traffic_of("sum_kernel<double");
  EXPECT_EQ(total.read_bytes, 3 * 8u);
  EXPECT_EQ(total.write_bytes, 4u);
  for (const auto* launch : {&chunks, &total}) {
    EXPECT_TRUE(launch->coalesced() && launch->each_byte_once()) << simt::describe(*launch);
    EXPECT_TRUE(launch->without_bank_conflicts()) << simt::describe(*launch);
  }
  const auto result = sum(leaf);
  test::with_traffic([&] { result.backward(); });
  const auto& backward = simt::traffic_of("sum_backward");
  EXPECT_TRUE(backward.coalesced() && backward.each_byte_written_once())
      << simt::describe(backward);
  EXPECT_EQ(backward.write_bytes, 160000u);
  EXPECT_EQ(backward.distinct_read, 4u);
  for (const auto& line : backward.lines) {
    if (line.write) {
      EXPECT_EQ(line.bytes_per_lane(), 16) << simt::describe(backward);
    }
  }
}
#endif

}  // namespace
}  // namespace mwalimu::ops
