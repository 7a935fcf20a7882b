#include "mwalimu/data/blur.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "planes.hpp"
#include "support/golden.hpp"

namespace mwalimu::data {
namespace {

TEST(BlurGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "gaussian_blur");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const golden::Shape shape = c.at("shape");
    const int ksize = c.at("ksize");
    const auto kernel = gaussian_kernel(c.at("sigma"), ksize / 2);
    EXPECT_TRUE(
        mwalimu::test::near_max(mwalimu::test::to_double(kernel), c.tensor("kernel").values, 1e-7));
    const auto x = c.fill("input", shape, golden::Fill::input);
    BlurScratch scratch;
    const auto y =
        test::each_image(x, static_cast<int>(shape[2]), static_cast<int>(shape[3]),
                         [&](PlanarImage& image) { gaussian_blur(image, kernel, scratch); });
    // Float32 sums of at most 30 terms against float64.
    EXPECT_TRUE(mwalimu::test::near_max(y, c.tensor("y").values, 2e-6));
  }
}

// The definition in two dimensions at once, in double, on images that the kernel may exceed.
TEST(Blur, MatchesTheDefinitionAtAnyExtent) {
  struct Shape {
    int H, W;
  };
  for (const Shape s : {Shape{1, 1}, Shape{1, 7}, Shape{2, 3}, Shape{13, 5}, Shape{20000, 1}}) {
    const auto kernel = gaussian_kernel(1.7f, 6);
    const PlanarImage before = test::random_planes(s.H, s.W);
    PlanarImage after = before;
    BlurScratch scratch;
    gaussian_blur(after, kernel, scratch);
    const auto mirror = [](int i, int n) {
      while (n > 1 && (i < 0 || i >= n)) i = i < 0 ? -i : 2 * (n - 1) - i;
      return n == 1 ? 0 : i;
    };
    for (int y = 0; y<s.H; y += s.H> 100 ? 997 : 1) {
      for (int x = 0; x < s.W; ++x) {
        double want = 0;
        for (int i = -6; i <= 6; ++i) {
          for (int j = -6; j <= 6; ++j) {
            want += double{kernel[static_cast<std::size_t>(i + 6)]} *
                    double{kernel[static_cast<std::size_t>(j + 6)]} *
                    double{before.plane(1)[mirror(y + i, s.H) * s.W + mirror(x + j, s.W)]};
          }
        }
        ASSERT_NEAR(after.plane(1)[y * s.W + x], want, 1e-6) << s.H << " x " << s.W;
      }
    }
  }
}

TEST(Blur, KeepsAFlatImageAndANarrowKernelKeepsAll) {
  BlurScratch scratch;
  PlanarImage flat(12, 9);
  for (float& x : flat.values()) x = 0.25f;
  gaussian_blur(flat, gaussian_kernel(2.0f, gaussian_radius(2.0f)), scratch);
  for (const float x : flat.values()) ASSERT_NEAR(x, 0.25f, 1e-6f);

  const PlanarImage before = test::random_planes(12, 9);
  PlanarImage after = before;
  gaussian_blur(after, gaussian_kernel(0.05f, gaussian_radius(0.05f)), scratch);
  EXPECT_TRUE(std::equal(before.values().begin(), before.values().end(), after.values().begin()));
}

TEST(Blur, RefusesNonsense) {
  EXPECT_THROW(gaussian_kernel(0, 2), ValueError);
  EXPECT_THROW(gaussian_kernel(NAN, 2), ValueError);
  EXPECT_THROW(gaussian_kernel(1, -1), ValueError);
  PlanarImage image = test::random_planes(4, 4);
  BlurScratch scratch;
  EXPECT_THROW(gaussian_blur(image, {0.5f, 0.5f}, scratch), ValueError);
}

}  // namespace
}  // namespace mwalimu::data
