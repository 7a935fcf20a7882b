// SwAV's crops made on a device, against the host's.
#include "mwalimu/data/multi_crop.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/device.hpp"
#include "kernels/images.hpp"

namespace mwalimu::data {
namespace {

using test::bits, test::pixel_tolerance, test::relative_difference, test::some_images;
using test::under_schedules;

/// Every step of every view acts.
MultiCropOptions everything(const char* crops) {
  MultiCropOptions options = MultiCropOptions::strong(crops);
  options.jitter = options.gray = options.blur = options.rotate = 0.5f;
  options.blur_sigma = {5.0f, 20.0f};  // of 224 pixels: radii of 1 and more on small views
  return options;
}

/// A box for the whole batch, colours after the normalisation.
MultiCropOptions with_quirks(MultiCropOptions options) {
  options.shared_box = options.normalise_first = true;
  return options;
}

template <class T>
void expect_crops_of_the_host(const MultiCropOptions& options, const Tensor<std::uint8_t>& images,
                              const Tensor<index_t>& pairs, int schedules) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << ", images " << images.shape());
  std::vector<Tensor<float>> want;
  multi_crop(options, 3, Scalar(17), images, pairs, want, 2);
  const auto on_device = images.to(Device::cuda());
  const auto rows = pairs.to(Device::cuda());
  std::vector<std::vector<std::uint8_t>> first(want.size());
  under_schedules(schedules, [&] {
    std::vector<Tensor<T>> got;
    for (const auto& group : want) {
      got.push_back(Tensor<T>::empty(group.shape(), Device::cuda()));
      got.back().fill(convert<T>(NAN));
    }
    const T* kept = got[0].data();
    multi_crop(options, 3, Scalar(17), on_device, rows, got, 2);
    EXPECT_EQ(got[0].data(), kept);  // memory of the right shape is used again
    for (std::size_t g = 0; g < want.size(); ++g) {
      EXPECT_LT(relative_difference(got[g], want[g]), pixel_tolerance<T>()) << "group " << g;
      if (first[g].empty()) first[g] = bits(got[g]);
      EXPECT_TRUE(bits(got[g]) == first[g]) << "another schedule, other bits: group " << g;
    }
  });
}

TEST(DeviceCrops, ParametersAreTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  constexpr int B = 50;
  for (const auto& options : {everything("2x40,3x24"), MultiCropOptions::facebook("2x224,6x96"),
                              with_quirks(everything("2x40,3x24"))}) {
    for (std::size_t g = 0; g < options.groups.size(); ++g) {
      const CropRule rule = crop_rule(options, g);
      const index_t views = rule.count * B;
      const auto bytes = views * static_cast<index_t>(sizeof(CropPlan));
      auto plans = Tensor<std::uint8_t>::empty({bytes}, Device::cuda());
      on_device(Device::cuda(), [&](auto place) {
        if constexpr (!std::is_same_v<decltype(place), Cpu>) {
          draw_crops(place, rule, 5, Scalar(1e9), 3, B, 128, 97,
                     reinterpret_cast<CropPlan*>(plans.data()));
        }
      });
      const auto host = plans.to_vector();
      for (index_t i = 0; i < views; ++i) {
        CropPlan got;
        std::memcpy(&got, host.data() + i * static_cast<index_t>(sizeof got), sizeof got);
        const CropPlan want = plan_crop(rule, 5, 1000000000, static_cast<std::uint64_t>(3 + i % B),
                                        static_cast<int>(i / B), 128, 97);
        const CropParameters &a = got.parameters, &b = want.parameters;
        ASSERT_EQ(a.box, b.box) << i;
        ASSERT_EQ(a.size, b.size);
        ASSERT_EQ(a.sensor, b.sensor);
        ASSERT_EQ(a.flip, b.flip);
        ASSERT_EQ(a.jitter, b.jitter);
        ASSERT_EQ(a.gray, b.gray);
        ASSERT_EQ(a.blur, b.blur);
        ASSERT_EQ(a.rotate, b.rotate);
        ASSERT_EQ(a.color.brightness, b.color.brightness);
        ASSERT_EQ(a.color.contrast, b.color.contrast);
        ASSERT_EQ(a.color.saturation, b.color.saturation);
        ASSERT_EQ(a.color.hue, b.color.hue);
        ASSERT_EQ(a.color.order, b.color.order);
        ASSERT_EQ(a.sigma, b.sigma);
        ASSERT_EQ(a.degrees, b.degrees);
        // Two libraries' sine and cosine.
        for (std::size_t k = 0; k < 9; ++k)
          ASSERT_NEAR(got.rotation.m[k], want.rotation.m[k], 1e-13);
      }
    }
  }
}

TEST(DeviceCrops, MatchTheHostInEveryType) {
  MWALIMU_NEEDS_DEVICE();
  const auto images = some_images(4, 20, 33);
  const auto pairs = Tensor<index_t>::from({2, 0, 3, 1}, {2, 2});
  const MultiCropOptions options = everything("2x24,2x16");  // 16-byte packs fit
  expect_crops_of_the_host<float>(options, images, pairs, 1);
  expect_crops_of_the_host<float>(with_quirks(options), images, pairs, 0);
  expect_crops_of_the_host<half>(options, images, pairs, 0);
  expect_crops_of_the_host<bfloat16>(options, images, pairs, 0);
}

TEST(DeviceCrops, MatchTheHostAtEverySize) {
  MWALIMU_NEEDS_DEVICE();
  // No 16-byte packs; images of one pixel and of one row; views smaller than the blur.
  const auto pairs = Tensor<index_t>::from({1, 0}, {1, 2});
  for (const auto& [h, w] : {std::pair<index_t, index_t>{1, 1}, {1, 40}, {37, 5}}) {
    for (const char* crops : {"2x1,1x2", "2x17,1x7"}) {
      MultiCropOptions options = everything(crops);
      options.blur_sigma = {20.0f, 100.0f};
      expect_crops_of_the_host<float>(options, some_images(2, h, w), pairs, 0);
      expect_crops_of_the_host<bfloat16>(options, some_images(2, h, w), pairs, 0);
    }
  }
}

TEST(DeviceCrops, OfFourChannelsMatchTheHost) {
  MWALIMU_NEEDS_DEVICE();
  const auto images = some_images(4, 20, 33, 4);
  const auto pairs = Tensor<index_t>::from({2, 0, 3, 1}, {2, 2});
  for (const char* crops : {"2x24,2x16", "2x17,1x7", "2x1,1x2"}) {
    MultiCropOptions options = everything(crops);
    expect_crops_of_the_host<float>(options, images, pairs, 1);
    expect_crops_of_the_host<float>(with_quirks(options), images, pairs, 0);
    expect_crops_of_the_host<half>(options, images, pairs, 0);
    expect_crops_of_the_host<bfloat16>(options, images, pairs, 0);
  }
  // The large block, and a canvas that three channels would have in shared memory.
  const auto one = Tensor<index_t>::from({1, 0}, {1, 2});
  for (const char* crops : {"2x65", "2x122"}) {
    MultiCropOptions options = everything(crops);
    options.jitter = options.blur = 1;
    expect_crops_of_the_host<bfloat16>(options, some_images(2, 70, 70, 4), one, 0);
  }
}

// 65 pixels take the large block, whose chunks of the blur do not end with the view.
TEST(DeviceCrops, MatchTheHostWithManyThreadsAView) {
  MWALIMU_NEEDS_DEVICE();
  MultiCropOptions options = everything("2x65");
  options.jitter = options.blur = options.rotate = 1;
  expect_crops_of_the_host<float>(options, some_images(2, 70, 70),
                                  Tensor<index_t>::from({1, 0}, {1, 2}), 1);
}

// Too large for shared memory: the canvas lies in scratch, and blocks make several views.
TEST(DeviceCrops, MatchTheHostWhereTheCanvasIsNotShared) {
  MWALIMU_NEEDS_DEVICE();
  MultiCropOptions options = everything("2x144");
  options.jitter = options.blur = options.rotate = 0.7f;
  const auto pairs = Tensor<index_t>::from({1, 0, 0, 1, 1, 0}, {3, 2});
  expect_crops_of_the_host<bfloat16>(options, some_images(2, 100, 100), pairs, 0);
}

TEST(DeviceCrops, AViewMayLieAnywhereInABatch) {
  MWALIMU_NEEDS_DEVICE();
  const MultiCropOptions options = everything("2x12");
  const CropRule rule = crop_rule(options, 0);
  const auto images = some_images(3, 20, 20);
  const auto pairs = Tensor<index_t>::from({1, 0, 2, 2}, {2, 2});
  auto want = Tensor<float>::empty({4, 12, 12, 3});
  crop_group(Cpu{}, rule, options.normalisation, 1, Scalar(2), images.slice(0, 0, 3).view<4>(),
             pairs.view<2>(), 0, want.view<4>());
  // An offset of one element breaks the alignment of packs; guard cells stand around.
  auto memory = Tensor<bfloat16>::full({want.count() + 2}, bfloat16(-77.0f), Device::cuda());
  const View<bfloat16, 4> views(memory.data() + 1, {4, 12, 12, 3}, {432, 36, 3, 1});
  const auto stored = images.to(Device::cuda());
  const auto rows = pairs.to(Device::cuda());
  on_device(Device::cuda(), [&](auto place) {
    crop_group<bfloat16>(place, rule, options.normalisation, 1, Scalar(2), stored.view<4>(),
                         rows.view<2>(), 0, views);
  });
  const auto inside = memory.slice(0, 1, want.count() + 1).to(Device::cpu());
  EXPECT_LT(relative_difference(inside.reshape(want.shape()), want), pixel_tolerance<bfloat16>());
  const auto all = memory.to_vector();
  EXPECT_EQ(static_cast<float>(all.front()), -77.0f);
  EXPECT_EQ(static_cast<float>(all.back()), -77.0f);
}

// A captured step draws other crops when the number on the device has changed.
TEST(DeviceCrops, AGraphReadsTheStepOnTheDevice) {
  MWALIMU_NEEDS_DEVICE();
  const MultiCropOptions options = everything("2x12,2x8");
  const auto images = some_images(4, 20, 20);
  const auto pairs = Tensor<index_t>::from({1, 0, 3, 2}, {2, 2});
  const auto stored = images.to(Device::cuda());
  auto rows = pairs.to(Device::cuda());
  auto step = Tensor<double>::zeros({}, Device::cuda());
  std::vector<Tensor<float>> made;
  const auto crop = [&] { multi_crop(options, 1, Scalar::at(step.data(), 0), stored, rows, made); };
  crop();  // memory is there before the capture

  const gpu::StreamHandle stream = gpu_place(Device::cuda()).stream;
  gpu::DevicePool pool{gpu::DeviceMemory{0}};
  gpu::GraphHandle graph;
  {
    const gpu::PoolScope own(pool);
    gpu::Driver::begin_capture(stream);
    crop();
    graph = gpu::Driver::end_capture(stream);
  }
  for (const double now : {5.0, 6.0, 3e9}) {
    step.fill(now);
    rows.copy_from(pairs);
    for (auto& group : made) group.fill(NAN);
    gpu::Driver::launch_graph(graph, stream);
    std::vector<Tensor<float>> want;
    multi_crop(options, 1, Scalar(now), images, pairs, want);
    for (std::size_t g = 0; g < want.size(); ++g) {
      EXPECT_LT(relative_difference(made[g], want[g]), pixel_tolerance<float>()) << "step " << now;
    }
  }
  gpu::Driver::destroy_graph(graph);
}

TEST(DeviceCrops, RefuseWhatDoesNotFit) {
  MWALIMU_NEEDS_DEVICE();
  MultiCropOptions options = MultiCropOptions::study("2x8");
  const auto images = Tensor<std::uint8_t>::zeros({2, 9, 9, 3}, Device::cuda());
  const auto pairs = Tensor<index_t>::zeros({1, 2}, Device::cuda());
  std::vector<Tensor<float>> groups;
  EXPECT_THROW(multi_crop(options, 1, Scalar(2), images, pairs.to(Device::cpu()), groups),
               DeviceError);
  EXPECT_THROW(multi_crop(options, 1, Scalar(2), images.slice(3, 0, 2), pairs, groups), ShapeError);
  // A pixel of four channels is one read of four bytes.
  const auto memory = Tensor<std::uint8_t>::zeros({2 * 9 * 9 * 4 + 1}, Device::cuda());
  const auto shifted = memory.slice(0, 1, memory.count()).reshape({2, 9, 9, 4});
  EXPECT_THROW(multi_crop(options, 1, Scalar(2), shifted, pairs, groups), ShapeError);
  options.groups[0].size = 2049;
  EXPECT_THROW(multi_crop(options, 1, Scalar(2), images, pairs, groups), ShapeError);
}

#if defined(MWALIMU_EMULATED)

// The head's Moves line, on a view that is only cropped: the box's bytes come once from memory,
// every value is written once, 16 bytes a lane, and shared memory has no bank conflicts; of four
// channels a tap is one read, not three.
TEST(DeviceCrops, MoveWhatTheHeadSays) {
  if (!simt::checks_accesses()) GTEST_SKIP() << "the check flavour counts accesses";
  MultiCropOptions options = MultiCropOptions::study("2x32");
  options.groups[0].scale = {1, 1};
  options.aspect = {1, 1};
  options.flip = options.jitter = options.gray = options.blur = options.rotate = 0;
  const auto pairs = Tensor<index_t>::from({1, 0}, {1, 2}).to(Device::cuda());
  const simt::ScopedOptions keep;
  simt::options().traffic = true;
  std::array<std::uint64_t, 5> lanes_read{};  // by channels
  for (const auto& [C, blurred] :
       {std::pair<std::uint64_t, bool>{3, false}, {3, true}, {4, false}, {4, true}}) {
    const auto images = some_images(2, 32, 32, static_cast<index_t>(C)).to(Device::cuda());
    options.blur = blurred ? 1 : 0;
    std::vector<Tensor<bfloat16>> views;
    simt::reset_traffic();
    multi_crop(options, 1, Scalar(2), images, pairs, views);
    const auto& traffic = simt::traffic_of("crop_kernel");
    SCOPED_TRACE(simt::describe(traffic));
    const auto written = traffic.of(views[0].data(), 2 * 32 * 32 * C * 2);
    EXPECT_EQ(written.distinct_written, 2 * 32 * 32 * C * 2);
    EXPECT_TRUE(written.each_byte_written_once());
    const auto read = traffic.of(images.data(), 2 * 32 * 32 * C);
    EXPECT_EQ(read.distinct_read, 2 * 32 * 32 * C);
    EXPECT_EQ(traffic.shared_wavefronts, traffic.ideal_shared_wavefronts);
    for (const auto& line : traffic.lines) {
      if (!line.shared && !line.write) lanes_read[C] += line.lanes;
      if (line.shared || !line.write) continue;
      EXPECT_EQ(line.bytes_per_lane(), 16) << line.line;
      EXPECT_EQ(line.efficiency(), 1) << line.line;
    }
  }
  EXPECT_EQ(lanes_read[3] - lanes_read[4], 2u * (2 * 32 * 32 * 4 * 2));  // blurred and not
}

#endif

}  // namespace
}  // namespace mwalimu::data
