#include "mwalimu/report/image_map.hpp"

#include <gtest/gtest.h>
#include <stb/stb_image.h>

#include <filesystem>
#include <string>
#include <vector>

#include "mwalimu/io/file.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::report {
namespace {

constexpr Rgb kWhite{255, 255, 255}, kBlue{0, 114, 178}, kOrange{213, 94, 0}, kInk{34, 34, 34};

/// n images of 4 x 4 pixels, image i of one colour (i, 2 i, 200).
std::vector<std::uint8_t> flat_images(index_t n) {
  std::vector<std::uint8_t> images;
  for (index_t i = 0; i < n * 16; ++i) {
    const auto image = static_cast<std::uint8_t>(i / 16);
    images.insert(images.end(), {image, static_cast<std::uint8_t>(2 * image), 200});
  }
  return images;
}

index_t count(const Raster& picture, Rgb colour) {
  index_t found = 0;
  for (index_t y = 0; y < picture.height(); ++y) {
    for (index_t x = 0; x < picture.width(); ++x) found += picture.at(x, y) == colour;
  }
  return found;
}

TEST(ImageMap, FramesTellClassesMarkersSensorsAndBlackOutlinesWrongPredictions) {
  // Four corners of a square: lower left, lower right, upper left, upper right.
  const MapPoints p{.xy = {0, 0, 1, 0, 0, 1, 1, 1},
                    .label = {0, 1, 0, 1},
                    .predicted = {0, 1, 0, 0},
                    .sensor = {0, 1, 0, 1},
                    .classes = {"a", "b"}};
  const index_t side = 40, around = 8, place = side + 2 * around, canvas = 10 * place;
  const ImageMap map =
      draw_image_map(p, flat_images(4), 4, 4, {.thumbnail = side, .canvas = canvas});
  EXPECT_EQ(map.shown, 4);
  EXPECT_EQ(map.dotted, 0);
  const Raster& picture = map.picture;
  const index_t far = canvas - place, middle = place / 2;
  // The images, at their corners; y goes upwards.
  EXPECT_EQ(picture.at(middle, far + middle), (Rgb{0, 0, 200}));
  EXPECT_EQ(picture.at(far + middle, far + middle), (Rgb{1, 2, 200}));
  EXPECT_EQ(picture.at(middle, middle), (Rgb{2, 4, 200}));
  EXPECT_EQ(picture.at(far + middle, middle), (Rgb{3, 6, 200}));
  // Frames, three pixels next to the image.
  EXPECT_EQ(picture.at(around - 1, far + middle), kBlue);
  EXPECT_EQ(picture.at(around - 3, far + middle), kBlue);
  EXPECT_EQ(picture.at(around - 4, far + middle), kWhite);
  EXPECT_EQ(picture.at(far + around - 1, far + middle), kOrange);
  EXPECT_EQ(picture.at(far + middle, around + side), kOrange);
  // The wrong one: a white line and a black outline around its frame.
  EXPECT_EQ(picture.at(far + around - 4, middle), kWhite);
  EXPECT_EQ(picture.at(far + around - 5, middle), kWrongOutline);
  EXPECT_EQ(picture.at(far + around - 7, middle), kWrongOutline);
  EXPECT_EQ(picture.at(far + around - 5, far + middle), kWhite);  // not the right one
  // The sensor in the lower left corner, on white: a disc is as wide above as below its middle, a
  // triangle grows downwards.
  const auto ink_in = [&](index_t left, index_t top) {
    std::vector<int> rows;
    for (index_t y = top + side - 9; y < top + side; ++y) {
      int ink = 0;
      for (index_t x = left; x < left + 9; ++x) ink += picture.at(x, y) == kInk;
      if (ink > 0) rows.push_back(ink);
    }
    return rows;
  };
  const auto disc = ink_in(around, far + around), triangle = ink_in(far + around, far + around);
  ASSERT_GE(disc.size(), 4u);
  ASSERT_GE(triangle.size(), 4u);
  EXPECT_EQ(disc.front(), disc.back());
  EXPECT_GT(triangle.back(), triangle.front() + 3);
  EXPECT_EQ(picture.at(around, far + around + side - 1), kWhite);
  // The canvas is white, and a legend stands below it.
  EXPECT_EQ(picture.at(canvas / 2, canvas / 2), kWhite);
  EXPECT_GT(picture.height(), canvas);
  EXPECT_GT(count(picture, kInk), 100);
}

TEST(ImageMap, TheLegendNamesWhatIsThere) {
  MapPoints p{.xy = {0, 0, 1, 1}, .predicted = {0, 1}, .classes = {"a", "b"}};
  const auto picture = [&](MapColour colour) {
    return draw_image_map(p, flat_images(2), 4, 4, {.colour = colour}).picture;
  };
  // No label is known: the frames are the predictions'.
  const Raster predicted = picture(MapColour::automatic);
  EXPECT_GT(count(predicted, kBlue), 100);
  EXPECT_GT(count(predicted, kOrange), 100);
  EXPECT_EQ(count(predicted, kWrongOutline), 0);
  // By label all are unknown.
  EXPECT_EQ(count(picture(MapColour::label), kOrange), 0);
  // Many classes: the legend grows downwards, not over the edge.
  p.classes.clear();
  for (int c = 0; c < 60; ++c) p.classes.push_back("class number " + std::to_string(c));
  EXPECT_GT(picture(MapColour::prediction).height(), predicted.height() + 50);
}

TEST(ImageMap, NoImageCoversAnother) {
  // All points in one spot: those that find a place keep every pixel of it, the rest are counted.
  const index_t n = 120;
  MapPoints p;
  for (index_t i = 0; i < n; ++i) p.xy.insert(p.xy.end(), {1.0f, 1.0f});
  const index_t side = 20;
  const ImageMap map =
      draw_image_map(p, flat_images(n), 4, 4, {.thumbnail = side, .canvas = 36 * 15});
  EXPECT_EQ(map.shown + map.dotted, n);
  EXPECT_GE(map.shown, 25);  // a disc of three places around the spot
  EXPECT_GT(map.dotted, 0);
  index_t whole = 0;
  for (index_t i = 0; i < n; ++i) {
    const index_t pixels =
        count(map.picture, {static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(2 * i), 200});
    EXPECT_TRUE(pixels == 0 || pixels == side * side) << i << ": " << pixels;
    whole += pixels == side * side;
  }
  EXPECT_EQ(whole, map.shown);
}

TEST(ImageMap, WrongPredictionsTakeTheirPlaceFirst) {
  const index_t n = 200;
  MapPoints p{.classes = {"a", "b"}};
  for (index_t i = 0; i < n; ++i) {
    p.xy.insert(p.xy.end(), {0.0f, 0.0f});
    p.label.push_back(0);
    p.predicted.push_back(i >= n - 5 ? 1 : 0);
  }
  const ImageMap map = draw_image_map(p, flat_images(n), 4, 4);
  EXPECT_LT(map.shown, n);
  for (index_t i = n - 5; i < n; ++i) {
    EXPECT_GT(
        count(map.picture, {static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(2 * i), 200}),
        0);
  }
}

TEST(ImageMap, ThumbnailsAreMeansOfWhatTheyCover) {
  // A 2 x 4 image: columns of 0, 100, 200 and 40; shrunk to 2 x 2 the means are 50 and 120.
  const MapPoints p{.xy = {0, 0}};
  std::vector<std::uint8_t> image;
  for (int row = 0; row < 2; ++row) {
    for (const int v : {0, 100, 200, 40})
      image.insert(image.end(), 3, static_cast<std::uint8_t>(v));
  }
  const ImageMap map = draw_image_map(p, image, 2, 4, {.thumbnail = 2, .canvas = 100});
  EXPECT_EQ(count(map.picture, {50, 50, 50}), 2);
  EXPECT_EQ(count(map.picture, {120, 120, 120}), 2);
}

TEST(ImageMap, SizesFollowTheNumberOfPoints) {
  for (const index_t n : {0, 1, 2, 40, 3000}) {
    MapPoints p;
    for (index_t i = 0; i < n; ++i) {
      p.xy.insert(p.xy.end(), {static_cast<float>(i % 55), static_cast<float>(i / 55)});
    }
    const ImageMap map = draw_image_map(p, flat_images(n), 4, 4);
    EXPECT_EQ(map.shown + map.dotted, n);
    EXPECT_GE(map.picture.width(), 700);
    EXPECT_LE(map.picture.width(), 2600);
    EXPECT_GE(map.shown, n * 3 / 4) << n;  // an even map: nearly all find a place
  }
}

TEST(ImageMap, PngDecodesToTheSamePixels) {
  const MapPoints p{.xy = {0, 0, 1, 1, 3, 0}, .label = {0, 1, 1}, .classes = {"a", "b"}};
  const mwalimu::test::TempDir folder;
  const ImageMap map = write_image_map(folder / "images.png", p, flat_images(3), 4, 4);
  const std::string bytes = io::read_file(folder / "images.png");
  int width = 0, height = 0, channels = 0;
  stbi_uc* decoded =
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                            static_cast<int>(bytes.size()), &width, &height, &channels, 0);
  ASSERT_NE(decoded, nullptr);
  EXPECT_EQ(width, map.picture.width());
  EXPECT_EQ(height, map.picture.height());
  ASSERT_EQ(channels, 3);
  index_t different = 0;
  for (index_t y = 0; y < height; ++y) {
    for (index_t x = 0; x < width; ++x) {
      const stbi_uc* v = decoded + (y * width + x) * 3;
      different += map.picture.at(x, y) != Rgb{v[0], v[1], v[2]};
    }
  }
  stbi_image_free(decoded);
  EXPECT_EQ(different, 0);
  EXPECT_GT(count(map.picture, kOrange), 0);
  EXPECT_FALSE(std::filesystem::is_empty(folder.path()));
}

TEST(ImageMap, Errors) {
  const MapPoints p{.xy = {0, 0, 1, 1}};
  EXPECT_THROW(draw_image_map(p, flat_images(1), 4, 4), ShapeError);
  EXPECT_THROW(draw_image_map(p, flat_images(2), 0, 4), ShapeError);
  EXPECT_THROW(draw_image_map(p, flat_images(2), 4, 4, {.thumbnail = 200, .canvas = 100}),
               ValueError);
  EXPECT_THROW(write_image_map("/no/such/folder/images.png", p, flat_images(2), 4, 4), FileError);
}

TEST(Raster, TextDrawsLettersAndCountsItsWidth) {
  Raster picture(100, 20);
  const index_t width = picture.text(1, 1, "I?", 2, {0, 0, 0});
  EXPECT_EQ(width, (3 + 1 + 5 + 1) * 2);
  EXPECT_EQ(picture.at(1 + 2, 1 + 7), (Rgb{0, 0, 0}));  // the stem of the I
  EXPECT_EQ(picture.at(1, 1 + 7), kWhite);
  Raster other(100, 20);
  other.text(1, 1, "I\xC3\xA9", 2, {0, 0, 0});  // not in the font: one question mark
  EXPECT_EQ(count(other, {0, 0, 0}), count(picture, {0, 0, 0}));
}

}  // namespace
}  // namespace mwalimu::report
