#include "mwalimu/ops/reduce.hpp"

#include <gtest/gtest.h>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;
using test::values;

TEST(Reduce, SumsOfWholeNumbersAreExact) {
  for (const index_t n : {1, 127, 16383, 16384, 16385, 100003}) {
    auto x = Tensor<float>::empty({n});
    for (index_t i = 0; i < n; ++i) x.data()[i] = static_cast<float>(i % 7);
    double want = 0;
    for (const double v : values(x)) want += v;
    EXPECT_EQ(sum<float>(x).value().item(), want);
    EXPECT_EQ(mean<float>(x).value().item(), static_cast<float>(want / static_cast<double>(n)));
  }
}

TEST(Reduce, SumOfNothingIsZero) {
  EXPECT_EQ(sum<float>(Tensor<float>::empty({0, 3})).value().item(), 0);
}

TEST(Reduce, StridedInputsAreRead) {
  const auto x = random_tensor<float>({5, 6, 7}, 1);
  EXPECT_EQ(sum<float>(test::channels_of_wider(x)).value().item(), sum<float>(x).value().item());
}

TEST(Reduce, LargeMeansCostNoDigits) {
  auto x = Tensor<float>::full({1000001}, 0.1f);
  EXPECT_FLOAT_EQ(mean<float>(x).value().item(), 0.1f);
}

TEST(Reduce, GradientMatchesDifferences) {
  const auto x = random_tensor<double>({3, 4}, 1);
  const auto of_sum =
      check_gradients([](const std::vector<Variable<double>>& in) { return sum(in[0]); }, {x});
  const auto of_mean =
      check_gradients([](const std::vector<Variable<double>>& in) { return mean(in[0]); }, {x});
  EXPECT_LT(of_sum.worst, 1e-6) << of_sum.describe();
  EXPECT_LT(of_mean.worst, 1e-6) << of_mean.describe();
}

TEST(Reduce, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({333, 334}, 1);
  test::expect_same_on_any_threads([&] { return values(sum<float>(x).value()); });
}

TEST(Reduce, MeanOfNothingIsAnError) {
  test::expect_error<ShapeError>(
      [] {
        mean<float>(Tensor<float>::empty({0, 3}));
      },
      "mean: want at least one element, got (0, 3)");
}

}  // namespace
}  // namespace mwalimu::ops
