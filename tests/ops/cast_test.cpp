#include "mwalimu/ops/cast.hpp"

#include <gtest/gtest.h>

#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;

TEST(Cast, RoundsForwardAndBackward) {
  const auto x = Variable<float>::leaf(random_tensor<float>({3, 5}, 1));
  const auto y = cast<bfloat16>(x);
  EXPECT_EQ(y.value().to_vector(), x.value().to<bfloat16>().to_vector());
  const auto dy = random_tensor<bfloat16>({3, 5}, 2);
  y.backward(dy.clone());
  EXPECT_EQ(x.grad().to_vector(), dy.to<float>().to_vector());

  const auto narrow = Variable<half>::leaf(random_tensor<half>({3, 5}, 3));
  const auto wide = cast<float>(narrow);
  EXPECT_EQ(wide.value().to_vector(), narrow.value().to<float>().to_vector());
  const auto dwide = random_tensor<float>({3, 5}, 4);
  wide.backward(dwide.clone());
  EXPECT_EQ(narrow.grad().to_vector(), dwide.to<half>().to_vector());
}

TEST(Cast, ToTheSameTypeIsTheSameVariable) {
  const auto x = Variable<float>::leaf(random_tensor<float>({4}, 1));
  const auto y = cast<float>(x);
  EXPECT_EQ(y.node(), x.node());
  EXPECT_EQ(y.value().data(), x.value().data());
}

TEST(Cast, OfAStridedTensorIsDense) {
  const auto x = test::channels_of_wider(random_tensor<float>({2, 3, 4}, 1));
  const auto y = cast<bfloat16>(Variable<float>(x)).value();
  EXPECT_TRUE(y.is_contiguous());
  EXPECT_EQ(y.to_vector(), x.contiguous().to<bfloat16>().to_vector());
}

TEST(Cast, OfAConstantRecordsNothing) {
  EXPECT_FALSE(cast<half>(Variable<float>(random_tensor<float>({4}, 1))).needs_grad());
}

}  // namespace
}  // namespace mwalimu::ops
