#include "mwalimu/data/affine.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mwalimu/data/area_resize.hpp"
#include "planes.hpp"
#include "support/golden.hpp"

namespace mwalimu::data {
namespace {

using test::random_planes;
using test::RandomImage;

template <class Image>
PlanarImage sample(const Image& image, CropBox box, const Projective& map, int height, int width) {
  PlanarImage out(height, width);
  std::fill(out.values().begin(), out.values().end(), std::numeric_limits<float>::quiet_NaN());
  SampleScratch scratch;
  sample_projective(image, box, map, height, width, out, scratch);
  return out;
}

TEST(AffineGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "affine");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const golden::Shape shape = c.at("shape");
    const int H = static_cast<int>(shape[2]), W = static_cast<int>(shape[3]);
    const std::vector<int> out = c.at("out");
    Projective map = rotation(c.at("deg")) * zoom(c.at("zoom"), c.at("cx"), c.at("cy"));
    if (c.at("flip").get<bool>()) map = horizontal_flip() * map;
    map = correct_aspect(map, H, W);
    const auto stored = c.tensor("mat").values;
    EXPECT_TRUE(mwalimu::test::near_abs(std::span(map.m).first(6), stored, 1e-12));

    const auto x = c.fill("input", shape, golden::Fill::input);
    const auto y = test::each_image(x, H, W, [&](PlanarImage& image) {
      PlanarImage result = sample(image, whole(image), map, out[0], out[1]);
      swap(image, result);
    });
    // Coordinates up to 20 in float32: 1e-6 of a pixel, times a step of at most 3.5.
    EXPECT_TRUE(mwalimu::test::near_max(y, c.tensor("y").values, 1e-5));
  }
}

// The definition, pixel by pixel in double.
double reference(const PlanarImage& image, CropBox box, const Projective& map, int height,
                 int width, int c, int y, int x) {
  const auto grid = [](int i, int n) { return n > 1 ? 2.0 * i / (n - 1) - 1.0 : 0.0; };
  const auto [u, v] = map(grid(x, width), grid(y, height));
  const auto fold = [](double t, int n) {
    if (n == 1) return 0.0;
    const double last = n - 1;
    t = std::fmod(std::abs(t), 2 * last);
    return t > last ? 2 * last - t : t;
  };
  const double sx = fold(box.left + (u + 1) / 2 * (box.width - 1), image.width());
  const double sy = fold(box.top + (v + 1) / 2 * (box.height - 1), image.height());
  const int x0 = static_cast<int>(sx), y0 = static_cast<int>(sy);
  const int x1 = std::min(x0 + 1, image.width() - 1), y1 = std::min(y0 + 1, image.height() - 1);
  const auto at = [&](int i, int j) { return double{image.plane(c)[i * image.width() + j]}; };
  const double wx = sx - x0, wy = sy - y0;
  return (1 - wy) * ((1 - wx) * at(y0, x0) + wx * at(y0, x1)) +
         wy * ((1 - wx) * at(y1, x0) + wx * at(y1, x1));
}

TEST(SampleProjective, MatchesTheDefinitionForBytesAndPlanes) {
  struct Shape {
    int H, W;
    CropBox box;
    int h, w;
  };
  const Projective strong = warp(0.2, -0.15) * rotation(100) * zoom(0.6, 0.1, 0.9);
  for (const Projective& map : {rotation(10), strong, horizontal_flip() * warp(-0.2, 0.0)}) {
    for (const Shape& s :
         {Shape{16, 21, {0, 0, 16, 21}, 16, 21}, Shape{40, 30, {5, 7, 20, 11}, 13, 17},
          Shape{1, 1, {0, 0, 1, 1}, 5, 7}, Shape{300, 1, {0, 0, 300, 1}, 9, 9},
          Shape{1, 300, {0, 3, 1, 200}, 9, 1}}) {
      const RandomImage bytes(s.H, s.W);
      const PlanarImage planes = random_planes(s.H, s.W);
      const PlanarImage a = sample(ByteImage(bytes), s.box, map, s.h, s.w);
      const PlanarImage b = sample(planes, s.box, map, s.h, s.w);
      for (int c = 0; c < 3; ++c) {
        for (int y = 0; y < s.h; ++y) {
          for (int x = 0; x < s.w; ++x) {
            const double want = reference(planes, s.box, map, s.h, s.w, c, y, x);
            // Coordinates of up to a few times 300 pixels in float32.
            ASSERT_NEAR(a.plane(c)[y * s.w + x], want, 3e-4);
            ASSERT_NEAR(b.plane(c)[y * s.w + x], want, 3e-4);
          }
        }
      }
    }
  }
}

TEST(SampleProjective, TheIdentityCopiesExactly) {
  for (const int size : {1, 2, 3, 47, 128, 127}) {
    const RandomImage image(size + 3, size + 5);
    const PlanarImage out = sample(ByteImage(image), {2, 4, size, size}, {}, size, size);
    for (int c = 0; c < 3; ++c) {
      for (int y = 0; y < size; ++y) {
        for (int x = 0; x < size; ++x) {
          ASSERT_EQ(out.plane(c)[y * size + x], image.unit(y + 2, x + 4, c));
        }
      }
    }
  }
}

TEST(SampleProjective, AFlipMirrorsExactly) {
  const RandomImage image(9, 14);
  const PlanarImage out = sample(ByteImage(image), {0, 0, 9, 14}, horizontal_flip(), 9, 14);
  for (int y = 0; y < 9; ++y) {
    for (int x = 0; x < 14; ++x) ASSERT_EQ(out.plane(2)[y * 14 + x], image.unit(y, 13 - x, 2));
  }
}

// The line w = 0 crosses the result: coordinates pass through infinity there.
TEST(SampleProjective, SurvivesAHorizon) {
  const PlanarImage image = random_planes(16, 16);
  const Projective horizon{{1, 0, 0, 0, 1, 0, 1, 0, 0}};
  const PlanarImage out = sample(image, whole(image), horizon, 17, 17);
  for (const float x : out.values()) {
    ASSERT_GE(x, 0.0f);
    ASSERT_LE(x, 1.0f);
  }
}

TEST(SampleProjective, RefusesABoxThatLeavesTheImage) {
  const RandomImage image(9, 14);
  EXPECT_THROW(sample(ByteImage(image), {0, 0, 10, 14}, {}, 4, 4), ShapeError);
  EXPECT_THROW(sample(ByteImage{}, {0, 0, 1, 1}, {}, 4, 4), ShapeError);
}

TEST(Warp, SendsTheCornersWhereItSays) {
  const double x = 0.13, y = -0.2;
  const Projective map = warp(x, y);
  const double from[4][2] = {{-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
  const double to[4][2] = {{-1 - y, -1 - x}, {-1 + y, 1 + x}, {1 + y, -1 + x}, {1 - y, 1 - x}};
  for (int i = 0; i < 4; ++i) {
    const auto [u, v] = map(from[i][0], from[i][1]);
    EXPECT_NEAR(u, to[i][0], 1e-12);
    EXPECT_NEAR(v, to[i][1], 1e-12);
  }
  EXPECT_EQ(warp(0, 0), Projective{});
}

TEST(Rotation, FourQuartersOfASquareComeBack) {
  const PlanarImage before = random_planes(15, 15);
  PlanarImage image = before, spare;
  SampleScratch scratch;
  rotate(image, 90, spare, scratch);
  // Row 0 of the result reads a column of the source: x' = y, y' = -x in [-1, 1].
  for (int x = 0; x < 15; ++x) {
    EXPECT_NEAR(image.plane(0)[x], before.plane(0)[(14 - x) * 15], 1e-5f);
  }
  for (int i = 0; i < 3; ++i) rotate(image, 90, spare, scratch);
  for (std::size_t i = 0; i < before.values().size(); ++i) {
    ASSERT_NEAR(image.values()[i], before.values()[i], 1e-4f);
  }
}

TEST(AreaResize, AveragesItsAreas) {
  const RandomImage image(12, 20);
  PlanarImage out;
  area_resize(ByteImage(image), {2, 4, 6, 12}, 3, 4, out);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 4; ++j) {
      double sum = 0;
      for (int y = 0; y < 2; ++y) {
        for (int x = 0; x < 3; ++x) sum += image.unit(2 + 2 * i + y, 4 + 3 * j + x, 1);
      }
      ASSERT_NEAR(out.plane(1)[i * 4 + j], sum / 6, 1e-6);
    }
  }
}

// Five pixels to two: both results read the middle one.
TEST(AreaResize, AreasMayOverlap) {
  const std::vector<float> pixels{1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  PlanarImage out;
  area_resize(test::planes_of(pixels, 1, 5), {0, 0, 1, 5}, 1, 2, out);
  EXPECT_EQ(out.plane(0)[0], 2.0f);
  EXPECT_EQ(out.plane(0)[1], 4.0f);
}

}  // namespace
}  // namespace mwalimu::data
