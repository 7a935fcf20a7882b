// Networks that compute in 16 bits with float parameters.
#include <gtest/gtest.h>

#include "models/model_support.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/ops/cast.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"

namespace mwalimu::models {
namespace {

using test::doubles;

Tensor<float> random_images(index_t n, index_t side) {
  auto images = Tensor<float>::empty({n, side, side, 3});
  RandomStream random(1, Purpose::test);
  for (float& x : images.span()) x = random.normal();
  return images;
}
Tensor<std::int64_t> labels_of(index_t n, index_t classes) {
  auto labels = Tensor<std::int64_t>::empty({n});
  for (index_t i = 0; i < n; ++i) labels.data()[i] = i % classes;
  return labels;
}
Classifier small_classifier(float dropout = 0.0f) {
  Classifier model(XResNet({.blocks = {1, 1, 1, 1}, .width = 8}), 3, dropout);
  model.encoder.initialize(1);
  model.head.initialize(1);
  // Blocks start as the identity, with a last scale of 0: give their convolutions something to do.
  nn::for_each_module<nn::BatchNorm>(model, [](const auto&, nn::BatchNorm& norm) {
    for (float& scale : norm.weight.mutable_value().span()) scale = 0.8f;
  });
  return model;
}

/// Gradients of all parameters for one batch, computed in T; the loss goes to `loss`.
template <nn::ComputeType T>
std::vector<double> gradients(Classifier& model, const Tensor<float>& images, double* loss) {
  test::clear_gradients(model);
  const auto logits = model(ops::cast<T>(Variable<float>(images)));
  static_assert(std::is_same_v<decltype(logits), const Variable<T>>);
  const auto value = ops::cross_entropy(logits, labels_of(images.dim(0), 3));
  value.backward();
  *loss = value.value().item();
  std::vector<double> all;
  nn::for_each_parameter(model, [&](const std::string&, nn::Parameter& p) {
    const auto grad = doubles(p.grad());
    all.insert(all.end(), grad.begin(), grad.end());
  });
  return all;
}

// The loss is within a few roundings u (2^-8 in bfloat16, 2^-11 in half) of float's. Its gradient
// is not: a ReLU whose input is within some u of 0 passes a gradient in one type and not in the
// other, and a maximum may be another pixel's. A share of the units that is proportional to u is
// off by all of its gradient, so the distance goes as the root of u: 4 sqrt(u) was measured in both
// types.
TEST(Precision, NetworksComputeInTheTypeOfTheirInput) {
  Classifier model = small_classifier();
  nn::set_training(model, true);
  const auto images = random_images(16, 32);
  double loss = 0, bfloat16_loss = 0, half_loss = 0;
  const auto want = gradients<float>(model, images, &loss);
  const auto in_bfloat16 = gradients<bfloat16>(model, images, &bfloat16_loss);
  const auto in_half = gradients<half>(model, images, &half_loss);
  EXPECT_NEAR(bfloat16_loss, loss, 5 * 0x1p-8 * loss);
  EXPECT_NEAR(half_loss, loss, 5 * 0x1p-11 * loss);
  EXPECT_TRUE(test::near_l2(in_bfloat16, want, 6 * std::sqrt(0x1p-8)));
  EXPECT_TRUE(test::near_l2(in_half, want, 6 * std::sqrt(0x1p-11)));
  EXPECT_GT(test::rel_l2(in_bfloat16, want), test::rel_l2(in_half, want));
}

// The copies that kernels read follow the masters, however these are changed.
TEST(Precision, WeightsAreThoseOfTheLastStep) {
  Classifier model = small_classifier();
  nn::set_training(model, true);
  const auto images = random_images(8, 32);
  optim::ParameterArena arena(model);
  optim::Optimizer optimizer(optim::SgdOptions{.momentum = 0.9}, arena.segments(), arena.size());
  const auto expect_fresh = [&](const char* change) {
    Classifier fresh = small_classifier();
    const auto now = test::tensors_by_name(model);
    nn::for_each_parameter(fresh, [&](const std::string& path, nn::Parameter& parameter) {
      parameter.mutable_value().copy_from(now.at(path));
    });
    nn::set_training(fresh, true);
    const NoGrad no_grad;
    const auto input = Variable<bfloat16>(images.to<bfloat16>());
    EXPECT_EQ(doubles(model(input).value()), doubles(fresh(input).value())) << change;
  };
  double loss = 0, first = 0;
  for (int step = 0; step < 4; ++step) {
    arena.zero_gradients();
    const auto value =
        ops::cross_entropy(model(Variable<bfloat16>(images.to<bfloat16>())), labels_of(8, 3));
    value.backward();
    loss = value.value().item();
    if (step == 0) first = loss;
    optimizer.step(arena.values(), arena.gradients(), arena.segments(), {.lr = 0.05});
    expect_fresh("a step");
  }
  EXPECT_LT(loss, first) << "it learns";
  model.encoder.input_weight().mutable_value().fill(0.25f);
  expect_fresh("a written parameter");
}

TEST(Precision, GradientsAddUpInTheFloatMasters) {
  Classifier model = small_classifier();
  nn::set_training(model, true);
  const auto images = random_images(8, 32);
  optim::ParameterArena arena(model);
  std::vector<float> once;
  for (int pass = 0; pass < 2; ++pass) {
    ops::cross_entropy(model(Variable<bfloat16>(images.to<bfloat16>())), labels_of(8, 3))
        .backward();
    const auto now = std::as_const(arena).gradients();
    if (pass == 0) once.assign(now.begin(), now.end());
  }
  // The same batch twice: twice the gradient, exactly, where a sum of bfloat16 would round.
  const auto twice = std::as_const(arena).gradients();
  index_t others = 0, wide = 0;  // than 0, and of those the ones that bfloat16 does not have
  for (std::size_t i = 0; i < once.size(); ++i) {
    ASSERT_EQ(twice[i], 2 * once[i]);
    others += once[i] != 0;
    wide += once[i] != static_cast<float>(bfloat16(once[i]));
  }
  EXPECT_GT(10 * wide, 9 * others);
}

TEST(Precision, DropoutAndTheHeadInSixteenBits) {
  Classifier model = small_classifier(0.5f);
  nn::set_training(model, true);
  nn::set_dropout_step(model, 1, 2);
  double loss = 0;
  gradients<half>(model, random_images(4, 24), &loss);
  EXPECT_TRUE(std::isfinite(loss));
}

TEST(Precision, SwavGivesEmbeddingsAndScoresInTheTypeOfItsCrops) {
  SwavNetwork model(XResNet({.blocks = {1, 1, 1, 1}, .width = 8}),
                    {.hidden = 32, .embedding = 16, .prototypes = 24});
  model.initialize(0);
  const std::vector<Tensor<float>> crops{random_images(4, 32), random_images(6, 24)};
  const auto scores = [&]<class T>(T) {
    std::vector<Variable<T>> groups;
    for (const auto& group : crops) groups.push_back(ops::cast<T>(Variable<float>(group)));
    const SwavNetwork::Output<T> out = model(groups);
    EXPECT_EQ(out.embeddings.shape(), (Shape{10, 16}));
    for (index_t i = 0; i < 10; ++i) {  // unit rows, each element rounded to 8 bits
      EXPECT_NEAR(test::norm(out.embeddings.value().slice(0, i, i + 1).template to<float>()), 1.0,
                  0x1p-8);
    }
    return doubles(out.scores.value());
  };
  EXPECT_TRUE(test::near_l2(scores(bfloat16{}), scores(float{}), 0.05));
  EXPECT_TRUE(test::near_l2(scores(half{}), scores(float{}), 0.01));
}

}  // namespace
}  // namespace mwalimu::models
