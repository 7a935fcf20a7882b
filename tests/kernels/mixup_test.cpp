// MixUp on a device, against the host's.
#include "mwalimu/data/mixup.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/device.hpp"
#include "kernels/images.hpp"
#include "support/compare.hpp"
#include "support/reference.hpp"

namespace mwalimu::data {
namespace {

using test::bits, test::pixel_tolerance, test::relative_difference, test::under_schedules;

template <class T>
Tensor<T> noise(const Shape& shape) {
  RandomStream random(1, Purpose::test);
  auto tensor = Tensor<T>::empty(shape);
  for (T& x : tensor.span()) x = convert<T>(random.uniform(-2.0f, 2.0f));
  return tensor;
}

Tensor<std::int64_t> count_up(index_t n) {
  auto labels = Tensor<std::int64_t>::empty({n});
  std::iota(labels.span().begin(), labels.span().end(), 100);
  return labels;
}

/// The images blended by the batch's own partners and shares, in double.
template <class T>
std::vector<double> in_double(const Tensor<T>& images, const MixUpBatch<T>& batch) {
  const auto pixels = test::values(images);
  const auto partners = batch.partners.to_vector();
  const auto lambda = batch.lambda.to_vector();
  const std::size_t each = pixels.size() / lambda.size();
  std::vector<double> mixed;
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const double share = lambda[i / each];
    const auto other = static_cast<std::size_t>(partners[i / each]) * each + i % each;
    mixed.push_back(share * pixels[i] + (1 - share) * pixels[other]);
  }
  return mixed;
}

template <class T>
void expect_mix_of_the_host(const Shape& shape, int schedules) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << " " << shape);
  const auto images = noise<T>(shape);
  const auto labels = count_up(shape[0]);
  MixUpBatch<float> want;
  mix_up(0.4, 5, Scalar(6), images.template to<float>(), labels, want, 2);
  const auto device_images = images.to(Device::cuda());
  const auto device_labels = labels.to(Device::cuda());
  std::vector<std::uint8_t> first;
  under_schedules(schedules, [&] {
    MixUpBatch<T> got;
    got.images = Tensor<T>::full(shape, convert<T>(NAN), Device::cuda());
    mix_up(0.4, 5, Scalar(6), device_images, device_labels, got, 2);
    EXPECT_EQ(got.partners.to_vector(), want.partners.to_vector());
    EXPECT_EQ(got.partner_labels.to_vector(), want.partner_labels.to_vector());
    const auto lambda = got.lambda.to_vector();
    for (std::size_t b = 0; b < lambda.size(); ++b) {
      EXPECT_NEAR(lambda[b], want.lambda.span()[b], 1e-6f);  // two libraries' log and exp
    }
    EXPECT_LT(relative_difference(got.images, want.images), pixel_tolerance<T>());
    EXPECT_TRUE(
        test::near_l2(test::values(got.images), in_double(images, got), pixel_tolerance<T>()));
    if (first.empty()) first = bits(got.images);
    EXPECT_TRUE(bits(got.images) == first) << "another schedule, other bits";
  });
}

TEST(DeviceMixUp, MatchesTheHost) {
  MWALIMU_NEEDS_DEVICE();
  for (const Shape& shape : {Shape{1, 1, 1, 3}, Shape{7, 4, 4, 3}, Shape{5, 3, 7, 3}}) {
    expect_mix_of_the_host<float>(shape, 1);
    expect_mix_of_the_host<half>(shape, 0);
    expect_mix_of_the_host<bfloat16>(shape, 0);
  }
  expect_mix_of_the_host<float>({259, 1, 1, 3}, 1);  // more rows than the block has threads
}

TEST(DeviceMixUp, ReadsTheStepOnTheDevice) {
  MWALIMU_NEEDS_DEVICE();
  const auto images = noise<float>({6, 2, 2, 3});
  auto step = Tensor<double>::full({}, 41.0, Device::cuda());
  MixUpBatch<float> got, want;
  mix_up(0.4, 5, Scalar::at(step.data(), 0), images.to(Device::cuda()),
         count_up(6).to(Device::cuda()), got);
  mix_up(0.4, 5, Scalar(41), images, count_up(6), want);
  EXPECT_EQ(got.partners.to_vector(), want.partners.to_vector());
  EXPECT_LT(relative_difference(got.images, want.images), pixel_tolerance<float>());
}

TEST(DeviceMixUp, RefusesWhatDoesNotFit) {
  MWALIMU_NEEDS_DEVICE();
  MixUpBatch<float> mixed;
  const auto images = Tensor<float>::zeros({2, 1, 1, 3}, Device::cuda());
  EXPECT_THROW(mix_up(0.4, 5, Scalar(6), images, count_up(2), mixed), DeviceError);
  const auto many = Tensor<float>::zeros({12289, 1, 1, 1}, Device::cuda());
  EXPECT_THROW(mix_up(0.4, 5, Scalar(6), many, count_up(12289).to(Device::cuda()), mixed),
               ShapeError);
}

#if defined(MWALIMU_EMULATED)

TEST(DeviceMixUp, MovesWhatTheHeadSays) {
  if (!simt::checks_accesses()) GTEST_SKIP() << "the check flavour counts accesses";
  const auto images = noise<bfloat16>({3, 16, 16, 3}).to(Device::cuda());
  const auto labels = count_up(3).to(Device::cuda());
  const simt::ScopedOptions keep;
  simt::options().traffic = true;
  MixUpBatch<bfloat16> mixed;
  simt::reset_traffic();
  mix_up(0.4, 5, Scalar(6), images, labels, mixed);
  const auto& traffic = simt::traffic_of("mix_images_kernel");
  SCOPED_TRACE(simt::describe(traffic));
  const std::uint64_t bytes = 3 * 16 * 16 * 3 * 2;
  const auto read = traffic.of(images.data(), bytes);
  EXPECT_EQ(read.distinct_read, bytes);
  EXPECT_EQ(read.read_bytes, 2 * bytes);
  EXPECT_EQ(traffic.of(mixed.images.data(), bytes).distinct_written, bytes);
  EXPECT_TRUE(traffic.each_byte_written_once());
  for (const auto& line : traffic.lines) {
    if (line.write) {
      EXPECT_EQ(line.bytes_per_lane(), 16) << line.line;
      EXPECT_EQ(line.efficiency(), 1) << line.line;
    }
  }
  const auto& drawn = simt::traffic_of("draw_mixup");
  EXPECT_TRUE(drawn.each_byte_written_once() && drawn.without_bank_conflicts())
      << simt::describe(drawn);
  EXPECT_EQ(drawn.write_bytes, 3 * (4 + 8 + 8u));  // lambda, partner and its label
  EXPECT_EQ(drawn.read_bytes, 3 * 8u);
}

#endif

}  // namespace
}  // namespace mwalimu::data
