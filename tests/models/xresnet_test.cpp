#include "mwalimu/models/xresnet.hpp"

#include <gtest/gtest.h>

#include "models/model_support.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/nn/state_dict.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::models {
namespace {

Variable<float> random_images(index_t n, index_t h, index_t w) {
  auto images = Tensor<float>::empty({n, h, w, 3});
  RandomStream random(1, Purpose::test);
  for (float& x : images.span()) x = random.normal();
  return Variable<float>(std::move(images));
}

XResNet small() { return XResNet({.blocks = {1, 1, 1, 1}, .width = 8}); }

struct Expected {
  const char* name;
  index_t parameters, features;
  int tensors, state;
};

TEST(XResNet, CountsAreThoseOfTheOriginal) {
  for (const Expected& want : {Expected{"xresnet18", 11195744, 1024, 66, 132},
                               Expected{"xresnet34", 21303904, 1024, 114, 228},
                               Expected{"xresnet50", 23527264, 4096, 165, 330},
                               // 17 blocks more in the third stage, of 2 x 256 x 1024 + 9 x 256 x 256
                               // weights and 2 (256 + 256 + 1024) of their norms.
                               Expected{"xresnet101", 23527264 + 17 * 1117184, 4096, 318, 636}}) {
    SCOPED_TRACE(want.name);
    XResNet encoder(xresnet_options(want.name));
    EXPECT_EQ(nn::parameter_count(encoder), want.parameters);
    EXPECT_EQ(encoder.features(), want.features);
    int parameters = 0, all = 0;
    nn::for_each_parameter(encoder, [&](const auto&, auto&) { ++parameters; });
    nn::for_each_buffer(encoder, [&](const auto&, auto&) { ++all; });
    EXPECT_EQ(parameters, want.tensors);
    EXPECT_EQ(parameters + all, want.state);
  }
}

TEST(XResNet, WholeModelsCountAsStated) {
  SwavNetwork swav(XResNet(xresnet_options("xresnet34")), {});
  EXPECT_EQ(nn::parameter_count(swav), 24053472);
  ClassifierHead narrow(1024, 3), wide(4096, 3);
  EXPECT_EQ(nn::parameter_count(narrow), 528896);
  EXPECT_EQ(nn::parameter_count(wide), 2107904);
}

TEST(XResNet, OddExtentsMeetOnBothPaths) {
  XResNet encoder = small();
  encoder.initialize(0);
  std::vector<index_t> heights;
  const auto features = encoder.forward(random_images(2, 168, 105),
                                        [&](const std::string&, const Variable<float>& x) {
                                          heights.push_back(x.dim(1));
                                        });
  EXPECT_EQ(heights, (std::vector<index_t>{84, 42, 42, 21, 11, 6}));
  EXPECT_EQ(features.shape(), (Shape{2, 128}));
}

TEST(XResNet, InitialValuesAreKaimingNormalAndZeroScale) {
  XResNet encoder(xresnet_options("xresnet18"));
  encoder.initialize(3);
  const auto weights = encoder.stages[3][1].convpath[0].conv.weight.value().to_vector();
  double squares = 0, sum = 0;
  for (const float w : weights) squares += double{w} * w, sum += w;
  const double n = static_cast<double>(weights.size()), variance = 2.0 / (512 * 9);
  EXPECT_NEAR(squares / n, variance, 5 * variance * std::sqrt(2 / n));
  EXPECT_NEAR(sum / n, 0, 5 * std::sqrt(variance / n));
  for (const float g : encoder.stages[2][0].convpath[1].norm.weight.value().to_vector()) {
    ASSERT_EQ(g, 0.0f);
  }
  // Same seed, same values; another seed, others.
  XResNet again(xresnet_options("xresnet18")), other(xresnet_options("xresnet18"));
  again.initialize(3);
  other.initialize(4);
  EXPECT_EQ(weights, again.stages[3][1].convpath[0].conv.weight.value().to_vector());
  EXPECT_NE(weights, other.stages[3][1].convpath[0].conv.weight.value().to_vector());
}

TEST(XResNet, ErrorsNameTheOptions) {
  EXPECT_THROW(XResNet({.width = 7}), ValueError);
  EXPECT_THROW(xresnet_options("resnet34"), ValueError);
  XResNet encoder = small();
  EXPECT_THROW(encoder(Variable<float>(Tensor<float>::zeros({1, 32, 32, 4}))), ShapeError);
}

TEST(SwavNetwork, GroupsOfCropsShareTheHead) {
  SwavNetwork model(small(), {.hidden = 32, .embedding = 16, .prototypes = 24});
  model.initialize(0);
  const std::vector<Variable<float>> groups{random_images(4, 32, 32), random_images(6, 24, 24)};
  const auto out = model(groups);
  EXPECT_EQ(out.embeddings.shape(), (Shape{10, 16}));
  EXPECT_EQ(out.scores.shape(), (Shape{10, 24}));
  for (index_t i = 0; i < 10; ++i) {
    EXPECT_NEAR(test::norm(out.embeddings.value().slice(0, i, i + 1)), 1.0, 1e-5);
  }
  for (index_t k = 0; k < 24; ++k) {
    EXPECT_NEAR(test::norm(model.prototypes.weight.value().slice(0, k, k + 1)), 1.0, 1e-5);
  }
  // Cosines.
  for (const float s : out.scores.value().to_vector()) EXPECT_LE(std::abs(s), 1.0f + 1e-5f);
}

TEST(StateDict, RoundTripsThroughAFile) {
  test::TempDir folder;
  XResNet saved = small(), loaded = small();
  saved.initialize(1);
  loaded.initialize(2);
  nn::set_training(saved, true);
  saved(random_images(4, 32, 32));  // running statistics move
  nn::save_state_dict(folder.path() / "encoder.safetensors", saved);
  nn::load_state_dict(loaded, folder.path() / "encoder.safetensors");
  const auto want = nn::state_dict(saved), got = nn::state_dict(loaded);
  ASSERT_EQ(want.tensors.size(), got.tensors.size());
  for (std::size_t i = 0; i < want.tensors.size(); ++i) {
    EXPECT_EQ(want.tensors[i].name, got.tensors[i].name);
    EXPECT_TRUE(std::ranges::equal(want.tensors[i].bytes, got.tensors[i].bytes));
  }
  EXPECT_EQ(want.tensors[0].name, "0.0.weight");
  EXPECT_EQ(want.tensors[0].shape, (std::vector<std::int64_t>{4, 3, 3, 3}));
}

TEST(StateDict, AFileOfAnotherModelIsRefusedByName) {
  test::TempDir folder;
  XResNet saved = small();
  nn::save_state_dict(folder.path() / "encoder.safetensors", saved);
  XResNet deeper({.blocks = {2, 1, 1, 1}, .width = 8}), wider({.blocks = {1, 1, 1, 1}, .width = 16});
  try {
    nn::load_state_dict(deeper, folder.path() / "encoder.safetensors");
    FAIL() << "want a ShapeError";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("12 missing (4.1.convpath.0.0.weight"),
              std::string::npos)
        << error.what();
  }
  try {
    nn::load_state_dict(wider, folder.path() / "encoder.safetensors");
    FAIL() << "want a ShapeError";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("0.0.weight is F32 (4, 3, 3, 3), want float32 (8, 3"),
              std::string::npos)
        << error.what();
  }
}

TEST(ParameterArena, HoldsValuesAndGradientsOfTheWholeModel) {
  Classifier model(small(), 3);
  model.encoder.initialize(0);
  model.head.initialize(0);
  const auto before = nn::state_dict(model);
  optim::ParameterArena arena(model, [](const std::string& path) {
    return path.starts_with("1.") ? 1 : 0;
  });
  const auto after = nn::state_dict(model);
  for (std::size_t i = 0; i < before.tensors.size(); ++i) {
    ASSERT_TRUE(std::ranges::equal(before.tensors[i].bytes, after.tensors[i].bytes));
  }
  nn::set_training(model, true);
  const auto images = random_images(4, 32, 32);
  const auto logits = model(images);
  logits.backward(Tensor<float>::full(logits.shape(), 1.0f));
  double squares = 0;
  for (const float g : std::as_const(arena).gradients()) squares += double{g} * g;
  double by_parameter = 0;
  for (const double n : test::gradient_norms(model)) by_parameter += n * n;
  EXPECT_GT(squares, 0);
  EXPECT_NEAR(squares, by_parameter, 1e-9 * squares);

  // Writing through the arena changes what the model computes (no stale copies of weights).
  nn::set_training(model, false);
  const auto first = model(images).value().to_vector();
  for (float& value : arena.values()) value *= 1.5f;
  EXPECT_NE(first, model(images).value().to_vector());
  const auto segments = arena.segments();
  EXPECT_EQ(segments[0].group, 0);
  EXPECT_EQ(segments.back().group, 1);
  EXPECT_TRUE(segments[0].decay);
  EXPECT_FALSE(segments[1].decay);
}

}  // namespace
}  // namespace mwalimu::models
