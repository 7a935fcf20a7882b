// The classifier's loss on a device, against the host's in the same type and in double.
#include "mwalimu/ops/cross_entropy.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/both_devices.hpp"

namespace mwalimu::ops {
namespace {

using test::placed;
using test::random_tensor;

Tensor<std::int64_t> random_labels(index_t B, index_t C, std::uint64_t seed) {
  auto labels = Tensor<std::int64_t>::empty({B});
  RandomStream random(seed, Purpose::test, 5);
  for (auto& label : labels.span()) {
    label = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(C)));
  }
  return labels;
}

enum Extras { kPlain = 0, kSmoothing = 1, kWeights = 2, kMixUp = 4 };

template <class T>
test::Results loss_and_gradient(const Tensor<T>& x, int extras, Device device) {
  using A = accumulate_t<T>;
  const index_t B = x.dim(0), C = x.dim(1);
  CrossEntropyOptions<A> options;
  if (extras & kSmoothing) options.label_smoothing = 0.1;
  // Through float, so that double computes with the same numbers.
  if (extras & kWeights) {
    options.class_weight = random_tensor<float>({C}, 2, 0.1f, 2).to<A>().to(device);
  }
  const auto labels = random_labels(B, C, 3).to(device),
             partners = random_labels(B, C, 4).to(device);
  const auto lambda = random_tensor<float>({B}, 5, 0, 1).template to<A>().to(device);
  const auto leaf = Variable<T>::leaf(placed(x, device));
  const auto loss = extras & kMixUp ? cross_entropy<T>(leaf, labels, partners, lambda, options)
                                    : cross_entropy<T>(leaf, labels, options);
  loss.backward(Tensor<A>::full({}, A(0.75), device));
  test::Results results;
  results.add("loss", loss.value());
  results.add("dlogits", leaf.grad());
  return results;
}

template <class T>
void expect_the_hosts(const Tensor<T>& x, int extras) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << x.shape() << " " << extras);
  const auto got = test::on_device_in_any_order(
      [&](Device device) { return loss_and_gradient(x, extras, device); });
  const double tolerance = test::rounding<T>();
  test::expect_near(got, loss_and_gradient(x, extras, Device::cpu()), tolerance);
  test::expect_near(got, loss_and_gradient(x.template to<double>(), extras, Device::cpu()),
                    tolerance);
}

template <class T>
void expect_all() {
  for (const Shape& shape : {Shape{1, 1}, Shape{5, 3}, Shape{4, 32}, Shape{9, 131}}) {
    const auto x = random_tensor<T>(shape, 1, -5, 5);
    for (const int extras : {int{kPlain}, kSmoothing | kWeights, kSmoothing | kWeights | kMixUp}) {
      expect_the_hosts(x, extras);
    }
  }
  expect_the_hosts(test::channels_of_wider(random_tensor<T>({6, 7}, 2)), kMixUp);
}

TEST(DeviceCrossEntropy, MatchesTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_all<float>();
  expect_all<double>();
  expect_all<half>();
  expect_all<bfloat16>();
}

TEST(DeviceCrossEntropy, AnExtremeLogitIsFinite) {
  MWALIMU_NEEDS_DEVICE();
  for (const float size : {1e4f, 3e38f}) {
    const auto x = Tensor<float>::from({size, -size, 0, 0, size, -size}, {2, 3});
    test::expect_near(loss_and_gradient(x, kSmoothing, Device::cuda()),
                      loss_and_gradient(x, kSmoothing, Device::cpu()), 1e-6);
  }
}

TEST(DeviceCrossEntropy, ALabelThatIsNoClassMakesTheLossNaN) {
  MWALIMU_NEEDS_DEVICE();
  for (const std::int64_t wrong : {std::int64_t{-1}, std::int64_t{3}, std::int64_t{1} << 40}) {
    const auto labels = Tensor<std::int64_t>::from({1, wrong}, {2});
    test::expect_error<ValueError>([&] { check_labels(labels, 3); },
                                   "of sample 1 is not a class of 3");
    const auto x = Variable<float>::leaf(random_tensor<float>({2, 3}, 1).to(Device::cuda()));
    const auto on_device = labels.to(Device::cuda());
    const auto loss = cross_entropy<float>(x, on_device);
    EXPECT_TRUE(std::isnan(loss.value().item()));
    loss.backward();
    for (const double d : test::values(x.grad())) EXPECT_TRUE(std::isnan(d));
  }
}

TEST(DeviceCrossEntropy, EitherLabelOfAMixMayBeTheWrongOne) {
  MWALIMU_NEEDS_DEVICE();
  const auto x = Variable<float>(random_tensor<float>({1, 3}, 1).to(Device::cuda()));
  const auto lambda = Tensor<float>::full({1}, 0.5f, Device::cuda());
  const auto right = Tensor<std::int64_t>::full({1}, 2, Device::cuda());
  for (const std::int64_t no_class : {-1, 3}) {
    const auto wrong = Tensor<std::int64_t>::full({1}, no_class, Device::cuda());
    EXPECT_TRUE(std::isnan(cross_entropy<float>(x, wrong, right, lambda).value().item()));
    EXPECT_TRUE(std::isnan(cross_entropy<float>(x, right, wrong, lambda).value().item()));
  }
  EXPECT_FALSE(std::isnan(cross_entropy<float>(x, right, right, lambda).value().item()));
}

TEST(DeviceCrossEntropy, WantsLabelsOnItsDevice) {
  MWALIMU_NEEDS_DEVICE();
  test::expect_error<DeviceError>(
      [] {
        cross_entropy<float>(Tensor<float>::zeros({2, 3}, Device::cuda()),
                             Tensor<std::int64_t>::zeros({2}));
      },
      "cross_entropy: logits are on cuda:0, labels on cpu");
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceCrossEntropy, NeverWaits) {
  const auto x = Variable<float>::leaf(random_tensor<float>({7, 3}, 1).to(Device::cuda()));
  const auto labels = random_labels(7, 3, 1).to(Device::cuda());
  const auto one = Tensor<float>::full({}, 1, Device::cuda());
  EXPECT_EQ(test::works_without_waiting([&] { cross_entropy<float>(x, labels).backward(one); }),
            3u);
}

TEST(DeviceCrossEntropy, MovesTheLogitsOnceEachWay) {
  const auto x = random_tensor<float>({16, 32}, 1).to(Device::cuda());
  const auto labels = random_labels(16, 32, 1).to(Device::cuda());
  const auto one = Tensor<float>::full({}, 1, Device::cuda());
  const auto leaf = Variable<float>::leaf(x);
  const auto run = [&] { cross_entropy<float>(leaf, labels).backward(one); };
  if (!test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  // A label is 8 bytes a row; four doubles a row are what the passes tell each other at most.
  const std::uint64_t logits = 16 * 32 * 4, rows = 16 * (8 + 4 * 8) + 64;
  const auto& forward = simt::traffic_of("cross_entropy_rows");
  EXPECT_TRUE(forward.coalesced()) << simt::describe(forward);
  EXPECT_GE(forward.distinct_read, logits + 16 * 8);
  EXPECT_LE(forward.distinct_read, logits + rows);
  EXPECT_LE(forward.write_bytes, rows);
  const auto& finish = simt::traffic_of("cross_entropy_finish");
  EXPECT_TRUE(finish.coalesced() && finish.each_byte_once()) << simt::describe(finish);
  EXPECT_TRUE(finish.without_bank_conflicts()) << simt::describe(finish);
  EXPECT_EQ(finish.read_bytes, 16 * 2 * 8u);  // a loss and a weight a row
  EXPECT_EQ(finish.write_bytes, 8 + 4u);
  const auto& backward = simt::traffic_of("cross_entropy_backward");
  EXPECT_TRUE(backward.coalesced()) << simt::describe(backward);
  EXPECT_LE(backward.distinct_read, logits + rows);
  EXPECT_EQ(backward.write_bytes, logits);
  EXPECT_TRUE(backward.each_byte_written_once());
}
#endif

}  // namespace
}  // namespace mwalimu::ops
