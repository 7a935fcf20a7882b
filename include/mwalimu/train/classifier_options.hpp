// train/classifier_options: what supervised training can be asked for, with the defaults.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/sampler.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "mwalimu/optim/grad_scaler.hpp"
#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/schedule.hpp"
#include "mwalimu/train/class_weights.hpp"
#include "mwalimu/train/precision.hpp"
#include "mwalimu/train/progressive_sizes.hpp"

namespace mwalimu::train {

enum class FinetuneMode {
  full,            ///< encoder and head, one learning rate
  mlp,             ///< the head alone, on an encoder that stands still in evaluation mode
  discriminative,  ///< all, learning rates falling geometrically from the head to the stem
};

/// @throws ValueError  another name than full, mlp or discriminative.
inline FinetuneMode finetune_mode(std::string_view name) {
  if (name == "full") return FinetuneMode::full;
  if (name == "mlp") return FinetuneMode::mlp;
  if (name == "discriminative") return FinetuneMode::discriminative;
  mwalimu::detail::fail<ValueError>("--mode: want full, mlp or discriminative, got '", name, "'");
}

struct ClassifierOptions {
  FinetuneMode mode = FinetuneMode::full;
  int epochs = 30;
  index_t batch = 32;
  optim::OptimizerOptions optimizer = optim::LambOptions{.weight_decay = 1e-2};
  optim::Schedule schedule = optim::OneCycle{.lr = 1e-3};
  /// Of the stem's learning rate to the head's, in discriminative mode and with optim::FineTune.
  double encoder_lr_ratio = 0.01;
  double label_smoothing = 0.1;
  double mixup = 0;            ///< alpha of MixUp's Beta distribution, fastai's 0.4; 0: no MixUp
  ClassWeights class_weights;  ///< in the loss of training and of validation
  bool balanced = false;       ///< classes have equal shares of an epoch: data::balanced_order
  int accumulate = 1;        ///< batches whose gradients make one step
  double clip_norm = 0;      ///< gradients are scaled down to this norm; 0: never
  /// Of an average of the weights (train/weight_average.hpp), which is then what validates and what is
  /// kept; 0: none.
  double ema = 0;
  index_t patience = 100;    ///< epochs without improvement after which training stops
  data::AugmentOptions augment;
  ProgressiveSizes sizes;    ///< of the images before they have augment.size
  int workers = 1;           ///< loader threads
  Precision precision = Precision::float32;  ///< of training and validation
  std::optional<optim::GradScalerOptions> loss_scale;  ///< see loss_scale_options
  std::uint64_t seed = 0;
  Device device = Device::cpu();
  // On a CUDA device:
  bool graph = true;  ///< the step as one CUDA graph
  gpu::StorePlacement store = gpu::StorePlacement::automatic;  ///< where the images lie
};

/// @param images  the training images.
/// @throws ValueError  an option is out of range, or the batch is larger than the data; the text
///                     names the option as users type it.
inline void check(const ClassifierOptions& options, index_t images) {
  require<ValueError>(options.epochs >= 1, "--epochs: want at least 1, got ", options.epochs);
  const index_t batches = data::BatchSampler(images, options.batch, 0).steps_per_epoch();
  require<ValueError>(options.accumulate >= 1 && options.accumulate <= batches,
                      "--accumulate: want 1 to ", batches, " (the batches of an epoch), got ",
                      options.accumulate);
  require<ValueError>(options.label_smoothing >= 0 && options.label_smoothing < 1,
                      "--label-smoothing: want at least 0 and less than 1, got ",
                      options.label_smoothing);
  require<ValueError>(options.mixup >= 0 && std::isfinite(options.mixup),
                      "--mixup: want 0 or more, got ", options.mixup);
  require<ValueError>(options.sizes.epochs() < options.epochs, "--sizes: ", options.sizes.epochs(),
                      " epochs before the last size, but --epochs are ", options.epochs);
  require<ValueError>(options.encoder_lr_ratio > 0 && options.encoder_lr_ratio <= 1,
                      "--encoder-lr-ratio: want more than 0 and at most 1, got ",
                      options.encoder_lr_ratio);
  require<ValueError>(options.clip_norm >= 0, "--clip-norm: want 0 or more, got ",
                      options.clip_norm);
  require<ValueError>(options.ema >= 0 && options.ema < 1,
                      "--ema: want at least 0 and below 1, got ", options.ema);
  require<ValueError>(options.mode != FinetuneMode::mlp ||
                          !std::holds_alternative<optim::FineTune>(options.schedule),
                      "--schedule fine-tune trains the encoder, too; want --mode full or "
                      "discriminative");
  require<ValueError>(options.patience >= 1, "--patience: want at least 1, got ", options.patience);
  data::validate(options.augment);
  optim::check(options.schedule);
}

}  // namespace mwalimu::train
