#include "mwalimu/data/augment.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "planes.hpp"

namespace mwalimu::data {
namespace {

using test::RandomImage;

std::vector<float> apply(const ByteImage& image, const AugmentParameters& p, int size) {
  std::vector<float> out(static_cast<std::size_t>(size * size * 3) + 1, NAN);
  AugmentScratch scratch;
  apply_augment(image, p, size, Normalisation::none(), out.data(), scratch);
  EXPECT_TRUE(std::isnan(out.back()));
  out.pop_back();
  return out;
}

TEST(Evaluation, AnImageOfTheInputsSizeIsOnlyNormalised) {
  const RandomImage image(64, 64);
  std::vector<float> out(64 * 64 * 3);
  AugmentScratch scratch;
  const Normalisation imagenet;
  apply_augment(ByteImage(image), evaluation_parameters(64, 64), 64, imagenet, out.data(), scratch);
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 64; ++x) {
      for (int c = 0; c < 3; ++c) {
        const auto k = static_cast<std::size_t>(c);
        ASSERT_EQ(out[static_cast<std::size_t>((y * 64 + x) * 3 + c)],
                  (image.unit(y, x, c) - imagenet.mean[k]) / imagenet.std[k]);
      }
    }
  }
}

TEST(Evaluation, AFlatImageStaysFlatAtAnySize) {
  for (const auto& [h, w] : {std::pair{1, 1}, {20, 30}, {500, 400}, {2000, 3}}) {
    RandomImage image(h, w);
    std::fill(image.bytes.begin(), image.bytes.end(), std::uint8_t{51});
    for (const int size : {1, 7, 32}) {
      for (const float x : apply(image, evaluation_parameters(h, w), size))
        ASSERT_NEAR(x, 0.2f, 1e-6f);
    }
  }
}

// A checkerboard of single pixels, shrunk eightfold: sampling alone would return black or white.
TEST(Evaluation, ShrinkingAverages) {
  RandomImage image(256, 256);
  for (int y = 0; y < 256; ++y) {
    for (int x = 0; x < 256; ++x) {
      for (int c = 0; c < 3; ++c) {
        image.bytes[static_cast<std::size_t>((y * 256 + x) * 3 + c)] = (x + y) % 2 == 0 ? 255 : 0;
      }
    }
  }
  for (const float x : apply(image, evaluation_parameters(256, 256), 32))
    ASSERT_NEAR(x, 0.5f, 1e-6f);
}

TEST(Augment, AFlipAloneMirrors) {
  const RandomImage image(21, 21);
  AugmentParameters p = evaluation_parameters(21, 21);
  const std::vector<float> plain = apply(image, p, 21);
  p.flip = true;
  const std::vector<float> flipped = apply(image, p, 21);
  for (std::size_t y = 0; y < 21; ++y) {
    for (std::size_t x = 0; x < 21; ++x) {
      ASSERT_EQ(flipped[(y * 21 + x) * 3 + 1], plain[(y * 21 + 20 - x) * 3 + 1]);
    }
  }
}

TEST(Augment, TheMapIsWarpOfFlipRotationZoom) {
  AugmentParameters p = evaluation_parameters(30, 40);
  p.flip = true;
  p.degrees = 7;
  p.zoom = 1.08f;
  p.zoom_x = 0.3f;
  p.zoom_y = 0.8f;
  p.warp_x = 0.1f;
  p.warp_y = -0.15f;
  const Projective map = augment_map(p);
  const double a = 7 * std::numbers::pi / 180, s = 1 / double{p.zoom};
  for (const auto& [x, y] : {std::pair{-1.0, -1.0}, {0.3, 0.9}, {1.0, -0.2}}) {
    const double r00 = -s * std::cos(a), r01 = -s * std::sin(a) * 30 / 40;
    const double r10 = -s * std::sin(a) * 40 / 30, r11 = s * std::cos(a);
    // The shift is turned by the square frame's rotation, as the reference does.
    const double cx = (1 - s) * (2 * double{p.zoom_x} - 1),
                 cy = (1 - s) * (2 * double{p.zoom_y} - 1);
    const double u = r00 * x + r01 * y - (std::cos(a) * cx + std::sin(a) * cy);
    const double v = r10 * x + r11 * y + (-std::sin(a) * cx + std::cos(a) * cy);
    const auto want = warp(double{p.warp_x}, double{p.warp_y})(u, v), got = map(x, y);
    EXPECT_NEAR(got[0], want[0], 1e-12);
    EXPECT_NEAR(got[1], want[1], 1e-12);
  }
}

TEST(Lighting, MatchesTheFormula) {
  PlanarImage image = test::random_planes(13, 11);
  image.plane(0)[0] = 0.0f;
  image.plane(0)[1] = 1.0f;
  const PlanarImage before = image;
  adjust_lighting(image, 0.6f, 0.8f);
  for (std::size_t i = 0; i < before.values().size(); ++i) {
    const double x = std::min(std::max(double{before.values()[i]}, 1e-7), 1 - 1e-7);
    const double logit = std::log(x / (1 - x)) + std::log(0.6 / 0.4);
    // Near 1 the clamp is one float32 step wide, which the logit turns into 0.2 and this into 1e-6.
    ASSERT_NEAR(image.values()[i], 1 / (1 + std::exp(-0.8 * logit)), 3e-6) << x;
  }
  PlanarImage same = before;
  adjust_lighting(same, 0.5f, 1.0f);
  EXPECT_TRUE(std::equal(before.values().begin(), before.values().end(), same.values().begin()));
}

TEST(DrawAugment, FrequenciesAndRangesAreTheOptions) {
  const AugmentOptions options;
  constexpr int n = 8000;
  int flip = 0, degrees = 0, zoom = 0, warp_x = 0, warp_y = 0, brightness = 0, contrast = 0;
  for (std::uint64_t i = 0; i < n; ++i) {
    const AugmentParameters p = draw_augment(options, 1, 2, i, 300, 400);
    ASSERT_EQ(p.box, (CropBox{0, 0, 300, 400}));
    ASSERT_LE(std::abs(p.degrees), 10.0f);
    ASSERT_GE(p.zoom, 1.0f);
    ASSERT_LE(p.zoom, 1.1f);
    ASSERT_LE(std::max(std::abs(p.warp_x), std::abs(p.warp_y)), 0.2f);
    ASSERT_GE(p.brightness, 0.4f);
    ASSERT_LE(p.brightness, 0.6f);
    ASSERT_GE(p.contrast, 0.7999f);
    ASSERT_LE(p.contrast, 1.2501f);
    flip += p.flip, degrees += p.degrees != 0, zoom += p.zoom != 1, warp_x += p.warp_x != 0;
    warp_y += p.warp_y != 0, brightness += p.brightness != 0.5f, contrast += p.contrast != 1;
  }
  EXPECT_NEAR(flip / double{n}, 0.5, 5 * 0.5 / std::sqrt(n));
  for (const int count : {degrees, zoom, warp_x, warp_y, brightness, contrast}) {
    EXPECT_NEAR(count / double{n}, 0.75, 5 * 0.434 / std::sqrt(n));
  }
}

TEST(DrawAugment, TakesARandomBoxWhereAsked) {
  AugmentOptions options;
  options.scale = {0.75f, 1.0f};
  for (std::uint64_t i = 0; i < 500; ++i) {
    const CropBox box = draw_augment(options, 1, 2, i, 200, 200).box;
    ASSERT_EQ(box.height, box.width);
    ASSERT_GE(box.height, 173);
  }
  EXPECT_NE(draw_augment(options, 1, 2, 3, 200, 200).box,
            draw_augment(options, 1, 2, 4, 200, 200).box);
}

TEST(Augment, EveryImageGivesFiniteValuesInRange) {
  AugmentOptions options;
  options.scale = {0.3f, 1.0f};
  for (const auto& [h, w] : {std::pair{1, 1}, {20000, 1}, {3, 900}, {300, 200}}) {
    const RandomImage image(h, w);
    for (std::uint64_t i = 0; i < 20; ++i) {
      for (const float x : apply(image, draw_augment(options, 3, 4, i, h, w), 23)) {
        ASSERT_GE(x, 0.0f);
        ASSERT_LE(x, 1.0f);
      }
    }
  }
}

TEST(Tta, StartsPlainAndThenDraws) {
  const AugmentOptions options;
  EXPECT_EQ(augment_map(draw_tta(options, 1, 0, 5, 30, 30)), Projective{});
  const auto map = [&](std::uint64_t seed, int pass, std::uint64_t sample) {
    return augment_map(draw_tta(options, seed, pass, sample, 30, 30));
  };
  EXPECT_EQ(map(1, 2, 5), map(1, 2, 5));
  EXPECT_NE(map(1, 2, 5), map(1, 3, 5));
  EXPECT_NE(map(1, 2, 5), map(1, 2, 6));
  EXPECT_NE(map(1, 2, 5), map(2, 2, 5));
  EXPECT_THROW(draw_tta(options, 1, -1, 5, 30, 30), ValueError);
}

TEST(ValidateAugment, RefusesNonsense) {
  const auto refused = [](auto&& change) {
    AugmentOptions options;
    change(options);
    EXPECT_THROW(validate(options), ValueError);
  };
  EXPECT_NO_THROW(validate(AugmentOptions{}));
  refused([](auto& o) { o.size = 0; });
  refused([](auto& o) { o.scale = {0, 1}; });
  refused([](auto& o) { o.aspect = {2, 1}; });
  refused([](auto& o) { o.flip = -0.1f; });
  refused([](auto& o) { o.zoom = 0.9f; });
  refused([](auto& o) { o.warp = 0.5f; });
  refused([](auto& o) { o.lighting = 1; });
  refused([](auto& o) { o.degrees = NAN; });
  refused([](auto& o) { o.normalisation.std[2] = -1; });
}

}  // namespace
}  // namespace mwalimu::data
