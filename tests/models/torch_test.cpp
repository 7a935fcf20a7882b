// The networks against PyTorch itself, where Python has it: weights go there and come from there, and
// both compute the same. Full widths are in tests/programs/torch_exchange_test.
#include <gtest/gtest.h>

#include <vector>

#include "models/torch_networks.hpp"
#include "mwalimu/io/torch_file.hpp"
#include "mwalimu/nn/state_dict.hpp"

namespace mwalimu::models {
namespace {

using TorchNetworks = test::TorchNetworks;

// Every family with its two kinds of options once: odd widths, other channels, every pooling.
std::vector<Architecture> architectures() {
  return {{.arch = "xresnet34", .width = 16, .channels = 3, .pooling = Pooling::concat},
          {.arch = "xresnet50", .width = 8, .channels = 1, .pooling = Pooling::maximum},
          {.arch = "resnet50", .width = 16, .channels = 3, .pooling = Pooling::average},
          {.arch = "res2net50", .width = 20, .channels = 4, .pooling = Pooling::concat},
          {.arch = "res2next50", .width = 16, .channels = 3, .pooling = Pooling::concat}};
}

// Odd extents: rounding of sizes is a part of the networks.
constexpr index_t kImages = 3, kHeight = 75, kWidth = 54;

// Sums in another order through up to 70 layers of float.
constexpr double kRounding = 2e-5;

TEST_F(TorchNetworks, OursLoadThereAndGiveTheSameLogits) {
  for (const Architecture& a : architectures()) {
    SCOPED_TRACE(a.arch);
    const auto x = images(a, kImages, kHeight, kWidth);
    Classifier model = trained(a, x);
    nn::save_state_dict(dir_ / "ours.safetensors", model, a.metadata());
    ASSERT_NO_FATAL_FAILURE(reference("load", a, "ours.safetensors"));
    const NoGrad no_grad;
    EXPECT_TRUE(test::near_l2(test::doubles(model.encoder(x).value()), theirs("features"), kRounding));
    EXPECT_TRUE(test::near_l2(test::doubles(model(x).value()), theirs("logits"), kRounding));
  }
}

TEST_F(TorchNetworks, TheirsLoadHereAndGiveTheSameFeatures) {
  for (const Architecture& a : architectures()) {
    SCOPED_TRACE(a.arch);
    const auto x = images(a, kImages, kHeight, kWidth);
    ASSERT_NO_FATAL_FAILURE(reference("make", a));
    io::write_safetensors(dir_ / "ours.safetensors", io::TorchFile(dir_ / "encoder.pth").tensors());
    Encoder encoder = a.encoder();
    nn::load_state_dict(encoder, dir_ / "ours.safetensors");
    const NoGrad no_grad;
    nn::set_training(encoder, false);
    EXPECT_TRUE(test::near_l2(test::doubles(encoder(x).value()), theirs("features"), kRounding));
    // Statistics of 3 images in the last stages enlarge what rounding has left.
    nn::set_training(encoder, true);
    EXPECT_TRUE(test::near_l2(test::doubles(encoder(x).value()), theirs("train"), 1e-3));
  }
}

}  // namespace
}  // namespace mwalimu::models
