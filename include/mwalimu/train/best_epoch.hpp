// train/best_epoch: the best state that a model has had, and when to stop looking for a better one.
#pragma once

#include <cstdint>

#include "mwalimu/core/types.hpp"
#include "mwalimu/nn/module.hpp"
#include "mwalimu/optim/early_stopping.hpp"
#include "mwalimu/train/checkpoint.hpp"
#include "mwalimu/train/model_checkpoint.hpp"

namespace mwalimu::train {

/// Keeps a copy of the model with the smallest validation loss. A run may have phases whose losses
/// do not compare, as with images of different sizes: the best is that of the present phase, and no
/// phase but the last one can end the run.
class BestEpoch {
 public:
  /// @param patience  epochs of the last phase without improvement after which to stop.
  explicit BestEpoch(index_t patience, index_t phases = 1)
      : phases_(phases), stopping_(patience) {}

  std::int64_t epoch() const { return epoch_; }  ///< counted from 1; 0: none yet
  bool stopped() const { return stopped_; }

  /// @return  whether this epoch is the best up to now; a copy of the model is then kept.
  template <nn::Module M>
  bool observe(double loss, std::int64_t epoch, index_t phase, M& model) {
    const auto verdict = stopping_.observe(loss, phase);
    stopped_ = verdict.stop && phase == phases_ - 1;
    if (verdict.improved) keep(epoch, model);
    return verdict.improved;
  }
  /// This epoch is the best, whatever came before.
  template <nn::Module M>
  void keep(std::int64_t epoch, M& model) {
    epoch_ = epoch;
    model_.take(model);
  }
  /// The same without a copy, where the model stays as it is until the next epoch.
  void keep(std::int64_t epoch) { epoch_ = epoch; }

  /// Puts what was kept back into the model; nothing where no copy was.
  template <nn::Module M>
  void load(M& model) const {
    if (!model_.empty()) model_.restore(model);
  }

  void save(CheckpointWriter& checkpoint) const {
    checkpoint.put("best_epoch", epoch_);
    checkpoint.put("stopped", std::int64_t{stopped_});
    checkpoint.put("stopping.best", stopping_.state().best);
    checkpoint.put("stopping.bad_epochs", stopping_.state().bad_epochs);
    if (phases_ > 1) checkpoint.put("stopping.regime", stopping_.state().regime);
    model_.put(checkpoint, "best.");
  }
  /// @param model  gives the shapes.
  template <nn::Module M>
  void restore(const CheckpointReader& checkpoint, M& model) {
    epoch_ = checkpoint.value<std::int64_t>("best_epoch");
    stopped_ = checkpoint.value<std::int64_t>("stopped") != 0;
    stopping_.restore(
        {.best = checkpoint.value<double>("stopping.best"),
         .regime = phases_ > 1 ? checkpoint.value<index_t>("stopping.regime") : index_t{0},
         .bad_epochs = checkpoint.value<index_t>("stopping.bad_epochs")});
    if (checkpoint.has("best.parameters.0")) model_.get(checkpoint, "best.", model);
  }

 private:
  index_t phases_;
  optim::EarlyStopping stopping_;
  ModelSnapshot model_;
  std::int64_t epoch_ = 0;
  bool stopped_ = false;
};

}  // namespace mwalimu::train
