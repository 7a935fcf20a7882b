#include "mwalimu/ops/max_pool.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/golden.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

// The definition: over all positions of a window that lie inside the image.
std::vector<double> reference(const Tensor<float>& x, const Pool2dOptions& o) {
  const index_t H = x.dim(1), W = x.dim(2), C = x.dim(3);
  const auto extent = [&](index_t side) {
    const double steps =
        static_cast<double>(side + 2 * o.padding - o.kernel) / static_cast<double>(o.stride);
    index_t count = static_cast<index_t>(o.ceil_mode ? std::ceil(steps) : std::floor(steps)) + 1;
    if (o.ceil_mode && (count - 1) * o.stride >= side + o.padding) --count;
    return count;
  };
  std::vector<double> y;
  for (index_t n = 0; n < x.dim(0); ++n) {
    for (index_t oh = 0; oh < extent(H); ++oh) {
      for (index_t ow = 0; ow < extent(W); ++ow) {
        for (index_t c = 0; c < C; ++c) {
          double best = -std::numeric_limits<double>::infinity();
          for (index_t h = oh * o.stride - o.padding; h < oh * o.stride - o.padding + o.kernel;
               ++h) {
            for (index_t w = ow * o.stride - o.padding; w < ow * o.stride - o.padding + o.kernel;
                 ++w) {
              if (h < 0 || h >= H || w < 0 || w >= W) continue;
              best = std::max(best, static_cast<double>(x.data()[((n * H + h) * W + w) * C + c]));
            }
          }
          y.push_back(best);
        }
      }
    }
  }
  return y;
}

TEST(MaxPool, MatchesFp64Reference) {
  for (const Pool2dOptions& options :
       {Pool2dOptions{3, 2, 1, false}, Pool2dOptions{3, 2, 1, true}, Pool2dOptions{2, 2, 0, true},
        Pool2dOptions{1, 1, 0, false}, Pool2dOptions{3, 1, 1, false}, Pool2dOptions{2, 3, 1, true},
        Pool2dOptions{5, 4, 2, true}}) {
    for (const Shape& shape : {Shape{1, 7, 8, 1}, Shape{2, 11, 6, 65}, Shape{3, 5, 5, 13}}) {
      const auto x = random_tensor<float>(shape, 1);
      const auto want = reference(x, options);
      test::poison_pool<float>({static_cast<index_t>(want.size())});
      EXPECT_EQ(values(max_pool<float>(x, options).value()), want)
          << shape << " kernel " << options.kernel << " stride " << options.stride;
      EXPECT_EQ(values(max_pool<float>(test::channels_of_wider(x), options).value()), want);
    }
  }
}

TEST(MaxPool, GradientMatchesDifferences) {
  for (const Pool2dOptions& options : {Pool2dOptions{3, 2, 1, false}, Pool2dOptions{2, 2, 0, true},
                                       Pool2dOptions{2, 3, 0, false}}) {
    const auto check = check_gradients(
        [&](const std::vector<Variable<double>>& in) { return max_pool(in[0], options); },
        {random_tensor<double>({2, 7, 6, 3}, 1)});
    EXPECT_LT(check.worst, 1e-6) << check.describe();
    const auto two_tiles = check_gradients(
        [&](const std::vector<Variable<double>>& in) { return max_pool(in[0], options); },
        {random_tensor<double>({2, 4, 3, 67}, 1)});
    EXPECT_LT(two_tiles.worst, 1e-6) << two_tiles.describe();
  }
}

TEST(MaxPool, TiesGoToTheFirst) {
  const auto x = Variable<float>::leaf(Tensor<float>::full({1, 2, 2, 3}, 5));
  max_pool(x, {2, 2}).backward(Tensor<float>::full({1, 1, 1, 3}, 1));
  EXPECT_EQ(values(x.grad()), (std::vector<double>{1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(MaxPool, PaddingNeverWins) {
  const auto y = max_pool<float>(Tensor<float>::full({1, 3, 3, 1}, -2), {3, 2, 1});
  EXPECT_EQ(values(y.value()), (std::vector<double>{-2, -2, -2, -2}));
}

TEST(MaxPool, NanWins) {
  auto x = random_tensor<float>({1, 2, 2, 1}, 1);
  x.data()[1] = std::nanf("");
  EXPECT_TRUE(std::isnan(max_pool<float>(x, {2, 2}).value().item()));
}

TEST(MaxPool, GradientKeepsItsSum) {
  const auto x = Variable<double>::leaf(random_tensor<double>({2, 9, 9, 5}, 1));
  const auto y = max_pool(x, {3, 2, 1});
  const auto dy = random_tensor<double>(y.shape(), 2);
  y.backward(dy.clone());
  double in = 0, out = 0;
  for (const double v : values(x.grad())) in += v;
  for (const double v : values(dy)) out += v;
  EXPECT_NEAR(in, out, 1e-12);
}

TEST(MaxPool, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({5, 33, 31, 40}, 1);
  test::expect_same_on_any_threads([&] {
    const auto leaf = Variable<float>::leaf(x);
    const auto y = max_pool(leaf, {3, 2, 1});
    y.backward(random_tensor<float>(y.shape(), 2));
    auto all = values(y.value());
    append(all, leaf.grad());
    return all;
  });
}

TEST(MaxPool, RejectsBadWindows) {
  const auto run = [](const Shape& shape, const Pool2dOptions& options) {
    return [=] { max_pool<float>(random_tensor<float>(shape, 1), options); };
  };
  test::expect_error<ShapeError>(run({2, 3, 4}, {}), "max_pool: want (N, H, W, C), got (2, 3, 4)");
  test::expect_error<ShapeError>(run({1, 2, 5, 1}, {3, 2}), "a window of 3 does not fit into");
  test::expect_error<ValueError>(run({1, 8, 8, 1}, {3, 2, 2}),
                                 "padding of 0 to half of the kernel");
  test::expect_error<ValueError>(run({1, 8, 8, 1}, {16, 2}), "want a kernel of 1 to 15");
  test::expect_error<ValueError>(run({1, 8, 8, 1}, {2, 0}), "a stride of 1 or more, got 2 and 0");
}

}  // namespace
}  // namespace mwalimu::ops
