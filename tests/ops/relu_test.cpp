#include "mwalimu/ops/relu.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "mwalimu/autograd/gradient_check.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;
using test::values;

TEST(Relu, MatchesFp64Reference) {
  for (const index_t n : {1, 7, 4097, 40000}) {
    test::poison_pool<float>({n});
    const auto x = random_tensor<float>({n}, 1);
    const auto y = values(relu<float>(x).value());
    for (std::size_t i = 0; i < y.size(); ++i) {
      EXPECT_EQ(y[i], std::max(0.0, values(x)[i])) << i;
      if (n > 5000 && i > 100) break;
    }
    EXPECT_FALSE(std::isnan(y.back()));
  }
}

TEST(Relu, GradientMatchesDifferences) {
  const auto check =
      check_gradients([](const std::vector<Variable<double>>& in) { return relu(in[0]); },
                      {random_tensor<double>({2, 3, 4, 5}, 1)});
  EXPECT_LT(check.worst, 1e-6) << check.describe();
}

TEST(Relu, GradientAtZeroIsZeroAndNanStaysNan) {
  const auto x =
      Variable<float>::leaf(Tensor<float>::from({-1, -0.0f, 0, 2, std::nanf(""), INFINITY}, {6}));
  const auto y = relu(x);
  EXPECT_EQ(y.value().data()[1], 0);
  EXPECT_EQ(y.value().data()[3], 2);
  EXPECT_TRUE(std::isnan(y.value().data()[4]));
  EXPECT_EQ(y.value().data()[5], INFINITY);
  y.backward(Tensor<float>::full({6}, 3));
  EXPECT_EQ(values(x.grad()), (std::vector<double>{0, 0, 0, 3, 3, 3}));
}

TEST(Relu, OutputMayBeTheInput) {
  auto x = random_tensor<float>({1001}, 1);
  const auto want = values(relu<float>(x).value());
  const View<float, 1> all = x.view<1>();
  relu_forward<float>(Cpu{}, all, all);
  EXPECT_EQ(values(x), want);

  auto dy = random_tensor<float>({1001}, 2);
  auto dx = Tensor<float>::empty({1001});
  relu_backward<float>(Cpu{}, x.view<1>(), dy.view<1>(), dx.view<1>());
  relu_backward<float>(Cpu{}, x.view<1>(), dy.view<1>(), dy.view<1>());
  EXPECT_EQ(values(dy), values(dx));
}

TEST(Relu, StridedInputsAndGradientsAreRead) {
  const auto x = random_tensor<float>({3, 5, 7}, 1), dy = random_tensor<float>({3, 5, 7}, 2);
  const auto leaf = Variable<float>::leaf(x);
  const auto strided = Variable<float>::leaf(test::channels_of_wider(x));
  const auto y = relu(leaf), z = relu(strided);
  EXPECT_EQ(values(z.value()), values(y.value()));
  y.backward(dy.clone());
  z.backward(test::channels_of_wider(dy));
  EXPECT_EQ(values(strided.grad()), values(leaf.grad()));
}

}  // namespace
}  // namespace mwalimu::ops
