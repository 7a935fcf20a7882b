#include "mwalimu/data/multi_crop.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "planes.hpp"

namespace mwalimu::data {
namespace {

using test::RandomImage;

template <class Call>
std::string message(Call&& call) {
  try {
    call();
  } catch (const ValueError& error) {
    return error.what();
  }
  return "no ValueError";
}

/// A crop that does nothing but resize.
MultiCropOptions plain(const char* crops) {
  MultiCropOptions options = MultiCropOptions::study(crops);
  options.flip = options.jitter = options.gray = options.blur = options.rotate = 0;
  return options;
}

TEST(ParseCrops, ReadsGroupsWithTheirScales) {
  const MultiCropOptions study = MultiCropOptions::study("2x128,6x96");
  EXPECT_EQ(study.groups,
            (std::vector<CropGroup>{{2, 128, {0.25f, 1.0f}}, {6, 96, {0.05f, 0.30f}}}));
  EXPECT_EQ(study.groups, MultiCropOptions{}.groups);
  EXPECT_EQ(study.views(), 8);
  const MultiCropOptions facebook = MultiCropOptions::facebook("2x224");
  EXPECT_EQ(facebook.groups, (std::vector<CropGroup>{{2, 224, {0.14f, 1.0f}}}));
  EXPECT_EQ(MultiCropOptions::facebook().groups[1], (CropGroup{6, 96, {0.05f, 0.14f}}));
  for (const auto& options : {study, facebook, MultiCropOptions::strong("3x33,2x17,1x9")}) {
    EXPECT_NO_THROW(validate(options));
  }
}

TEST(ParseCrops, SaysWhatIsWrong) {
  const auto why = [](std::string text) { return message([&] { MultiCropOptions::study(text); }); };
  const std::string want = "; want COUNTxSIZE groups such as 2x128,6x96";
  EXPECT_EQ(why(""), "crops '': '' has no 'x'" + want);
  EXPECT_EQ(why("2x128,"), "crops '2x128,': '' has no 'x'" + want);
  EXPECT_EQ(why("128"), "crops '128': '128' has no 'x'" + want);
  EXPECT_EQ(why("2x"), "crops '2x': size '' is not a whole number" + want);
  EXPECT_EQ(why("2x12.5"), "crops '2x12.5': size '12.5' is not a whole number" + want);
  EXPECT_EQ(why(" 2x64"), "crops ' 2x64': count ' 2' is not a whole number" + want);
  EXPECT_EQ(why("2x64,-1x32"), "crops '2x64,-1x32': count -1 is out of range 1..64" + want);
  EXPECT_EQ(why("2x64,0x32"), "crops '2x64,0x32': count 0 is out of range 1..64" + want);
  EXPECT_EQ(why("2x99999999999"),
            "crops '2x99999999999': size 99999999999 is out of range 1..2048" + want);
  EXPECT_EQ(
      why("1x128,6x96"),
      "crops '1x128,6x96': the first group holds one view, but codes are computed on two of its "
      "views" +
          want);
}

TEST(CheckCropSizes, RefusesViewsLargerThanTheStore) {
  const MultiCropOptions options = MultiCropOptions::study("2x64,4x48");
  EXPECT_NO_THROW(check_crop_sizes(options, 64, 64));
  EXPECT_EQ(
      message([&] { check_crop_sizes(options, 64, 50); }),
      "crops of 64 pixels are larger than the stored images (64 x 50): ask for smaller crops, or "
      "store larger images");
}

TEST(ValidateMultiCrop, NamesTheOption) {
  const auto why = [](auto&& change) {
    MultiCropOptions options;
    change(options);
    return message([&] { validate(options); });
  };
  EXPECT_NE(why([](auto& o) { o.groups.clear(); }).find("two views"), std::string::npos);
  EXPECT_NE(why([](auto& o) {
              o.groups[1].scale = {0.5f, 0.2f};
            }).find("scale"),
            std::string::npos);
  EXPECT_NE(why([](auto& o) { o.groups[1].scale = {NAN, 0.2f}; }).find("scale"), std::string::npos);
  EXPECT_NE(why([](auto& o) { o.aspect = {0, 1}; }).find("aspect"), std::string::npos);
  EXPECT_NE(why([](auto& o) { o.flip = 1.5f; }).find("flip"), std::string::npos);
  EXPECT_NE(why([](auto& o) { o.rotate = NAN; }).find("rotation"), std::string::npos);
  EXPECT_NE(why([](auto& o) { o.jitter_range.hue = 0.6f; }).find("hue"), std::string::npos);
  EXPECT_NE(why([](auto& o) { o.blur_sigma.low = 0; }).find("blur"), std::string::npos);
  EXPECT_NE(why([](auto& o) { o.normalisation.std[1] = 0; }).find("deviation"), std::string::npos);
}

TEST(DrawCrop, FrequenciesAndRangesAreTheOptions) {
  MultiCropOptions options = MultiCropOptions::study("2x64,4x48");
  options.flip = 0.5f, options.jitter = 0.3f, options.gray = 0.2f, options.blur = 0.4f,
  options.rotate = 0.6f;
  constexpr int n = 6000;
  int flip = 0, jitter = 0, gray = 0, blur = 0, rotate = 0;
  double area[2] = {0, 0}, degrees = 0;
  for (int i = 0; i < n; ++i) {
    for (const int view : {0, 5}) {
      const CropParameters p =
          draw_crop(options, 1, 2, static_cast<std::uint64_t>(i), view, 200, 300);
      const double share = p.box.height * p.box.width / 60000.0;
      ASSERT_GT(share, view == 0 ? 0.24 : 0.048);
      ASSERT_LE(share, view == 0 ? 1.0 : 0.306);
      ASSERT_LE(p.box.top + p.box.height, 200);
      ASSERT_LE(p.box.left + p.box.width, 300);
      ASSERT_EQ(p.size, view == 0 ? 64 : 48);
      // 0.1 to 2 pixels of a 224-pixel view.
      ASSERT_GE(p.sigma, 0.1f * static_cast<float>(p.size) / 224 * 0.999f);
      ASSERT_LE(p.sigma, 2.0f * static_cast<float>(p.size) / 224 * 1.001f);
      ASSERT_LE(std::abs(p.degrees), 10.0f);
      area[view == 0 ? 0 : 1] += share;
      degrees += std::abs(p.degrees);
      flip += p.flip, jitter += p.jitter, gray += p.gray, blur += p.blur, rotate += p.rotate;
    }
  }
  const auto near = [](int count, double p) {
    EXPECT_NEAR(count / (2.0 * n), p, 5 * std::sqrt(p * (1 - p) / (2.0 * n)));
  };
  near(flip, 0.5);
  near(jitter, 0.3);
  near(gray, 0.2);
  near(blur, 0.4);
  near(rotate, 0.6);
  EXPECT_NEAR(area[1] / n, 0.175, 5 * 0.0722 / std::sqrt(n));  // small boxes always fit
  EXPECT_NEAR(degrees / (2.0 * n), 5.0, 5 * 2.9 / std::sqrt(2.0 * n));
}

TEST(DrawCrop, EachViewOfEachSampleIsItsOwn) {
  const MultiCropOptions options;
  const auto box = [&](std::uint64_t seed, std::uint64_t step, std::uint64_t sample, int view) {
    return draw_crop(options, seed, step, sample, view, 500, 400).box;
  };
  EXPECT_EQ(box(1, 2, 3, 4), box(1, 2, 3, 4));
  EXPECT_NE(box(1, 2, 3, 4), box(2, 2, 3, 4));
  EXPECT_NE(box(1, 2, 3, 4), box(1, 3, 3, 4));
  EXPECT_NE(box(1, 2, 3, 4), box(1, 2, 4, 4));
  EXPECT_NE(box(1, 2, 3, 4), box(1, 2, 3, 5));
  EXPECT_NE(box(1, 2, 3, 4), box(1, 2, 4, 3));
  EXPECT_THROW(box(1, 2, 3, 8), ValueError);
  EXPECT_THROW(box(1, 2, 3, -1), ValueError);
}

TEST(DrawCrop, OneOptionMovesNoOtherDraw) {
  MultiCropOptions a, b;
  b.jitter = 1, b.blur = 1, b.gray = 0, b.rotate_degrees = 90;
  const CropParameters p = draw_crop(a, 1, 2, 3, 0, 500, 400),
                       q = draw_crop(b, 1, 2, 3, 0, 500, 400);
  EXPECT_EQ(p.box, q.box);
  EXPECT_EQ(p.flip, q.flip);
  EXPECT_EQ(p.color.brightness, q.color.brightness);
  EXPECT_EQ(p.color.order, q.color.order);
}

TEST(Pairs, TheCodeViewsComeFromTheTwoSensorsAndSmallOnesAreHalved) {
  const MultiCropOptions options = MultiCropOptions::study("2x128,6x96");
  int swapped = 0;
  constexpr int n = 2000;
  for (std::uint64_t sample = 0; sample < n; ++sample) {
    int from_second[2] = {0, 0};
    for (int view = 0; view < 8; ++view) {
      const int sensor = crop_sensor(options, 1, 7, sample, view);
      ASSERT_EQ(sensor, draw_crop(options, 1, 7, sample, view, 99, 99).sensor);
      from_second[view < 2 ? 0 : 1] += sensor;
    }
    ASSERT_EQ(from_second[0], 1);
    ASSERT_EQ(from_second[1], 3);
    swapped += crop_sensor(options, 1, 7, sample, 0);
  }
  EXPECT_NEAR(swapped, n / 2, 5 * std::sqrt(n / 4.0));
}

TEST(Pairs, OffTakesEveryViewFromTheFirstImage) {
  MultiCropOptions options = MultiCropOptions::study("2x16,4x8");
  options.pairs = false;
  CropScratch scratch;
  std::vector<float> large(2 * 16 * 16 * 3), small(4 * 8 * 8 * 3);
  float* const groups[] = {large.data(), small.data()};
  const RandomImage image(20, 20);
  EXPECT_NO_THROW(multi_crop(options, 1, 2, 3, ByteImage(image), ByteImage{}, 0, 1, groups, scratch));
  options.pairs = true;
  EXPECT_THROW(multi_crop(options, 1, 2, 3, ByteImage(image), ByteImage{}, 0, 1, groups, scratch), ShapeError);
}

// Images of one colour each: a view's colour says which sensor it came from, its place in memory
// which view and which sample it is.
TEST(MultiCrop, WritesViewMajorRowsFromTheRightSensor) {
  MultiCropOptions options = plain("2x5,3x4");
  options.normalisation = Normalisation::none();
  constexpr int batch = 4;
  std::vector<float> large(2 * batch * 25 * 3 + 1, NAN), small(3 * batch * 16 * 3 + 1, NAN);
  float* const groups[] = {large.data(), small.data()};
  CropScratch scratch;
  for (int b = 0; b < batch; ++b) {
    RandomImage first(9, 11), second(13, 7);
    std::fill(first.bytes.begin(), first.bytes.end(), static_cast<std::uint8_t>(10 * b));
    std::fill(second.bytes.begin(), second.bytes.end(), static_cast<std::uint8_t>(10 * b + 1));
    multi_crop(options, 5, 6, static_cast<std::uint64_t>(b), ByteImage(first), second, b, batch, groups,
               scratch);
  }
  for (int view = 0; view < 5; ++view) {
    for (int b = 0; b < batch; ++b) {
      const int want = 10 * b + crop_sensor(options, 5, 6, static_cast<std::uint64_t>(b), view);
      const float* image = view < 2
                               ? &large[static_cast<std::size_t>((view * batch + b) * 75)]
                               : &small[static_cast<std::size_t>(((view - 2) * batch + b) * 48)];
      for (int i = 0; i < (view < 2 ? 75 : 48); ++i) {
        ASSERT_NEAR(image[i] * 255, want, 1e-4) << "view " << view << ", sample " << b;
      }
    }
  }
  EXPECT_TRUE(std::isnan(large.back()) && std::isnan(small.back()));
  const RandomImage nine(9, 9);
  EXPECT_THROW(
      multi_crop(options, 5, 6, 0, ByteImage(nine), nine, 4, 4, groups, scratch),
      ShapeError);
  EXPECT_THROW(multi_crop(options, 5, 6, 0, ByteImage(nine), nine, 0, 4,
                          std::span(groups).first(1), scratch),
               ShapeError);
}

// The batch's form makes what single samples make, from any rows of the images, with sample numbers
// that go on where another rank's end; 16-bit types round its floats.
void expect_same_crops_as_sample_by_sample(const MultiCropOptions& options) {
  constexpr index_t B = 3, first = 5;
  constexpr int H = 20, W = 17, N = 4;
  auto images = Tensor<std::uint8_t>::empty({N, H, W, 3});
  RandomStream random(1, Purpose::test);
  for (auto& byte : images.span()) byte = static_cast<std::uint8_t>(random.bits() >> 24);
  const auto pairs = Tensor<index_t>::from({2, 0, 3, 3, 1, 2}, {B, 2});
  std::vector<Tensor<float>> views;
  std::vector<Tensor<bfloat16>> rounded;
  multi_crop(options, 9, Scalar(11), images, pairs, views, first);
  multi_crop(options, 9, Scalar(11), images, pairs, rounded, first);

  std::vector<float> large(2 * B * 13 * 13 * 3, NAN), small(3 * B * 8 * 8 * 3, NAN);
  float* const groups[] = {large.data(), small.data()};
  CropScratch scratch;
  for (index_t b = 0; b < B; ++b) {
    const auto image = [&](int sensor) {
      const index_t row = pairs.view<2>()(b, sensor);
      return ByteImage{images.data() + row * H * W * 3, H, W};
    };
    multi_crop(options, 9, 11, static_cast<std::uint64_t>(first + b), image(0), image(1), b, B,
               groups, scratch);
  }
  EXPECT_EQ(views[0].to_vector(), large);
  EXPECT_EQ(views[1].to_vector(), small);
  for (std::size_t i = 0; i < small.size(); ++i) {
    ASSERT_EQ(rounded[1].span()[i], bfloat16(small[i]));
  }
}

TEST(CropGroup, IsTheSameCropsAsSampleBySample) {
  MultiCropOptions options = MultiCropOptions::strong("2x13,3x8");
  expect_same_crops_as_sample_by_sample(options);
  options.shared_box = options.normalise_first = true;
  expect_same_crops_as_sample_by_sample(options);
}

TEST(CropGroup, OneSensorIsBothOfAPair) {
  const MultiCropOptions options = MultiCropOptions::study("2x7");
  auto images = Tensor<std::uint8_t>::full({2, 9, 9, 3}, 7);
  std::vector<Tensor<float>> one, two;
  multi_crop(options, 1, Scalar(2), images, Tensor<index_t>::from({1, 0}, {2, 1}), one);
  multi_crop(options, 1, Scalar(2), images, Tensor<index_t>::from({1, 1, 0, 0}, {2, 2}), two);
  EXPECT_EQ(one[0].to_vector(), two[0].to_vector());
  EXPECT_THROW(multi_crop(options, 1, Scalar(2), images, Tensor<index_t>::from({1, 0}, {2}), one),
               ShapeError);
}

TEST(ApplyCrop, TheFullBoxAloneIsTheNormalisedImageExactly) {
  const RandomImage image(31, 31);
  CropParameters p;
  p.box = {0, 0, 31, 31};
  p.size = 31;
  std::vector<float> out(31 * 31 * 3);
  const Normalisation imagenet;
  CropScratch scratch;
  apply_crop(ByteImage(image), p, imagenet, out.data(), scratch);
  for (int y = 0; y < 31; ++y) {
    for (int x = 0; x < 31; ++x) {
      for (int c = 0; c < 3; ++c) {
        const auto k = static_cast<std::size_t>(c);
        ASSERT_EQ(out[static_cast<std::size_t>((y * 31 + x) * 3 + c)],
                  (image.unit(y, x, c) - imagenet.mean[k]) / imagenet.std[k]);
      }
    }
  }
}

TEST(DrawCrop, ASharedBoxIsOneForAViewOfTheWholeBatch) {
  MultiCropOptions options = MultiCropOptions::study("2x16,3x8");
  options.shared_box = true;
  const auto same = [](const CropBox& a, const CropBox& b) {
    return a.top == b.top && a.left == b.left && a.height == b.height && a.width == b.width;
  };
  for (int view = 0; view < options.views(); ++view) {
    const auto first = draw_crop(options, 3, 7, 0, view, 90, 110);
    bool factors_differ = false;
    for (std::uint64_t sample = 1; sample < 20; ++sample) {
      const auto p = draw_crop(options, 3, 7, sample, view, 90, 110);
      EXPECT_TRUE(same(p.box, first.box)) << view;
      EXPECT_EQ(p.color.order, first.color.order) << view;
      factors_differ = factors_differ || p.color.brightness != first.color.brightness;
    }
    EXPECT_TRUE(factors_differ);
    EXPECT_FALSE(same(first.box, draw_crop(options, 3, 8, 0, view, 90, 110).box)) << "next step";
    if (view > 0) {
      EXPECT_FALSE(same(first.box, draw_crop(options, 3, 7, 0, view - 1, 90, 110).box));
    }
  }
}

// What lies below the mean is lost where colours change after the normalisation.
TEST(ApplyCrop, NormalisedFirstTheJitterClampsWhatIsDark) {
  std::vector<std::uint8_t> dark(4 * 4 * 3, 20);
  const ByteImage image{dark.data(), 4, 4};
  CropParameters p;
  p.box = {0, 0, 4, 4};
  p.size = 4;
  std::vector<float> plain(48), first(48);
  CropScratch scratch;
  const Normalisation imagenet;
  apply_crop(ByteImage(image), p, imagenet, plain.data(), scratch);
  apply_crop(ByteImage(image), p, imagenet, first.data(), scratch, true);
  EXPECT_EQ(plain, first) << "without a jitter the order does not matter";
  EXPECT_LT(plain[0], -1);
  p.jitter = true;  // factors of 1: it only clamps
  apply_crop(ByteImage(image), p, imagenet, plain.data(), scratch);
  apply_crop(ByteImage(image), p, imagenet, first.data(), scratch, true);
  EXPECT_LT(plain[0], -1);
  EXPECT_EQ(first, std::vector<float>(48, 0.0f));
}

// Every step by its own function, in the documented order.
TEST(ApplyCrop, StepsRunInTheirOrder) {
  const RandomImage image(40, 50);
  CropParameters p;
  p.box = {3, 4, 30, 33};
  p.size = 21;
  p.flip = p.jitter = p.gray = p.blur = p.rotate = true;
  p.color = {1.3f, 0.7f, 1.4f, 0.1f, {2, 0, 3, 1}};
  p.sigma = 0.9f;
  p.degrees = 9;
  std::vector<float> out(21 * 21 * 3), want(21 * 21 * 3);
  CropScratch scratch;
  apply_crop(ByteImage(image), p, {}, out.data(), scratch);

  PlanarImage view, spare;
  CropResizeScratch resize;
  crop_resize(ByteImage(image), p.box, 21, 21, true, view, resize);
  adjust_saturation(view, 1.4f);
  adjust_brightness(view, 1.3f);
  adjust_hue(view, 0.1f);
  adjust_contrast(view, 0.7f);
  to_gray(view);
  BlurScratch blur;
  gaussian_blur(view, gaussian_kernel(0.9f, 3), blur);
  SampleScratch sampling;
  rotate(view, 9, spare, sampling);
  write_normalised(view, {}, want.data());
  EXPECT_EQ(out, want);
}

TEST(ApplyCrop, EveryImageAndOddSizeGivesFiniteValuesInRange) {
  MultiCropOptions options = MultiCropOptions::strong("2x1,1x2,1x7,1x33");
  options.gray = options.blur = 0.5f;
  options.blur_sigma = {0.1f, 20.0f};
  options.normalisation = Normalisation::none();
  CropScratch scratch;
  for (const auto& [h, w] : {std::pair{1, 1}, {2, 2}, {20000, 1}, {1, 20000}, {5, 333}}) {
    const RandomImage image(h, w);
    for (std::uint64_t sample = 0; sample < 20; ++sample) {
      std::vector<float> g0(2 * 3), g1(4 * 3), g2(49 * 3), g3(33 * 33 * 3);
      float* const groups[] = {g0.data(), g1.data(), g2.data(), g3.data()};
      for (auto* g : {&g0, &g1, &g2, &g3}) std::fill(g->begin(), g->end(), NAN);
      multi_crop(options, 1, 2, sample, ByteImage(image), image, 0, 1, groups, scratch);
      for (auto* g : {&g0, &g1, &g2, &g3}) {
        for (const float x : *g) {
          ASSERT_GE(x, -1e-5f) << h << " x " << w;
          ASSERT_LE(x, 1 + 1e-5f) << h << " x " << w;
        }
      }
    }
  }
}

// Scratch is memory, not state: what was made before does not show.
TEST(ApplyCrop, ScratchCarriesNothingOver) {
  const MultiCropOptions options = MultiCropOptions::strong("2x33,4x17");
  const RandomImage image(60, 45);
  CropScratch used;
  for (int view = 0; view < 6; ++view) {
    const CropParameters p = draw_crop(options, 1, 2, 3, view, 60, 45);
    const auto n = static_cast<std::size_t>(p.size * p.size * 3);
    std::vector<float> a(n), b(n);
    CropScratch fresh;
    apply_crop(ByteImage(image), p, {}, a.data(), used);
    apply_crop(ByteImage(image), p, {}, b.data(), fresh);
    EXPECT_EQ(a, b);
  }
}

}  // namespace
}  // namespace mwalimu::data
