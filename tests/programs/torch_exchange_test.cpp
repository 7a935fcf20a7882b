// Weights of full-size networks exchanged with PyTorch by the files that users exchange: both sides
// give the same logits. Small networks of every option are in tests/models/torch_test.
#include <gtest/gtest.h>

#include <string>

#include "models/torch_networks.hpp"
#include "mwalimu/nn/state_dict.hpp"
#include "programs/run_program.hpp"

namespace mwalimu {
namespace {

using models::Architecture;

constexpr index_t kImages = 2, kSize = 64;

// Float sums in another order, of up to 4608 products each, through up to 70 layers: 0.7e-6 to 2.8e-6.
constexpr double kRounding = 1e-5;

class TorchExchange : public test::TorchNetworks, public testing::WithParamInterface<const char*> {
 protected:
  Architecture architecture() const {
    return {.arch = GetParam(), .width = 64, .channels = 3, .pooling = models::Pooling::concat};
  }
  void convert(const char* from, const char* to) {
    const auto result =
        test::run(dir_.path(), {"convert", (dir_ / from).string(), (dir_ / to).string()});
    ASSERT_EQ(result.code, 0) << result.err;
  }
};

TEST_P(TorchExchange, OursGiveTheSameLogitsThere) {
  const Architecture a = architecture();
  const auto x = images(a, kImages, kSize, kSize);
  models::Classifier model = trained(a, x);
  nn::save_state_dict(dir_ / "ours.safetensors", model, a.metadata());
  ASSERT_NO_FATAL_FAILURE(convert("ours.safetensors", "ours.pth"));
  const NoGrad no_grad;
  const auto logits = test::doubles(model(x).value());
  for (const char* file : {"ours.safetensors", "ours.pth"}) {
    SCOPED_TRACE(file);
    ASSERT_NO_FATAL_FAILURE(reference("load", a, file));
    EXPECT_TRUE(test::near_l2(logits, theirs("logits"), kRounding));
  }
}

TEST_P(TorchExchange, TheirsGiveTheSameLogitsHere) {
  const Architecture a = architecture();
  const auto x = images(a, kImages, kSize, kSize);
  ASSERT_NO_FATAL_FAILURE(reference("make", a));
  ASSERT_NO_FATAL_FAILURE(convert("classifier.pth", "theirs.safetensors"));
  models::Classifier model(a.encoder(), kClasses);
  nn::load_state_dict(model, dir_ / "theirs.safetensors");
  nn::set_training(model, false);
  const NoGrad no_grad;
  EXPECT_TRUE(test::near_l2(test::doubles(model(x).value()), theirs("logits"), kRounding));
}

INSTANTIATE_TEST_SUITE_P(FullSize, TorchExchange,
                         testing::Values("xresnet34", "xresnet50", "resnet50", "res2net50",
                                         "res2next50"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace mwalimu
