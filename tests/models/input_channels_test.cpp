#include "mwalimu/models/input_channels.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "mwalimu/ops/conv2d.hpp"
#include "support/compare.hpp"
#include "support/reference.hpp"

namespace mwalimu::models {
namespace {

using test::random_tensor;
using test::values;

TEST(InputChannels, NewOnesGetTheMeanAndAllAreScaled) {
  const auto w = Tensor<float>::from({1, 2, 6, 4, 0, 8}, {2, 3, 1, 1});
  EXPECT_EQ(values(with_input_channels(w, 4)),
            (std::vector<double>{0.75, 1.5, 4.5, 2.25, 3, 0, 6, 3}));
  EXPECT_EQ(values(with_input_channels(w, 3)), values(w));
}

TEST(InputChannels, WhatGoesIsSharedAmongWhatStays) {
  const auto w = Tensor<float>::from({1, 2, 6, 4, 0, 8}, {2, 3, 1, 1});
  EXPECT_EQ(values(with_input_channels(w, 1)), (std::vector<double>{9, 12}));
  EXPECT_EQ(values(with_input_channels(w, 2)), (std::vector<double>{4, 5, 8, 4}));
}

// The point of the rule: a gray image is seen as before, whatever the numbers of channels.
TEST(InputChannels, GrayImagesGiveTheSameActivations) {
  const auto gray = random_tensor<float>({2, 9, 7, 1}, 1);
  const auto of_channels = [&](index_t channels) {
    auto image = Tensor<float>::empty({2, 9, 7, channels});
    for (index_t c = 0; c < channels; ++c) image.slice(3, c, c + 1).copy_from(gray);
    return Variable<float>(image);
  };
  const auto w = random_tensor<float>({5, 3, 3, 3}, 2);
  const auto want = values(ops::conv2d(of_channels(3), Variable<float>(w), {.stride = 2}).value());
  for (const index_t channels : {1, 2, 3, 4, 5, 8}) {
    const auto adapted = with_input_channels(w, channels);
    EXPECT_EQ(adapted.shape(), (Shape{5, channels, 3, 3}));
    const auto got =
        values(ops::conv2d(of_channels(channels), Variable<float>(adapted), {.stride = 2}).value());
    EXPECT_TRUE(test::near_l2(got, want, 1e-6)) << channels;
  }
}

TEST(InputChannels, RefusesWhatIsNoConvolution) {
  test::expect_error<ShapeError>([] { with_input_channels(Tensor<float>::zeros({3, 4}), 4); },
                                 "with_input_channels: want (Cout, C, kh, kw)");
  test::expect_error<ShapeError>([] { with_input_channels(Tensor<float>::zeros({3, 3, 3, 3}), 0); },
                                 "and 0");
}

}  // namespace
}  // namespace mwalimu::models
