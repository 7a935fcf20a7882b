#include "mwalimu/data/resize.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <string>

#include "mwalimu/core/random.hpp"
#include "support/golden.hpp"

namespace mwalimu::data {
namespace {

Image from_array(const golden::Array& array) {
  Image image(static_cast<int>(array.shape[0]), static_cast<int>(array.shape[1]));
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(array.values[i]);
  }
  return image;
}

Image noise(int height, int width) {
  Image image(height, width);
  RandomStream random(3, Purpose::test);
  for (auto& p : image.pixels) p = static_cast<std::uint8_t>(random.below(256));
  return image;
}

TEST(ResizeGolden, MatchesPil) {
  MWALIMU_GOLDEN_CASES(cases, "pil_resize");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const std::string mode = c.at("mode");
    ASSERT_TRUE(mode == "bilinear" || mode == "bicubic") << mode;
    const Image want = from_array(c.tensor("dst"));
    const Image got = resize(from_array(c.tensor("src")), want.height, want.width,
                             mode == "bilinear" ? Interpolation::bilinear : Interpolation::bicubic);
    int worst = 0;
    for (std::size_t i = 0; i < want.pixels.size(); ++i) {
      worst = std::max(worst, std::abs(int{got.pixels[i]} - int{want.pixels[i]}));
    }
    EXPECT_EQ(worst, 0);  // the same fixed-point arithmetic: one unit off would be allowed
  }
}

TEST(Resize, TheSameSizeIsTheSameImage) {
  const Image image = noise(7, 9);
  EXPECT_EQ(resize(image, 7, 9), image);
  EXPECT_EQ(resize(image, 7, 9, Interpolation::bilinear), image);
}

TEST(Resize, AFlatImageStaysFlat) {
  Image image(11, 23);
  for (auto& p : image.pixels) p = 201;
  for (const auto mode : {Interpolation::bilinear, Interpolation::bicubic}) {
    for (const int side : {1, 4, 11, 50}) {
      for (const auto p : resize(image, side, side + 3, mode).pixels) ASSERT_EQ(p, 201);
    }
  }
}

TEST(Resize, HalvingAveragesAndDoesNotAlias) {
  Image stripes(2, 64);  // columns of 0 and 200: sampling alone would see one of the two
  for (int x = 0; x < 64; ++x) {
    for (int y = 0; y < 2; ++y) stripes.at(y, x)[1] = x % 2 == 0 ? 0 : 200;
  }
  const Image half = resize(stripes, 1, 32, Interpolation::bilinear);
  for (int x = 1; x < 31; ++x) EXPECT_NEAR(half.at(0, x)[1], 100, 1);
}

TEST(Resize, OneRowAndOnePixelWork) {
  const Image row = resize(noise(1, 20000), 3, 5), dot = resize(noise(300, 200), 1, 1);
  EXPECT_EQ(row.pixels.size(), 45u);
  EXPECT_NEAR(dot.pixels[0], 127, 20);  // the mean of the noise
  EXPECT_THROW(resize(noise(2, 2), 0, 4), ValueError);
  EXPECT_THROW(resize(Image(), 2, 2), ValueError);
}

TEST(Resize, CropsTakeTheirPixels) {
  const Image image = noise(6, 9), square = center_square(image), box = crop(image, 5, 7, 1, 2);
  EXPECT_EQ(square.height, 6);
  EXPECT_EQ(square.width, 6);
  for (int c = 0; c < 3; ++c) {
    EXPECT_EQ(square.at(2, 0)[c], image.at(2, 1)[c]);
    EXPECT_EQ(box.at(0, 1)[c], image.at(5, 8)[c]);
  }
  EXPECT_THROW(crop(image, 5, 7, 2, 2), ValueError);
  EXPECT_THROW(crop(image, -1, 0, 2, 2), ValueError);
  EXPECT_THROW(crop(image, 0, 0, 0, 2), ValueError);
}

}  // namespace
}  // namespace mwalimu::data
