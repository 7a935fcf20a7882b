// examples/common/finetuning: the options that finetune and distil share.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>

#include "common/training.hpp"
#include "mwalimu/models/load_encoder.hpp"
#include "mwalimu/train/finetune.hpp"

namespace mwalimu::programs {

struct FinetuningOptions {
  TrainingOptions training{.optimizer = "lamb", .schedule = "one-cycle", .lr = 1e-3,
                           .weight_decay = 1e-2, .epochs = 30, .batch = 32};
  std::string mode = "full";
  std::string class_weights = "none", balanced = "off", sizes;
  int size = 128, tta = 0, freeze_epochs = 1;
  double valid = 0.2;
  index_t labels_per_class = 0;
  train::FinetuneOptions finetune;

  optim::Schedule make_schedule() const {
    if (training.schedule != "fine-tune") return training.make_schedule();
    require<ValueError>(freeze_epochs >= 0 && freeze_epochs < training.epochs,
                        "--freeze-epochs: want at least 0 and fewer than --epochs (",
                        training.epochs, "), got ", freeze_epochs);
    const optim::FineTune schedule{
        .lr = training.lr,
        .frozen = static_cast<double>(freeze_epochs) / static_cast<double>(training.epochs)};
    schedule.check();
    return schedule;
  }
  /// Side of the images to store: the largest that training asks for.
  int store_size() const {
    int largest = size;
    for (const auto& phase : finetune.classifier.sizes.before) {
      largest = std::max(largest, phase.size);
    }
    return largest;
  }
};

/// Those that one step depends on, beside add_step_options.
inline void add_classifier_options(CLI::App& app, FinetuningOptions& o) {
  auto& classifier = o.finetune.classifier;
  app.add_option("--mode", o.mode,
                 "full: all weights; mlp: the head alone; discriminative: all, the stem the slowest")
      ->check(CLI::IsMember({"full", "mlp", "discriminative"}));
  app.add_option("--encoder-lr-ratio", classifier.encoder_lr_ratio,
                 "the stem's learning rate over the head's, in discriminative mode and with "
                 "--schedule fine-tune");
  app.add_option("--valid", o.valid,
                 "share of the training plants that choose the best epoch; 0: keep the last epoch");
  app.add_option("--labels-per-class", o.labels_per_class,
                 "train on so many random plants of each class; 0: on all");
  app.add_option("--label-smoothing", classifier.label_smoothing, "from 0, below 1");
  app.add_option("--mixup", classifier.mixup,
                 "MixUp with shares from Beta(ALPHA, ALPHA), 0.4 for instance; 0: none")
      ->type_name("ALPHA");
  app.add_option("--class-weights", o.class_weights,
                 "in the loss: none, balanced (a rare class counts more), or a number a class: 1,2,1")
      ->type_name("W");
  app.add_option("--balanced", o.balanced,
                 "on: draw as many images of every class; off: every image once an epoch")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--dropout", o.finetune.dropout, "of the head's last layer; half as much before")
      ->check(CLI::Range(0.0, 0.95));
  app.add_option("--clip-norm", classifier.clip_norm, "largest gradient norm; 0: any");
}

inline void add_finetuning_options(CLI::App& app, FinetuningOptions& o) {
  add_training_options(app, o.training, {"fine-tune"});
  app.add_option("--freeze-epochs", o.freeze_epochs,
                 "with --schedule fine-tune: of --epochs the first ones, in which the head alone "
                 "trains, and batch norm");
  app.add_option("--size", o.size, "side of the input, pixels");
  app.add_option("--sizes", o.sizes,
                 "in place of --size, larger as training goes on: 64@10,96@10,128 is 64 pixels for 10 "
                 "epochs, 96 for 10, 128 for the rest")
      ->type_name("SIZE@EPOCHS,...,SIZE");
  add_classifier_options(app, o);
  auto& classifier = o.finetune.classifier;
  app.add_option("--ema", classifier.ema,
                 "keep an average of the weights in place of the last ones, with so much of the old "
                 "one a step, 0.99 for instance; 0: none")
      ->type_name("DECAY");
  app.add_option("--patience", classifier.patience,
                 "epochs without a better validation loss after which training stops");
  app.add_option("--tta", o.tta, "random passes averaged at test time; 0: the plain one alone");
}

/// Fills in what the options say; the sizes of --sizes in `o`, too.
inline train::FinetuneOptions make_finetune_options(FinetuningOptions& o,
                                                    const CommonOptions& common, Device device) {
  if (!o.sizes.empty()) {
    const auto schedule = train::size_schedule_of(o.sizes);
    o.size = schedule.last;
    o.finetune.classifier.sizes = schedule.progressive;
  }
  require<ValueError>(o.size >= 1 && o.size <= 4096, "--size: want 1 to 4096, got ", o.size);
  require<ValueError>(o.tta >= 0, "--tta: want 0 or more, got ", o.tta);
  train::FinetuneOptions options = o.finetune;
  auto& classifier = options.classifier;
  classifier.mode = train::finetune_mode(o.mode);
  classifier.class_weights = train::class_weights_of(o.class_weights);
  classifier.balanced = o.balanced == "on";
  classifier.epochs = o.training.epochs;
  classifier.batch = o.training.batch;
  classifier.accumulate = o.training.accumulate;
  classifier.workers = o.training.workers;
  classifier.optimizer = o.training.make_optimizer();
  classifier.schedule = o.make_schedule();
  classifier.augment.size = o.size;
  classifier.precision = train::precision_of(common.precision);
  classifier.seed = common.seed;
  classifier.device = device;
  classifier.graph = o.training.graph == "on";
  classifier.store = gpu::store_placement(o.training.store);
  options.profile = o.training.profile;
  options.tta = o.tta;
  return options;
}

/// The classifier that training starts from: weights of --seed, and in the encoder those of its file.
inline models::Classifier make_classifier(const train::FinetuneOptions& options,
                                          const std::string& encoder_file,
                                          const train::StudyData& data) {
  auto encoder = options.architecture.encoder();
  encoder.initialize(options.classifier.seed);
  if (!encoder_file.empty()) {
    const index_t channels = models::load_encoder(encoder, options.architecture, encoder_file);
    if (channels != encoder.in_channels()) {
      std::cout << encoder_file << ": its first weights, of " << channels
                << " channels, are spread over " << encoder.in_channels() << std::endl;
    }
  }
  models::Classifier model(std::move(encoder), static_cast<index_t>(data.dataset.classes.size()),
                           options.dropout);
  model.head.initialize(options.classifier.seed);
  return model;
}

inline void print_result(const train::FinetuneResult& result) {
  std::cout << "best epoch " << result.best_epoch << " of " << result.epochs << std::endl;
  if (result.valid) std::cout << "validation\n" << train::summary(*result.valid) << std::endl;
  if (result.test) std::cout << "test\n" << train::summary(*result.test) << std::endl;
}

}  // namespace mwalimu::programs
