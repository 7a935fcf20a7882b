// train/encoder_probe: how well an encoder's features tell classes apart that it is not taught.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/data/dataset.hpp"
#include "mwalimu/data/split.hpp"
#include "mwalimu/eval/knn.hpp"
#include "mwalimu/eval/linear_probe.hpp"
#include "mwalimu/models/encoder.hpp"
#include "mwalimu/train/features.hpp"

namespace mwalimu::train {

struct EncoderProbeOptions {
  enum class Kind {
    knn,     ///< the vote of the nearest reference images
    linear,  ///< a linear classifier, fitted to the reference images
  };
  Kind kind = Kind::knn;
  index_t k = 10;              ///< neighbours that vote
  InferenceOptions inference;  ///< how images enter the encoder
};

/// Rows of labelled images of `dataset` among `within`, a share of whose plants is held out.
/// @throws ValueError  fewer than two labelled plants.
inline data::IndexSplit labelled_split(const data::Dataset& dataset,
                                       const std::vector<index_t>& within, double held_out,
                                       std::uint64_t seed) {
  std::vector<index_t> labelled;
  for (const index_t i : within) {
    if (dataset[i].label >= 0) labelled.push_back(i);
  }
  data::IndexSplit split;
  if (!labelled.empty()) split = data::split_by_pair(dataset, held_out, seed, labelled);
  require<ValueError>(!split.train.empty() && !split.valid.empty(),
                      "--probe: too few labelled images (", labelled.size(),
                      ") to hold some out; use --probe none");
  return split;
}

/// Scores an encoder on held-out labelled images, by labelled reference images. Nothing is trained
/// but the linear classifier: the encoder stays as it was.
class EncoderProbe {
 public:
  /// @param dataset, store        must outlive this.
  /// @param reference, held_out   labelled images, one at least each.
  EncoderProbe(const data::Dataset& dataset, const data::ImageStore& store,
               std::vector<index_t> reference, std::vector<index_t> held_out,
               const EncoderProbeOptions& options)
      : store_(&store),
        classes_(static_cast<index_t>(dataset.classes.size())),
        reference_(std::move(reference)),
        held_out_(std::move(held_out)),
        options_(options) {
    for (const index_t i : reference_) reference_labels_.push_back(dataset[i].label);
    for (const index_t i : held_out_) held_out_labels_.push_back(dataset[i].label);
  }

  /// Accuracy on the held-out images, 0 to 1; on the device where the encoder lies.
  double operator()(models::Encoder& encoder) const {
    const auto reference = infer(encoder, *store_, reference_, options_.inference);
    const auto held_out = infer(encoder, *store_, held_out_, options_.inference);
    return eval::accuracy(options_.kind == EncoderProbeOptions::Kind::knn
                              ? nearest(reference, held_out)
                              : linear(reference, held_out),
                          held_out_labels_);
  }

 private:
  std::vector<int> nearest(const Tensor<float>& reference, const Tensor<float>& held_out) const {
    eval::KnnOptions knn;
    knn.k = options_.k;
    return eval::knn_predict({.features = reference.span(), .labels = reference_labels_},
                             held_out.span(), reference.dim(1), classes_, knn);
  }
  std::vector<int> linear(const Tensor<float>& reference, const Tensor<float>& held_out) const {
    const eval::LinearProbe probe(reference.span(), reference_labels_, reference.dim(1), classes_);
    const auto probabilities = probe.probabilities(held_out.span());
    std::vector<int> predicted;
    for (auto row = probabilities.begin(); row != probabilities.end(); row += classes_) {
      predicted.push_back(static_cast<int>(std::max_element(row, row + classes_) - row));
    }
    return predicted;
  }

  const data::ImageStore* store_;
  index_t classes_;
  std::vector<index_t> reference_, held_out_;
  std::vector<int> reference_labels_, held_out_labels_;
  EncoderProbeOptions options_;
};

}  // namespace mwalimu::train
