// train/device_classifier_step: the classifier's training step on a CUDA device, as one graph.
//
// As train/device_swav_step: the host writes the step's numbers and the batch's rows and launches;
// inputs, forward, loss, backward and optimiser run without it, and losses are read once an epoch.
#pragma once

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/mixup.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/ops/queue.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/train/classifier_options.hpp"
#include "mwalimu/train/classifier_step.hpp"
#include "mwalimu/train/precision.hpp"
#include "mwalimu/train/step_control.hpp"
#include "mwalimu/train/step_graphs.hpp"

namespace mwalimu::train {

/// Takes steps over a model, its arena and its optimiser, which lie on one device. A template only
/// so that a build without CUDA compiles none of it.
template <class Place = Gpu>
class DeviceClassifierStep {
 public:
  /// @param model, arena, optimizer  must outlive this.
  /// @param loss     class weights on any device.
  /// @param history  steps between two calls of read(), at most.
  DeviceClassifierStep(models::Classifier& model, optim::ParameterArena& arena,
                       optim::Optimizer& optimizer, const ClassifierOptions& options,
                       const ops::CrossEntropyOptions<float>& loss, index_t history)
      : options_(options),
        loss_options_(loss),
        history_(history),
        model_(model),
        arena_(arena),
        optimizer_(optimizer),
        stream_(arena.device().index),
        control_(arena.device(), control_options(options), history),
        losses_(Tensor<float>::zeros({history * options.accumulate, 1}, arena.device())),
        losses_cursor_(Tensor<std::int64_t>::zeros({}, arena.device())),
        graphs_(stream_, options.accumulate, options.graph) {
    if (loss_options_.class_weight) {
      loss_options_.class_weight = loss_options_.class_weight->to(arena.device());
    }
  }

  const gpu::Stream& stream() const { return stream_; }
  StepControl& control() { return control_; }
  /// To be called when parameters have been changed other than by a step, or others train.
  void forget_graphs() { graphs_.forget(); }

  /// Side of the inputs of the steps to come.
  void set_size(int size) {
    if (std::exchange(options_.augment.size, size) != size) graphs_.forget();
  }

  /// Queues one step over `accumulate` batches of the feed: images and their labels.
  void run(const optim::HyperParameters& hyper, gpu::BatchFeed& feed) {
    require<ValueError>(unread_ < history_, "classifier step: read() the losses first");
    const gpu::StreamScope on_stream(stream_);
    optimizer_.prepare(arena_, hyper);
    graphs_.run(arena_, feed, [&] { forward_backward(feed); },
                [&] { control_.update(arena_, optimizer_); });
    ++unread_;
  }

  /// What the steps since the last call have left, in order; waits for them.
  /// @throws ValueError  float16: no loss scale gives finite gradients.
  std::vector<ClassifierStepRecord> read() {
    const gpu::StreamScope on_stream(stream_);
    const auto losses = losses_.to(Device::cpu());
    std::vector<ClassifierStepRecord> records;
    for (const StepControl::Row& row : control_.read(unread_)) {
      ClassifierStepRecord record{.gradient_norm = row.gradient_norm,
                                  .loss_scale = row.loss_scale,
                                  .skipped = row.skipped};
      for (int a = 0; a < options_.accumulate; ++a) {
        record.loss += double{losses.data()[losses_read_++ % losses.dim(0)]} / options_.accumulate;
      }
      records.push_back(record);
    }
    unread_ = 0;
    return records;
  }

 private:
  static optim::GradientControlOptions control_options(const ClassifierOptions& options) {
    const auto scale = loss_scale_options(options.precision, options.loss_scale);
    return {.gradient_scale = 1.0 / options.accumulate,
            .max_norm = options.clip_norm,
            .scale_loss = scale.has_value(),
            .scaler = scale.value_or(optim::GradScalerOptions{})};
  }

  void forward_backward(const gpu::BatchFeed& feed) {
    with_precision(options_.precision, [&]<class T>(T) { forward_backward<T>(feed); });
  }
  template <nn::ComputeType T>
  void forward_backward(const gpu::BatchFeed& feed) {
    auto& inputs = std::get<Tensor<T>>(inputs_);
    data::augment<T>(options_.augment, {.seed = options_.seed, .step = feed.step()}, feed.images(),
                     feed.rows(), inputs);
    nn::set_dropout_step(model_, options_.seed, feed.step());
    const auto loss = this->loss<T>(feed, inputs);
    ops::queue_push(loss.value().reshape({1, 1}), losses_cursor_, losses_);
    loss.backward(control_.loss_scale());
  }
  template <nn::ComputeType T>
  Variable<float> loss(const gpu::BatchFeed& feed, const Tensor<T>& inputs) {
    if (options_.mixup == 0) {
      return ops::cross_entropy(logits(inputs), feed.labels(), loss_options_);
    }
    auto& mixed = std::get<data::MixUpBatch<T>>(mixed_);
    data::mix_up(options_.mixup, options_.seed, feed.step(), inputs, feed.labels(), mixed);
    return ops::cross_entropy(logits(mixed.images), feed.labels(), mixed.partner_labels,
                              mixed.lambda, loss_options_);
  }
  template <nn::ComputeType T>
  Variable<T> logits(const Tensor<T>& images) {
    return training_logits(model_, Variable<T>(images), options_.mode);
  }

  ClassifierOptions options_;
  ops::CrossEntropyOptions<float> loss_options_;
  index_t history_;
  models::Classifier& model_;
  optim::ParameterArena& arena_;
  optim::Optimizer& optimizer_;
  gpu::Stream stream_;
  StepControl control_;
  Tensor<float> losses_;  // a ring: a row a batch
  Tensor<std::int64_t> losses_cursor_;
  std::tuple<Tensor<float>, Tensor<half>, Tensor<bfloat16>> inputs_;
  std::tuple<data::MixUpBatch<float>, data::MixUpBatch<half>, data::MixUpBatch<bfloat16>> mixed_;
  StepGraphs graphs_;
  index_t unread_ = 0, losses_read_ = 0;
};

}  // namespace mwalimu::train
