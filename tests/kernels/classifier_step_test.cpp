// The classifier's training on a device: against the Cpu, as a graph against kernel by kernel, resumed.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/device.hpp"
#include "mwalimu/train/classifier_trainer.hpp"
#include "support/temp_dir.hpp"
#include "train/small_classifier.hpp"

namespace mwalimu::train {
namespace {

using test::parameters_of;
using test::small_options;

TEST(DeviceClassifierStep, TrainsAsTheHostDoes) {
  MWALIMU_NEEDS_DEVICE();
  for (const auto mode :
       {FinetuneMode::full, FinetuneMode::mlp, FinetuneMode::discriminative}) {
    SCOPED_TRACE(static_cast<int>(mode));
    const test::Trained want = test::trained_with(small_options(Device::cpu(), mode));
    const test::Trained got = test::trained_with(small_options(Device::cuda(), mode));
    ASSERT_EQ(got.epochs.size(), want.epochs.size());
    for (std::size_t e = 0; e < want.epochs.size(); ++e) {
      EXPECT_NEAR(got.epochs[e].train_loss, want.epochs[e].train_loss, 1e-3);
      EXPECT_NEAR(got.epochs[e].valid_loss, want.epochs[e].valid_loss, 1e-2);
      EXPECT_EQ(got.epochs[e].lr, want.epochs[e].lr);
    }
    EXPECT_LT(test::distance(got.parameters, want.parameters), 1e-3);
  }
}

TEST(DeviceClassifierStep, StackedPairsTrainAsOnTheHost) {
  MWALIMU_NEEDS_DEVICE();
  auto on_host = small_options(), on_device = small_options(Device::cuda());
  on_host.mixup = on_device.mixup = 0.4;
  const test::Trained want = test::trained_with(on_host, 4), got = test::trained_with(on_device, 4);
  ASSERT_EQ(got.epochs.size(), want.epochs.size());
  for (std::size_t e = 0; e < want.epochs.size(); ++e) {
    EXPECT_NEAR(got.epochs[e].train_loss, want.epochs[e].train_loss, 1e-3);
    EXPECT_NEAR(got.epochs[e].valid_loss, want.epochs[e].valid_loss, 1e-2);
  }
  EXPECT_LT(test::distance(got.parameters, want.parameters), 1e-3);
}

TEST(DeviceClassifierStep, AGraphChangesNoBit) {
  MWALIMU_NEEDS_DEVICE();
  auto options = small_options(Device::cuda());
  options.precision = Precision::float16;
  options.clip_norm = 1;
  options.graph = false;
  const test::Trained eager = test::trained_with(options);
  options.graph = true;
  const test::Trained replayed = test::trained_with(options);
  EXPECT_EQ(replayed.parameters, eager.parameters);
  EXPECT_EQ(replayed.epochs.back().train_loss, eager.epochs.back().train_loss);
  EXPECT_EQ(replayed.epochs.back().loss_scale, eager.epochs.back().loss_scale);
}

TEST(DeviceClassifierStep, AResumedRunGoesOnBitForBit) {
  MWALIMU_NEEDS_DEVICE();
  const test::SmallImages images;
  const auto options = small_options(Device::cuda());
  const test::Trained whole = test::trained_with(options);
  const test::TempDir folder;
  const CheckpointIdentity identity{"finetune", "small"};
  {
    auto model = test::small_model();
    ClassifierTrainer trainer(model, images.data(), options);
    (void)trainer.run_epoch();
    CheckpointWriter checkpoint(identity);
    trainer.save(checkpoint);
    checkpoint.save(folder / "checkpoint.safetensors");
  }
  auto model = test::small_model();
  ClassifierTrainer trainer(model, images.data(), options);
  trainer.restore(CheckpointReader(folder / "checkpoint.safetensors", identity));
  const EpochRecord last = trainer.run_epoch();
  EXPECT_EQ(last.train_loss, whole.epochs.back().train_loss);
  EXPECT_EQ(parameters_of(model), whole.parameters);
}

// What finetune can be asked for beside its standard.
struct Craft {
  std::string name;
  std::function<void(ClassifierOptions&)> change;
};
std::vector<Craft> crafts() {
  return {{"mixup", [](auto& o) { o.mixup = 0.4; }},
          {"class weights and balanced draws",
           [](auto& o) {
             o.class_weights.values = {1, 3};
             o.balanced = true;
           }},
          {"progressive sizes", [](auto& o) { o.sizes = size_schedule_of("12@1,16").progressive; }},
          {"average of the weights", [](auto& o) { o.ema = 0.5; }},
          {"fine-tune", [](auto& o) { o.schedule = optim::FineTune{.lr = 1e-3, .frozen = 0.5}; }}};
}

TEST(DeviceClassifierStep, EveryCraftTrainsAsOnTheHost) {
  MWALIMU_NEEDS_DEVICE();
  for (const Craft& craft : crafts()) {
    SCOPED_TRACE(craft.name);
    auto on_host = small_options(), on_device = small_options(Device::cuda());
    craft.change(on_host);
    craft.change(on_device);
    const test::Trained want = test::trained_with(on_host), got = test::trained_with(on_device);
    for (std::size_t e = 0; e < want.epochs.size(); ++e) {
      EXPECT_NEAR(got.epochs[e].train_loss, want.epochs[e].train_loss, 1e-3);
      EXPECT_NEAR(got.epochs[e].valid_loss, want.epochs[e].valid_loss, 1e-2);
      EXPECT_EQ(got.epochs[e].size, want.epochs[e].size);
    }
    EXPECT_LT(test::distance(got.parameters, want.parameters), 1e-3);
  }
}

// All at once, so that a graph that outlives a phase, or goes on from old 16-bit weights, shows.
TEST(DeviceClassifierStep, NoCraftMakesAGraphChangeABit) {
  MWALIMU_NEEDS_DEVICE();
  auto options = small_options(Device::cuda());
  options.epochs = 4;
  options.precision = Precision::bfloat16;
  for (const Craft& craft : crafts()) craft.change(options);
  options.graph = false;
  const test::Trained eager = test::trained_with(options);
  options.graph = true;
  const test::Trained replayed = test::trained_with(options);
  EXPECT_EQ(replayed.parameters, eager.parameters);
  for (std::size_t e = 0; e < 4; ++e) {
    EXPECT_EQ(replayed.epochs[e].train_loss, eager.epochs[e].train_loss) << e;
    EXPECT_EQ(replayed.epochs[e].valid_loss, eager.epochs[e].valid_loss) << e;
  }
}

TEST(DeviceClassifierStep, TheRangeTestSeesTheHostsLossesAndPutsAllBack) {
  MWALIMU_NEEDS_DEVICE();
  const test::SmallImages images;
  const optim::LrFindOptions sweep{.start = 1e-4, .end = 1e-2, .steps = 8};
  auto host_model = test::small_model();
  ClassifierTrainer host(host_model, images.data(), small_options());
  optim::LrFinder want(sweep);
  host.find_lr(want);

  auto options = small_options(Device::cuda());
  auto model = test::small_model();
  ClassifierTrainer trainer(model, images.data(), options);
  optim::LrFinder got(sweep);
  trainer.find_lr(got);
  ASSERT_EQ(got.losses().size(), want.losses().size());
  for (std::size_t i = 0; i < want.losses().size(); ++i) {
    EXPECT_NEAR(got.losses()[i], want.losses()[i], 1e-2) << i;
  }

  options.precision = Precision::bfloat16;  // whose copy a graph reads
  options.epochs = 3;
  const test::Trained undisturbed = test::trained_with(options);
  auto disturbed_model = test::small_model();
  ClassifierTrainer disturbed(disturbed_model, images.data(), options);
  (void)disturbed.run_epoch();
  optim::LrFinder finder(sweep);
  disturbed.find_lr(finder);
  (void)disturbed.run_epoch();
  EXPECT_EQ(disturbed.run_epoch().train_loss, undisturbed.epochs.back().train_loss);
  EXPECT_EQ(parameters_of(disturbed_model), undisturbed.parameters);
}

}  // namespace
}  // namespace mwalimu::train
