#include "mwalimu/data/crop_resize.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "planes.hpp"
#include "support/golden.hpp"

namespace mwalimu::data {
namespace {

using test::random_planes;
using test::RandomImage;

template <class Image>
PlanarImage crop(const Image& image, CropBox box, int height, int width, bool mirrored = false) {
  PlanarImage out(height, width);
  std::fill(out.values().begin(), out.values().end(), std::numeric_limits<float>::quiet_NaN());
  CropResizeScratch scratch;
  crop_resize(image, box, height, width, mirrored, out, scratch);
  return out;
}

// The definition, pixel by pixel in double.
double reference(const PlanarImage& image, CropBox box, int height, int width, int c, int y,
                 int x) {
  const auto tap = [](double at, int in, int out) {
    return std::max(0.0, (at + 0.5) * in / out - 0.5);
  };
  const double sy = tap(y, box.height, height), sx = tap(x, box.width, width);
  const int y0 = static_cast<int>(sy), x0 = static_cast<int>(sx);
  const int y1 = std::min(y0 + 1, box.height - 1), x1 = std::min(x0 + 1, box.width - 1);
  const auto at = [&](int i, int j) {
    return double{image.plane(c)[(box.top + i) * image.width() + box.left + j]};
  };
  const double wy = sy - y0, wx = sx - x0;
  return (1 - wy) * ((1 - wx) * at(y0, x0) + wx * at(y0, x1)) +
         wy * ((1 - wx) * at(y1, x0) + wx * at(y1, x1));
}

TEST(CropResize, MatchesTheDefinitionForBytesAndPlanes) {
  struct Shape {
    int H, W;
    CropBox box;
    int h, w;
  };
  for (const Shape& s :
       {Shape{24, 31, {3, 5, 17, 14}, 12, 12}, Shape{24, 31, {10, 2, 7, 9}, 16, 33},
        Shape{9, 9, {0, 0, 9, 9}, 47, 3}, Shape{9, 9, {8, 8, 1, 1}, 5, 7},
        Shape{1, 1, {0, 0, 1, 1}, 13, 13}, Shape{20000, 1, {17, 0, 19000, 1}, 9, 5},
        Shape{1, 20000, {0, 1, 1, 19998}, 96, 96}}) {
    const RandomImage bytes(s.H, s.W);
    const PlanarImage planes = random_planes(s.H, s.W);
    const PlanarImage a = crop(ByteImage(bytes), s.box, s.h, s.w),
                      b = crop(planes, s.box, s.h, s.w);
    const PlanarImage mirrored = crop(ByteImage(bytes), s.box, s.h, s.w, true);
    for (int c = 0; c < 3; ++c) {
      for (int y = 0; y < s.h; ++y) {
        for (int x = 0; x < s.w; ++x) {
          const double want = reference(planes, s.box, s.h, s.w, c, y, x);
          // Weights are rounded to 24 bits, sums to as many.
          ASSERT_NEAR(a.plane(c)[y * s.w + x], want, 4e-7);
          ASSERT_NEAR(b.plane(c)[y * s.w + x], want, 4e-7);
          ASSERT_EQ(mirrored.plane(c)[y * s.w + s.w - 1 - x], a.plane(c)[y * s.w + x]);
        }
      }
    }
  }
}

TEST(CropResize, CopiesABoxOfItsOwnSizeExactly) {
  const RandomImage image(37, 53);
  const PlanarImage out = crop(ByteImage(image), {5, 7, 31, 29}, 31, 29);
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < 31; ++y) {
      for (int x = 0; x < 29; ++x) ASSERT_EQ(out.plane(c)[y * 29 + x], image.unit(y + 5, x + 7, c));
    }
  }
}

TEST(CropResize, RefusesABoxThatLeavesTheImage) {
  const RandomImage image(8, 10);
  for (const CropBox box : {CropBox{0, 0, 9, 10}, CropBox{0, 1, 8, 10}, CropBox{-1, 0, 4, 4},
                            CropBox{0, 0, 0, 4}, CropBox{7, 0, 2147483647, 1}}) {
    EXPECT_THROW(crop(ByteImage(image), box, 4, 4), ShapeError);
  }
  EXPECT_THROW(crop(ByteImage(image), {0, 0, 8, 10}, 0, 4), ShapeError);
  EXPECT_THROW(crop(ByteImage{}, {0, 0, 1, 1}, 4, 4), ShapeError);
  try {
    crop(ByteImage(image), {2, 3, 9, 4}, 4, 4);
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(),
                 "crop_resize: want a box inside the 8 x 10 image, got 9 x 4 at row 2, column 3");
  }
}

TEST(CropResizeGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "crop_resize");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const golden::Shape shape = c.at("shape");
    const std::vector<int> box = c.at("box"), out = c.at("out");
    const auto x = c.fill("input", shape, golden::Fill::input);
    CropResizeScratch scratch;
    const auto y = test::each_image(x, static_cast<int>(shape[2]), static_cast<int>(shape[3]),
                                    [&](PlanarImage& image) {
                                      PlanarImage result;
                                      crop_resize(image, {box[0], box[1], box[2], box[3]}, out[0],
                                                  out[1], false, result, scratch);
                                      swap(image, result);
                                    });
    // Float32 sums of four terms against float64.
    EXPECT_TRUE(mwalimu::test::near_max(y, c.tensor("y").values, 1e-6));
  }
}

TEST(DrawResizedBox, StaysInTheImageAndInItsRanges) {
  constexpr int n = 20000;
  double area = 0, log_aspect = 0, row = 0;
  for (int i = 0; i < n; ++i) {
    RandomStream random(3, Purpose::test, 0, static_cast<std::uint64_t>(i));
    const CropBox box = draw_resized_box(random, 400, 500, {0.05f, 0.30f}, {0.75f, 4.0f / 3});
    ASSERT_GE(box.top, 0);
    ASSERT_GE(box.left, 0);
    ASSERT_LE(box.top + box.height, 400);
    ASSERT_LE(box.left + box.width, 500);
    const double share = box.height * box.width / 200000.0;
    const double aspect = static_cast<double>(box.width) / box.height;
    ASSERT_GT(share, 0.049);
    ASSERT_LT(share, 0.303);
    ASSERT_GT(aspect, 0.74);
    ASSERT_LT(aspect, 1.35);
    area += share;
    log_aspect += std::log(aspect);
    row += static_cast<double>(box.top) / (400 - box.height);
  }
  // Every box of these scales fits, so areas are uniform: mean 0.175, deviation 0.25 / sqrt(12).
  EXPECT_NEAR(area / n, 0.175, 5 * 0.0722 / std::sqrt(n));
  EXPECT_NEAR(log_aspect / n, 0.0, 5 * 0.167 / std::sqrt(n));
  EXPECT_NEAR(row / n, 0.5, 5 * 0.289 / std::sqrt(n));
}

TEST(DrawResizedBox, ReachesTheWholeImageAndEveryOffset) {
  bool top_zero = false, top_last = false;
  for (int i = 0; i < 500; ++i) {
    RandomStream random(4, Purpose::test, 0, static_cast<std::uint64_t>(i));
    const CropBox box = draw_resized_box(random, 4, 4, {0.5f, 0.6f}, {1.0f, 1.0f});
    ASSERT_EQ(box.height, 3);
    ASSERT_EQ(box.width, 3);
    top_zero |= box.top == 0;
    top_last |= box.top == 1;
  }
  EXPECT_TRUE(top_zero && top_last);
  RandomStream random(4, Purpose::test);
  EXPECT_EQ(draw_resized_box(random, 11, 11, {1, 1}, {1, 1}), (CropBox{0, 0, 11, 11}));
}

// No box of the whole area with aspect 3/4..4/3 fits a long image: the rule falls back.
TEST(DrawResizedBox, FallsBackToTheLargestCentredBox) {
  const auto draw = [](int h, int w) {
    RandomStream random(5, Purpose::test);
    return draw_resized_box(random, h, w, {0.9f, 1.0f}, {3.0f / 4, 4.0f / 3});
  };
  EXPECT_EQ(draw(90, 300), (CropBox{0, 90, 90, 120}));
  EXPECT_EQ(draw(300, 90), (CropBox{90, 0, 120, 90}));
  EXPECT_EQ(draw(20000, 1), (CropBox{9999, 0, 1, 1}));
  EXPECT_EQ(draw(1, 20000), (CropBox{0, 9999, 1, 1}));
  EXPECT_EQ(draw(1, 1), (CropBox{0, 0, 1, 1}));
}

TEST(Normalisation, SubtractsAndDividesPerChannel) {
  const RandomImage image(5, 4);
  PlanarImage planes;
  to_planes(image, planes);
  std::vector<float> out(3 * 20 + 1, -7.0f);
  const Normalisation imagenet;
  write_normalised(planes, imagenet, out.data());
  EXPECT_EQ(out.back(), -7.0f);
  for (int y = 0; y < 5; ++y) {
    for (int x = 0; x < 4; ++x) {
      for (int c = 0; c < 3; ++c) {
        const auto k = static_cast<std::size_t>(c);
        ASSERT_EQ(out[static_cast<std::size_t>((y * 4 + x) * 3 + c)],
                  (image.unit(y, x, c) - imagenet.mean[k]) / imagenet.std[k]);
      }
    }
  }
}

}  // namespace
}  // namespace mwalimu::data
