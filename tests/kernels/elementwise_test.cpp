// relu, add and dropout on a device; concat and slice, which only copy.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/both_devices.hpp"
#include "mwalimu/ops/add.hpp"
#include "mwalimu/ops/concat.hpp"
#include "mwalimu/ops/dropout.hpp"
#include "mwalimu/ops/relu.hpp"

namespace mwalimu::ops {
namespace {

using test::placed;
using test::random_tensor;
using test::Results;

// Around packs of 16 bytes and blocks of 256 threads of them; more than one round of the grid.
const index_t kCounts[] = {1, 3, 8, 9, 257, 2049, 70001};

template <Real T, class F>
void expect_same_as_cpu(F&& f, int shuffled = 0) {
  SCOPED_TRACE(type_name<T>());
  test::expect_same(test::on_device_in_any_order(f, shuffled), f(Device::cpu()));
}

template <Real T>
void check_relu(index_t n, bool offset) {
  expect_same_as_cpu<T>([&](Device device) {
    auto host = random_tensor<T>({n + 1}, 1);
    host.data()[n / 2] = convert<T>(std::numeric_limits<float>::quiet_NaN());
    host.data()[n / 3] = convert<T>(-0.0f);
    const auto part = host.to(device).slice(0, offset ? 1 : 0, offset ? n + 1 : n);
    const auto x = Variable<T>::leaf(part);
    const auto y = relu(x);
    y.backward(random_tensor<T>({n}, 2).to(device));
    Results results;
    results.add("y", y.value());
    results.add("dx", x.grad());
    return results;
  });
}

TEST(ReluKernel, IsTheCpuBitForBit) {
  MWALIMU_NEEDS_DEVICE();
  for (const index_t n : kCounts) {
    for (const bool offset : {false, true}) {
      check_relu<float>(n, offset);
      check_relu<bfloat16>(n, offset);
    }
  }
  check_relu<half>(257, false);
  check_relu<double>(257, false);
}

template <Real T>
void check_add(const Shape& shape, bool ranges) {
  SCOPED_TRACE(::testing::Message() << shape << ranges);
  expect_same_as_cpu<T>([&](Device device) {
    const auto a = random_tensor<T>(shape, 1), b = random_tensor<T>(shape, 2);
    const auto left = Variable<T>::leaf(placed(ranges ? test::channels_of_wider(a) : a, device));
    const auto right = Variable<T>::leaf(b.to(device));
    const auto y = add(left, right);
    y.backward(random_tensor<T>(shape, 3).to(device));
    Results results;
    results.add("y", y.value());
    results.add("da", left.grad());
    results.add("db", right.grad());
    return results;
  });
}

TEST(AddKernel, IsTheCpuBitForBit) {
  MWALIMU_NEEDS_DEVICE();
  for (const bool ranges : {false, true}) {
    for (const Shape& shape : {Shape{1, 1}, Shape{2, 3, 5, 7}, Shape{3, 17, 16}, Shape{300, 8}}) {
      check_add<float>(shape, ranges);
      check_add<bfloat16>(shape, ranges);
    }
    check_add<half>({5, 24}, ranges);
    check_add<double>({5, 24}, ranges);
  }
  for (const index_t n : kCounts) check_add<bfloat16>({n}, false);
}

// A range of channels whose rows step by whole packs is read in packs.
TEST(AddKernel, ReadsAlignedRangesInPlace) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_as_cpu<bfloat16>([](Device device) {
    const auto wide = random_tensor<bfloat16>({7, 5, 48}, 1).to(device);
    const auto y = add<bfloat16>(wide.slice(2, 8, 32), wide.slice(2, 24, 48));
    Results results;
    results.add("y", y.value());
    return results;
  });
}

template <Real T>
void check_dropout(index_t n, bool offset) {
  expect_same_as_cpu<T>([&](Device device) {
    const auto whole = random_tensor<T>({n + 1}, 1).to(device);
    const auto x = Variable<T>::leaf(whole.slice(0, offset ? 1 : 0, offset ? n + 1 : n));
    const DropoutKey key{.seed = 0x123456789ABCDEFu, .step = 77, .layer = (1ull << 33) + 3};
    const auto y = dropout<T>(x, 0.3, true, key);
    y.backward(random_tensor<T>({n}, 2).to(device));
    Results results;
    results.add("y", y.value());
    results.add("dx", x.grad());
    return results;
  });
}

TEST(DropoutKernel, DropsWhatTheCpuDrops) {
  MWALIMU_NEEDS_DEVICE();
  for (const index_t n : kCounts) {
    for (const bool offset : {false, true}) {
      check_dropout<float>(n, offset);
      check_dropout<bfloat16>(n, offset);
    }
  }
  check_dropout<half>(257, false);
  check_dropout<double>(257, false);
}

// The step may lie on the device, so that each replay of a graph draws its own mask.
TEST(DropoutKernel, StepOnTheDeviceIsReadWhenItRuns) {
  MWALIMU_NEEDS_DEVICE();
  const auto device = Device::cuda();
  const auto ones = Tensor<float>::full({256}, 1);
  const auto wanted = [&](double step) {
    return test::values(dropout<float>(ones, 0.5, true, {.seed = 1, .step = step}).value());
  };
  auto step = Tensor<double>::full({1}, 5, device);
  const auto x = ones.to(device);
  const auto stream = gpu_place(device).stream;
  gpu::Driver::begin_capture(stream);
  const auto y = dropout<float>(x, 0.5, true, {.seed = 1, .step = Scalar::at(step.data(), 5)});
  const auto graph = gpu::Driver::end_capture(stream);
  for (const double now : {5.0, 6.0, 4294967295.0}) {
    step.fill(now);
    gpu::Driver::launch_graph(graph, stream);
    EXPECT_EQ(test::values(y.value()), wanted(now)) << now;
  }
  gpu::Driver::destroy_graph(graph);
  EXPECT_NE(wanted(5), wanted(6));
}

TEST(ConcatOnADevice, IsTheCpuBitForBit) {
  MWALIMU_NEEDS_DEVICE();
  for (const int dimension : {0, 3}) {
    expect_same_as_cpu<bfloat16>([&](Device device) {
      const auto a = Variable<bfloat16>::leaf(random_tensor<bfloat16>({2, 3, 5, 8}, 1).to(device));
      const auto b = Variable<bfloat16>::leaf(random_tensor<bfloat16>({2, 3, 5, 8}, 2).to(device));
      const auto y = concat<bfloat16>({a, b}, dimension);
      const auto part = slice(y, dimension, 1, 9 < y.dim(dimension) ? 9 : y.dim(dimension));
      const auto other = slice(y, dimension, 0, 2);
      part.backward(random_tensor<bfloat16>(part.shape(), 3).to(device));
      Results results;
      results.add("part", part.value());
      results.add("da", a.grad());
      results.add("db", b.grad());
      // Both ranges of one value: the second gradient is added to the first.
      const auto c = Variable<bfloat16>::leaf(random_tensor<bfloat16>({2, 3, 5, 8}, 4).to(device));
      const auto sum = add(slice(c, 3, 0, 4), slice(c, 3, 2, 6));
      sum.backward(random_tensor<bfloat16>(sum.shape(), 5).to(device));
      results.add("other", other.value());
      results.add("dc", c.grad());
      return results;
    });
  }
}

#if defined(MWALIMU_EMULATED)
TEST(Elementwise, MovesEachByteOnceInPacks) {
  const auto device = Device::cuda();
  const auto a = random_tensor<bfloat16>({64, 64}, 1).to(device);
  const auto b = random_tensor<bfloat16>({64, 64}, 2).to(device);
  const std::uint64_t bytes = 64 * 64 * 2;
  if (!simt::checks_accesses()) GTEST_SKIP() << "only a check build counts traffic";
  const auto expect = [&](const char* kernel, std::uint64_t inputs, const auto& f) {
    SCOPED_TRACE(kernel);
    test::with_traffic(f);
    EXPECT_EQ(simt::traffic().size(), 1u);
    const auto& launch = simt::traffic_of(kernel);
    EXPECT_TRUE(launch.coalesced() && launch.each_byte_once()) << simt::describe(launch);
    EXPECT_EQ(launch.narrowest_access(), 16.0) << simt::describe(launch);
    EXPECT_EQ(launch.read_bytes, inputs * bytes) << simt::describe(launch);
    EXPECT_EQ(launch.write_bytes, bytes) << simt::describe(launch);
  };
  const auto x = Variable<bfloat16>::leaf(a);
  Variable<bfloat16> y;
  expect("relu_kernel", 1, [&] { y = relu(x); });
  expect("relu_kernel", 2, [&] { y.backward(b); });
  expect("add_kernel", 2, [&] { add<bfloat16>(a, b); });
  expect("dropout_kernel", 1, [&] { dropout<bfloat16>(a, 0.5, true, {}); });
}
#endif

}  // namespace
}  // namespace mwalimu::ops
