#include "mwalimu/ops/average_pool.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "mwalimu/autograd/gradient_check.hpp"
#include "mwalimu/ops/global_pool.hpp"
#include "mwalimu/ops/max_pool.hpp"
#include "support/compare.hpp"
#include "support/golden.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

AveragePoolOptions windows(index_t kernel, index_t stride, index_t padding, bool ceil_mode,
                           bool include_pad = false) {
  return {{kernel, stride, padding, ceil_mode}, include_pad};
}

std::vector<double> reference(const Tensor<float>& x, const AveragePoolOptions& o) {
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
          double sum = 0;
          int valid = 0, padded = 0;
          for (index_t i = 0; i < o.kernel * o.kernel; ++i) {
            const index_t h = oh * o.stride - o.padding + i / o.kernel;
            const index_t w = ow * o.stride - o.padding + i % o.kernel;
            padded += h < H + o.padding && w < W + o.padding;
            if (h < 0 || h >= H || w < 0 || w >= W) continue;
            ++valid;
            sum += static_cast<double>(x.data()[((n * H + h) * W + w) * C + c]);
          }
          y.push_back(sum / (o.count_include_pad ? padded : valid));
        }
      }
    }
  }
  return y;
}

TEST(AveragePool, MatchesFp64Reference) {
  for (const auto& options :
       {windows(2, 2, 0, true), windows(3, 1, 1, false, true), windows(3, 2, 1, false, true),
        windows(3, 2, 1, true, true), windows(3, 2, 1, true), windows(1, 1, 0, false),
        windows(2, 3, 1, true, true)}) {
    for (const Shape& shape : {Shape{1, 7, 8, 1}, Shape{2, 11, 6, 129}, Shape{3, 1, 5, 13}}) {
      if (shape[1] + 2 * options.padding < options.kernel && !options.ceil_mode) continue;
      const auto x = random_tensor<float>(shape, 1);
      const auto want = reference(x, options);
      test::poison_pool<float>({static_cast<index_t>(want.size())});
      const auto y = average_pool<float>(x, options);
      EXPECT_TRUE(test::near_l2(values(y.value()), want, 1e-6))  // nine terms at most
          << shape << " kernel " << options.kernel << " stride " << options.stride;
      EXPECT_EQ(values(average_pool<float>(test::channels_of_wider(x), options).value()),
                values(y.value()));
    }
  }
}

TEST(AveragePool, GradientMatchesDifferences) {
  for (const auto& options : {windows(2, 2, 0, true), windows(3, 1, 1, false, true),
                              windows(3, 2, 1, true), windows(2, 3, 0, false)}) {
    const auto check = check_gradients(
        [&](const std::vector<Variable<double>>& in) { return average_pool(in[0], options); },
        {random_tensor<double>({2, 7, 5, 3}, 1)});
    EXPECT_LT(check.worst, 1e-6) << check.describe();
    const auto two_tiles = check_gradients(
        [&](const std::vector<Variable<double>>& in) { return average_pool(in[0], options); },
        {random_tensor<double>({2, 4, 3, 131}, 1)});
    EXPECT_LT(two_tiles.worst, 1e-6) << two_tiles.describe();
  }
}

TEST(AveragePool, OverhangingWindowsDivideByWhatIsInside) {
  const auto x = Tensor<float>::from({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 3, 3, 1});
  const auto y = average_pool<float>(x, windows(2, 2, 0, true));
  EXPECT_EQ(values(y.value()), (std::vector<double>{3, 4.5, 7.5, 9}));
  // A pixel on its own gets all of its window's gradient.
  const auto leaf = Variable<float>::leaf(x);
  average_pool(leaf, windows(2, 2, 0, true))
      .backward(Tensor<float>::from({4, 2, 2, 1}, {1, 2, 2, 1}));
  EXPECT_EQ(values(leaf.grad()), (std::vector<double>{1, 1, 1, 1, 1, 1, 1, 1, 1}));
}

TEST(AveragePool, ConstantsStayConstant) {
  const auto y =
      average_pool<float>(Tensor<float>::full({1, 9, 7, 5}, 1e4f), windows(2, 2, 0, true));
  for (const double v : values(y.value())) EXPECT_EQ(v, 1e4);
}

TEST(AveragePool, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({5, 33, 31, 40}, 1);
  test::expect_same_on_any_threads([&] {
    std::vector<double> all;
    for (const auto& options : {windows(2, 2, 0, true), windows(3, 1, 1, false, true)}) {
      const auto leaf = Variable<float>::leaf(x);
      const auto y = average_pool(leaf, options);
      y.backward(random_tensor<float>(y.shape(), 2));
      append(all, y.value());
      append(all, leaf.grad());
    }
    return all;
  });
}

TEST(AveragePool, RejectsBadWindows) {
  test::expect_error<ShapeError>(
      [] {
        average_pool<float>(random_tensor<float>({1, 1, 4, 2}, 1), windows(2, 2, 0, false));
      },
      "average_pool: a window of 2 does not fit into (1, 1, 4, 2)");
}

TEST(PoolGolden, MatchesEveryCase) {
  MWALIMU_GOLDEN_CASES(cases, "pool");
  for (const golden::Case& c : cases) {
    SCOPED_TRACE(c.id());
    const auto shape = c.at("shape").get<golden::Shape>();
    const auto channels_last = [](const std::vector<float>& data, const golden::Shape& extents) {
      const auto tensor = Tensor<float>::from(data, Shape(std::span<const index_t>(extents)));
      return tensor.rank() == 4 ? tensor.permute({0, 2, 3, 1}).contiguous() : tensor;
    };
    const auto channels_first = [](const Tensor<float>& t) {
      return values(t.rank() == 4 ? t.permute({0, 3, 1, 2}) : t);
    };
    const auto x =
        Variable<float>::leaf(channels_last(c.fill("input", shape, golden::Fill::input), shape));
    const std::string type = c.at("type");
    Variable<float> y;
    if (type == "concat") {
      y = concat_pool(x);
    } else {
      const Pool2dOptions options{c.at("k"), c.at("stride"), c.at("pad"), c.at("ceil_mode")};
      if (type == "max") {
        y = max_pool(x, options);
      } else {
        ASSERT_EQ(type, "avg");
        y = average_pool(x, {options, c.at("count_include_pad").get<bool>()});
      }
    }
    const auto out = c.tensor("y").shape;
    y.backward(channels_last(c.fill("dy", out, golden::Fill::input), out));
    EXPECT_TRUE(c.near("y", channels_first(y.value())));
    EXPECT_TRUE(c.near("dx", channels_first(x.grad())));
  }
}

}  // namespace
}  // namespace mwalimu::ops
