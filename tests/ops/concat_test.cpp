#include "mwalimu/ops/concat.hpp"

#include <gtest/gtest.h>

#include "mwalimu/autograd/gradient_check.hpp"
#include "mwalimu/ops/add.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;
using test::values;

TEST(Concat, PutsEachPartInItsPlace) {
  const auto a = Tensor<float>::from({1, 2, 3, 4}, {2, 2});
  const auto b = Tensor<float>::from({5, 6}, {2, 1}), c = Tensor<float>::from({7, 8}, {1, 2});
  EXPECT_EQ(values(concat<float>({a, b}, 1).value()), (std::vector<double>{1, 2, 5, 3, 4, 6}));
  EXPECT_EQ(values(concat<float>({c, a}, 0).value()), (std::vector<double>{7, 8, 1, 2, 3, 4}));
}

TEST(Concat, SliceUndoesConcat) {
  for (int dimension = 0; dimension < 4; ++dimension) {
    Shape shape{2, 3, 4, 5}, other = shape;
    other[dimension] = 7;
    const auto a = random_tensor<float>(shape, 1), b = random_tensor<float>(other, 2);
    test::poison_pool<float>({2 * 3 * 4 * 5 / shape[dimension] * (shape[dimension] + 7)});
    const auto y = concat<float>({test::channels_of_wider(a), b}, dimension);
    const index_t middle = shape[dimension];
    EXPECT_EQ(values(slice(y, dimension, 0, middle).value()), values(a));
    EXPECT_EQ(values(slice(y, dimension, middle, middle + 7).value()), values(b));
  }
}

TEST(Concat, GradientMatchesDifferences) {
  for (const int dimension : {0, 1, 2, 3}) {
    const auto check = check_gradients(
        [&](const std::vector<Variable<double>>& in) {
          return concat<double>({in[0], in[1], in[0]}, dimension);
        },
        {random_tensor<double>({2, 3, 2, 4}, 1), random_tensor<double>({2, 3, 2, 4}, 2)});
    EXPECT_LT(check.worst, 1e-6) << check.describe();
  }
}

// res2net's block: the input is split, parts are used once, twice or not at all, and joined.
TEST(Slice, GradientMatchesDifferences) {
  const auto check = check_gradients(
      [](const std::vector<Variable<double>>& in) {
        const auto first = slice(in[0], 3, 0, 2), second = slice(in[0], 3, 2, 4);
        const auto third = slice(in[0], 3, 4, 6);
        return concat<double>({add(first, second), third, second}, 3);
      },
      {random_tensor<double>({2, 2, 3, 8}, 1)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(Slice, SharesMemoryAndLeavesTheRestOfTheGradientZero) {
  const auto x = Variable<float>::leaf(random_tensor<float>({3, 4}, 1));
  const auto part = slice(x, 1, 1, 3);
  EXPECT_EQ(part.value().data(), x.value().data() + 1);
  test::poison_pool<float>({3, 4});
  part.backward(Tensor<float>::full({3, 2}, 2));
  EXPECT_EQ(values(x.grad()), (std::vector<double>{0, 2, 2, 0, 0, 2, 2, 0, 0, 2, 2, 0}));
}

TEST(Split, PartsAreViewsInOrder) {
  const auto x = Variable<float>::leaf(random_tensor<float>({2, 3, 6}, 1));
  for (const auto& [dimension, count] : {std::pair{2, 3}, {1, 3}, {0, 2}, {2, 1}}) {
    const auto parts = split(x, dimension, count);
    ASSERT_EQ(parts.size(), static_cast<std::size_t>(count));
    const index_t extent = x.dim(dimension) / count;
    for (index_t i = 0; i < count; ++i) {
      const auto want = x.value().slice(dimension, i * extent, (i + 1) * extent);
      const auto& part = parts[static_cast<std::size_t>(i)].value();
      EXPECT_EQ(part.data(), want.data());
      EXPECT_EQ(values(part), values(want));
    }
  }
}

// res2net's ladder, with x itself read as well, a part read twice, and one not at all.
TEST(Split, GradientMatchesDifferences) {
  const auto ladder = [](const std::vector<Variable<double>>& in) {
    const auto u = split(in[0], 3, 4);
    const auto y = add(u[0], u[1]);
    return concat<double>({y, add(y, u[1]), in[0]}, 3);
  };
  test::poison_pool<double>({2, 2, 3, 8});
  const auto check = check_gradients(ladder, {random_tensor<double>({2, 2, 3, 8}, 1)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(Split, GradientsOfPartsLieSideBySideAndUnreadOnesAreZero) {
  const auto x = Variable<float>::leaf(random_tensor<float>({2, 6}, 1));
  const auto parts = split(x, 1, 3);
  const auto y = concat<float>({parts[2], parts[0]}, 1);
  test::poison_pool<float>({2, 6});
  y.backward(Tensor<float>::from({1, 2, 3, 4, 5, 6, 7, 8}, {2, 4}));
  EXPECT_EQ(values(x.grad()), (std::vector<double>{3, 4, 0, 0, 1, 2, 7, 8, 0, 0, 5, 6}));
}

TEST(Split, RejectsWhatDoesNotFall) {
  const auto x = Variable<float>(random_tensor<float>({2, 6}, 1));
  test::expect_error<ShapeError>([&] { split(x, 1, 4); },
                                 "split: (2, 6) does not fall into 4 equal parts along dimension 1");
  test::expect_error<ShapeError>([&] { split(x, 2, 1); }, "split: no dimension 2 in (2, 6)");
  test::expect_error<ShapeError>([&] { split(x, 0, 0); }, "does not fall into 0 equal parts");
}

TEST(Concat, RejectsPartsThatDoNotFit) {
  const auto a = Variable<float>(random_tensor<float>({2, 3}, 1));
  const auto b = Variable<float>(random_tensor<float>({4, 3}, 1));
  test::expect_error<ShapeError>(
      [&] {
        concat<float>({a, b}, 1);
      },
      "concat: want equal extents but in dimension 1, got (2, 3) and (4, 3)");
  test::expect_error<ShapeError>(
      [&] {
        concat<float>({a, b}, 2);
      },
      "concat: no dimension 2 in (2, 3)");
  test::expect_error<ShapeError>([&] { concat<float>(std::vector<Variable<float>>{}, 0); },
                                 "concat: want at least one tensor");
  test::expect_error<ShapeError>([&] { slice(a, 1, 2, 4); }, "leaves the shape (2, 3)");
}

}  // namespace
}  // namespace mwalimu::ops
