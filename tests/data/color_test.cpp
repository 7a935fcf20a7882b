#include "mwalimu/data/color.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "planes.hpp"
#include "support/golden.hpp"

namespace mwalimu::data {
namespace {

using test::each_image;
using test::random_planes;

void apply_one(PlanarImage& image, int operation, const ColorJitter& jitter) {
  switch (operation) {
    case 0:
      return adjust_brightness(image, jitter.brightness);
    case 1:
      return adjust_contrast(image, jitter.contrast);
    case 2:
      return adjust_saturation(image, jitter.saturation);
    case 3:
      return adjust_hue(image, jitter.hue);
    default:
      FAIL() << operation;
  }
}

TEST(ColorGolden, MatchesEveryStepOfEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "color_jitter");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const golden::Shape shape = c.at("shape");
    const int H = static_cast<int>(shape[2]), W = static_cast<int>(shape[3]);
    const std::vector<float> input = c.file().at("input").values<float>();
    ColorJitter jitter{c.at("brightness"), c.at("contrast"), c.at("saturation"), c.at("hue"), {}};
    const std::vector<int> order = c.at("order");
    for (std::size_t i = 0; i < 4; ++i) jitter.order[i] = static_cast<std::uint8_t>(order[i]);

    // Float32 against float64; a hue divides by the chroma, which may be small.
    constexpr double tolerance = 5e-6;
    EXPECT_TRUE(mwalimu::test::near_abs(each_image(input, H, W, to_gray), c.tensor("gray").values,
                                        tolerance));
    for (int steps = 1; steps <= 4; ++steps) {
      const auto got = each_image(input, H, W, [&](PlanarImage& image) {
        for (int i = 0; i < steps; ++i)
          apply_one(image, order[static_cast<std::size_t>(i)], jitter);
      });
      EXPECT_TRUE(mwalimu::test::near_abs(got, c.tensor("step" + std::to_string(steps - 1)).values,
                                          tolerance))
          << "after step " << steps - 1;
    }
    EXPECT_TRUE(mwalimu::test::near_abs(
        each_image(input, H, W, [&](PlanarImage& image) { apply_color_jitter(image, jitter); }),
        c.tensor("step3").values, tolerance));
  }
}

// Textbook HSV, one pixel in double.
std::array<double, 3> turn_hue(double r, double g, double b, double turns) {
  const double v = std::max({r, g, b}), low = std::min({r, g, b}), c = v - low;
  double h = 0;
  if (c > 0) {
    if (v == r)
      h = (g - b) / c;
    else if (v == g)
      h = (b - r) / c + 2;
    else
      h = (r - g) / c + 4;
  }
  h = std::fmod(h / 6 + turns + 2, 1.0) * 6;
  const int sector = static_cast<int>(h);
  const double f = h - sector, p = low, q = v - f * c, t = v - (1 - f) * c;
  switch (sector) {
    case 0:
      return {v, t, p};
    case 1:
      return {q, v, p};
    case 2:
      return {p, v, t};
    case 3:
      return {p, q, v};
    case 4:
      return {t, p, v};
    default:
      return {v, p, q};
  }
}

TEST(Hue, MatchesTheTextbook) {
  for (const float turns : {-0.5f, -0.12f, 0.0f, 0.01f, 1.0f / 3, 0.5f, 0.999f}) {
    const PlanarImage before = random_planes(17, 19);
    PlanarImage after = before;
    adjust_hue(after, turns);
    for (std::size_t i = 0; i < before.plane_size(); ++i) {
      const auto want = turn_hue(double{before.plane(0)[i]}, double{before.plane(1)[i]},
                                 double{before.plane(2)[i]}, double{turns});
      for (int c = 0; c < 3; ++c) {
        // The hue is kept to 1e-6 of a sector, and a sector spans the chroma, at most 1.
        ASSERT_NEAR(after.plane(c)[i], want[static_cast<std::size_t>(c)], 3e-6) << turns;
      }
    }
  }
}

TEST(Hue, LeavesGrayAloneAndSendsRedToGreen) {
  const std::vector<float> pixels{1, 0.5f, 0, 0, 0.5f, 0, 0, 0.5f, 0};  // red, gray, black
  PlanarImage image = test::planes_of(pixels, 1, 3);
  adjust_hue(image, 1.0f / 3);
  const std::vector<float> want{0, 0.5f, 0, 1, 0.5f, 0, 0, 0.5f, 0};
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(image.values()[i], want[i], 1e-6f) << i;
}

TEST(Color, NeutralFactorsKeepThePixels) {
  const PlanarImage before = random_planes(33, 21);
  for (const int operation : {0, 1, 2, 3}) {
    PlanarImage after = before;
    apply_one(after, operation, {});
    for (std::size_t i = 0; i < before.values().size(); ++i) {
      ASSERT_NEAR(after.values()[i], before.values()[i], 1e-6f) << operation;
    }
  }
}

TEST(Color, ZeroContrastIsTheMeanOfTheWholeImage) {
  // More pixels than one block of the sum, and a tail that no lane count divides.
  PlanarImage image = random_planes(71, 67);
  double mean = 0;
  for (std::size_t i = 0; i < image.plane_size(); ++i) {
    mean += 0.299 * double{image.plane(0)[i]} + 0.587 * double{image.plane(1)[i]} +
            0.114 * double{image.plane(2)[i]};
  }
  mean /= static_cast<double>(image.plane_size());
  adjust_contrast(image, 0.0f);
  for (const float x : image.values()) ASSERT_NEAR(x, mean, 1e-6);
}

TEST(Color, ZeroSaturationIsGray) {
  PlanarImage a = random_planes(9, 9), b = a;
  adjust_saturation(a, 0.0f);
  to_gray(b);
  EXPECT_TRUE(std::equal(a.values().begin(), a.values().end(), b.values().begin()));
}

TEST(Color, BrightnessContrastAndSaturationClamp) {
  for (const int operation : {0, 1, 2}) {
    PlanarImage image = random_planes(16, 16);
    apply_one(image, operation, {.brightness = 3, .contrast = 3, .saturation = 3});
    const auto [low, high] = std::minmax_element(image.values().begin(), image.values().end());
    EXPECT_EQ(*high, 1.0f) << operation;
    EXPECT_GE(*low, 0.0f) << operation;
  }
}

TEST(DrawColorJitter, StaysInRangeAndReachesEveryOrder) {
  const ColorJitterOptions options{0.4f, 0.5f, 1.5f, 0.1f};
  std::set<std::array<std::uint8_t, 4>> orders;
  double sum = 0;
  constexpr int n = 5000;
  for (int i = 0; i < n; ++i) {
    RandomStream random(9, Purpose::test, 1, static_cast<std::uint64_t>(i));
    const ColorJitter j = draw_color_jitter(random, options);
    ASSERT_GE(j.brightness, 0.6f);
    ASSERT_LE(j.brightness, 1.4f);
    ASSERT_GE(j.contrast, 0.5f);
    ASSERT_LE(j.contrast, 1.5f);
    ASSERT_GE(j.saturation, 0.0f);
    ASSERT_LE(j.saturation, 2.5f);
    ASSERT_LE(std::abs(j.hue), 0.1f);
    auto sorted = j.order;
    std::sort(sorted.begin(), sorted.end());
    ASSERT_EQ(sorted, (std::array<std::uint8_t, 4>{0, 1, 2, 3}));
    orders.insert(j.order);
    sum += j.brightness;
  }
  EXPECT_EQ(orders.size(), 24u);
  EXPECT_NEAR(sum / n, 1.0, 5 * 0.8 / std::sqrt(12.0 * n));
}

}  // namespace
}  // namespace mwalimu::data
