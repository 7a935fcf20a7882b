// The classifier's training on a device: against the Cpu, as a graph against kernel by kernel, resumed.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/device.hpp"
#include "mwalimu/train/classifier_trainer.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

constexpr index_t kImages = 16;
constexpr int kSide = 20;

// Two classes that differ in colour.
struct Fixture {
  data::Dataset dataset;
  data::ImageStore store;

  Fixture() {
    dataset.classes = {"blast", "healthy"};
    std::vector<std::uint8_t> pixels;
    for (index_t i = 0; i < kImages; ++i) {
      RandomStream random(5, Purpose::test, 0, static_cast<std::uint64_t>(i));
      const int label = static_cast<int>(i % 2);
      dataset.samples.push_back({.id = std::to_string(i), .path = {}, .label = label, .origin = {}});
      for (int p = 0; p < kSide * kSide; ++p) {
        pixels.push_back(static_cast<std::uint8_t>(random.below(120) + (label == 0 ? 100 : 0)));
        pixels.push_back(static_cast<std::uint8_t>(random.below(120) + (label == 1 ? 100 : 0)));
        pixels.push_back(static_cast<std::uint8_t>(random.below(200)));
      }
    }
    store = data::ImageStore::from_pixels(std::move(pixels), kSide, kSide);
  }
  ClassifierData data() const {
    ClassifierData all{dataset, store, {}, {}};
    for (index_t i = 0; i < kImages; ++i) (i < 12 ? all.train : all.valid).push_back(i);
    return all;
  }
};

ClassifierOptions small_options(Device device, FinetuneMode mode = FinetuneMode::full) {
  ClassifierOptions options;
  options.mode = mode;
  options.epochs = 2;
  options.batch = 4;
  options.schedule = optim::OneCycle{.lr = 1e-3};
  options.augment.size = 16;
  options.device = device;
  options.seed = 3;
  return options;
}

models::Classifier small_model() {
  models::Classifier model(models::XResNet({.blocks = {1, 1, 1, 1}, .width = 8}), 2);
  model.encoder.initialize(1);
  model.head.initialize(1);
  return model;
}

struct Trained {
  std::vector<EpochRecord> epochs;
  std::vector<float> parameters;
};

std::vector<float> parameters_of(models::Classifier& model) {
  std::vector<float> all;
  nn::for_each_parameter(model, [&](const std::string&, nn::Parameter& p) {
    const auto values = p.value().to_vector();
    all.insert(all.end(), values.begin(), values.end());
  });
  return all;
}

Trained train(const ClassifierOptions& options) {
  const Fixture fixture;
  auto model = small_model();
  ClassifierTrainer trainer(model, fixture.data(), options);
  Trained result;
  while (!trainer.finished()) result.epochs.push_back(trainer.run_epoch());
  result.parameters = parameters_of(model);
  return result;
}

double distance(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double{got[i]} - double{want[i]}, 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / size);
}

TEST(DeviceClassifierStep, TrainsAsTheHostDoes) {
  MWALIMU_NEEDS_DEVICE();
  for (const auto mode :
       {FinetuneMode::full, FinetuneMode::mlp, FinetuneMode::discriminative}) {
    SCOPED_TRACE(static_cast<int>(mode));
    const Trained want = train(small_options(Device::cpu(), mode));
    const Trained got = train(small_options(Device::cuda(), mode));
    ASSERT_EQ(got.epochs.size(), want.epochs.size());
    for (std::size_t e = 0; e < want.epochs.size(); ++e) {
      EXPECT_NEAR(got.epochs[e].train_loss, want.epochs[e].train_loss, 1e-3);
      EXPECT_NEAR(got.epochs[e].valid_loss, want.epochs[e].valid_loss, 1e-2);
      EXPECT_EQ(got.epochs[e].lr, want.epochs[e].lr);
    }
    EXPECT_LT(distance(got.parameters, want.parameters), 1e-3);
  }
}

TEST(DeviceClassifierStep, AGraphChangesNoBit) {
  MWALIMU_NEEDS_DEVICE();
  auto options = small_options(Device::cuda());
  options.precision = Precision::float16;
  options.clip_norm = 1;
  options.graph = false;
  const Trained eager = train(options);
  options.graph = true;
  const Trained replayed = train(options);
  EXPECT_EQ(replayed.parameters, eager.parameters);
  EXPECT_EQ(replayed.epochs.back().train_loss, eager.epochs.back().train_loss);
  EXPECT_EQ(replayed.epochs.back().loss_scale, eager.epochs.back().loss_scale);
}

TEST(DeviceClassifierStep, AResumedRunGoesOnBitForBit) {
  MWALIMU_NEEDS_DEVICE();
  const Fixture fixture;
  const auto options = small_options(Device::cuda());
  const Trained whole = train(options);
  const test::TempDir folder;
  const CheckpointIdentity identity{"finetune", "small"};
  {
    auto model = small_model();
    ClassifierTrainer trainer(model, fixture.data(), options);
    (void)trainer.run_epoch();
    CheckpointWriter checkpoint(identity);
    trainer.save(checkpoint);
    checkpoint.save(folder / "checkpoint.safetensors");
  }
  auto model = small_model();
  ClassifierTrainer trainer(model, fixture.data(), options);
  trainer.restore(CheckpointReader(folder / "checkpoint.safetensors", identity));
  const EpochRecord last = trainer.run_epoch();
  EXPECT_EQ(last.train_loss, whole.epochs.back().train_loss);
  EXPECT_EQ(parameters_of(model), whole.parameters);
}

}  // namespace
}  // namespace mwalimu::train
