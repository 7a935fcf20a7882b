#include "mwalimu/ops/l2_normalize.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/compare.hpp"
#include "support/golden.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

TEST(L2Normalize, MatchesFp64Reference) {
  for (const Shape& shape : {Shape{1, 1}, Shape{7, 127}, Shape{65, 128}, Shape{3, 4099}}) {
    const auto x = random_tensor<float>(shape, 1);
    auto want = values(x);
    const auto D = static_cast<std::size_t>(shape[1]);
    for (std::size_t b = 0; b < want.size(); b += D) {
      double square = 0;
      for (std::size_t d = 0; d < D; ++d) square += want[b + d] * want[b + d];
      for (std::size_t d = 0; d < D; ++d) want[b + d] /= std::sqrt(square);
    }
    test::poison_pool<float>(shape);
    const auto y = l2_normalize<float>(x);
    EXPECT_TRUE(test::near_l2(values(y.value()), want, 1e-7)) << shape;  // one rounding
    EXPECT_EQ(values(l2_normalize<float>(test::channels_of_wider(x)).value()), values(y.value()));
  }
}

TEST(L2Normalize, GradientMatchesDifferences) {
  const auto f = [](double eps) {
    return [eps](const std::vector<Variable<double>>& in) { return l2_normalize(in[0], eps); };
  };
  const auto x = random_tensor<double>({4, 9}, 1);
  const auto check = check_gradients(f(1e-12), {x});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
  const auto clamped = check_gradients(f(100), {x});  // every row is shorter than eps
  EXPECT_LT(clamped.worst, 1e-6) << clamped.describe();
}

TEST(L2Normalize, RowsHaveUnitLengthAndDoNotDependOnScale) {
  const auto x = random_tensor<double>({5, 33}, 1);
  auto longer = x.clone();
  for (double& v : longer.span()) v *= 1024;  // a power of two: exact
  const auto y = l2_normalize<double>(x);
  EXPECT_EQ(values(l2_normalize<double>(longer).value()), values(y.value()));
  for (index_t b = 0; b < 5; ++b) {
    double square = 0;
    for (index_t d = 0; d < 33; ++d) square += std::pow(y.value().data()[b * 33 + d], 2);
    EXPECT_NEAR(square, 1, 1e-14);
  }
}

TEST(L2Normalize, GradientIsOrthogonalToTheRow) {
  const auto x = Variable<double>::leaf(random_tensor<double>({3, 17}, 1));
  l2_normalize(x).backward(random_tensor<double>({3, 17}, 2));
  for (index_t b = 0; b < 3; ++b) {
    double dot = 0;
    for (index_t d = 0; d < 17; ++d) {
      dot += x.value().data()[b * 17 + d] * x.grad().data()[b * 17 + d];
    }
    EXPECT_NEAR(dot, 0, 1e-13);
  }
}

TEST(L2Normalize, ZeroAndExtremeRowsAreFinite) {
  auto x = Tensor<float>::zeros({4, 2});
  x.data()[2] = 3e38f;
  x.data()[3] = -3e38f;  // the square overflows float
  x.data()[4] = 1e-30f;  // shorter than eps
  x.data()[6] = 1e4f;
  const auto leaf = Variable<float>::leaf(x);
  const auto y = l2_normalize(leaf);
  const float root = 1 / std::sqrt(2.0f);
  EXPECT_EQ(values(y.value()),
            (std::vector<double>{0, 0, root, -root, static_cast<float>(1e-30f / 1e-12), 0, 1, 0}));
  y.backward(Tensor<float>::full({4, 2}, 1));
  for (const double v : values(leaf.grad())) EXPECT_TRUE(std::isfinite(v));
  EXPECT_EQ(leaf.grad().data()[0], 1e12f);
}

TEST(L2Normalize, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({700, 129}, 1);
  test::expect_same_on_any_threads([&] {
    const auto leaf = Variable<float>::leaf(x);
    const auto y = l2_normalize(leaf);
    y.backward(random_tensor<float>({700, 129}, 2));
    auto all = values(y.value());
    append(all, leaf.grad());
    return all;
  });
}

TEST(L2Normalize, RejectsWhatItCannotNormalise) {
  test::expect_error<ShapeError>([] { l2_normalize<float>(random_tensor<float>({3}, 1)); },
                                 "l2_normalize: want (B, D), got (3)");
  test::expect_error<ValueError>(
      [] {
        l2_normalize<float>(random_tensor<float>({3, 2}, 1), 0);
      },
      "l2_normalize: want eps > 0, got 0");
}

TEST(L2NormalizeGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "l2norm");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto shape = c.at("shape").get<golden::Shape>();
    const Shape extents{std::span<const index_t>(shape)};
    const auto x = Variable<float>::leaf(
        Tensor<float>::from(c.fill("input", shape, golden::Fill::input), extents));
    const auto y = l2_normalize(x, c.at("eps").get<double>());
    y.backward(Tensor<float>::from(c.fill("dy", shape, golden::Fill::input), extents));
    EXPECT_TRUE(c.near("y", values(y.value())));
    EXPECT_TRUE(c.near("dx", values(x.grad())));
  }
}

}  // namespace
}  // namespace mwalimu::ops
