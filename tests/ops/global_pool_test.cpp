#include "mwalimu/ops/global_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/compare.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

// [max(C), mean(C)] of each sample.
std::vector<double> reference(const Tensor<float>& x) {
  const index_t P = x.dim(1) * x.dim(2), C = x.dim(3);
  std::vector<double> y;
  for (index_t n = 0; n < x.dim(0); ++n) {
    std::vector<double> largest(static_cast<std::size_t>(C), -1e300), mean(largest.size(), 0.0);
    for (index_t p = 0; p < P; ++p) {
      for (index_t c = 0; c < C; ++c) {
        const double v = x.data()[(n * P + p) * C + c];
        auto i = static_cast<std::size_t>(c);
        largest[i] = std::max(largest[i], v);
        mean[i] += v / static_cast<double>(P);
      }
    }
    y.insert(y.end(), largest.begin(), largest.end());
    y.insert(y.end(), mean.begin(), mean.end());
  }
  return y;
}

TEST(GlobalPool, MatchesFp64Reference) {
  for (const Shape& shape :
       {Shape{1, 1, 1, 1}, Shape{2, 4, 3, 127}, Shape{3, 13, 11, 129}, Shape{2, 32, 32, 5}}) {
    const auto x = random_tensor<float>(shape, 1);
    test::poison_pool<float>({shape[0], 2 * shape[3]});
    const auto both = concat_pool<float>(x);
    EXPECT_TRUE(test::near_l2(values(both.value()), reference(x), 1e-6)) << shape;
    EXPECT_EQ(values(concat_pool<float>(test::channels_of_wider(x)).value()), values(both.value()));
    EXPECT_EQ(values(global_average_pool<float>(x).value()),
              values(both.value().slice(1, shape[3], 2 * shape[3])));
  }
}

TEST(GlobalPool, OrderSwapsTheHalves) {
  const auto x = random_tensor<float>({2, 3, 3, 4}, 1);
  const auto a = concat_pool<float>(x, ConcatPoolOrder::max_average).value();
  const auto b = concat_pool<float>(x, ConcatPoolOrder::average_max).value();
  EXPECT_EQ(values(a.slice(1, 0, 4)), values(b.slice(1, 4, 8)));
  EXPECT_EQ(values(a.slice(1, 4, 8)), values(b.slice(1, 0, 4)));
}

TEST(GlobalPool, GradientMatchesDifferences) {
  for (const auto order : {ConcatPoolOrder::max_average, ConcatPoolOrder::average_max}) {
    const auto check = check_gradients(
        [&](const std::vector<Variable<double>>& in) { return concat_pool(in[0], order); },
        {random_tensor<double>({2, 3, 4, order == ConcatPoolOrder::max_average ? 5 : 130}, 1)});
    EXPECT_LT(check.worst, 1e-6) << check.describe();
  }
  const auto check = check_gradients(
      [](const std::vector<Variable<double>>& in) { return global_average_pool(in[0]); },
      {random_tensor<double>({2, 3, 4, 5}, 1)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(GlobalPool, TiesOfTheMaximumGoToTheFirstPixel) {
  const auto x = Variable<float>::leaf(Tensor<float>::full({1, 1, 3, 1}, 2));
  concat_pool(x).backward(Tensor<float>::from({6, 3}, {1, 2}));
  EXPECT_EQ(values(x.grad()), (std::vector<double>{7, 1, 1}));
}

TEST(GlobalPool, ManyPixelsCostNoDigits) {
  auto x = random_tensor<float>({1, 200, 201, 2}, 1);
  for (float& v : x.span()) v += 100;
  EXPECT_TRUE(test::near_l2(values(concat_pool<float>(x).value()), reference(x), 1e-6));
}

TEST(GlobalPool, NanWins) {
  auto x = random_tensor<float>({1, 2, 2, 1}, 1);
  x.data()[2] = std::nanf("");
  EXPECT_TRUE(std::isnan(concat_pool<float>(x).value().data()[0]));
}

TEST(GlobalPool, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({9, 17, 15, 130}, 1);
  test::expect_same_on_any_threads([&] {
    const auto leaf = Variable<float>::leaf(x);
    const auto y = concat_pool(leaf);
    y.backward(random_tensor<float>(y.shape(), 2));
    auto all = values(y.value());
    append(all, leaf.grad());
    return all;
  });
}

TEST(GlobalPool, RejectsWhatIsNoImage) {
  test::expect_error<ShapeError>(
      [] {
        concat_pool<float>(random_tensor<float>({2, 3}, 1));
      },
      "concat_pool: want (N, H, W, C) with at least one pixel, got (2, 3)");
  test::expect_error<ShapeError>(
      [] {
        global_average_pool<float>(Tensor<float>::empty({2, 0, 3, 4}));
      },
      "global_average_pool: want (N, H, W, C) with at least one pixel");
}

}  // namespace
}  // namespace mwalimu::ops
