// train/classifier_trainer: supervised training of the encoder and its head.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/eval/metrics.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/nn/layers.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/optim/lr_find.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/optim/schedule.hpp"
#include "mwalimu/train/best_epoch.hpp"
#include "mwalimu/train/classifier_batches.hpp"
#include "mwalimu/train/classifier_options.hpp"
#include "mwalimu/train/classifier_step.hpp"
#include "mwalimu/train/device_classifier_step.hpp"
#include "mwalimu/train/features.hpp"
#include "mwalimu/train/layer_schedule.hpp"
#include "mwalimu/train/model_checkpoint.hpp"
#include "mwalimu/train/precision.hpp"
#include "mwalimu/train/predictions.hpp"
#include "mwalimu/train/weight_average.hpp"

namespace mwalimu::train {

/// One epoch, as it is logged.
struct EpochRecord {
  std::int64_t epoch = 0, step = 0;  ///< epochs and steps done
  double train_loss = 0;             ///< mean over the epoch
  double valid_loss = std::numeric_limits<double>::quiet_NaN();  ///< with label smoothing
  std::optional<eval::Evaluation> valid;
  double lr = 0, momentum = 0, gradient_norm = 0;  ///< of the last step
  double loss_scale = 1;           ///< the same
  std::int64_t skipped_steps = 0;  ///< gradients overflowed: no parameter has changed
  double images_per_second = 0, seconds = 0;
  int size = 0;           ///< side of its inputs, in training and in validation
  bool improved = false;  ///< the best validation loss up to now: this model is kept
};

/// Trains a classifier and keeps its best epoch.
class ClassifierTrainer {
 public:
  /// Called after each step with the steps done, and with those of the whole run.
  using OnStep = std::function<void(std::int64_t done, std::int64_t steps)>;
  using OnSweepStep = std::function<void(std::int64_t done)>;

  /// @param model  trained in place; must outlive the trainer.
  /// @throws ValueError  an option is out of range, or the batch is larger than the data.
  ClassifierTrainer(models::Classifier& model, ClassifierData data,
                    const ClassifierOptions& options)
      : options_((check(options, static_cast<index_t>(data.train.size())), options)),
        data_(std::move(data)),
        model_(model),
        layers_(model, options_),
        arena_(model, options.device,
               options.device.is_cpu() ? ElementType::float32 : element_type_of(options.precision),
               layers_.group_of()),
        optimizer_(options.optimizer, arena_),
        batches_(options_, data_),
        loss_options_((require_channels(model, data_.store), loss_options(options_, data_))),
        loss_scale_(loss_scale_options(options.precision, options.loss_scale)),
        host_step_(model, arena_, optimizer_, loss_scale_, options_, loss_options_),
        best_(options.patience, std::ssize(options.sizes.before) + 1) {
    if (options.ema > 0) {
      average_ = std::make_unique<WeightAverage>(options.ema, arena_, model_);
    }
    nn::name_layers(model_);
    if constexpr (kCuda) {
      if (!options.device.is_cpu()) make_device_step();
    }
  }
  ClassifierTrainer(const ClassifierTrainer&) = delete;
  ClassifierTrainer& operator=(const ClassifierTrainer&) = delete;

  std::int64_t steps_per_epoch() const { return batches_.per_epoch() / options_.accumulate; }
  std::int64_t steps() const { return steps_per_epoch() * options_.epochs; }
  std::int64_t epoch() const { return epoch_; }
  bool finished() const { return epoch_ >= options_.epochs || best_.stopped(); }
  std::int64_t best_epoch() const { return best_.epoch(); }  ///< 0: none yet

  /// Side of the inputs of the epoch that is next, or that is under way.
  int size() const { return options_.sizes.size(epoch_, options_.augment.size); }

  /// Trains one epoch and validates.
  EpochRecord run_epoch(const OnStep& on_step = {}) {
    const auto started = std::chrono::steady_clock::now();
    EpochRecord record;
    record.size = size();
    enter_phase();
    on_device(options_.device, [&](auto place) { run_steps(place, record, on_step); });
    const std::int64_t phase = options_.sizes.phase(epoch_);
    record.epoch = ++epoch_;
    record.step = step_;
    record.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    record.images_per_second =
        static_cast<double>(batches_used() * options_.batch) / record.seconds;
    validate(record, phase);
    return record;
  }

  /// The learning-rate range test: a step at each of the finder's rates, from here on, until it has
  /// seen enough. Model, optimiser and trainer stand afterwards as they stood before.
  void find_lr(optim::LrFinder& finder, const OnSweepStep& on_step = {}) {
    enter_phase();
    ModelSnapshot model;
    OptimizerSnapshot optimizer;
    model.take(model_);
    optimizer.take(optimizer_);
    const auto scale = loss_scale_.state();
    const std::int64_t step = step_;
    const auto put_back = [&] {
      model.restore(model_);
      optimizer.restore(optimizer_);
      loss_scale_.restore(scale);
      step_ = step;
      if constexpr (kCuda) {
        if (device_ != nullptr) {
          device_->control().restore(scale);
          device_->forget_graphs();
          synchronize(options_.device);  // what was put back lies there before a step begins
        }
        device_feed_ = nullptr;  // the next one begins where this was
      }
    };
    try {
      on_device(options_.device, [&](auto place) { sweep(place, finder, on_step); });
    } catch (...) {
      put_back();
      throw;
    }
    put_back();
  }

  /// Puts the best epoch's weights and statistics back into the model.
  void load_best() { best_.load(model_); }

  /// All that the next epochs depend on.
  void save(CheckpointWriter& checkpoint) {
    put_model(checkpoint, "model.", model_);
    put_optimizer(checkpoint, optimizer_, arena_);
    checkpoint.put("step", step_);
    checkpoint.put("epoch", epoch_);
    best_.save(checkpoint);
    if (average_ != nullptr) average_->save(checkpoint, arena_, model_);
    loss_scale_.save(checkpoint);
  }
  void restore(const CheckpointReader& checkpoint) {
    get_model(checkpoint, "model.", model_);
    step_ = checkpoint.value<std::int64_t>("step");
    epoch_ = checkpoint.value<std::int64_t>("epoch");
    best_.restore(checkpoint, model_);
    if (average_ != nullptr) average_->restore(checkpoint, arena_, model_);
    if (epoch_ > 0) (void)layers_.enter(epoch_ - 1, optimizer_);
    get_optimizer(checkpoint, optimizer_, arena_);
    loss_scale_.restore(checkpoint);
    if constexpr (kCuda) {
      if (device_ != nullptr) device_->control().restore(loss_scale_.state());
      device_feed_ = nullptr;  // it begins at another step
    }
  }

 private:
  void enter_phase() {
    const bool changed = layers_.enter(epoch_, optimizer_);
    if constexpr (kCuda) {
      if (changed && device_ != nullptr) device_->forget_graphs();
    }
  }
  // Of an epoch's batches the last few may make no step.
  std::int64_t batches_used() const { return steps_per_epoch() * options_.accumulate; }

  void run_steps(Cpu, EpochRecord& record, const OnStep& on_step) {
    const std::int64_t first = batches_.first_of(epoch_);
    auto loader = batches_.loader(first, first + batches_used());
    for (std::int64_t s = 0; s < steps_per_epoch(); ++s) {
      const ClassifierStepRecord done = host_step_.run(step_, begin_step(record), loader);
      take_in(done, step_++, record);
      if (average_ != nullptr) average_->update(arena_, model_);
      if (on_step) on_step(step_, steps());
    }
  }
  // Inputs are made on the device, and losses are read when the epoch is over.
  template <class Place>
  void run_steps(Place, EpochRecord& record, const OnStep& on_step) {
    synchronize(options_.device);  // the steps have a stream of their own
    const gpu::StreamScope on_stream(device_->stream());
    // One feed for the whole run: the step's graph holds its addresses.
    if (device_feed_ == nullptr) {
      device_feed_ = batches_.feed(*device_store_, batches_.first_of(epoch_),
                                   batches_.first_of(options_.epochs));
    }
    device_->set_size(record.size);
    std::int64_t at = step_;
    for (std::int64_t s = 0; s < steps_per_epoch(); ++s) {
      device_->run(begin_step(record), *device_feed_);
      if (average_ != nullptr) average_->update(arena_, model_);
      ++step_;
      if (on_step) on_step(step_, steps());
    }
    // The rest of an epoch that makes no step is left out, as on the cpu.
    for (std::int64_t b = batches_used(); b < batches_.per_epoch(); ++b) {
      (void)device_feed_->next();
    }
    for (const ClassifierStepRecord& done : device_->read()) take_in(done, at++, record);
    loss_scale_.restore(device_->control().scale());
  }

  // Batches of the epoch that is next; a sweep longer than it goes on into the ones after it.
  std::int64_t end_of(const optim::LrFinder& finder) const {
    return batches_.first_of(epoch_) + std::int64_t{finder.options().steps} * options_.accumulate;
  }
  void sweep(Cpu, optim::LrFinder& finder, const OnSweepStep& on_step) {
    auto loader = batches_.loader(batches_.first_of(epoch_), end_of(finder));
    while (!finder.finished()) {
      observe(finder, host_step_.run(step_++, hyper({.lr = finder.rate()}), loader), on_step);
    }
  }
  template <class Place>
  void sweep(Place, optim::LrFinder& finder, const OnSweepStep& on_step) {
    synchronize(options_.device);
    const gpu::StreamScope on_stream(device_->stream());
    const auto feed = batches_.feed(*device_store_, batches_.first_of(epoch_), end_of(finder));
    device_->set_size(size());
    while (!finder.finished()) {
      device_->run(hyper({.lr = finder.rate()}), *feed);
      ++step_;
      observe(finder, device_->read().back(), on_step);
    }
  }
  // Gradients that are not finite end the test as a loss does: no later step would change anything.
  void observe(optim::LrFinder& finder, const ClassifierStepRecord& done,
               const OnSweepStep& on_step) const {
    const bool usable = std::isfinite(done.gradient_norm) || loss_scale_.is_dynamic();
    finder.observe(usable ? done.loss : std::nan(""));
    if (on_step) on_step(static_cast<std::int64_t>(finder.losses().size()));
  }

  void make_device_step() {
    device_store_ = std::make_shared<gpu::DeviceStore>(data_.store, options_.device,
                                                       options_.store);
    device_ = std::make_shared<DeviceClassifierStep<>>(model_, arena_, optimizer_, options_,
                                                       loss_options_, steps_per_epoch());
  }

  optim::HyperParameters hyper(const optim::SchedulePoint& now) const {
    return {.lr = now.lr, .group_scale = layers_.group_scale(), .momentum = now.momentum};
  }
  optim::HyperParameters begin_step(EpochRecord& record) const {
    const auto now = optim::at(options_.schedule,
                               static_cast<double>(step_) / static_cast<double>(steps()));
    record.lr = now.lr;
    record.momentum = now.momentum.value_or(optim::momentum_of(options_.optimizer));
    return hyper(now);
  }
  // With a dynamic loss scale a step may overflow: then it was skipped.
  void take_in(const ClassifierStepRecord& done, std::int64_t step, EpochRecord& record) const {
    record.train_loss += done.loss / static_cast<double>(steps_per_epoch());
    record.gradient_norm = done.gradient_norm;
    record.loss_scale = done.loss_scale;
    record.skipped_steps += done.skipped;
    require<Error>((std::isfinite(done.loss) && std::isfinite(done.gradient_norm)) ||
                       loss_scale_.is_dynamic(),
                   "step ", step, ": the loss (", done.loss, ") or its gradient (",
                   done.gradient_norm, ") is not a finite number; lower --lr");
  }

  void validate(EpochRecord& record, std::int64_t phase) {
    if (average_ == nullptr) return validate_model(record, phase);
    average_->swap(arena_, model_);
    validate_model(record, phase);
    average_->swap(arena_, model_);
  }
  void validate_model(EpochRecord& record, std::int64_t phase) {
    if (data_.valid.empty()) {
      record.improved = true;
      // With an average it is another model that trains on.
      return average_ == nullptr ? best_.keep(epoch_) : best_.keep(epoch_, model_);
    }
    data::AugmentOptions augment = options_.augment;
    augment.size = record.size;
    const auto predictions =
        predict(model_, data_.store, data_.valid, augment, 0, 0, options_.precision);
    record.valid = evaluate(predictions, data_.dataset, data_.valid);
    auto labels = Tensor<std::int64_t>::empty({static_cast<index_t>(data_.valid.size())});
    for (std::size_t r = 0; r < data_.valid.size(); ++r) {
      labels.span()[r] = data_.dataset[data_.valid[r]].label;
    }
    const NoGrad no_grad;
    record.valid_loss =
        ops::cross_entropy(Variable<float>(predictions.logits), labels, loss_options_)
            .value()
            .item();
    record.improved = best_.observe(record.valid_loss, epoch_, phase, model_);
  }

  ClassifierOptions options_;
  ClassifierData data_;
  models::Classifier& model_;
  LayerSchedule layers_;
  optim::ParameterArena arena_;
  optim::Optimizer optimizer_;
  ClassifierBatches batches_;
  ops::CrossEntropyOptions<float> loss_options_;  // class weights on the host
  LossScale loss_scale_;
  ClassifierStep host_step_;
  BestEpoch best_;
  std::int64_t step_ = 0, epoch_ = 0;
  std::unique_ptr<WeightAverage> average_;          // null without ema
  std::shared_ptr<gpu::DeviceStore> device_store_;  // null on the cpu, as the next
  std::shared_ptr<DeviceClassifierStep<>> device_;
  std::shared_ptr<gpu::BatchFeed> device_feed_;
};

}  // namespace mwalimu::train
