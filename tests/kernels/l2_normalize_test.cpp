// Rows of unit length on a device, against the host's in the same type and in double.
#include "mwalimu/ops/l2_normalize.hpp"

#include <gtest/gtest.h>

#include "kernels/both_devices.hpp"

namespace mwalimu::ops {
namespace {

using test::placed;
using test::random_tensor;

template <class T>
test::Results normalize(const Tensor<T>& x, const Tensor<T>& dy, Device device,
                        double eps = 1e-12) {
  const auto leaf = Variable<T>::leaf(placed(x, device));
  const auto y = l2_normalize(leaf, eps);
  y.backward(placed(dy, device));
  test::Results results;
  results.add("y", y.value());
  results.add("dx", leaf.grad());
  return results;
}

template <class T>
void expect_the_hosts(const Tensor<T>& x, const Tensor<T>& dy) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << x.shape());
  const auto got =
      test::on_device_in_any_order([&](Device device) { return normalize(x, dy, device); });
  test::expect_near(got, normalize(x, dy, Device::cpu()), test::rounding<T>());
  test::expect_near(got,
                    normalize(x.template to<double>(), dy.template to<double>(), Device::cpu()),
                    test::rounding<T>());
}

template <class T>
void expect_all_shapes() {
  for (const Shape& shape :
       {Shape{1, 1}, Shape{3, 7}, Shape{9, 128}, Shape{17, 133}, Shape{8, 4}}) {
    const auto x = random_tensor<T>(shape, 1), dy = random_tensor<T>(shape, 2);
    expect_the_hosts(x, dy);
  }
  const auto x = test::channels_of_wider(random_tensor<T>({5, 12}, 3));  // odd offset: no packs
  expect_the_hosts(x, test::channels_of_wider(random_tensor<T>({5, 12}, 4)));
}

TEST(DeviceL2Normalize, MatchesTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_all_shapes<float>();
  expect_all_shapes<double>();
  expect_all_shapes<half>();
  expect_all_shapes<bfloat16>();
}

TEST(DeviceL2Normalize, KeepsTheDigitsOfExtremeRows) {
  MWALIMU_NEEDS_DEVICE();
  auto x = random_tensor<float>({4, 33}, 1);
  for (index_t d = 0; d < 33; ++d) {
    x.data()[d] *= 1e30f;
    x.data()[33 + d] *= 1e-30f;
    x.data()[66 + d] = 0;
    x.data()[99 + d] *= 1e-43f;  // subnormal
  }
  const auto run = [&](Device device) {
    const auto leaf = Variable<float>::leaf(x.to(device));
    test::Results results;
    results.add("y", l2_normalize(leaf, 1e-37).value());
    return results;
  };
  const auto got = run(Device::cuda());
  test::expect_near(got, run(Device::cpu()), 1e-6);
  for (std::size_t d = 66; d < 99; ++d) EXPECT_EQ(got.all()[0].values[d], 0);
}

TEST(DeviceL2Normalize, ARowBelowEpsIsDividedByIt) {
  MWALIMU_NEEDS_DEVICE();
  const auto x = random_tensor<float>({3, 33}, 1), dy = random_tensor<float>({3, 33}, 2);
  const auto got = normalize(x, dy, Device::cuda(), 100.0);  // its gradient is, too
  test::expect_near(got, normalize(x, dy, Device::cpu(), 100.0), 1e-7);
  EXPECT_NEAR(got.all()[1].values[0], dy.data()[0] / 100, 1e-8);
}

TEST(DeviceL2Normalize, TakesNoRows) {
  MWALIMU_NEEDS_DEVICE();
  const auto y = l2_normalize(Variable<float>(Tensor<float>::empty({0, 5}, Device::cuda())));
  EXPECT_EQ(y.shape(), (Shape{0, 5}));
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceL2Normalize, MovesPacksOfSixteenBytes) {
  const auto x = random_tensor<float>({16, 128}, 1).to(Device::cuda());
  const auto dy = random_tensor<float>({16, 128}, 2).to(Device::cuda());
  const auto leaf = Variable<float>::leaf(x);
  const auto run = [&] { l2_normalize(leaf).backward(dy); };
  EXPECT_EQ(test::works_without_waiting(run), 2u);
  if (!test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const std::uint64_t bytes = 16 * 128 * 4, norms = 16 * 4;
  const auto& forward = simt::traffic_of("l2_normalize_forward");
  EXPECT_TRUE(forward.coalesced()) << simt::describe(forward);
  EXPECT_EQ(forward.distinct_read, bytes);
  EXPECT_EQ(forward.write_bytes, bytes + norms);
  EXPECT_TRUE(forward.each_byte_written_once());
  const auto& backward = simt::traffic_of("l2_normalize_backward");
  EXPECT_TRUE(backward.coalesced()) << simt::describe(backward);
  EXPECT_EQ(backward.distinct_read, 2 * bytes + norms);
  EXPECT_EQ(backward.write_bytes, bytes);
}
#endif

}  // namespace
}  // namespace mwalimu::ops
