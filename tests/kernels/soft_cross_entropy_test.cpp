// Cross entropy against soft targets and SwAV's swapped prediction on a device, against the host's
// in the same type and in double.
#include "mwalimu/ops/soft_cross_entropy.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/both_devices.hpp"
#include "kernels/recording.hpp"

namespace mwalimu::ops {
namespace {

using test::placed;
using test::random_tensor;

/// Rows that sum to 1.
template <class A>
Tensor<A> random_codes(const Shape& shape, std::uint64_t seed) {
  auto codes = random_tensor<A>(shape, seed, 0, 1);
  const index_t P = shape[shape.rank() - 1];
  for (index_t r = 0; r < codes.count() / P; ++r) {
    A sum = 0;
    for (index_t p = 0; p < P; ++p) sum += codes.data()[r * P + p];
    for (index_t p = 0; p < P; ++p) codes.data()[r * P + p] /= sum;
  }
  return codes;
}

// The output of a half or bfloat16 kernel differs from double's by one rounding.
template <class T>
constexpr double kTolerance = std::is_same_v<T, double> ? 1e-12 : test::rounding<T>();

template <class T>
test::Results soft(const Tensor<T>& x, const Tensor<accumulate_t<T>>& q,
                   const Tensor<accumulate_t<T>>& dloss, Device device) {
  const auto leaf = Variable<T>::leaf(placed(x, device));
  const auto loss = soft_cross_entropy<T>(leaf, placed(q, device), 0.1);
  loss.backward(dloss.to(device));
  test::Results results;
  results.add("loss", loss.value());
  results.add("dlogits", leaf.grad());
  return results;
}

template <class T>
void expect_soft(const Tensor<T>& x, const Tensor<accumulate_t<T>>& q) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << x.shape());
  const auto dloss = random_tensor<accumulate_t<T>>({x.dim(0)}, 9);
  const auto got =
      test::on_device_in_any_order([&](Device device) { return soft(x, q, dloss, device); });
  test::expect_near(got, soft(x, q, dloss, Device::cpu()), kTolerance<T>);
  test::expect_near(got,
                    soft(x.template to<double>(), q.template to<double>(),
                         dloss.template to<double>(), Device::cpu()),
                    kTolerance<T>);
}

template <class T>
void expect_soft_of_all_shapes() {
  using A = accumulate_t<T>;
  for (const Shape& shape : {Shape{1, 1}, Shape{2, 7}, Shape{3, 255}, Shape{2, 1028}}) {
    expect_soft(random_tensor<T>(shape, 1), random_codes<A>(shape, 2));
  }
  const Shape shape{3, 20};
  expect_soft(test::channels_of_wider(random_tensor<T>(shape, 3)),
              test::channels_of_wider(random_codes<A>(shape, 4)));
}

TEST(DeviceSoftCrossEntropy, MatchesTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_soft_of_all_shapes<float>();
  expect_soft_of_all_shapes<double>();
  expect_soft_of_all_shapes<half>();
  expect_soft_of_all_shapes<bfloat16>();
}

TEST(DeviceSoftCrossEntropy, ExtremeLogitsCostNoDigits) {
  MWALIMU_NEEDS_DEVICE();
  auto x = random_tensor<float>({3, 40}, 1);
  for (index_t k = 0; k < 40; ++k) {
    x.data()[k] = std::round(x.data()[k] * 64) / 64 + 1e4f;  // exact beside 1e4
    x.data()[40 + k] *= 1e4f;
    x.data()[80 + k] *= 1e30f;
  }
  const auto q = random_codes<float>({3, 40}, 2);
  const auto dloss = Tensor<float>::full({3}, 1);
  test::expect_near(soft(x, q, dloss, Device::cuda()),
                    soft(x.to<double>(), q.to<double>(), dloss.to<double>(), Device::cpu()), 1e-6);
}

template <class T>
test::Results swav(const Tensor<T>& x, const Tensor<accumulate_t<T>>& codes,
                   std::vector<index_t> assign, index_t V, Device device) {
  const auto leaf = Variable<T>::leaf(placed(x, device));
  const auto result = swav_prediction_loss<T>(leaf, codes.to(device), assign, V, 0.1);
  result.loss.backward();
  test::Results results;
  results.add("loss", result.loss.value());
  results.add("crop_loss", result.crop_loss);
  results.add("dscores", leaf.grad());
  return results;
}

template <class T>
void expect_swav(index_t B, index_t P, index_t V, const std::vector<index_t>& assign, bool wide) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << " " << B << " " << P << " " << V);
  const auto dense = random_tensor<T>({V * B, P}, 1);
  const auto x = wide ? test::channels_of_wider(dense) : dense;
  const auto codes = random_codes<accumulate_t<T>>({static_cast<index_t>(assign.size()), B, P}, 2);
  const auto got = test::on_device_in_any_order(
      [&](Device device) { return swav(x, codes, assign, V, device); });
  test::expect_near(got, swav(x, codes, assign, V, Device::cpu()), kTolerance<T>);
  test::expect_near(
      got, swav(x.template to<double>(), codes.template to<double>(), assign, V, Device::cpu()),
      kTolerance<T>);
}

template <class T>
void expect_swav_of_all_shapes() {
  expect_swav<T>(1, 1, 2, {0}, false);
  expect_swav<T>(2, 24, 4, {0, 1}, false);
  expect_swav<T>(3, 13, 3, {2, 0, 1}, true);
  expect_swav<T>(1, 300, 2, {1}, false);
}

TEST(DeviceSwavPrediction, MatchesTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_swav_of_all_shapes<float>();
  expect_swav_of_all_shapes<double>();
  expect_swav_of_all_shapes<half>();
  expect_swav_of_all_shapes<bfloat16>();
}

TEST(DeviceSwavPrediction, ANaNScoreIsNotHidden) {
  MWALIMU_NEEDS_DEVICE();
  auto x = random_tensor<float>({4, 9}, 1);
  x.data()[5] = NAN;
  const auto result = swav_prediction_loss<float>(
      x.to(Device::cuda()), random_codes<float>({1, 2, 9}, 2).to(Device::cuda()),
      std::vector<index_t>{1}, 2, 0.1);
  EXPECT_TRUE(std::isnan(result.loss.value().item()));
}

TEST(DeviceSwavPrediction, WantsNoMoreCropsThanAKernelHolds) {
  MWALIMU_NEEDS_DEVICE();
  std::vector<index_t> assign(33);
  for (index_t i = 0; i < 33; ++i) assign[static_cast<std::size_t>(i)] = i;
  test::expect_error<ValueError>(
      [&] {
        swav_prediction_loss<float>(Tensor<float>::zeros({33, 2}, Device::cuda()),
                                    Tensor<float>::zeros({33, 1, 2}, Device::cuda()), assign, 33,
                                    0.1);
      },
      "codes of at most 32 crops on a device, got 33");
}

TEST(DeviceSwavPrediction, AGraphReadsTheTemperatureOfTheMoment) {
  MWALIMU_NEEDS_DEVICE();
  test::Recording graph;
  const auto x = random_tensor<float>({6, 8}, 1), codes = random_codes<float>({1, 2, 8}, 2);
  const auto leaf = Variable<float>::leaf(x.to(Device::cuda()));
  const auto q = codes.to(Device::cuda());
  const auto one = Tensor<float>::full({}, 1, Device::cuda());
  auto tau = Tensor<double>::full({}, 1.0, Device::cuda());
  const std::vector<index_t> assign{0};
  Tensor<float> loss;
  graph.record([&] {
    const Scalar temperature = Scalar::at(tau.data(), 1.0);
    const auto result = swav_prediction_loss<float>(leaf, q, assign, 3, temperature).loss;
    loss = result.value();
    result.backward(one);
  });
  for (const double t : {0.1, 0.5}) {
    tau.fill(t);
    graph.launch();
    const auto want = Variable<float>::leaf(x);
    const auto host = swav_prediction_loss<float>(want, codes, assign, 3, t).loss;
    host.backward();
    EXPECT_NEAR(loss.item(), host.value().item(), 1e-6);
    EXPECT_TRUE(test::near_l2(test::values(leaf.grad()), test::values(want.grad()), 1e-6));
  }
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceSwavPrediction, MovesScoresOnce) {
  const index_t B = 2, P = 1024, V = 3;
  const auto leaf = Variable<float>::leaf(random_tensor<float>({V * B, P}, 1).to(Device::cuda()));
  const auto codes = random_codes<float>({2, B, P}, 2).to(Device::cuda());
  const std::vector<index_t> assign{0, 1};
  const auto run = [&] {
    swav_prediction_loss<float>(leaf, codes, assign, V, 0.1).loss.backward();
  };
  run();  // the gradient's seed comes from the host; its memory from the pool
  if (!test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const auto bytes = static_cast<std::size_t>(V * B * P) * 4;
  for (const char* kernel : {"prediction_forward", "prediction_backward"}) {
    const auto& traffic = simt::traffic_of(kernel);
    const auto scores = traffic.of(leaf.value().data(), bytes);
    EXPECT_EQ(scores.distinct_read, bytes);
    // The first score of each row is read by all, as the origin of its products.
    EXPECT_LE(scores.read_bytes, bytes + 256 * V * B * 4) << simt::describe(traffic);
    for (const auto& line : traffic.lines) {
      if (!line.shared && line.bytes > 20000) {
        EXPECT_EQ(line.bytes_per_lane(), 16) << simt::describe(traffic);
        EXPECT_EQ(line.efficiency(), 1) << simt::describe(traffic);
      }
    }
  }
  const auto& finish = simt::traffic_of("prediction_finish");
  EXPECT_TRUE(finish.coalesced() && finish.each_byte_once()) << simt::describe(finish);
  EXPECT_TRUE(finish.without_bank_conflicts()) << simt::describe(finish);
  EXPECT_EQ(finish.read_bytes, static_cast<std::uint64_t>(8 * V * B));
  EXPECT_EQ(finish.write_bytes, static_cast<std::uint64_t>(4 * V + 4));
}
#endif

}  // namespace
}  // namespace mwalimu::ops
