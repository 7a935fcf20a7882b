// train/features: a model's outputs for every image of a set, as evaluation sees them.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/image_store.hpp"
#include "mwalimu/nn/layers.hpp"
#include "mwalimu/nn/to_device.hpp"
#include "mwalimu/ops/cast.hpp"
#include "mwalimu/train/precision.hpp"

namespace mwalimu::train {

struct InferenceOptions {
  int size = 128;             ///< side of the input, pixels; stored images are resized
  index_t batch = 64;
  data::Normalisation normalisation{};
  /// Test-time augmentation: 0 the evaluation input, k >= 1 the k-th random input of each image.
  int pass = 0;
  std::uint64_t seed = 0;
  data::AugmentOptions augment{};  ///< of the random passes
  Precision precision = Precision::float32;
};

/// The channels of the images that a model takes: an encoder, or one that holds an encoder.
template <class Model>
index_t channels_of(const Model& model) {
  if constexpr (requires { model.in_channels(); }) {
    return model.in_channels();
  } else {
    return model.encoder.in_channels();
  }
}

/// @throws ValueError  the model takes images of another number of channels than the store's.
template <class Model>
void require_channels(const Model& model, const data::ImageStore& store) {
  const index_t want = channels_of(model);
  require<ValueError>(want == store.channels(), "--input: the model takes images of ", want,
                      " channels, the data have ", store.channels(),
                      "; want --input stacked for 4 channels, images for 3");
}

/// Runs `model`, on the device where it lies, in evaluation mode without recording and stacks its rows.
/// @param indices  images of the store, in the order wanted; empty: all.
/// @return         (N, width of the model's output) on the host, float in any precision.
template <class Model>
Tensor<float> infer(Model& model, const data::ImageStore& store, std::span<const index_t> indices,
                    const InferenceOptions& options,
                    const std::function<void(index_t done, index_t total)>& progress = {}) {
  const NoGrad no_grad;
  const nn::EvaluationMode evaluation(model);
  const Device device = nn::device_of(model);
  const index_t count = indices.empty() ? store.size() : static_cast<index_t>(indices.size());
  require_channels(model, store);
  const index_t C = store.channels(), values = index_t{options.size} * options.size * C;
  Tensor<float> result;
  for (index_t begin = 0; begin < count; begin += options.batch) {
    const index_t rows = std::min(options.batch, count - begin);
    auto images = Tensor<float>::empty({rows, options.size, options.size, C});
    parallel_for(rows, 1, [&](index_t first, index_t last) {
      data::AugmentScratch scratch;
      for (index_t r = first; r < last; ++r) {
        const index_t image = indices.empty()
                                  ? begin + r
                                  : indices[static_cast<std::size_t>(begin + r)];
        const auto parameters =
            data::draw_tta(options.augment, options.seed, options.pass,
                           static_cast<std::uint64_t>(image), store.height(), store.width());
        store.visit(image, [&](const auto& pixels) {
          data::apply_augment(pixels, parameters, options.size, options.normalisation,
                              images.data() + r * values, scratch);
        });
      }
    });
    const Tensor<float> out = with_precision(options.precision, [&]<class T>(T) {
      return ops::cast<float>(model(ops::cast<T>(Variable<float>(images.to(device))))).value();
    });
    if (begin == 0) result = Tensor<float>::empty({count, out.dim(1)});
    result.slice(0, begin, begin + rows).copy_from(out);
    if (progress) progress(begin + rows, count);
  }
  return result;
}

}  // namespace mwalimu::train
