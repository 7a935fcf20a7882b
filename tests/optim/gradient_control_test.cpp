#include "mwalimu/optim/gradient_control.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mwalimu/core/random.hpp"

namespace mwalimu::optim {
namespace {

Tensor<float> gradients_of_norm(double norm) {
  return Tensor<float>::from({static_cast<float>(0.6 * norm), static_cast<float>(-0.8 * norm)}, {2});
}

TEST(GradientControl, MeasuresTheNormOfTheUnscaledGradients) {
  GradientControl control(Device::cpu(), {.gradient_scale = 0.25, .scale_loss = true,
                                          .scaler = {.initial = 8}});
  EXPECT_EQ(control.loss_scale().item(), 8.0f);
  control.measure(gradients_of_norm(64));
  const auto state = control.read();
  EXPECT_NEAR(state.norm, 64 / 4.0 / 8, 1e-6);  // the inputs are rounded to float
  EXPECT_EQ(state.factor, 1.0 / 32);
  EXPECT_EQ(state.take, 1);
}

TEST(GradientControl, ClipsAsClipCoefficientSays) {
  GradientControl control(Device::cpu(), {.gradient_scale = 0.5, .max_norm = 2});
  for (const double norm : {1.0, 3.9, 4.1, 400.0}) {
    control.measure(gradients_of_norm(norm));
    const auto state = control.read();
    EXPECT_EQ(state.factor, 0.5 * clip_coefficient(state.norm, 2)) << norm;
  }
}

TEST(GradientControl, SkipsWhatIsNotFinite) {
  GradientControl control;
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::nanf("")}) {
    control.measure(Tensor<float>::from({1, bad, 1}, {3}));
    EXPECT_EQ(control.read().take, 0);
    control.measure(Tensor<float>::full({3}, std::numeric_limits<float>::max()));
    EXPECT_EQ(control.read().take, 1) << "a large gradient is a number";
  }
  EXPECT_EQ(control.read().all_skipped, 2);
  EXPECT_EQ(control.loss_scale().item(), 1.0f);
}

TEST(GradientControl, ScalesTheLossAsGradScalerDoes) {
  const GradScalerOptions options{.initial = 64, .growth_interval = 3};
  GradScaler scaler(options);
  GradientControl control(Device::cpu(), {.scale_loss = true, .scaler = options});
  RandomStream random(1, Purpose::test);
  for (int step = 0; step < 200; ++step) {
    const bool finite = random.uniform() < 0.8f;
    control.measure(Tensor<float>::full({2}, finite ? 1.0f : INFINITY));
    EXPECT_EQ(control.read().take != 0, scaler.update(finite));
    EXPECT_EQ(control.loss_scale().item(), static_cast<float>(scaler.scale()));
    EXPECT_EQ(control.read().skipped_steps, static_cast<double>(scaler.state().skipped_steps));
  }
}

TEST(GradientControl, SaysWhenNoScaleHelps) {
  GradientControl control(Device::cpu(), {.scale_loss = true, .scaler = {.initial = 0x1p-125}});
  const auto bad = Tensor<float>::full({1}, INFINITY);
  control.measure(bad);
  EXPECT_EQ(control.read().scale, 0x1p-126);
  control.measure(bad);
  EXPECT_THROW((void)control.read(), ValueError);
}

TEST(GradientControl, RestoredStateGoesOnAsBefore) {
  const GradientControlOptions options{.scale_loss = true, .scaler = {.growth_interval = 3}};
  GradientControl control(Device::cpu(), options), resumed(Device::cpu(), options);
  const auto good = gradients_of_norm(1);
  control.measure(good);
  control.measure(good);
  resumed.restore(control.read());
  control.measure(good);
  resumed.measure(good);
  EXPECT_EQ(control.read().scale, 131072);
  EXPECT_EQ(resumed.read().scale, 131072);
  EXPECT_EQ(resumed.loss_scale().item(), 131072.0f);
}

TEST(GradientControl, RejectsOptionsOutsideTheirRange) {
  const auto make = [](const GradientControlOptions& options) {
    GradientControl control(Device::cpu(), options);
  };
  EXPECT_THROW(make({.gradient_scale = 0}), ValueError);
  EXPECT_THROW(make({.max_norm = -1}), ValueError);
  EXPECT_THROW(make({.scale_loss = true, .scaler = {.backoff = 2}}), ValueError);
}

}  // namespace
}  // namespace mwalimu::optim
