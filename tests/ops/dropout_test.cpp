#include "mwalimu/ops/dropout.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::append;
using test::random_tensor;
using test::values;

constexpr DropoutKey kKey{.seed = 7, .step = 3, .layer = 2};

TEST(Dropout, MaskIsTheStream) {
  for (const index_t n : {1, 3, 4, 5, 1021}) {
    const auto y = dropout<float>(Tensor<float>::full({n}, 1), 0.25, true, kKey).value();
    RandomStream random(7, Purpose::dropout, 3, 2);
    for (index_t i = 0; i < n; ++i) {
      EXPECT_EQ(y.data()[i], random.uniform() >= 0.25f ? 1 / 0.75f : 0.0f) << i;
    }
  }
}

TEST(Dropout, KeepsTheShareAndTheMean) {
  const index_t n = 100000;
  const auto y = dropout<double>(Tensor<double>::full({n}, 1), 0.3, true, kKey).value();
  double zeros = 0, sum = 0;
  for (const double v : values(y)) {
    zeros += v == 0;
    sum += v;
  }
  // Five standard deviations of a binomial share.
  const double bound = 5 * std::sqrt(0.3 * 0.7 / static_cast<double>(n));
  EXPECT_NEAR(zeros / static_cast<double>(n), 0.3, bound);
  EXPECT_NEAR(sum / static_cast<double>(n), 1, bound / 0.7);
}

TEST(Dropout, EveryPartOfTheKeyChangesTheMask) {
  const auto mask = [](DropoutKey key) {
    return values(dropout<float>(Tensor<float>::full({256}, 1), 0.5, true, key).value());
  };
  const auto base = mask(kKey);
  EXPECT_EQ(mask(kKey), base);
  EXPECT_NE(mask({8, 3, 2}), base);
  EXPECT_NE(mask({7, 4, 2}), base);
  EXPECT_NE(mask({7, 3, 1}), base);
}

TEST(Dropout, EvaluationIsTheIdentity) {
  const auto x = Variable<float>::leaf(random_tensor<float>({4, 5}, 1));
  EXPECT_EQ(dropout(x, 0.5, false, kKey).value().data(), x.value().data());
  EXPECT_EQ(dropout(x, 0, true, kKey).value().data(), x.value().data());
}

TEST(Dropout, GradientMatchesDifferences) {
  const auto check = check_gradients(
      [](const std::vector<Variable<double>>& in) { return dropout(in[0], 0.4, true, kKey); },
      {random_tensor<double>({7, 9}, 1)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(Dropout, StridedInputsAndGradientsAreRead) {
  const auto x = random_tensor<float>({6, 11}, 1), dy = random_tensor<float>({6, 11}, 2);
  const auto run = [&](const Tensor<float>& in, const Tensor<float>& gradient) {
    const auto leaf = Variable<float>::leaf(in);
    const auto y = dropout(leaf, 0.5, true, kKey);
    y.backward(gradient);
    auto all = values(y.value());
    append(all, leaf.grad());
    return all;
  };
  EXPECT_EQ(run(test::channels_of_wider(x), test::channels_of_wider(dy)), run(x, dy.clone()));
}

TEST(Dropout, SameBitsOnAnyThreads) {
  const auto x = random_tensor<float>({64, 4097}, 1);
  test::expect_same_on_any_threads(
      [&] { return values(dropout<float>(x, 0.5, true, kKey).value()); });
}

TEST(Dropout, RejectsWhatIsNoProbability) {
  for (const double p : {-0.1, 1.0, std::nan("")}) {
    test::expect_error<ValueError>(
        [&] { dropout<float>(random_tensor<float>({2}, 1), p, true, kKey); },
        "dropout: want a probability in [0, 1), got ");
  }
}

}  // namespace
}  // namespace mwalimu::ops
