// Copies, conversions and sums of gradients on a device.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kernels/both_devices.hpp"
#include "kernels/device.hpp"
#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu {
namespace {

using test::under_schedules;

template <class T>
Tensor<T> noise(const Shape& shape, std::uint64_t sample = 0) {
  RandomStream random(1, Purpose::test, 0, sample);
  auto tensor = Tensor<T>::empty(shape);
  for (T& x : tensor.span()) x = convert<T>(random.uniform(-100.0f, 100.0f));
  return tensor;
}

TEST(DeviceCopy, RoundTripKeepsValuesAndStrides) {
  MWALIMU_NEEDS_DEVICE();
  for (const index_t n : {1, 2, 255, 256, 257, 1000}) {
    const auto host = noise<float>({n, 3});
    const auto device = host.to(Device::cuda());
    EXPECT_EQ(device.device(), Device::cuda());
    EXPECT_EQ(device.to_vector(), host.to_vector());
    under_schedules(0, [&] {
      EXPECT_EQ(device.permute({1, 0}).to_vector(), host.permute({1, 0}).to_vector());
    });
  }
  const auto weights = Tensor<float>::with_strides({2, 3, 4, 5}, {1, 2, 30, 6});
  EXPECT_EQ(weights.to(Device::cuda()).strides(), weights.strides());
}

TEST(DeviceCopy, ItemWaitsForTheDevice) {
  MWALIMU_NEEDS_DEVICE();
  auto x = Tensor<double>::full({}, 2.5, Device::cuda());
  EXPECT_EQ(x.item(), 2.5);
  x.zero();
  EXPECT_EQ(x.item(), 0.0);
}

TEST(DeviceCopy, FillReachesStridedElementsAndNoOthers) {
  MWALIMU_NEEDS_DEVICE();
  under_schedules(0, [] {
    auto x = Tensor<std::uint8_t>::zeros({5, 7}, Device::cuda());
    x.slice(1, 2, 4).fill(9);
    const auto host = x.to(Device::cpu());
    for (index_t i = 0; i < 5; ++i) {
      for (index_t j = 0; j < 7; ++j) {
        EXPECT_EQ(int{host.view<2>()(i, j)}, j >= 2 && j < 4 ? 9 : 0) << i << ", " << j;
      }
    }
  });
}

template <class From, class To>
void expect_conversion() {
  SCOPED_TRACE(::testing::Message() << type_name<From>() << " to " << type_name<To>());
  for (const index_t n : {1, 3, 8, 1027}) {
    const auto host = noise<From>({n});
    under_schedules(1, [&] {
      const auto whole = host.to(Device::cuda()).template to<To>();
      EXPECT_EQ(whole.to_vector(), host.template to<To>().to_vector());
    });
    // An odd offset: no packs.
    if (n > 1) {
      const auto part = host.slice(0, 1, n);
      EXPECT_EQ(host.to(Device::cuda()).slice(0, 1, n).template to<To>().to_vector(),
                part.template to<To>().to_vector());
    }
  }
}

TEST(DeviceCopy, ConvertsAsTheHostDoes) {
  MWALIMU_NEEDS_DEVICE();
  expect_conversion<float, half>();
  expect_conversion<float, bfloat16>();
  expect_conversion<half, float>();
  expect_conversion<bfloat16, float>();
  expect_conversion<float, double>();
  expect_conversion<double, float>();
  expect_conversion<double, half>();
  expect_conversion<float, std::int32_t>();
  expect_conversion<std::uint8_t, float>();
  expect_conversion<std::int64_t, double>();
}

TEST(DeviceCopy, ConvertsWeightsInTheirOrder) {
  MWALIMU_NEEDS_DEVICE();
  auto host = Tensor<float>::with_strides({4, 3, 2, 2}, {1, 4, 24, 12});
  std::iota(host.span().begin(), host.span().end(), 0.0f);
  const auto narrow = host.to(Device::cuda()).to<bfloat16>();
  EXPECT_EQ(narrow.strides(), host.strides());
  EXPECT_EQ(narrow.to_vector(), host.to<bfloat16>().to_vector());
}

template <class T>
void expect_sum() {
  SCOPED_TRACE(type_name<T>());
  for (const index_t n : {1, 7, 8, 2051}) {
    const auto a = noise<T>({n}, 1), b = noise<T>({n}, 2);
    auto expected = b.clone();
    accumulate(Cpu{}, a, expected);
    under_schedules(1, [&] {
      const auto from = a.to(Device::cuda());
      auto sum = b.clone().to(Device::cuda());
      on_device(sum.device(), [&](auto place) { accumulate(place, from, sum); });
      EXPECT_EQ(sum.to_vector(), expected.to_vector());
    });
  }
}

TEST(DeviceAccumulate, MatchesTheHostBitForBit) {
  MWALIMU_NEEDS_DEVICE();
  expect_sum<float>();
  expect_sum<double>();
  expect_sum<half>();
  expect_sum<bfloat16>();
}

TEST(DeviceAccumulate, AddsInTheOrderOfTheTarget) {
  MWALIMU_NEEDS_DEVICE();
  const auto a = noise<float>({3, 5}, 1), b = noise<float>({5, 3}, 2);
  auto expected = b.clone();
  accumulate(Cpu{}, a.permute({1, 0}), expected);
  auto sum = b.clone().to(Device::cuda());
  const auto from = a.to(Device::cuda()).permute({1, 0});
  on_device(sum.device(), [&](auto place) { accumulate(place, from, sum); });
  EXPECT_EQ(sum.to_vector(), expected.to_vector());
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceCopy, MovesEachByteOnceInPacks) {
  const auto x = noise<float>({64, 64}).to(Device::cuda());
  auto sum = x.clone();
  auto turned = Tensor<float>::empty({64, 64}, Device::cuda());
  auto narrow = Tensor<bfloat16>();
  const bool counted = test::with_traffic([&] {
    narrow = x.to<bfloat16>();
    on_device(x.device(), [&](auto place) { accumulate(place, x, sum); });
    turned.copy_from(x.permute({1, 0}));
  });
  if (!counted) GTEST_SKIP() << "not a build that counts traffic";
  const std::uint64_t bytes = 64 * 64 * 4;
  const auto& cast = simt::traffic_of("cast");
  EXPECT_TRUE(cast.coalesced() && cast.each_byte_once()) << simt::describe(cast);
  EXPECT_EQ(cast.read_bytes, bytes);
  EXPECT_EQ(cast.write_bytes, bytes / 2);
  const auto& added = simt::traffic_of("accumulate");
  EXPECT_TRUE(added.coalesced() && added.each_byte_once()) << simt::describe(added);
  EXPECT_EQ(added.read_bytes, 2 * bytes);
  EXPECT_EQ(added.write_bytes, bytes);
  const auto& permuted = simt::traffic_of("permute");  // reads jump, writes do not
  EXPECT_TRUE(permuted.each_byte_written_once()) << simt::describe(permuted);
  EXPECT_EQ(permuted.distinct_read, bytes);
  EXPECT_EQ(permuted.write_bytes, bytes);
  Tensor<std::int32_t> whole;
  test::with_traffic([&] {
    turned.fill(2);
    whole = x.to<std::int32_t>();
  });
  const auto& filled = simt::traffic_of("fill_kernel");
  EXPECT_TRUE(filled.coalesced() && filled.each_byte_once()) << simt::describe(filled);
  EXPECT_EQ(filled.read_bytes, 0u);
  EXPECT_EQ(filled.write_bytes, bytes);
  const auto& converted = simt::traffic_of("convert_kernel");
  EXPECT_TRUE(converted.coalesced() && converted.each_byte_once()) << simt::describe(converted);
  EXPECT_EQ(converted.read_bytes, bytes);
  EXPECT_EQ(converted.write_bytes, bytes);
}

TEST(EmulatedDeviceDeathTest, HostCodeMayNotFollowADevicePointer) {
#if defined(MWALIMU_ADDRESS_SANITIZER)
  GTEST_SKIP() << "device memory is ordinary memory under AddressSanitizer";
#endif
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto x = Tensor<float>::full({4}, 1.0f, Device::cuda());
  EXPECT_DEATH({ volatile float y = x.data()[0]; (void)y; }, "");
}

TEST(EmulatedDevice, RefusesAPageableCopyInAGraph) {
  auto x = Tensor<float>::zeros({4}, Device::cuda());
  const auto host = noise<float>({4});
  const auto stream = gpu_place(x.device()).stream;
  gpu::Driver::begin_capture(stream);
  EXPECT_THROW(x.copy_from(host), CudaError);
  EXPECT_THROW((void)x.slice(0, 0, 1).item(), CudaError);
  gpu::Driver::abandon_capture(stream);
}
#endif

}  // namespace
}  // namespace mwalimu
