// The classifier's inputs made on a device, against the host's.
#include "mwalimu/data/augment.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "kernels/device.hpp"
#include "kernels/images.hpp"

namespace mwalimu::data {
namespace {

using test::bits, test::pixel_tolerance, test::relative_difference, test::some_images;
using test::under_schedules;

template <class T>
void expect_inputs_of_the_host(const AugmentOptions& options, const AugmentDraws& draws,
                               const Tensor<std::uint8_t>& images, const Tensor<index_t>& rows,
                               const Tensor<index_t>* samples, int schedules,
                               double tolerance = pixel_tolerance<T>()) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << ", images " << images.shape() << " to "
                                    << options.size << ", pass " << draws.pass);
  Tensor<float> want;
  augment(options, draws, images, rows, want, samples);
  const auto on_device = images.to(Device::cuda());
  const auto device_rows = rows.to(Device::cuda());
  const auto device_samples = (samples ? *samples : rows).to(Device::cuda());
  std::vector<std::uint8_t> first;
  under_schedules(schedules, [&] {
    auto got = Tensor<T>::full(want.shape(), convert<T>(NAN), Device::cuda());
    const T* kept = got.data();
    augment(options, draws, on_device, device_rows, got, samples ? &device_samples : nullptr);
    EXPECT_EQ(got.data(), kept);  // memory of the right shape is used again
    EXPECT_LT(relative_difference(got, want), tolerance);
    if (first.empty()) first = bits(got);
    EXPECT_TRUE(bits(got) == first) << "another schedule, other bits";
  });
}

TEST(DeviceAugment, MatchesTheHostInEveryType) {
  MWALIMU_NEEDS_DEVICE();
  AugmentOptions options;
  const auto images = some_images(3, 30, 41);
  const auto rows = Tensor<index_t>::from({2, 0, 1, 1, 0}, {5});
  for (const int size : {24, 33}) {  // 16-byte packs end with the inputs, or within them
    options.size = size;
    const AugmentDraws draws{.seed = 4, .step = 9, .first_sample = 6};
    expect_inputs_of_the_host<float>(options, draws, images, rows, nullptr, 1);
    expect_inputs_of_the_host<half>(options, draws, images, rows, nullptr, 0);
    expect_inputs_of_the_host<bfloat16>(options, draws, images, rows, nullptr, 0);
  }
}

TEST(DeviceAugment, MatchesTheHostWhereABoxIsShrunkByAreas) {
  MWALIMU_NEEDS_DEVICE();
  AugmentOptions options;
  options.size = 9;
  const auto rows = Tensor<index_t>::from({0, 1, 1, 0, 1}, {5});
  for (const float low : {1.0f, 0.3f}) {
    options.scale = {low, 1.0f};
    options.aspect = {0.7f, 1.4f};
    expect_inputs_of_the_host<float>(options, {.seed = 4, .step = 9}, some_images(2, 70, 59), rows,
                                     nullptr, 0);
  }
}

TEST(DeviceAugment, MatchesTheHostOnEveryExtent) {
  MWALIMU_NEEDS_DEVICE();
  AugmentOptions options;
  const auto rows = Tensor<index_t>::from({1}, {1});
  for (const auto& [h, w] : {std::pair<index_t, index_t>{1, 1}, {200, 1}, {3, 90}}) {
    for (const int size : {1, 2, 16, 17}) {
      options.size = size;
      // One input may be all black, where the lighting's logit magnifies an ulp: see the head.
      expect_inputs_of_the_host<float>(options, {.seed = 1, .step = 3}, some_images(2, h, w), rows,
                                       nullptr, 0, 1e-5);
    }
  }
}

TEST(DeviceAugment, FourChannelsMatchTheHost) {
  MWALIMU_NEEDS_DEVICE();
  AugmentOptions options;
  const auto images = some_images(3, 30, 41, 4);
  const auto rows = Tensor<index_t>::from({2, 0, 1, 1, 0}, {5});
  for (const int size : {24, 33, 1}) {
    options.size = size;
    const AugmentDraws draws{.seed = 4, .step = 9, .first_sample = 6};
    expect_inputs_of_the_host<float>(options, draws, images, rows, nullptr, 1);
    expect_inputs_of_the_host<half>(options, draws, images, rows, nullptr, 0);
    expect_inputs_of_the_host<bfloat16>(options, draws, images, rows, nullptr, 0);
  }
  options.size = 9;  // boxes are shrunk by areas
  options.scale = {0.3f, 1.0f};
  expect_inputs_of_the_host<float>(options, {.seed = 4, .step = 9}, some_images(3, 70, 59, 4), rows,
                                   nullptr, 0);
}

TEST(DeviceAugment, TestTimePassesKnowImagesByTheirNumbers) {
  MWALIMU_NEEDS_DEVICE();
  AugmentOptions options;
  options.size = 20;
  const auto images = some_images(3, 20, 20);
  const auto rows = Tensor<index_t>::from({0, 1, 2}, {3});
  const auto samples = Tensor<index_t>::from({77, 3, 123456789}, {3});
  for (const int pass : {0, 1, 2}) {
    expect_inputs_of_the_host<float>(options, {.seed = 4, .pass = pass}, images, rows, &samples, 0);
  }
  // The evaluation's input of an image of its own size is that image, exactly.
  Tensor<float> got;
  augment(options, {.seed = 4, .pass = 0}, images.to(Device::cuda()), rows.to(Device::cuda()), got);
  const auto values = got.to_vector();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float x = static_cast<float>(images.span()[i]) / 255.0f;
    const int c = static_cast<int>(i % 3);
    ASSERT_FLOAT_EQ(values[i], (x - options.normalisation.mean_of(c)) /
                                   options.normalisation.std_of(c));
  }
}

TEST(DeviceAugment, ReadsTheStepOnTheDevice) {
  MWALIMU_NEEDS_DEVICE();
  AugmentOptions options;
  options.size = 12;
  const auto images = some_images(2, 20, 20);
  const auto rows = Tensor<index_t>::from({0, 1}, {2});
  const auto stored = images.to(Device::cuda());
  const auto device_rows = rows.to(Device::cuda());
  auto step = Tensor<double>::full({}, 41.0, Device::cuda());
  Tensor<float> got, want;
  augment(options, {.seed = 4, .step = Scalar::at(step.data(), 0)}, stored, device_rows, got);
  augment(options, {.seed = 4, .step = 41}, images, rows, want);
  EXPECT_LT(relative_difference(got, want), pixel_tolerance<float>());
}

TEST(DeviceAugment, WritesItsInputsAndNothingElse) {
  MWALIMU_NEEDS_DEVICE();
  AugmentOptions options;
  const auto images = some_images(2, 20, 20);
  const auto rows = Tensor<index_t>::from({0, 1}, {2});
  auto want = Tensor<float>::empty({2, 12, 12, 3});
  const View<const index_t, 1> none(nullptr, {0}, {1});
  augment<float>(Cpu{}, options, {.seed = 1}, images.slice(0, 0, 2).view<4>(),
                 rows.slice(0, 0, 2).view<1>(), none, want.view<4>());
  // An offset of one element breaks the alignment of packs; guard cells stand around.
  auto memory = Tensor<half>::full({want.count() + 2}, half(-77.0f), Device::cuda());
  const View<half, 4> inputs(memory.data() + 1, {2, 12, 12, 3}, {432, 36, 3, 1});
  const auto stored = images.to(Device::cuda());
  const auto device_rows = rows.to(Device::cuda());
  on_device(Device::cuda(), [&](auto place) {
    augment<half>(place, options, {.seed = 1}, stored.view<4>(), device_rows.view<1>(), none,
                  inputs);
  });
  const auto all = memory.to(Device::cpu());
  EXPECT_LT(relative_difference(all.slice(0, 1, want.count() + 1).reshape(want.shape()), want),
            pixel_tolerance<half>());
  EXPECT_EQ(static_cast<float>(all.span().front()), -77.0f);
  EXPECT_EQ(static_cast<float>(all.span().back()), -77.0f);
}

TEST(DeviceAugment, RefusesWhatDoesNotFit) {
  MWALIMU_NEEDS_DEVICE();
  AugmentOptions options;
  options.size = 8;
  const auto images = Tensor<std::uint8_t>::zeros({2, 9, 9, 3}, Device::cuda());
  const auto rows = Tensor<index_t>::zeros({3}, Device::cuda());
  const auto two = Tensor<index_t>::zeros({2}, Device::cuda());
  Tensor<float> inputs;
  EXPECT_THROW(augment(options, {}, images, rows.to(Device::cpu()), inputs), DeviceError);
  EXPECT_THROW(augment(options, {}, images.slice(3, 0, 2), rows, inputs), ShapeError);
  // A pixel of four channels is one read of four bytes.
  const auto memory = Tensor<std::uint8_t>::zeros({2 * 9 * 9 * 4 + 1}, Device::cuda());
  const auto shifted = memory.slice(0, 1, memory.count()).reshape({2, 9, 9, 4});
  EXPECT_THROW(augment(options, {}, shifted, rows, inputs), ShapeError);
  EXPECT_THROW(augment(options, {}, images, rows, inputs, &two), ShapeError);
  EXPECT_THROW(augment(options, {.pass = -2}, images, rows, inputs), ValueError);
}

#if defined(MWALIMU_EMULATED)

// The head's Moves line: bytes once from memory, each value written once, 16 bytes a lane; of four
// channels a tap is one read, not three.
TEST(DeviceAugment, MovesWhatTheHeadSays) {
  if (!simt::checks_accesses()) GTEST_SKIP() << "the check flavour counts accesses";
  AugmentOptions options;
  options.size = 32;
  const auto rows = Tensor<index_t>::from({1, 0}, {2}).to(Device::cuda());
  const simt::ScopedOptions keep;
  simt::options().traffic = true;
  std::array<std::uint64_t, 5> lanes_read{};  // by channels
  for (const std::uint64_t C : {3u, 4u}) {
    const auto images = some_images(2, 32, 32, static_cast<index_t>(C)).to(Device::cuda());
    Tensor<bfloat16> inputs;
    simt::reset_traffic();
    augment(options, {.pass = 0}, images, rows, inputs);
    const auto& traffic = simt::traffic_of("augment_kernel");
    SCOPED_TRACE(simt::describe(traffic));
    const auto written = traffic.of(inputs.data(), 2 * 32 * 32 * C * 2);
    EXPECT_EQ(written.distinct_written, 2 * 32 * 32 * C * 2);
    EXPECT_TRUE(written.each_byte_written_once());
    const auto read = traffic.of(images.data(), 2 * 32 * 32 * C);
    EXPECT_EQ(read.distinct_read, 2 * 32 * 32 * C);
    EXPECT_TRUE(traffic.without_bank_conflicts());
    for (const auto& line : traffic.lines) {
      if (!line.shared && !line.write) lanes_read[C] += line.lanes;
      if (line.shared || !line.write) continue;
      EXPECT_EQ(line.bytes_per_lane(), 16) << line.line;
      EXPECT_EQ(line.efficiency(), 1) << line.line;
    }
  }
  EXPECT_EQ(lanes_read[3] - lanes_read[4], 2u * 32 * 32 * 4 * 2);
}

#endif

}  // namespace
}  // namespace mwalimu::data
