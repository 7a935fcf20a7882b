// The affine map on a device against the Cpu: what surrounds cuBLASLt on the emulated device, cuBLASLt
// itself on a real one.
#include "mwalimu/ops/linear.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "kernels/both_devices.hpp"
#include "mwalimu/gpu/column_sums.hpp"

namespace mwalimu::ops {
namespace {

using test::expect_near;
using test::random_tensor;
using test::Results;

struct Problem {
  index_t B, in, out;
};
// Of one, of primes, with channels that fill vectors; prototypes (3000 x 128) on a real device.
const std::vector<Problem> kProblems{{1, 1, 1}, {7, 5, 3}, {8, 16, 24}, {33, 31, 40}, {5, 128, 30}};

template <class T>
Results run(const Problem& p, bool has_bias, Device device) {
  using A = accumulate_t<T>;
  const auto x = Variable<T>::leaf(random_tensor<T>({p.B, p.in}, 1).to(device));
  const auto weight = Variable<A>::leaf(random_tensor<A>({p.out, p.in}, 2).to(device));
  const auto bias = has_bias ? Variable<A>::leaf(random_tensor<A>({p.out}, 4).to(device))
                             : Variable<A>();
  const auto y = linear(x, weight, bias);
  y.backward(random_tensor<T>({p.B, p.out}, 3).to(device));
  Results results;
  results.add("y", y.value());
  results.add("dx", x.grad());
  results.add("dweight", weight.grad());
  if (has_bias) results.add("dbias", bias.grad());
  return results;
}

template <class T>
void expect_like_cpu(const Problem& p, double tolerance) {
  for (const bool bias : {false, true}) {
    SCOPED_TRACE(testing::Message() << p.B << " x " << p.in << " -> " << p.out << ", bias " << bias
                                    << " " << type_name<T>());
    expect_near(run<T>(p, bias, Device::cuda()), run<T>(p, bias, Device::cpu()), tolerance);
  }
}

TEST(LinearOnDevice, MatchesCpu) {
  MWALIMU_NEEDS_DEVICE();
  auto problems = kProblems;
  if (!gpu::Driver::info(0).emulated) {
    problems.push_back({192, 2048, 1024});
    problems.push_back({192, 128, 3000});
  }
  for (const Problem& p : problems) {
    // Both sides round in float, in different orders: 6e-8 times the square root of the terms.
    expect_like_cpu<float>(p, 3e-6);
    expect_like_cpu<double>(p, 1e-13);
    // Equal operands and sums in float: results differ where sums lie across a boundary.
    expect_like_cpu<half>(p, test::rounding<half>());
    expect_like_cpu<bfloat16>(p, test::rounding<bfloat16>());
  }
}

TEST(LinearOnDevice, DoesNotRoundTheBias) {
  MWALIMU_NEEDS_DEVICE();
  // 2^-9 + (1 + 2^-9 + 2^-12) = 1 + 2^-8 + 2^-12, just above the tie between bfloat16's 1 and 1 + 2^-7.
  // Had the bias been rounded, to 1, the sum were 1 + 2^-9, below it.
  const Device device = Device::cuda();
  const auto x = Tensor<bfloat16>::full({2, 1}, convert<bfloat16>(1.0f), device);
  const auto w = Tensor<float>::full({4, 1}, 0x1p-9f, device);
  const auto b = Tensor<float>::full({4}, 1.0f + 0x1p-9f + 0x1p-12f, device);
  const auto y = linear(Variable<bfloat16>(x), Variable<float>(w), Variable<float>(b));
  for (const bfloat16 value : y.value().to(Device::cpu()).to_vector()) {
    EXPECT_EQ(convert<float>(value), 1.0f + 0x1p-7f);
  }
}

// The backends on matrices that no BLAS can take where they lie, and on transposed ones.
TEST(LinearOnDevice, TakesMatricesWithAnyStrides) {
  MWALIMU_NEEDS_DEVICE();
  const Device device = Device::cuda();
  const auto dense_x = random_tensor<float>({6, 10}, 1), dense_w = random_tensor<float>({8, 10}, 2);
  const auto plain = [&](const Tensor<float>& x, const Tensor<float>& w) {
    return linear(Variable<float>(x), Variable<float>(w)).value().to(Device::cpu()).to_vector();
  };
  const auto want = plain(dense_x.to(device), dense_w.to(device));
  const auto transposed = [&](const Tensor<float>& a) {
    auto memory = Tensor<float>::with_strides(a.shape(), {1, a.dim(0)}, device);
    memory.copy_from(a.to(device));
    return memory;
  };
  const auto every_second = [&](const Tensor<float>& a) {
    auto wide = Tensor<float>::full({a.dim(0), 2 * a.dim(1)},
                                    std::numeric_limits<float>::quiet_NaN(), device);
    auto view = Tensor<float>::borrow(wide.data(), a.shape(), {2 * a.dim(1), 2}, wide.storage(),
                                      device);
    view.copy_from(a.to(device));
    return view;
  };
  const auto near = [&](const std::vector<float>& got) {
    return test::near_l2(test::to_double(got), test::to_double(want), 1e-6);
  };
  EXPECT_TRUE(near(plain(transposed(dense_x), dense_w.to(device))));
  EXPECT_TRUE(near(plain(dense_x.to(device), transposed(dense_w))));
  EXPECT_TRUE(near(plain(transposed(dense_x), transposed(dense_w))));
  EXPECT_TRUE(near(plain(every_second(dense_x), every_second(dense_w))));
}

template <class T>
void expect_gradients_add(const Shape& strides) {
  SCOPED_TRACE(testing::Message() << strides << " " << type_name<T>());
  using A = accumulate_t<T>;
  const Device device = Device::cuda();
  const Problem p{5, 6, 8};
  const auto x = Tensor<T>::full({p.B, p.in}, convert<T>(2.0f), device);
  const auto dout = Tensor<T>::full({p.B, p.out}, convert<T>(3.0f), device);
  auto dweight = Tensor<A>::with_strides({p.out, p.in}, strides, device);
  dweight.copy_from(Tensor<A>::full({p.out, p.in}, A{7}, device));
  auto dbias = Tensor<A>::full({p.out}, A{7}, device);
  const auto backward = [&](bool accumulate) {
    const auto d = std::as_const(dout).template view<2>();
    linear_backward_weight<T>(gpu_place(device), std::as_const(x).template view<2>(), d, accumulate,
                              dweight.template view<2>());
    linear_backward_bias<T>(gpu_place(device), d, accumulate, dbias.template view<1>());
  };
  const auto expect = [&](double weights, double biases) {
    for (const A g : dweight.to(Device::cpu()).to_vector()) EXPECT_EQ(g, weights);
    for (const A g : dbias.to(Device::cpu()).to_vector()) EXPECT_EQ(g, biases);
  };
  backward(true);
  expect(7 + 30, 7 + 15);
  backward(false);
  expect(30, 15);
}

TEST(LinearOnDevice, AddsToGradientsInAnyMemoryOrder) {
  MWALIMU_NEEDS_DEVICE();
  for (const Shape& strides : {Shape{6, 1}, Shape{1, 8}}) {
    expect_gradients_add<float>(strides);
    expect_gradients_add<double>(strides);
    expect_gradients_add<half>(strides);
    expect_gradients_add<bfloat16>(strides);
  }
}

template <class T>
void expect_column_sums(index_t B, index_t O) {
  SCOPED_TRACE(testing::Message() << B << " x " << O << " " << type_name<T>());
  const auto host = random_tensor<T>({B, O}, 1);
  const auto x = test::channels_of_wider(host);  // rows with a stride
  const auto results = test::on_device_in_any_order([&](Device device) {
    const auto there = test::placed(x, device);
    auto sums = Tensor<accumulate_t<T>>::full({O}, std::numeric_limits<float>::quiet_NaN(), device);
    column_sums<T>(gpu_place(device), there.template view<2>(), false, sums.template view<1>());
    Results all;
    all.add("sums", sums);
    return all;
  });
  std::vector<double> want(static_cast<std::size_t>(O));
  for (index_t b = 0; b < B; ++b) {
    for (index_t o = 0; o < O; ++o) {
      want[static_cast<std::size_t>(o)] += convert<double>(host.data()[b * O + o]);
    }
  }
  // Float additions of B terms; double ones where T is double.
  const double tolerance = std::is_same_v<T, double> ? 1e-14 : 1e-6;
  EXPECT_TRUE(test::near_l2(results.all()[0].values, want, tolerance));
}

TEST(ColumnSums, MatchesFp64Reference) {
  MWALIMU_NEEDS_DEVICE();
  for (const index_t B : {1, 7, 8, 9, 100}) {
    for (const index_t O : {1, 31, 32, 33, 70}) {
      expect_column_sums<float>(B, O);
      expect_column_sums<double>(B, O);
      expect_column_sums<half>(B, O);
      expect_column_sums<bfloat16>(B, O);
    }
  }
}

TEST(ColumnSums, RefusesOtherExtents) {
  const auto call = [] {
    column_sums<float>(Gpu{}, View<const float, 2>(nullptr, {3, 4}, {4, 1}), false,
                       View<float, 1>(nullptr, {5}, {1}));
  };
  test::expect_error<ShapeError>(call, "column_sums: want (4) sums of (3, 4), got (5)");
}

#if defined(MWALIMU_EMULATED)
TEST(ColumnSums, MovesEachByteOnce) {
  const std::uint64_t B = 24, O = 64;
  const auto x = random_tensor<bfloat16>({24, 64}, 1).to(Device::cuda());
  auto sums = Tensor<float>::zeros({64}, Device::cuda());
  for (const bool accumulate : {false, true}) {
    const auto run = [&] {
      column_sums<bfloat16>(gpu_place(x.device()), x.view<2>(), accumulate, sums.view<1>());
    };
    if (!test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
    const auto& moved = simt::traffic_of("column_sums");
    EXPECT_TRUE(moved.coalesced() && moved.each_byte_once()) << simt::describe(moved);
    EXPECT_TRUE(moved.without_bank_conflicts()) << simt::describe(moved);
    EXPECT_EQ(moved.read_bytes, 2 * B * O + (accumulate ? 4 * O : 0));
    EXPECT_EQ(moved.write_bytes, 4 * O);
    for (const auto& line : moved.lines) {  // a warp's 32 columns: 64 bytes of x, 128 of sums
      if (!line.shared) {
        EXPECT_EQ(line.sectors_per_request(), line.bytes_per_lane());
      }
    }
  }
}
#endif

}  // namespace
}  // namespace mwalimu::ops
