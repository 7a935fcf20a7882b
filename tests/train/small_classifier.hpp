// train/small_classifier: images, a model and options so small that a test trains in a second.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/train/classifier_trainer.hpp"

namespace mwalimu::test {

/// Noise in which the class shows as colour: classes 0 and 1 take turns, of 16 images. A fourth
/// channel is noise.
struct SmallImages {
  static constexpr index_t kImages = 16;
  static constexpr int kSide = 20;

  data::Dataset dataset;
  data::ImageStore store;

  explicit SmallImages(int channels = 3) {
    dataset.classes = {"blast", "healthy"};
    std::vector<std::uint8_t> pixels;
    for (index_t i = 0; i < kImages; ++i) {
      RandomStream random(5, Purpose::test, 0, static_cast<std::uint64_t>(i));
      const int label = static_cast<int>(i % 2);
      dataset.samples.push_back({.id = std::to_string(i), .path = {}, .label = label, .origin = {}});
      for (int p = 0; p < kSide * kSide; ++p) {
        pixels.push_back(static_cast<std::uint8_t>(random.below(120) + (label == 0 ? 100 : 0)));
        pixels.push_back(static_cast<std::uint8_t>(random.below(120) + (label == 1 ? 100 : 0)));
        for (int c = 2; c < channels; ++c) {
          pixels.push_back(static_cast<std::uint8_t>(random.below(200)));
        }
      }
    }
    store = data::ImageStore::from_pixels(std::move(pixels), kSide, kSide, channels);
  }
  /// Twelve train, four validate.
  train::ClassifierData data() const {
    train::ClassifierData all{dataset, store, {}, {}};
    for (index_t i = 0; i < kImages; ++i) (i < 12 ? all.train : all.valid).push_back(i);
    return all;
  }
};

/// Two epochs of three steps.
inline train::ClassifierOptions small_options(Device device = Device::cpu(),
                                       train::FinetuneMode mode = train::FinetuneMode::full) {
  train::ClassifierOptions options;
  options.mode = mode;
  options.epochs = 2;
  options.batch = 4;
  options.schedule = optim::OneCycle{.lr = 1e-3};
  options.augment.size = 16;
  options.device = device;
  options.seed = 3;
  return options;
}

inline models::Classifier small_model(int channels = 3) {
  models::Classifier model(
      models::XResNet({.blocks = {1, 1, 1, 1}, .width = 8, .in_channels = channels}), 2);
  model.encoder.initialize(1);
  model.head.initialize(1);
  return model;
}

inline std::vector<float> parameters_of(models::Classifier& model) {
  std::vector<float> all;
  nn::for_each_parameter(model, [&](const std::string&, nn::Parameter& p) {
    const auto values = p.value().to_vector();
    all.insert(all.end(), values.begin(), values.end());
  });
  return all;
}

struct Trained {
  std::vector<train::EpochRecord> epochs;
  std::vector<float> parameters;  ///< after the last epoch
};

/// A whole run from small_model().
inline Trained trained_with(const train::ClassifierOptions& options, int channels = 3) {
  const SmallImages images(channels);
  auto model = small_model(channels);
  train::ClassifierTrainer trainer(model, images.data(), options);
  Trained result;
  while (!trainer.finished()) result.epochs.push_back(trainer.run_epoch());
  result.parameters = parameters_of(model);
  return result;
}

/// |got - want| / |want|
inline double distance(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double{got[i]} - double{want[i]}, 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / size);
}

}  // namespace mwalimu::test
