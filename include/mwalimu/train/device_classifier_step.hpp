// train/device_classifier_step: the classifier's training step on a CUDA device, as one graph.
//
// As train/device_swav_step: the host writes the step's numbers and the batch's rows and launches;
// inputs, forward, loss, backward and optimiser run without it, and losses are read once an epoch.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "mwalimu/core/profile.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/mixup.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "mwalimu/gpu/graph.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/ops/queue.hpp"
#include "mwalimu/optim/gradient_control.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/train/precision.hpp"

namespace mwalimu::train {

struct DeviceClassifierStepOptions {
  data::AugmentOptions augment;
  ops::CrossEntropyOptions<float> loss;  ///< class weights on any device
  double mixup = 0;            ///< alpha; 0: no MixUp
  double clip_norm = 0;        ///< 0: never
  bool frozen_encoder = false;  ///< the encoder is a fixed function in evaluation mode
  int accumulate = 1;
  Precision precision = Precision::float32;
  std::optional<optim::GradScalerOptions> loss_scale;
  std::uint64_t seed = 0;
  bool graph = true;
  index_t history = 1;  ///< steps between two calls of read(), at most
};

/// What one step of the classifier's training showed.
struct ClassifierStepRecord {
  double loss = 0, gradient_norm = 0;
  double loss_scale = 1;  ///< that the gradients were computed with
  bool skipped = false;   ///< the gradients were not finite: no parameter has changed
};

/// Runs steps over a model, its arena and its optimiser, which lie on one device. A template only so
/// that a build without CUDA compiles none of it.
template <class Place = Gpu>
class DeviceClassifierStep {
 public:
  /// All three must outlive this.
  DeviceClassifierStep(models::Classifier& model, optim::ParameterArena& arena,
                       optim::Optimizer& optimizer, const DeviceClassifierStepOptions& options)
      : options_(options),
        model_(model),
        arena_(arena),
        optimizer_(optimizer),
        stream_(arena.device().index),
        control_(arena.device(),
                 {.gradient_scale = 1.0 / options.accumulate,
                  .max_norm = options.clip_norm,
                  .scale_loss = options.loss_scale.has_value(),
                  .scaler = options.loss_scale.value_or(optim::GradScalerOptions{})}),
        losses_(Tensor<float>::zeros({options.history * options.accumulate, 1}, arena.device())),
        controls_(Tensor<float>::zeros(
            {options.history, optim::GradientControlState::kCount}, arena.device())),
        losses_cursor_(Tensor<std::int64_t>::zeros({}, arena.device())),
        controls_cursor_(Tensor<std::int64_t>::zeros({}, arena.device())),
        micro_step_(stream_),
        update_(stream_),
        whole_(stream_) {
    scale_before_ = control_.read().scale;
    if (options_.loss.class_weight) {
      options_.loss.class_weight = options_.loss.class_weight->to(arena.device());
    }
  }

  const gpu::Stream& stream() const { return stream_; }

  /// Side of the inputs of the steps to come.
  void set_size(int size) {
    if (std::exchange(options_.augment.size, size) != size) forget_graphs();
  }

  /// Queues one step over `accumulate` batches of the feed: images and their labels.
  void run(const optim::HyperParameters& hyper, gpu::BatchFeed& feed) {
    require<ValueError>(unread_ < options_.history, "classifier step: read() the losses first");
    const gpu::StreamScope on_stream(stream_);
    const std::array<const void*, 2> addresses{feed.rows().data(), feed.images().data()};
    if (std::exchange(addresses_, addresses) != addresses) forget_graphs();  // of another feed
    optimizer_.prepare(arena_, hyper);
    if (options_.accumulate == 1) {
      next(feed);
      launch(whole_, 0, [&] {
        arena_.zero_gradients();
        forward_backward(feed);
        update();
      });
    } else {
      arena_.zero_gradients();
      for (int a = 0; a < options_.accumulate; ++a) {
        next(feed);
        launch(micro_step_, 1, [&] { forward_backward(feed); });
      }
      launch(update_, 2, [&] { update(); });
    }
    ++unread_;
  }

  /// What the steps since the last call have left, in order; waits for them.
  /// @throws ValueError  float16: no loss scale gives finite gradients.
  std::vector<ClassifierStepRecord> read() {
    const gpu::StreamScope on_stream(stream_);
    const auto losses = losses_.to(Device::cpu());
    const auto controls = controls_.to(Device::cpu());
    if (unread_ > 0) (void)control_.read();
    std::vector<ClassifierStepRecord> rows;
    for (; unread_ > 0; --unread_) {
      ClassifierStepRecord row;
      for (int a = 0; a < options_.accumulate; ++a) {
        row.loss += double{losses.data()[losses_read_++ % losses.dim(0)]} / options_.accumulate;
      }
      const index_t at = controls_read_++ % controls.dim(0);
      const auto control = [&](index_t field) { return double{controls.view<2>()(at, field)}; };
      row.gradient_norm = control(kNorm);
      row.skipped = control(kTake) == 0;
      row.loss_scale = std::exchange(scale_before_, control(kScale));
      rows.push_back(row);
    }
    return rows;
  }

  const optim::GradientControl& control() const { return control_; }
  /// Goes on with a loss scale and its counters; see optim::GradScaler.
  void restore_scale(const optim::GradScaler::State& scale) {
    optim::GradientControlState state = control_.read();
    state.scale = scale_before_ = scale.scale;
    state.good_steps = static_cast<double>(scale.good_steps);
    state.skipped_steps = static_cast<double>(scale.skipped_steps);
    control_.restore(state);
  }

  /// To be called when parameters have been changed other than by a step: a graph would go on from
  /// the 16-bit copy of the old ones.
  void forget_graphs() {
    for (gpu::Graph* graph : {&whole_, &micro_step_, &update_}) graph->reset();
    warm_ = {};
  }

 private:
  // Fields of GradientControlState, in doubles.
  enum : index_t { kNorm = 0, kTake = 2, kScale = 3 };

  static void next(gpu::BatchFeed& feed) {
    require<ValueError>(feed.next(), "classifier step: the feed has no more batches");
  }
  // The first call runs f itself, in the graph's memory; the second records it.
  template <class F>
  void launch(gpu::Graph& graph, std::size_t which, F&& f) {
    const bool warm = std::exchange(warm_[which], true);
    if (!options_.graph || !warm || Profiler::active()) return graph.run(f);
    if (!graph.recorded()) graph.record(f);
    graph.launch();
  }

  void forward_backward(const gpu::BatchFeed& feed) {
    with_precision(options_.precision, [&]<class T>(T) { forward_backward<T>(feed); });
  }
  template <nn::ComputeType T>
  void forward_backward(const gpu::BatchFeed& feed) {
    auto& inputs = std::get<Tensor<T>>(inputs_);
    data::augment<T>(options_.augment, {.seed = options_.seed, .step = feed.step()}, feed.images(),
                     feed.rows(), inputs);
    nn::set_training(model_, true);
    nn::set_dropout_step(model_, options_.seed, feed.step());
    const auto loss = this->loss<T>(feed, inputs);
    ops::queue_push(loss.value().reshape({1, 1}), losses_cursor_, losses_);
    loss.backward(control_.loss_scale());
  }
  template <nn::ComputeType T>
  Variable<float> loss(const gpu::BatchFeed& feed, const Tensor<T>& inputs) {
    if (options_.mixup == 0) {
      return ops::cross_entropy(forward(Variable<T>(inputs)), feed.labels(), options_.loss);
    }
    auto& mixed = std::get<data::MixUpBatch<T>>(mixed_);
    data::mix_up(options_.mixup, options_.seed, feed.step(), inputs, feed.labels(), mixed);
    return ops::cross_entropy(forward(Variable<T>(mixed.images)), feed.labels(),
                              mixed.partner_labels, mixed.lambda, options_.loss);
  }
  template <nn::ComputeType T>
  Variable<T> forward(const Variable<T>& images) {
    if (!options_.frozen_encoder) return model_(images);
    nn::set_training(model_.encoder, false);
    Variable<T> features;
    {
      const NoGrad no_grad;
      features = model_.encoder(images);
    }
    return model_.head(features);
  }
  void update() {
    control_.measure(arena_.gradient_buffer());
    optimizer_.run(arena_, &control_);
    ops::queue_push(control_.state().reshape({1, optim::GradientControlState::kCount}),
                    controls_cursor_, controls_);
  }

  DeviceClassifierStepOptions options_;
  models::Classifier& model_;
  optim::ParameterArena& arena_;
  optim::Optimizer& optimizer_;
  gpu::Stream stream_;
  optim::GradientControl control_;
  Tensor<float> losses_, controls_;  // rings: a row a batch, a row a step
  Tensor<std::int64_t> losses_cursor_, controls_cursor_;
  std::tuple<Tensor<float>, Tensor<half>, Tensor<bfloat16>> inputs_;
  std::tuple<data::MixUpBatch<float>, data::MixUpBatch<half>, data::MixUpBatch<bfloat16>> mixed_;
  gpu::Graph micro_step_, update_, whole_;
  std::array<bool, 3> warm_{};
  std::array<const void*, 2> addresses_{};  // of the last step's batch
  index_t unread_ = 0, losses_read_ = 0, controls_read_ = 0;
  double scale_before_ = 1;
};

}  // namespace mwalimu::train
