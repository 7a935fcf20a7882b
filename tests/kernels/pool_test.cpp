// Max, average and global pooling on a device.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/both_devices.hpp"
#include "mwalimu/ops/average_pool.hpp"
#include "mwalimu/ops/global_pool.hpp"
#include "mwalimu/ops/max_pool.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;
using test::Results;
using test::rounding;

// What f does to x, and the gradient of x, with the same gradient of the result everywhere.
template <Real Compute, Real Storage = Compute, class F>
Results run(const Shape& shape, bool ties, F&& f, Device device) {
  auto host = random_tensor<Storage>(shape, 1);
  if (ties) {
    for (Storage& v : host.span()) v = convert<Storage>(std::round(convert<float>(v) * 2));
  }
  const auto x = Variable<Compute>::leaf(host.template to<Compute>().to(device));
  const Variable<Compute> y = f(x);
  y.backward(random_tensor<Storage>(y.shape(), 2).template to<Compute>().to(device));
  Results results;
  results.add("y", y.value());
  results.add("dx", x.grad());
  return results;
}

template <Real T, class F>
void expect_matches(const Shape& shape, bool ties, F&& f) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << shape);
  const Results got = test::on_device_in_any_order(
      [&](Device device) { return run<T>(shape, ties, f, device); }, 0);
  test::expect_near(got, run<T>(shape, ties, f, Device::cpu()), rounding<T>());
  test::expect_near(got, run<double, T>(shape, ties, f, Device::cpu()), rounding<T>());
}

// One pixel, primes, packs and none, more than a block a row.
const Shape kShapes[] = {{1, 1, 1, 1}, {2, 7, 5, 3},  {1, 8, 8, 16}, {2, 5, 9, 24},
                         {1, 2, 67, 40}, {3, 4, 4, 12}};

TEST(MaxPoolKernel, MatchesCpuAndDouble) {
  MWALIMU_NEEDS_DEVICE();
  for (const Pool2dOptions& options :
       {Pool2dOptions{3, 2, 1, false}, Pool2dOptions{2, 2, 0, true}, Pool2dOptions{3, 1, 1, false},
        Pool2dOptions{1, 2, 0, false}}) {
    SCOPED_TRACE(::testing::Message() << options.kernel << options.stride);
    const auto pool = [&](const auto& x) { return max_pool(x, options); };
    for (const Shape& shape : kShapes) {
      expect_matches<float>(shape, false, pool);
      expect_matches<bfloat16>(shape, true, pool);  // equal values: the first wins
    }
    expect_matches<half>(kShapes[3], true, pool);
    expect_matches<double>(kShapes[1], false, pool);
  }
}

TEST(AveragePoolKernel, MatchesCpuAndDouble) {
  MWALIMU_NEEDS_DEVICE();
  for (const AveragePoolOptions& options :
       {AveragePoolOptions{{2, 2, 0, true}, false}, AveragePoolOptions{{3, 2, 1, false}, true},
        AveragePoolOptions{{3, 1, 1, true}, false}, AveragePoolOptions{{1, 3, 0, true}, false}}) {
    SCOPED_TRACE(::testing::Message() << options.kernel << options.stride);
    const auto pool = [&](const auto& x) { return average_pool(x, options); };
    for (const Shape& shape : kShapes) {
      expect_matches<float>(shape, false, pool);
      expect_matches<bfloat16>(shape, false, pool);
    }
    expect_matches<half>(kShapes[3], false, pool);
    expect_matches<double>(kShapes[1], false, pool);
  }
}

TEST(GlobalPoolKernel, MatchesCpuAndDouble) {
  MWALIMU_NEEDS_DEVICE();
  const auto average = [](const auto& x) { return global_average_pool(x); };
  const auto both = [](const auto& x) { return concat_pool(x, ConcatPoolOrder::max_average); };
  const auto timm = [](const auto& x) { return concat_pool(x, ConcatPoolOrder::average_max); };
  for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{3, 4, 4, 24}, Shape{2, 7, 5, 3},
                             Shape{1, 9, 31, 5}, Shape{2, 3, 3, 264}}) {
    expect_matches<float>(shape, false, average);
    expect_matches<bfloat16>(shape, false, average);
    expect_matches<float>(shape, true, both);
    expect_matches<bfloat16>(shape, true, timm);
  }
  expect_matches<half>({3, 4, 4, 24}, true, both);
  expect_matches<double>({3, 4, 4, 24}, true, both);
  // More than a run of 64 pixels a thread.
  expect_matches<float>({1, 67, 67, 3}, false, both);
}

// A NaN wins against everything, and the gradient goes where the Cpu sends it.
TEST(PoolKernels, NanIsTheLargest) {
  MWALIMU_NEEDS_DEVICE();
  const auto run_with_nan = [](Device device) {
    auto host = random_tensor<float>({2, 6, 6, 4}, 1);
    for (const index_t i : {5, 37, 101, 150, 151, 240}) {
      host.data()[i] = std::numeric_limits<float>::quiet_NaN();
    }
    const auto x = Variable<float>::leaf(host.to(device)), z = Variable<float>::leaf(host.to(device));
    const auto y = max_pool(x, {3, 2, 1, false});
    y.backward(random_tensor<float>(y.shape(), 2).to(device));
    const auto all = concat_pool(z);
    all.backward(random_tensor<float>(all.shape(), 3).to(device));
    Results results;
    results.add("y", y.value());
    results.add("dx", x.grad());
    results.add("maximum", all.value().slice(1, 0, 4));
    results.add("dz", z.grad());
    return results;
  };
  const Results got = test::on_device_in_any_order(run_with_nan);
  test::expect_same(got, run_with_nan(Device::cpu()));
}

#if defined(MWALIMU_EMULATED)
TEST(PoolKernels, WriteOnceInPacksAndReadEachByte) {
  const auto device = Device::cuda();
  const auto x = Variable<bfloat16>::leaf(random_tensor<bfloat16>({2, 8, 8, 32}, 1).to(device));
  const auto dy = random_tensor<bfloat16>({2, 4, 4, 32}, 2).to(device);
  const std::uint64_t in = 2 * 8 * 8 * 32 * 2, out = in / 4;
  const bool counted = test::with_traffic([&] {
    max_pool(x, {3, 2, 1, false}).backward(dy);
    average_pool(x, {{2, 2, 0, true}, false}).backward(dy);
  });
  if (!counted) GTEST_SKIP() << "only a check build counts traffic";
  const auto expect = [](const char* kernel, std::uint64_t read, std::uint64_t written) {
    const auto& launch = simt::traffic_of(kernel);
    EXPECT_EQ(launch.distinct_read, read) << simt::describe(launch);
    EXPECT_EQ(launch.write_bytes, written) << simt::describe(launch);
    EXPECT_TRUE(launch.each_byte_written_once()) << simt::describe(launch);
  };
  expect("max_pool_kernel", in, out + out / 2);
  expect("max_pool_backward", out + out / 2, in);
  expect("average_pool_kernel", in, out);
  expect("average_pool_backward", out, in);
  // Windows that do not overlap: each byte moves once, and every request is dense.
  EXPECT_TRUE(simt::traffic_of("average_pool_kernel").each_byte_once());

  const auto pixels =
      Variable<bfloat16>::leaf(random_tensor<bfloat16>({2, 4, 4, 64}, 1).to(device));
  const auto dpooled = random_tensor<bfloat16>({2, 128}, 2).to(device);
  test::with_traffic([&] {
    concat_pool(pixels).backward(dpooled);
    global_average_pool<bfloat16>(pixels.value());
  });
  const std::uint64_t all = 2 * 16 * 64 * 2, vector = 2 * 64 * 2;
  const auto& concat = simt::traffic_of("global_pool_kernel<mwalimu::bfloat16, 8, true");
  const auto& average = simt::traffic_of("global_pool_kernel<mwalimu::bfloat16, 8, false");
  EXPECT_TRUE(average.without_bank_conflicts()) << simt::describe(average);
  for (const auto* launch : {&concat, &average}) {  // maximum and mean cost one pass
    EXPECT_TRUE(launch->each_byte_once()) << simt::describe(*launch);
    EXPECT_EQ(launch->read_bytes, all) << simt::describe(*launch);
  }
  EXPECT_EQ(average.write_bytes, vector);
  EXPECT_EQ(concat.write_bytes, 4 * vector);  // two vectors, and pixels of 4 bytes
  const auto& backward = simt::traffic_of("global_pool_backward");
  EXPECT_TRUE(backward.each_byte_written_once()) << simt::describe(backward);
  EXPECT_EQ(backward.write_bytes, all);
  EXPECT_EQ(backward.distinct_read, 4 * vector);
  for (const auto& line : backward.lines) {
    if (line.write) {
      EXPECT_TRUE(line.bytes_per_lane() == 16 && line.efficiency() == 1)
          << simt::describe(backward);
    }
  }
}
#endif

}  // namespace
}  // namespace mwalimu::ops
