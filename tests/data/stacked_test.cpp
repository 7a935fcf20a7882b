// A pair of sensors as one image of four channels: what is stored, and what augmentation does to it.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "data/put_file.hpp"
#include "data/put_pairs.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/dataset.hpp"
#include "mwalimu/data/image_store.hpp"
#include "mwalimu/data/multi_crop.hpp"
#include "support/reference.hpp"

namespace mwalimu::data {
namespace {

using test::put_file;
using test::put_pairs;
using test::small_store;
using test::TempDir;

TEST(StackPairs, AreOneSampleAPlantCalledAsItsRgbImage) {
  const TempDir dir;
  const Dataset pairs = put_pairs(dir, 3), stacked = stack_pairs(pairs);
  ASSERT_EQ(stacked.size(), 3);
  EXPECT_EQ(stacked[1].id, "p1.png");
  EXPECT_EQ(stacked[1].near_infrared.filename(), "p1_rgn.png");
  EXPECT_EQ(sensor_name(stacked[1].sensor), "stacked");
  EXPECT_EQ(stacked[1].label, 0);
  const auto plant = plants(stacked);
  ASSERT_EQ(plant.size(), 3u);
  EXPECT_EQ(plant[2].any(), 2);
  EXPECT_EQ(plant[2].rgn, -1);
}

TEST(StackPairs, WantsBothSides) {
  const TempDir dir;
  test::expect_error<ValueError>([&] { stack_pairs(put_pairs(dir, 2, false)); },
                                          "p0.png has no partner");
}

TEST(StackedStore, HoldsRgbAndTheThirdChannelOfTheOther) {
  const TempDir dir, cache;
  Dataset data = stack_pairs(put_pairs(dir, 3));
  for (int pass = 0; pass < 2; ++pass) {  // decoded, then from the cache
    const ImageStore store = ImageStore::build(data, small_store(cache.path()));
    ASSERT_EQ(store.size(), 3);
    ASSERT_EQ(store.channels(), 4);
    for (index_t i = 0; i < 3; ++i) {
      const Image rgb = resize(read_image(data[i].path), 12, 12);
      const Image rgn = resize(read_image(data[i].near_infrared), 12, 12);
      const auto got = store.image(i);
      ASSERT_EQ(got.size(), 12u * 12 * 4);
      for (std::size_t p = 0; p < 144; ++p) {
        for (std::size_t c = 0; c < 3; ++c) ASSERT_EQ(got[4 * p + c], rgb.pixels[3 * p + c]);
        ASSERT_EQ(got[4 * p + 3], rgn.pixels[3 * p + 2]);
      }
    }
  }
  // The same RGB files by themselves are another store, with a file of their own.
  Dataset rgb = data;
  for (Sample& sample : rgb.samples) sample.sensor = Sensor::rgb;
  EXPECT_EQ(ImageStore::build(rgb, small_store(cache.path())).channels(), 3);
}

TEST(StackedStore, APlantGoesWithEitherSideThatDoesNotDecode) {
  const TempDir dir;
  Dataset data = stack_pairs(put_pairs(dir, 3));
  put_file(dir, "images/p1_rgn.png", "not an image");
  EXPECT_THROW(ImageStore::build(data, small_store()), BadDataError);
  StoreOptions options = small_store();
  options.skip_bad = true;
  EXPECT_EQ(ImageStore::build(data, options).size(), 2);
  EXPECT_EQ(data.size(), 2);
  EXPECT_EQ(data[0].id, "p0.png");
  EXPECT_EQ(data[1].id, "p2.png");
  data[0].sensor = Sensor::rgb;
  EXPECT_THROW(ImageStore::build(data, options), ValueError);
}

// A stacked image, and two of three channels with the same content: its visible part, and its near
// infra-red as red (green and blue are of no account).
struct Stack {
  explicit Stack(int h, int w) : height(h), width(w) {
    RandomStream random(7, Purpose::test);
    for (int p = 0; p < h * w; ++p) {
      std::uint8_t channel[4];
      for (auto& c : channel) c = static_cast<std::uint8_t>(random.below(256));
      stacked.insert(stacked.end(), channel, channel + 4);
      visible.insert(visible.end(), channel, channel + 3);
      infrared.insert(infrared.end(), {channel[3], channel[3], channel[3]});
    }
  }
  int height, width;
  std::vector<std::uint8_t> stacked, visible, infrared;
};

// All four channels with one normalisation, so that they can be compared.
const Normalisation kPlain = Normalisation::none();

TEST(StackedCrop, GeometryIsOneForAllFourChannelsAndRgbIsAsAlone) {
  const Stack image(33, 41);
  CropScratch scratch;
  MultiCropOptions options;
  options.jitter = options.gray = 0;  // the fourth channel is compared with a gray image
  options.blur = options.rotate = 0.5f;
  bool changed = false;
  for (const bool colours : {false, true}) {
    if (colours) options.jitter = 1;
    for (std::uint64_t sample = 0; sample < 12; ++sample) {
      const CropParameters p = draw_crop(options, 3, 4, sample, 0, image.height, image.width);
      const auto n = static_cast<std::size_t>(p.size * p.size);
      std::vector<float> four(4 * n), rgb(3 * n), nir(3 * n);
      apply_crop(StackedByteImage{image.stacked.data(), image.height, image.width}, p, kPlain,
                 four.data(), scratch);
      apply_crop(ByteImage{image.visible.data(), image.height, image.width}, p, kPlain, rgb.data(),
                 scratch);
      apply_crop(ByteImage{image.infrared.data(), image.height, image.width}, p, kPlain, nir.data(),
                 scratch);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t c = 0; c < 3; ++c) ASSERT_NEAR(four[4 * i + c], rgb[3 * i + c], 1e-6f);
        if (!colours) {
          ASSERT_NEAR(four[4 * i + 3], nir[3 * i], 1e-6f);
        }
        changed = changed || four[4 * i + 3] != four[4 * i];
      }
    }
  }
  EXPECT_TRUE(changed);
}

TEST(StackedCrop, TheBatchLiesViewMajorInFourChannels) {
  const Stack image(20, 20);
  MultiCropOptions options = MultiCropOptions::study("2x6,1x4");
  CropScratch scratch;
  std::vector<float> large(2 * 3 * 6 * 6 * 4 + 1, -9.0f), small(3 * 4 * 4 * 4 + 1, -9.0f);
  const StackedByteImage bytes{image.stacked.data(), image.height, image.width};
  const std::vector<float*> groups{large.data(), small.data()};
  for (int row = 0; row < 3; ++row) {
    multi_crop(options, 1, 2, static_cast<std::uint64_t>(row), bytes, bytes, row, 3, groups, scratch);
  }
  EXPECT_EQ(std::count(large.begin(), large.end(), -9.0f), 1);  // the guard alone
  EXPECT_EQ(std::count(small.begin(), small.end(), -9.0f), 1);
  const CropParameters p = draw_crop(options, 1, 2, 2, 1, 20, 20);
  std::vector<float> one(6 * 6 * 4);
  apply_crop(bytes, p, options.normalisation, one.data(), scratch);
  EXPECT_TRUE(std::equal(one.begin(), one.end(), large.begin() + (1 * 3 + 2) * 6 * 6 * 4));
}

PlanarImage four_planes(std::uint64_t seed) {
  PlanarImage image(5, 7, 4);
  RandomStream random(seed, Purpose::test);
  for (float& x : image.values()) x = random.uniform(0.2f, 0.6f);
  return image;
}
std::vector<float> plane(const PlanarImage& image, int c) {
  return {image.plane(c), image.plane(c) + image.plane_size()};
}

TEST(StackedColour, WhatIsForTheEyeLeavesNearInfraRed) {
  const PlanarImage before = four_planes(1);
  PlanarImage saturated = before, turned = before, gray = before;
  adjust_saturation(saturated, 0.3f);
  adjust_hue(turned, 0.2f);
  to_gray(gray);
  for (const PlanarImage* image : {&saturated, &turned, &gray}) {
    EXPECT_EQ(plane(*image, 3), plane(before, 3));
    EXPECT_NE(plane(*image, 0), plane(before, 0));
  }
}

TEST(StackedColour, ExposureChangesAllFour) {
  const PlanarImage before = four_planes(2);
  PlanarImage brighter = before, flat = before;
  adjust_brightness(brighter, 1.5f);
  adjust_contrast(flat, 0);
  double mean = 0;
  for (const float x : plane(before, 3)) mean += x / 35;
  for (std::size_t i = 0; i < 35; ++i) {
    EXPECT_FLOAT_EQ(brighter.plane(3)[i], 1.5f * before.plane(3)[i]);
    EXPECT_NEAR(flat.plane(3)[i], mean, 1e-6);
  }
}

TEST(StackedAugment, AllFourChannelsAreWarpedAndLitAlike) {
  const Stack image(30, 44);
  AugmentScratch scratch;
  AugmentOptions options{.size = 9};  // so small that boxes are shrunk by areas first
  for (std::uint64_t sample = 0; sample < 8; ++sample) {
    const AugmentParameters p = draw_augment(options, 5, 6, sample, image.height, image.width);
    std::vector<float> four(4 * 81), rgb(3 * 81), nir(3 * 81);
    apply_augment(StackedByteImage{image.stacked.data(), image.height, image.width}, p, 9, kPlain,
                  four.data(), scratch);
    apply_augment(ByteImage{image.visible.data(), image.height, image.width}, p, 9, kPlain,
                  rgb.data(), scratch);
    apply_augment(ByteImage{image.infrared.data(), image.height, image.width}, p, 9, kPlain,
                  nir.data(), scratch);
    for (std::size_t i = 0; i < 81; ++i) {
      for (std::size_t c = 0; c < 3; ++c) ASSERT_NEAR(four[4 * i + c], rgb[3 * i + c], 1e-6f);
      ASSERT_NEAR(four[4 * i + 3], nir[3 * i], 1e-6f);
    }
  }
}

// What a device's batches are compared with.
TEST(StackedBatch, HasTheViewsAndInputsOfEachImage) {
  const Stack image(20, 20);
  const StackedByteImage bytes{image.stacked.data(), image.height, image.width};
  const auto images = Tensor<std::uint8_t>::from(image.stacked, {1, 20, 20, 4});
  const MultiCropOptions crops = MultiCropOptions::strong("2x6");
  std::vector<Tensor<float>> groups;
  multi_crop(crops, 1, 2, images, Tensor<index_t>::zeros({2, 1}), groups);
  ASSERT_EQ(groups[0].shape(), (Shape{4, 6, 6, 4}));
  std::vector<float> one(6 * 6 * 4);
  CropScratch scratch;
  apply_crop(bytes, draw_crop(crops, 1, 2, 1, 1, 20, 20), crops.normalisation, one.data(), scratch);
  EXPECT_EQ(groups[0].slice(0, 3, 4).to_vector(), one);  // view 1 of sample 1

  const AugmentOptions options{.size = 6};
  Tensor<float> inputs;
  augment(options, {.seed = 5, .step = 6}, images, Tensor<index_t>::zeros({2}), inputs);
  ASSERT_EQ(inputs.shape(), (Shape{2, 6, 6, 4}));
  AugmentScratch made;
  apply_augment(bytes, draw_augment(options, 5, 6, 1, 20, 20), 6, options.normalisation, one.data(),
                made);
  EXPECT_EQ(inputs.slice(0, 1, 2).to_vector(), one);
}

TEST(StackedNormalisation, TheFourthChannelHasNumbersOfItsOwn) {
  PlanarImage image(1, 1, 4);
  for (float& x : image.values()) x = 0.9f;
  const Normalisation imagenet;
  std::vector<float> out(4);
  write_normalised(image, imagenet, out.data());
  EXPECT_EQ(out[3], (0.9f - 0.449f) / 0.226f);
  EXPECT_EQ(out[2], (0.9f - 0.406f) / 0.225f);
  // The means of the other three's.
  EXPECT_NEAR(imagenet.near_infrared_mean, (0.485 + 0.456 + 0.406) / 3, 1e-6);
  EXPECT_NEAR(imagenet.near_infrared_std, (0.229 + 0.224 + 0.225) / 3, 1e-6);
}

}  // namespace
}  // namespace mwalimu::data
