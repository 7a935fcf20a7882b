// Convolution on a device against the Cpu: what surrounds cuDNN on the emulated device, cuDNN itself on a
// real one.
#include "mwalimu/ops/conv2d.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "gpu/network_layers.hpp"
#include "kernels/both_devices.hpp"
#include "mwalimu/gpu/cast_add.hpp"
#include "mwalimu/gpu/graph.hpp"
#include "mwalimu/gpu/math_options.hpp"

namespace mwalimu::ops {
namespace {

using test::expect_near;
using test::expect_same;
using test::random_tensor;
using test::Results;

using Problem = test::ConvLayer;

// One extent, odd sizes at stride 2, a kernel of 1, channels that fill no vector, groups of 4 and 1.
const std::vector<Problem> kSmall{
    {1, 1, 1, 1, 1, 1, {}},           {2, 7, 5, 3, 8, 3, {2, 1, 1}},  {2, 6, 6, 16, 16, 3, {1, 1, 1}},
    {3, 5, 4, 16, 8, 1, {}},          {2, 6, 5, 32, 32, 3, {1, 1, 8}}, {2, 7, 6, 16, 16, 3, {2, 1, 4}},
    {2, 4, 4, 12, 12, 3, {1, 1, 12}}, {1, 9, 9, 3, 4, 7, {2, 3, 1}},
};

template <class T>
Results run(const Problem& p, Device device, bool packed = false) {
  using A = accumulate_t<T>;
  const auto x = Variable<T>::leaf(random_tensor<T>(p.x(), 1).to(device));
  auto value = Tensor<A>::with_strides(p.weight(), conv2d_weight_strides(p.weight(), device), device);
  value.copy_from(random_tensor<A>(p.weight(), 2).to(device));
  const auto weight = Variable<A>::leaf(value);
  const auto kept = packed ? std::make_shared<PackedWeights>() : nullptr;
  const auto out = conv2d(x, weight, p.options, kept);
  out.backward(random_tensor<T>(p.out(), 3).to(device));
  Results results;
  results.add("out", out.value());
  results.add("dx", x.grad());
  results.add("dweight", weight.grad());
  return results;
}

template <class T>
void expect_like_cpu(const Problem& p, double tolerance) {
  SCOPED_TRACE(testing::Message() << p << " " << type_name<T>());
  expect_near(run<T>(p, Device::cuda()), run<T>(p, Device::cpu()), tolerance);
}

// Rounding of products and sums, 6e-8 each: grows with the square root of the terms, at most 72 * 64
// here. Both sides round, in different orders.
constexpr double kFloatTolerance = 2e-6;
// Equal operands, sums in float, one rounding of the result: two sides differ where their sums lie on
// two sides of a boundary, and then by one step.
template <class T>
constexpr double narrow_tolerance() {
  return test::rounding<T>();
}

TEST(Conv2dOnDevice, MatchesCpu) {
  MWALIMU_NEEDS_DEVICE();
  for (const Problem& p : kSmall) {
    expect_like_cpu<float>(p, kFloatTolerance);
    expect_like_cpu<double>(p, 1e-13);
    expect_like_cpu<half>(p, narrow_tolerance<half>());
    expect_like_cpu<bfloat16>(p, narrow_tolerance<bfloat16>());
  }
}

TEST(Conv2dOnDevice, MatchesCpuOnEveryKindOfLayerOfTheNetworks) {
  MWALIMU_NEEDS_DEVICE();
  if (gpu::Driver::info(0).emulated) GTEST_SKIP() << "the emulated device has no cuDNN to compare";
  auto layers = test::xresnet34_layers(8, 64);
  for (const Problem& p : test::res2next50_layers(8, 64)) layers.push_back(p);
  for (const Problem& p : layers) {
    expect_like_cpu<float>(p, kFloatTolerance);
    expect_like_cpu<half>(p, narrow_tolerance<half>());
    expect_like_cpu<bfloat16>(p, narrow_tolerance<bfloat16>());
  }
}

TEST(Conv2dOnDevice, Tf32RoundsTheFactorsOnly) {
  MWALIMU_NEEDS_DEVICE();
  const gpu::MathOptions before = gpu::math_options();
  gpu::set_math_options({.float32 = gpu::Float32Math::tf32});
  // Factors of 11 significant bits: 2^-12 each on average, of random sign.
  for (const Problem& p : kSmall) expect_like_cpu<float>(p, 1e-3);
  gpu::set_math_options(before);
}

TEST(Conv2dOnDevice, MeasuredPlansGiveTheSameNumbers) {
  MWALIMU_NEEDS_DEVICE();
  const gpu::MathOptions before = gpu::math_options();
  gpu::set_math_options({.plans = gpu::PlanChoice::measured});
  for (const Problem& p : kSmall) {
    expect_like_cpu<float>(p, kFloatTolerance);
    expect_like_cpu<bfloat16>(p, narrow_tolerance<bfloat16>());
  }
  gpu::set_math_options(before);
}

TEST(Conv2dOnDevice, GivesTheSameBitsOnEveryRun) {
  MWALIMU_NEEDS_DEVICE();
  const index_t size = gpu::Driver::info(0).emulated ? 4 : 16;
  const Problem p{8, size, size, 64, 64, 3, {1, 1, 1}};
  const auto first = run<bfloat16>(p, Device::cuda());
  for (int i = 0; i < 3; ++i) expect_same(run<bfloat16>(p, Device::cuda()), first);
}

// The backends themselves, into memory that holds NaN with guards behind it.
template <class T>
void expect_whole_overwrites(const Problem& p) {
  SCOPED_TRACE(testing::Message() << p << " " << type_name<T>());
  using A = accumulate_t<T>;
  constexpr index_t kGuard = 64;
  const Device device = Device::cuda();
  const auto x = random_tensor<T>(p.x(), 1).to(device), d = random_tensor<T>(p.out(), 3).to(device);
  auto w = Tensor<T>::with_strides(p.weight(), conv2d_weight_strides(p.weight(), device), device);
  w.copy_from(random_tensor<T>(p.weight(), 2).to(device));
  const auto check = [&]<class U>(const char* name, const Shape& shape, const Shape& strides, U,
                                  auto&& write) {
    const auto nan = convert<U>(std::numeric_limits<float>::quiet_NaN());
    auto memory = Tensor<U>::full({shape.count() + kGuard}, nan, device);
    auto target = Tensor<U>::borrow(memory.data(), shape, strides, memory.storage(), device);
    write(gpu_place(device), target.template view<4>());
    const auto all = memory.to(Device::cpu()).to_vector();
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool guard = static_cast<index_t>(i) >= shape.count();
      ASSERT_EQ(std::isnan(convert<double>(all[i])), guard) << name << "[" << i << "]";
    }
  };
  const auto xv = x.template view<4>(), wv = w.template view<4>(), dv = d.template view<4>();
  check("out", p.out(), contiguous_strides(p.out()), T{}, [&](Gpu on, View<T, 4> out) {
    conv2d_forward<T>(on, xv, wv, p.options, nullptr, out);
  });
  check("dx", p.x(), contiguous_strides(p.x()), T{}, [&](Gpu on, View<T, 4> dx) {
    conv2d_backward_data<T>(on, dv, wv, p.options, nullptr, dx);
  });
  check("dweight", p.weight(), conv2d_weight_strides(p.weight(), device), A{},
        [&](Gpu on, View<A, 4> dweight) {
          conv2d_backward_weight<T>(on, xv, dv, p.options, false, dweight);
        });
}

TEST(Conv2dOnDevice, OverwritesTheWholeResultAndNothingElse) {
  MWALIMU_NEEDS_DEVICE();
  for (const Problem& p : kSmall) {
    expect_whole_overwrites<float>(p);
    expect_whole_overwrites<bfloat16>(p);
  }
}

// Gradients of whole numbers: exact in every type and order.
template <class T>
void expect_gradients_add(const Shape& strides, const Problem& p) {
  SCOPED_TRACE(testing::Message() << strides << " " << type_name<T>());
  using A = accumulate_t<T>;
  const Device device = Device::cuda();
  const auto ones = [&](const Shape& shape) {
    return Tensor<T>::full(shape, convert<T>(1.0f), device);
  };
  const auto x = ones(p.x()), dout = ones(p.out());
  auto grad = Tensor<A>::with_strides(p.weight(), strides, device);
  grad.copy_from(random_tensor<A>(p.weight(), 5, 0, 100).to(device));
  const auto before = grad.to(Device::cpu()).to_vector();
  const auto backward = [&](bool accumulate) {
    conv2d_backward_weight<T>(gpu_place(device), std::as_const(x).template view<4>(),
                              std::as_const(dout).template view<4>(), p.options, accumulate,
                              grad.template view<4>());
    return grad.to(Device::cpu()).to_vector();
  };
  const auto added = backward(true), alone = backward(false);
  for (std::size_t i = 0; i < before.size(); ++i) {
    ASSERT_EQ(added[i], before[i] + alone[i]) << i;
    ASSERT_EQ(alone[i], std::round(alone[i])) << i;
    ASSERT_GT(alone[i], 0) << i;
  }
}

TEST(Conv2dOnDevice, AddsToGradientsInAnyMemoryOrder) {
  MWALIMU_NEEDS_DEVICE();
  const Problem p{2, 5, 4, 6, 8, 3, {1, 1, 1}};
  for (const Shape& strides :
       {conv2d_weight_strides(p.weight(), Device::cuda()), conv2d_weight_strides(p.weight()),
        contiguous_strides(p.weight())}) {
    expect_gradients_add<float>(strides, p);
    expect_gradients_add<double>(strides, p);
    expect_gradients_add<half>(strides, p);
    expect_gradients_add<bfloat16>(strides, p);
  }
}

TEST(Conv2dOnDevice, ReadsWeightsInAnyMemoryOrder) {
  MWALIMU_NEEDS_DEVICE();
  const Problem p{2, 5, 4, 6, 8, 3, {1, 1, 1}};
  const auto x = Variable<float>(random_tensor<float>(p.x(), 1).to(Device::cuda()));
  std::optional<std::vector<float>> first;
  for (const Shape& strides :
       {conv2d_weight_strides(p.weight(), Device::cuda()), conv2d_weight_strides(p.weight()),
        contiguous_strides(p.weight())}) {
    auto weight = Tensor<float>::with_strides(p.weight(), strides, Device::cuda());
    weight.copy_from(random_tensor<float>(p.weight(), 2).to(Device::cuda()));
    const auto out = conv2d(x, Variable<float>(weight), p.options).value().to(Device::cpu());
    if (!first) first = out.to_vector();
    EXPECT_EQ(out.to_vector(), *first);
  }
}

TEST(Conv2dOnDevice, TakesImagesOfABatchThatAreNotAligned) {
  MWALIMU_NEEDS_DEVICE();
  // 75 elements an image: the second starts at no multiple of 16 bytes.
  const Problem p{2, 5, 5, 3, 8, 3, {1, 1, 1}};
  const auto batch = random_tensor<bfloat16>({4, 5, 5, 3}, 1);
  const auto weight = random_tensor<float>(p.weight(), 2);
  const auto on = [&](Device device) {
    const auto part = batch.to(device).slice(0, 1, 3);
    Results results;
    results.add("out", conv2d(Variable<bfloat16>(part), Variable<float>(weight.to(device)),
                              p.options).value());
    return results;
  };
  expect_near(on(Device::cuda()), on(Device::cpu()), narrow_tolerance<bfloat16>());
}

TEST(Conv2dOnDevice, IsRecordedInAGraph) {
  MWALIMU_NEEDS_DEVICE();
  const Problem p{2, 6, 6, 16, 16, 3, {1, 1, 1}};
  const Device device = Device::cuda();
  auto x = random_tensor<float>(p.x(), 1).to(device);
  const auto weight = random_tensor<float>(p.weight(), 2).to(device);
  auto out = Tensor<float>::zeros(p.out(), device);
  const auto step = [&] {
    out.copy_from(conv2d(Variable<float>(x), Variable<float>(weight), p.options).value());
  };
  synchronize(device);
  const gpu::Stream stream(0);
  gpu::Graph graph(stream);
  graph.run(step);
  stream.synchronize();
  const auto want = out.to(Device::cpu());
  graph.record(step);
  out.zero();
  synchronize(device);
  graph.launch();
  stream.synchronize();
  EXPECT_EQ(out.to(Device::cpu()).to_vector(), want.to_vector());
}

#if defined(MWALIMU_EMULATED)
TEST(Conv2dOnDevice, NeverWaitsForTheDevice) {
  const Problem p{2, 6, 6, 16, 16, 3, {1, 1, 1}};
  const Device device = Device::cuda();
  const auto x = Variable<bfloat16>::leaf(random_tensor<bfloat16>(p.x(), 1).to(device));
  auto value = Tensor<float>::with_strides(p.weight(), conv2d_weight_strides(p.weight(), device),
                                           device);
  value.copy_from(random_tensor<float>(p.weight(), 2).to(device));
  const auto weight = Variable<float>::leaf(value);
  const auto packed = std::make_shared<PackedWeights>();
  auto dout = random_tensor<bfloat16>(p.out(), 3).to(device);
  // Weights to bfloat16, three convolutions, the gradient to float: no copies of weights.
  EXPECT_EQ(test::works_without_waiting([&] {
              conv2d(x, weight, p.options, packed).backward(dout);
            }),
            5u);
}
#endif

template <class T>
void expect_cast_add(index_t n, index_t offset) {
  SCOPED_TRACE(testing::Message() << n << " at " << offset << " " << type_name<T>());
  using A = accumulate_t<T>;
  const Device device = Device::cuda();
  const auto from = random_tensor<T>({n + offset}, 1), to = random_tensor<T>({n + offset + 1}, 2);
  for (const bool accumulate : {false, true}) {
    auto source = from.to(device);
    auto target = to.template to<A>().to(device);
    test::under_schedules(1, [&] {
      target.copy_from(to.template to<A>().to(device));
      cast_add<T>(gpu_place(device), View<const T, 1>(source.data() + offset, {n}, {1}), accumulate,
                  View<A, 1>(target.data() + offset, {n}, {1}));
      const auto got = target.to(Device::cpu()).to_vector();
      for (index_t i = 0; i < n + offset + 1; ++i) {
        const auto k = static_cast<std::size_t>(i);
        const A old = convert<A>(to.data()[i]);
        const bool inside = i >= offset && i < n + offset;
        const A want = !inside      ? old
                       : accumulate ? old + convert<A>(from.data()[i])
                                    : convert<A>(from.data()[i]);
        ASSERT_EQ(got[k], want) << i;
      }
    });
  }
}

TEST(CastAdd, AddsEveryElementOnce) {
  MWALIMU_NEEDS_DEVICE();
  for (const index_t n : {1, 3, 4, 255, 1027, 4096}) {
    for (const index_t offset : {0, 1, 4}) {
      expect_cast_add<float>(n, offset);
      expect_cast_add<double>(n, offset);
      expect_cast_add<half>(n, offset);
      expect_cast_add<bfloat16>(n, offset);
    }
  }
}

#if defined(MWALIMU_EMULATED)
TEST(CastAdd, MovesEachByteOnceInPacks) {
  const std::uint64_t n = 4096;
  const auto from = random_tensor<bfloat16>({4096}, 1).to(Device::cuda());
  auto to = Tensor<float>::zeros({4096}, Device::cuda());
  for (const bool accumulate : {false, true}) {
    const auto run = [&] {
      cast_add<bfloat16>(gpu_place(to.device()), from.view<1>(), accumulate, to.view<1>());
    };
    if (!test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
    const auto& moved = simt::traffic_of("cast_add");
    EXPECT_TRUE(moved.coalesced() && moved.each_byte_once()) << simt::describe(moved);
    EXPECT_EQ(moved.narrowest_access(), 8.0) << simt::describe(moved);  // four of bfloat16
    EXPECT_EQ(moved.read_bytes, 2 * n + (accumulate ? 4 * n : 0));
    EXPECT_EQ(moved.write_bytes, 4 * n);
  }
}
#endif

TEST(CastAdd, RefusesOtherSizes) {
  const auto call = [] {
    cast_add<float>(Gpu{}, View<const float, 1>(nullptr, {3}, {1}), false,
                    View<float, 1>(nullptr, {4}, {1}));
  };
  test::expect_error<ShapeError>(call, "cast_add: want two dense ranges of one size, got 3");
}

}  // namespace
}  // namespace mwalimu::ops
