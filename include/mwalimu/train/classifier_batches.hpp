// train/classifier_batches: the images of a classifier's training, and the batches they come in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/image_store.hpp"
#include "mwalimu/data/loader.hpp"
#include "mwalimu/data/mixup.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/data/sampler.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "mwalimu/train/classifier_options.hpp"

namespace mwalimu::train {

/// The images of a run: indices of one data set and its store.
struct ClassifierData {
  const data::Dataset& dataset;
  const data::ImageStore& store;
  std::vector<index_t> train, valid;  ///< valid may be empty: the last epoch is kept then
};

/// @throws ValueError  an image has no label.
inline std::vector<int> labels_of(const data::Dataset& dataset, const std::vector<index_t>& rows) {
  std::vector<int> labels;
  for (const index_t i : rows) {
    labels.push_back(dataset[i].label);
    require<ValueError>(labels.back() >= 0, "finetune: no label for ", dataset[i].id);
  }
  return labels;
}

/// A batch on the Cpu.
struct ClassifierBatch {
  Tensor<float> images;           ///< (B, size, size, channels), augmented and normalised
  Tensor<std::int64_t> labels;    ///< (B)
  data::MixUpBatch<float> mixed;  ///< with MixUp: what the network sees instead
};

/// Which images a batch holds and how they are augmented: functions of the batch's number alone. On
/// a device the images travel as they are stored, and the step augments them there.
class ClassifierBatches {
 public:
  /// Both must outlive this.
  /// @throws ValueError  the batch is larger than the data, or an image has no label.
  ClassifierBatches(const ClassifierOptions& options, const ClassifierData& data)
      : options_(options),
        data_(data),
        sampler_(static_cast<index_t>(data.train.size()), options.batch, options.seed,
                 {.classes = options.balanced ? labels_of(data.dataset, data.train)
                                              : std::vector<int>()}) {}

  std::int64_t per_epoch() const { return sampler_.steps_per_epoch(); }
  /// The first batch of an epoch, counted from 0.
  std::int64_t first_of(std::int64_t epoch) const { return epoch * per_epoch(); }

  /// Batches [first, last), made ahead by threads.
  data::Prefetcher<ClassifierBatch> loader(std::int64_t first, std::int64_t last) const {
    return {first, last, [this](std::int64_t b, ClassifierBatch& batch) { make(b, batch); },
            {.workers = options_.workers}};
  }
  /// The same for a device.
  std::shared_ptr<gpu::BatchFeed> feed(const gpu::DeviceStore& store, std::int64_t first,
                                       std::int64_t last) const {
    return std::make_shared<gpu::BatchFeed>(
        store, options_.batch, first, last,
        [this](std::int64_t b, gpu::BatchRequest& want) {
          for (const index_t row : sampler_.indices(b)) {
            want.images.push_back(data_.train[static_cast<std::size_t>(row)]);
            want.labels.push_back(data_.dataset[want.images.back()].label);
          }
        },
        data::PrefetcherOptions{.workers = std::max(options_.workers, 1)});
  }

 private:
  void make(std::int64_t b, ClassifierBatch& batch) const {
    const auto rows = sampler_.indices(b);
    const int size = options_.sizes.size(b / per_epoch(), options_.augment.size);
    const index_t C = data_.store.channels(), values = index_t{size} * size * C;
    const Shape shape{static_cast<index_t>(rows.size()), size, size, C};
    if (!(batch.images.shape() == shape)) {
      batch.images = Tensor<float>::empty(shape);
      batch.labels = Tensor<std::int64_t>::empty({shape[0]});
    }
    data::AugmentScratch scratch;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const index_t image = data_.train[static_cast<std::size_t>(rows[r])];
      const auto parameters =
          data::draw_augment(options_.augment, options_.seed, static_cast<std::uint64_t>(b), r,
                             data_.store.height(), data_.store.width());
      data_.store.visit(image, [&](const auto& pixels) {
        data::apply_augment(pixels, parameters, size, options_.augment.normalisation,
                            batch.images.data() + static_cast<index_t>(r) * values, scratch);
      });
      batch.labels.span()[r] = data_.dataset[image].label;
    }
    if (options_.mixup > 0) {
      data::mix_up(options_.mixup, options_.seed, static_cast<double>(b), batch.images,
                   batch.labels, batch.mixed);
    }
  }

  const ClassifierOptions& options_;
  const ClassifierData& data_;
  data::BatchSampler sampler_;
};

}  // namespace mwalimu::train
