// The operations beside convolution and linear maps in half and bfloat16: what they give is what
// they give in double for the same 16-bit inputs, rounded once.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "mwalimu/ops/add.hpp"
#include "mwalimu/ops/average_pool.hpp"
#include "mwalimu/ops/batch_norm.hpp"
#include "mwalimu/ops/concat.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/ops/dropout.hpp"
#include "mwalimu/ops/global_pool.hpp"
#include "mwalimu/ops/l2_normalize.hpp"
#include "mwalimu/ops/max_pool.hpp"
#include "mwalimu/ops/reduce.hpp"
#include "mwalimu/ops/relu.hpp"
#include "mwalimu/ops/sinkhorn.hpp"
#include "mwalimu/ops/soft_cross_entropy.hpp"
#include "support/compare.hpp"
#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::near_l2;
using test::random_tensor;
using test::values;

template <class T>
class SixteenBit : public testing::Test {
 protected:
  /// The largest relative error of one rounding to T, which has 8 or 11 significant bits.
  static constexpr double kRounding = std::is_same_v<T, bfloat16> ? 0x1p-8 : 0x1p-11;

  template <class U>
  struct Results {
    std::vector<double> y, dx;
  };
  /// f(x) and its gradient, weighed with dy, computed in the element type U.
  template <class U, class F>
  static Results<U> run(const Tensor<T>& x, const Tensor<T>& dy, F&& f) {
    const auto in = Variable<U>::leaf(x.template to<U>());
    const auto y = f(in);
    EXPECT_EQ(y.shape(), dy.shape());
    y.backward(dy.template to<U>());
    return {values(y.value()), values(in.grad())};
  }
  /// @param dx_roundings  roundings that the gradient goes through, one a value that is summed or
  ///                      saved in T on its way; 0: it is copied, so it must be the same.
  template <class F>
  static void expect_rounded(const Shape& shape, const Shape& out, double y_roundings,
                             double dx_roundings, F&& f) {
    const auto x = random_tensor<T>(shape, 1), dy = random_tensor<T>(out, 2);
    test::poison_pool<T>(shape);
    test::poison_pool<T>(out);
    const auto got = run<T>(x, dy, f);
    const auto want = run<double>(x, dy, f);
    // 1e-6: sums in float.
    EXPECT_TRUE(near_l2(got.y, want.y, y_roundings * (kRounding + 1e-6)));
    EXPECT_TRUE(near_l2(got.dx, want.dx, dx_roundings * (kRounding + 1e-6)));
  }
};
using SixteenBitTypes = testing::Types<half, bfloat16>;
TYPED_TEST_SUITE(SixteenBit, SixteenBitTypes);

TYPED_TEST(SixteenBit, ReluAndMaxPoolSelect) {
  this->expect_rounded({3, 5, 7, 11}, {3, 5, 7, 11}, 0, 0, [](const auto& x) { return relu(x); });
  // A pixel that wins in several windows sums their gradients.
  this->expect_rounded({2, 9, 8, 19}, {2, 5, 4, 19}, 0, 1, [](const auto& x) {
    return max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});
  });
}

TYPED_TEST(SixteenBit, PoolsAverageInFloat) {
  this->expect_rounded({2, 9, 8, 19}, {2, 5, 4, 19}, 1, 1, [](const auto& x) {
    return average_pool(x, {{.kernel = 2, .stride = 2, .ceil_mode = true}});
  });
  this->expect_rounded({3, 33, 31, 5}, {3, 5}, 1, 1,
                       [](const auto& x) { return global_average_pool(x); });
  this->expect_rounded({3, 6, 7, 21}, {3, 42}, 1, 1, [](const auto& x) { return concat_pool(x); });
}

TYPED_TEST(SixteenBit, SumsAndRanges) {
  // Both inputs of the sum are x: its gradient is twice that of y, exactly.
  this->expect_rounded({3, 4, 37}, {3, 4, 37}, 1, 0, [](const auto& x) { return add(x, x); });
  this->expect_rounded({4, 3, 10}, {4, 3, 16}, 0, 1, [](const auto& x) {
    return concat(std::vector{slice(x, 2, 2, 8), x}, 2);
  });
}

TYPED_TEST(SixteenBit, DropoutScalesAndRoundsOnce) {
  this->expect_rounded({7, 333}, {7, 333}, 1, 1, [](const auto& x) {
    return dropout(x, 0.3, true, {.seed = 1, .step = 2, .layer = 3});
  });
}

TYPED_TEST(SixteenBit, UnitRows) {
  // Backward reads the saved unit row, which was rounded, and its product with dy, of like size.
  this->expect_rounded({9, 130}, {9, 130}, 1, 3, [](const auto& x) { return l2_normalize(x); });
}

TYPED_TEST(SixteenBit, BatchNormWithResidualAndRelu) {
  using T = TypeParam;
  const Shape shape{4, 5, 3, 24};
  const auto residual = random_tensor<T>(shape, 3);
  const auto in_type = [&]<class U>(U, const Variable<U>& x) {
    using A = accumulate_t<U>;
    const auto gamma = Variable<A>(random_tensor<A>({24}, 4, 0.5f, 2.0f));
    const auto beta = Variable<A>(random_tensor<A>({24}, 5));
    auto state = BatchNormState<A>::initial(24);
    return batch_norm<U>(x, gamma, beta, state, {true, Activation::relu},
                         Variable<U>(residual.template to<U>()));
  };
  this->expect_rounded(shape, shape, 1, 1,
                       [&]<class U>(const Variable<U>& x) { return in_type(U{}, x); });
}

TYPED_TEST(SixteenBit, LossesAreFloat) {
  using T = TypeParam;
  const index_t B = 6, V = 3, K = 70;
  const auto scores = random_tensor<T>({V * B, K}, 1, -4, 4);
  const auto labels = [&] {
    auto all = Tensor<std::int64_t>::empty({V * B});
    for (index_t i = 0; i < V * B; ++i) all.data()[i] = i % K;
    return all;
  }();
  const auto targets = random_tensor<float>({V * B, K}, 2, 0, 1);
  const auto codes = random_tensor<float>({2, B, K}, 3, 0, 1);
  const std::vector<index_t> assign{0, 1};
  const auto check = [&](auto&& loss) {
    const auto in = Variable<T>::leaf(scores);
    const auto exact = Variable<double>::leaf(scores.template to<double>());
    const Variable<float> got = loss(in, float{});
    const Variable<double> want = loss(exact, double{});
    got.backward();
    want.backward();
    // Scores are read as they are: what is left is exp in float.
    EXPECT_TRUE(near_l2(values(got.value()), values(want.value()), 1e-6));
    EXPECT_TRUE(near_l2(values(in.grad()), values(exact.grad()), this->kRounding + 1e-5));
  };
  check([&]<class A>(const auto& x, A) {
    return cross_entropy(x, labels, CrossEntropyOptions<A>{.label_smoothing = 0.1});
  });
  check([&]<class A>(const auto& x, A) {
    return mean(soft_cross_entropy(x, targets.template to<A>(), 0.1));
  });
  check([&]<class A>(const auto& x, A) {
    return swav_prediction_loss(x, codes.template to<A>(), assign, V, 0.1).loss;
  });
}

TYPED_TEST(SixteenBit, CodesAreThoseOfTheSameScoresInFloat) {
  const auto scores = random_tensor<TypeParam>({40, 12}, 1);
  const Tensor<float> codes = sinkhorn(scores, 0.05, 3, 16);
  EXPECT_EQ(codes.to_vector(), sinkhorn(scores.template to<float>(), 0.05, 3, 16).to_vector());
}

}  // namespace
}  // namespace mwalimu::ops
