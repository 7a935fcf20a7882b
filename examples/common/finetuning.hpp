// examples/common/finetuning: the options that finetune and distil share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "common/training.hpp"
#include "mwalimu/train/finetune.hpp"

namespace mwalimu::programs {

struct FinetuningOptions {
  TrainingOptions training{.optimizer = "lamb", .schedule = "one-cycle", .lr = 1e-3,
                           .weight_decay = 1e-2, .epochs = 30, .batch = 32};
  std::string mode = "full";
  int size = 128, tta = 0;
  double valid = 0.2;
  index_t labels_per_class = 0;
  train::FinetuneOptions finetune;
};

inline void add_finetuning_options(CLI::App& app, FinetuningOptions& o) {
  add_training_options(app, o.training);
  auto& classifier = o.finetune.classifier;
  app.add_option("--mode", o.mode,
                 "full: all weights; mlp: the head alone; discriminative: all, the stem the slowest")
      ->check(CLI::IsMember({"full", "mlp", "discriminative"}));
  app.add_option("--encoder-lr-ratio", classifier.encoder_lr_ratio,
                 "the stem's learning rate over the head's, in discriminative mode");
  app.add_option("--size", o.size, "side of the input, pixels");
  app.add_option("--valid", o.valid,
                 "share of the training plants that choose the best epoch; 0: keep the last epoch");
  app.add_option("--labels-per-class", o.labels_per_class,
                 "train on so many random plants of each class; 0: on all");
  app.add_option("--label-smoothing", classifier.label_smoothing, "from 0, below 1");
  app.add_option("--dropout", o.finetune.dropout, "of the head's last layer; half as much before")
      ->check(CLI::Range(0.0, 0.95));
  app.add_option("--clip-norm", classifier.clip_norm, "largest gradient norm; 0: any");
  app.add_option("--patience", classifier.patience,
                 "epochs without a better validation loss after which training stops");
  app.add_option("--tta", o.tta, "random passes averaged at test time; 0: the plain one alone");
}

/// Fills in what the options say.
inline train::FinetuneOptions make_finetune_options(const FinetuningOptions& o,
                                                    const CommonOptions& common, Device device) {
  require<ValueError>(o.size >= 1 && o.size <= 4096, "--size: want 1 to 4096, got ", o.size);
  require<ValueError>(o.tta >= 0, "--tta: want 0 or more, got ", o.tta);
  train::FinetuneOptions options = o.finetune;
  auto& classifier = options.classifier;
  classifier.mode = train::finetune_mode(o.mode);
  classifier.epochs = o.training.epochs;
  classifier.batch = o.training.batch;
  classifier.accumulate = o.training.accumulate;
  classifier.workers = o.training.workers;
  classifier.optimizer = o.training.make_optimizer();
  classifier.schedule = o.training.make_schedule();
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

inline void print_result(const train::FinetuneResult& result) {
  std::cout << "best epoch " << result.best_epoch << " of " << result.epochs << std::endl;
  if (result.valid) std::cout << "validation\n" << train::summary(*result.valid) << std::endl;
  if (result.test) std::cout << "test\n" << train::summary(*result.test) << std::endl;
}

}  // namespace mwalimu::programs
