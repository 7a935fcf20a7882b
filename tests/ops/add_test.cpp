#include "mwalimu/ops/add.hpp"

#include <gtest/gtest.h>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;
using test::values;

TEST(Add, SumsElementsOfAnyLayout) {
  for (const Shape& shape : {Shape{1}, Shape{5, 33}, Shape{2, 3, 7, 17}}) {
    const auto a = random_tensor<float>(shape, 1), b = random_tensor<float>(shape, 2);
    auto want = values(a);
    for (std::size_t i = 0; i < want.size(); ++i) {
      want[i] = static_cast<double>(static_cast<float>(want[i]) + b.data()[i]);
    }
    test::poison_pool<float>(shape);
    EXPECT_EQ(values(add<float>(a, b).value()), want);
    EXPECT_EQ(values(add<float>(test::channels_of_wider(a), b).value()), want);
    EXPECT_EQ(values(add<float>(a, test::channels_of_wider(b)).value()), want);
  }
}

TEST(Add, GradientMatchesDifferences) {
  const auto check = check_gradients(
      [](const std::vector<Variable<double>>& in) { return add(add(in[0], in[1]), in[0]); },
      {random_tensor<double>({4, 5}, 1), random_tensor<double>({4, 5}, 2)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(Add, SameBitsOnAnyThreads) {
  const auto a = random_tensor<float>({300, 301}, 1), b = random_tensor<float>({300, 301}, 2);
  test::expect_same_on_any_threads([&] { return values(add<float>(a, b).value()); });
}

TEST(Add, RejectsTwoShapes) {
  test::expect_error<ShapeError>(
      [] {
        add<float>(random_tensor<float>({2, 3}, 1), random_tensor<float>({3, 2}, 1));
      },
      "add: want two tensors of one shape, got (2, 3) and (3, 2)");
}

}  // namespace
}  // namespace mwalimu::ops
