// train/classifier_trainer: supervised training of the encoder and its head.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/loader.hpp"
#include "mwalimu/data/mixup.hpp"
#include "mwalimu/data/sampler.hpp"
#include "mwalimu/eval/metrics.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/optim/early_stopping.hpp"
#include "mwalimu/optim/gradients.hpp"
#include "mwalimu/optim/lr_find.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/optim/schedule.hpp"
#include "mwalimu/train/class_weights.hpp"
#include "mwalimu/train/classifier_options.hpp"
#include "mwalimu/train/device_classifier_step.hpp"
#include "mwalimu/train/freezing.hpp"
#include "mwalimu/train/model_checkpoint.hpp"
#include "mwalimu/train/precision.hpp"
#include "mwalimu/train/predictions.hpp"
#include "mwalimu/train/weight_average.hpp"

namespace mwalimu::train {

/// The images of a run: indices of one data set and its store.
struct ClassifierData {
  const data::Dataset& dataset;
  const data::ImageStore& store;
  std::vector<index_t> train, valid;  ///< valid may be empty: the last epoch is kept then
};

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

/// Parameter groups by depth: the stem, the four stages, the head.
inline constexpr int kDepthGroups = 6;
/// The group of a classifier's parameter, whatever the family of its encoder.
inline int depth_group(std::string_view path) {
  if (path.starts_with("1.")) return kDepthGroups - 1;
  path.remove_prefix(2);  // "0."
  if (path.starts_with("layer")) return path[5] - '0';               // layer1 to layer4
  const bool stage = path[0] >= '4' && path[0] <= '7' && path[1] == '.';  // xresnet: children 4 to 7
  return stage ? path[0] - '3' : 0;
}

/// Trains a classifier and keeps its best epoch.
class ClassifierTrainer {
 public:
  /// @param model  trained in place; must outlive the trainer.
  /// @throws ValueError  an option is out of range, or the batch is larger than the data.
  ClassifierTrainer(models::Classifier& model, ClassifierData data, const ClassifierOptions& options)
      : options_((check(options, static_cast<index_t>(data.train.size())), options)),
        data_(std::move(data)),
        model_(with_mode(model, options)),
        arena_(model, options.device,
               options.device.is_cpu() ? ElementType::float32 : element_type_of(options.precision),
               [&](const std::string& path) { return has_groups(options) ? depth_group(path) : 0; }),
        optimizer_(options.optimizer, arena_),
        sampler_(static_cast<index_t>(data_.train.size()), options.batch, options.seed,
                 {.classes = options.balanced ? labels_of(data_.train) : std::vector<int>()}),
        stopping_(options.patience),
        loss_scale_(loss_scale_options(options.precision, options.loss_scale)) {
    require_channels(model_, data_.store);
    if (has_groups(options)) {
      group_scale_ = optim::geometric_learning_rates(options.encoder_lr_ratio, 1.0, kDepthGroups);
    }
    if (options.ema > 0) {
      average_ = std::make_unique<WeightAverage>(options.ema, arena_, model_);
    }
    train::check(options.class_weights, data_.dataset.classes);
    loss_options_.label_smoothing = options.label_smoothing;
    const auto weights = weights_for(options.class_weights, labels_of(data_.train),
                                     static_cast<index_t>(data_.dataset.classes.size()));
    if (!weights.empty()) {
      loss_options_.class_weight = Tensor<float>::from(
          std::vector<float>(weights.begin(), weights.end()), {std::ssize(weights)});
    }
    nn::name_layers(model_);
    if constexpr (kCuda) {
      if (!options.device.is_cpu()) make_device_step();
    }
  }
  ClassifierTrainer(const ClassifierTrainer&) = delete;
  ClassifierTrainer& operator=(const ClassifierTrainer&) = delete;

  std::int64_t steps_per_epoch() const { return sampler_.steps_per_epoch() / options_.accumulate; }
  std::int64_t steps() const { return steps_per_epoch() * options_.epochs; }
  std::int64_t epoch() const { return epoch_; }
  bool finished() const { return epoch_ >= options_.epochs || stopped_; }
  std::int64_t best_epoch() const { return best_epoch_; }  ///< 0: none yet

  /// Side of the inputs of the epoch that is next, or that is under way.
  int size() const { return options_.sizes.size(epoch_, options_.augment.size); }

  /// Trains one epoch and validates. `on_step(done, steps)` is called after each step.
  EpochRecord run_epoch(const std::function<void(std::int64_t, std::int64_t)>& on_step = {}) {
    const auto started = std::chrono::steady_clock::now();
    EpochRecord record;
    const std::int64_t micro = steps_per_epoch() * options_.accumulate;
    const std::int64_t first = epoch_ * sampler_.steps_per_epoch();
    record.size = size();
    begin_phase();
    on_device(options_.device, [&](auto place) {
      run_steps(place, first, first + micro, record, on_step);
    });
    const std::int64_t phase = options_.sizes.phase(epoch_);
    record.epoch = ++epoch_;
    record.step = step_;
    record.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    record.images_per_second = static_cast<double>(micro * options_.batch) / record.seconds;
    validate(record, phase);
    return record;
  }

  /// The learning-rate range test: a step at each of the finder's rates, from here on, until it has
  /// seen enough. Model, optimiser and trainer stand afterwards as they stood before.
  /// @param on_step  called after each step with the steps done.
  void find_lr(optim::LrFinder& finder, const std::function<void(std::int64_t)>& on_step = {}) {
    begin_phase();
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
          device_->restore_scale(scale);
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
  void load_best() {
    if (!best_.empty()) best_.restore(model_);
  }

  /// All that the next epochs depend on.
  void save(CheckpointWriter& checkpoint) {
    put_model(checkpoint, "model.", model_);
    put_optimizer(checkpoint, optimizer_, arena_);
    checkpoint.put("step", step_);
    checkpoint.put("epoch", epoch_);
    checkpoint.put("best_epoch", best_epoch_);
    checkpoint.put("stopped", std::int64_t{stopped_});
    checkpoint.put("stopping.best", stopping_.state().best);
    checkpoint.put("stopping.bad_epochs", stopping_.state().bad_epochs);
    if (!options_.sizes.before.empty()) {
      checkpoint.put("stopping.regime", stopping_.state().regime);
    }
    best_.put(checkpoint, "best.");
    if (average_ != nullptr) average_->save(checkpoint, arena_, model_);
    loss_scale_.save(checkpoint);
  }
  void restore(const CheckpointReader& checkpoint) {
    get_model(checkpoint, "model.", model_);
    step_ = checkpoint.value<std::int64_t>("step");
    epoch_ = checkpoint.value<std::int64_t>("epoch");
    best_epoch_ = checkpoint.value<std::int64_t>("best_epoch");
    stopped_ = checkpoint.value<std::int64_t>("stopped") != 0;
    stopping_.restore({.best = checkpoint.value<double>("stopping.best"),
                       .regime = options_.sizes.before.empty()
                                     ? 0
                                     : checkpoint.value<index_t>("stopping.regime"),
                       .bad_epochs = checkpoint.value<index_t>("stopping.bad_epochs")});
    if (checkpoint.has("best.parameters.0")) best_.get(checkpoint, "best.", model_);
    if (average_ != nullptr) average_->restore(checkpoint, arena_, model_);
    if (epoch_ > 0) set_phase(frozen_at(epoch_ - 1));
    get_optimizer(checkpoint, optimizer_, arena_);
    loss_scale_.restore(checkpoint);
    if constexpr (kCuda) {
      if (device_ != nullptr) device_->restore_scale(loss_scale_.state());
      device_feed_ = nullptr;  // it begins at another step
    }
  }

 private:
  struct Batch {
    Tensor<float> images;
    Tensor<std::int64_t> labels;  ///< (B)
    data::MixUpBatch<float> mixed;  ///< with MixUp
  };
  static bool has_groups(const ClassifierOptions& options) {
    return options.mode == FinetuneMode::discriminative ||
           std::holds_alternative<optim::FineTune>(options.schedule);
  }
  static models::Classifier& with_mode(models::Classifier& model, const ClassifierOptions& options) {
    nn::set_trainable(model.encoder, options.mode != FinetuneMode::mlp);
    nn::set_trainable(model.head, true);
    return model;
  }

  // optim::FineTune's two phases. The optimiser begins each anew.
  bool frozen_at(std::int64_t epoch) const {
    const auto* schedule = std::get_if<optim::FineTune>(&options_.schedule);
    return schedule != nullptr &&
           static_cast<double>(epoch) / options_.epochs < schedule->frozen;
  }
  void begin_phase() {
    const bool frozen = frozen_at(epoch_);
    if (frozen == frozen_) return;
    set_phase(frozen);
    if constexpr (kCuda) {
      if (device_ != nullptr) device_->forget_graphs();
    }
  }
  void set_phase(bool frozen) {
    if (frozen == frozen_) return;
    frozen_ = frozen;
    if (frozen) {
      freeze_to(model_, depth_group, kDepthGroups - 1, optimizer_);
      group_scale_ = optim::tenth_learning_rates(1.0, kDepthGroups);
    } else {
      unfreeze(model_, optimizer_);
      group_scale_ = optim::geometric_learning_rates(options_.encoder_lr_ratio, 1.0, kDepthGroups);
    }
  }

  std::vector<int> labels_of(const std::vector<index_t>& rows) const {
    std::vector<int> labels;
    for (const index_t i : rows) {
      labels.push_back(data_.dataset[i].label);
      require<ValueError>(labels.back() >= 0, "finetune: no label for ", data_.dataset[i].id);
    }
    return labels;
  }

  void make_batch(std::int64_t step, Batch& batch) {
    const auto rows = sampler_.indices(step);
    const int size = options_.sizes.size(step / sampler_.steps_per_epoch(), options_.augment.size);
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
          data::draw_augment(options_.augment, options_.seed, static_cast<std::uint64_t>(step), r,
                             data_.store.height(), data_.store.width());
      data_.store.visit(image, [&](const auto& pixels) {
        data::apply_augment(pixels, parameters, size, options_.augment.normalisation,
                            batch.images.data() + static_cast<index_t>(r) * values, scratch);
      });
      batch.labels.span()[r] = data_.dataset[image].label;
    }
    if (options_.mixup > 0) {
      data::mix_up(options_.mixup, options_.seed, static_cast<double>(step), batch.images,
                   batch.labels, batch.mixed);
    }
  }

  // In mlp mode the encoder is a fixed function. T: the type that the model computes in.
  template <nn::ComputeType T>
  Variable<T> forward(const Tensor<float>& images) {
    const auto input = ops::cast<T>(Variable<float>(images));
    nn::set_training(model_, true);
    if (options_.mode != FinetuneMode::mlp) return model_(input);
    nn::set_training(model_.encoder, false);
    Variable<T> features;
    {
      const NoGrad no_grad;
      features = model_.encoder(input);
    }
    return model_.head(features);
  }
  // Adds the batch's gradients; returns its loss.
  template <nn::ComputeType T>
  double forward_backward(const Batch& batch) {
    const auto& mixed = batch.mixed;
    const auto loss =
        options_.mixup > 0
            ? ops::cross_entropy(forward<T>(mixed.images), batch.labels, mixed.partner_labels,
                                 mixed.lambda, loss_options_)
            : ops::cross_entropy(forward<T>(batch.images), batch.labels, loss_options_);
    loss.backward(Tensor<float>::full({}, static_cast<float>(loss_scale_.value()),
                                      loss.value().device()));
    return loss.value().item();
  }

  using OnStep = std::function<void(std::int64_t, std::int64_t)>;

  void run_steps(Cpu, std::int64_t first, std::int64_t last, EpochRecord& record,
                 const OnStep& on_step) {
    data::Prefetcher<Batch> loader(
        first, last, [this](std::int64_t step, Batch& batch) { make_batch(step, batch); },
        {.workers = options_.workers});
    for (std::int64_t s = 0; s < steps_per_epoch(); ++s) {
      const ClassifierStepRecord done = step(loader, begin_step(record));
      take_in(done, step_ - 1, record);
      if (average_ != nullptr) average_->update(arena_, model_);
      if (on_step) on_step(step_, steps());
    }
  }
  // Inputs are made on the device, and losses are read when the epoch is over.
  template <class Place>
  void run_steps(Place, std::int64_t first, std::int64_t last, EpochRecord& record,
                 const OnStep& on_step) {
    synchronize(options_.device);  // the steps have a stream of their own
    const gpu::StreamScope on_stream(device_->stream());
    // One feed for the whole run: the step's graph holds its addresses.
    if (device_feed_ == nullptr) {
      device_feed_ = make_feed(first, options_.epochs * sampler_.steps_per_epoch());
    }
    device_->set_size(record.size);
    const std::int64_t before = step_;
    for (std::int64_t s = 0; s < steps_per_epoch(); ++s) {
      const auto now = begin_step(record);
      device_->run({.lr = now.lr, .group_scale = group_scale_, .momentum = now.momentum},
                   *device_feed_);
      if (average_ != nullptr) average_->update(arena_, model_);
      ++step_;
      if (on_step) on_step(step_, steps());
    }
    // The rest of an epoch that makes no step is left out, as on the cpu.
    for (std::int64_t b = last; b < first + sampler_.steps_per_epoch(); ++b) {
      (void)device_feed_->next();
    }
    std::int64_t at = before;
    for (const ClassifierStepRecord& done : device_->read()) take_in(done, at++, record);
    const auto scale = device_->control().read();
    loss_scale_.restore({.scale = scale.scale,
                         .good_steps = static_cast<index_t>(scale.good_steps),
                         .skipped_steps = static_cast<index_t>(scale.skipped_steps)});
  }
  std::shared_ptr<gpu::BatchFeed> make_feed(std::int64_t first, std::int64_t last) {
    return std::make_shared<gpu::BatchFeed>(
        *device_store_, options_.batch, first, last,
        [this](std::int64_t step, gpu::BatchRequest& want) {
          for (const index_t row : sampler_.indices(step)) {
            const index_t image = data_.train[static_cast<std::size_t>(row)];
            want.images.push_back(image);
            want.labels.push_back(data_.dataset[image].label);
          }
        },
        data::PrefetcherOptions{.workers = std::max(options_.workers, 1)});
  }

  // Batches of the epoch that is next; a sweep longer than it goes on into the ones after it.
  std::int64_t first_batch() const { return epoch_ * sampler_.steps_per_epoch(); }
  void sweep(Cpu, optim::LrFinder& finder, const std::function<void(std::int64_t)>& on_step) {
    data::Prefetcher<Batch> loader(
        first_batch(), first_batch() + std::int64_t{finder.options().steps} * options_.accumulate,
        [this](std::int64_t step, Batch& batch) { make_batch(step, batch); },
        {.workers = options_.workers});
    while (!finder.finished()) {
      observe(finder, step(loader, {.lr = finder.rate()}), on_step);
    }
  }
  template <class Place>
  void sweep(Place, optim::LrFinder& finder, const std::function<void(std::int64_t)>& on_step) {
    synchronize(options_.device);
    const gpu::StreamScope on_stream(device_->stream());
    const auto feed =
        make_feed(first_batch(),
                  first_batch() + std::int64_t{finder.options().steps} * options_.accumulate);
    device_->set_size(size());
    while (!finder.finished()) {
      device_->run({.lr = finder.rate(), .group_scale = group_scale_}, *feed);
      ++step_;
      observe(finder, device_->read().back(), on_step);
    }
  }
  // Gradients that are not finite end the test as a loss does: no later step would change anything.
  void observe(optim::LrFinder& finder, const ClassifierStepRecord& done,
               const std::function<void(std::int64_t)>& on_step) const {
    const bool usable = std::isfinite(done.gradient_norm) || loss_scale_.is_dynamic();
    finder.observe(usable ? done.loss : std::nan(""));
    if (on_step) on_step(static_cast<std::int64_t>(finder.losses().size()));
  }

  void make_device_step() {
    device_store_ = std::make_shared<gpu::DeviceStore>(data_.store, options_.device,
                                                       options_.store);
    device_ = std::make_shared<DeviceClassifierStep<>>(
        model_, arena_, optimizer_,
        DeviceClassifierStepOptions{
            .augment = options_.augment,
            .loss = loss_options_,
            .mixup = options_.mixup,
            .clip_norm = options_.clip_norm,
            .frozen_encoder = options_.mode == FinetuneMode::mlp,
            .accumulate = options_.accumulate,
            .precision = options_.precision,
            .loss_scale = loss_scale_options(options_.precision, options_.loss_scale),
            .seed = options_.seed,
            .graph = options_.graph,
            .history = steps_per_epoch()});
  }

  optim::SchedulePoint begin_step(EpochRecord& record) const {
    const auto now = optim::at(options_.schedule,
                               static_cast<double>(step_) / static_cast<double>(steps()));
    record.lr = now.lr;
    record.momentum = now.momentum.value_or(std::visit(
        [](const auto& chosen) { return chosen.momentum; }, options_.optimizer));
    return now;
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

  // Skipped where loss or gradients are not finite.
  ClassifierStepRecord step(data::Prefetcher<Batch>& loader, const optim::SchedulePoint& now) {
    ClassifierStepRecord done;
    arena_.zero_gradients();
    done.loss_scale = loss_scale_.value();
    const double share = 1.0 / options_.accumulate, gradient_scale = share / done.loss_scale;
    for (int a = 0; a < options_.accumulate; ++a) {
      const Batch& batch = *loader.next();
      nn::set_dropout_step(model_, options_.seed,
                           static_cast<std::uint64_t>(step_ * options_.accumulate + a));
      done.loss += share * with_precision(options_.precision, [&]<class T>(T) {
        return forward_backward<T>(batch);
      });
    }
    done.gradient_norm = gradient_scale * optim::gradient_norm(arena_.gradients());
    const bool finite = std::isfinite(done.loss) && std::isfinite(done.gradient_norm);
    const double clip = options_.clip_norm > 0
                            ? optim::clip_coefficient(done.gradient_norm, options_.clip_norm)
                            : 1.0;
    done.skipped = loss_scale_.is_dynamic() ? !loss_scale_.update(finite) : !finite;
    if (!done.skipped) {
      optimizer_.step(arena_.values(), arena_.gradients(), arena_.segments(),
                      {.lr = now.lr, .group_scale = group_scale_, .momentum = now.momentum,
                       .gradient_scale = gradient_scale * clip});
    }
    ++step_;
    return done;
  }

  // Losses at different sizes are not compared, and no phase but the last one can end the run.
  void validate(EpochRecord& record, std::int64_t phase) {
    if (average_ == nullptr) return validate_model(record, phase);
    average_->swap(arena_, model_);
    validate_model(record, phase);
    average_->swap(arena_, model_);
  }
  void validate_model(EpochRecord& record, std::int64_t phase) {
    if (data_.valid.empty()) {
      record.improved = true;
      best_epoch_ = epoch_;
      if (average_ != nullptr) best_.take(model_);  // what trains on is another one
      return;
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
    const auto verdict = stopping_.observe(record.valid_loss, phase);
    record.improved = verdict.improved;
    stopped_ = verdict.stop && phase == std::ssize(options_.sizes.before);
    if (verdict.improved) {
      best_.take(model_);
      best_epoch_ = epoch_;
    }
  }

  ClassifierOptions options_;
  ClassifierData data_;
  models::Classifier& model_;
  optim::ParameterArena arena_;
  optim::Optimizer optimizer_;
  data::BatchSampler sampler_;
  optim::EarlyStopping stopping_;
  std::vector<double> group_scale_;
  ops::CrossEntropyOptions<float> loss_options_;  // class weights on the host
  LossScale loss_scale_;
  ModelSnapshot best_;
  std::int64_t step_ = 0, epoch_ = 0, best_epoch_ = 0;
  bool stopped_ = false;
  bool frozen_ = false;                      // the encoder, by optim::FineTune
  std::unique_ptr<WeightAverage> average_;  // null without ema
  std::shared_ptr<gpu::DeviceStore> device_store_;  // null on the cpu, as the next
  std::shared_ptr<DeviceClassifierStep<>> device_;
  std::shared_ptr<gpu::BatchFeed> device_feed_;
};

}  // namespace mwalimu::train
