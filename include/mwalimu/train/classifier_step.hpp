// train/classifier_step: one step of a classifier's training, on the Cpu.
//
// train/device_classifier_step has the same step on a CUDA device.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/data/loader.hpp"
#include "mwalimu/models/classifier.hpp"
#include "mwalimu/nn/layers.hpp"
#include "mwalimu/ops/cast.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/optim/gradients.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/train/class_weights.hpp"
#include "mwalimu/train/classifier_batches.hpp"
#include "mwalimu/train/classifier_options.hpp"
#include "mwalimu/train/precision.hpp"

namespace mwalimu::train {

/// What one step of the classifier's training showed.
struct ClassifierStepRecord {
  double loss = 0, gradient_norm = 0;
  double loss_scale = 1;  ///< that the gradients were computed with
  bool skipped = false;   ///< the gradients were not finite: no parameter has changed
};

/// The loss that trains and that validates: smoothed labels, weighted classes. On the host.
/// @throws ValueError  not as many weights as classes, or an image has no label.
inline ops::CrossEntropyOptions<float> loss_options(const ClassifierOptions& options,
                                                    const ClassifierData& data) {
  check(options.class_weights, data.dataset.classes);
  ops::CrossEntropyOptions<float> loss;
  loss.label_smoothing = options.label_smoothing;
  const auto weights =
      weights_for(options.class_weights, labels_of(data.dataset, data.train),
                  static_cast<index_t>(data.dataset.classes.size()));
  if (!weights.empty()) {
    loss.class_weight = Tensor<float>::from(std::vector<float>(weights.begin(), weights.end()),
                                            {std::ssize(weights)});
  }
  return loss;
}

/// The logits that a step trains. In mlp mode the encoder is a fixed function, in evaluation mode.
template <nn::ComputeType T>
Variable<T> training_logits(models::Classifier& model, const Variable<T>& images,
                            FinetuneMode mode) {
  nn::set_training(model, true);
  if (mode != FinetuneMode::mlp) return model(images);
  nn::set_training(model.encoder, false);
  Variable<T> features;
  {
    const NoGrad no_grad;
    features = model.encoder(images);
  }
  return model.head(features);
}

/// Takes steps over a model, its arena and its optimiser, which lie on the Cpu.
class ClassifierStep {
 public:
  /// All of them must outlive this.
  ClassifierStep(models::Classifier& model, optim::ParameterArena& arena,
                 optim::Optimizer& optimizer, LossScale& loss_scale,
                 const ClassifierOptions& options, const ops::CrossEntropyOptions<float>& loss)
      : model_(model),
        arena_(arena),
        optimizer_(optimizer),
        loss_scale_(loss_scale),
        options_(options),
        loss_options_(loss) {}

  /// One step over the loader's next `accumulate` batches. Skipped where loss or gradients are not
  /// finite.
  /// @param step   its number, from 0: dropout draws by it.
  /// @param hyper  all but gradient_scale, which is the step's own.
  /// @throws ValueError  no loss scale gives finite gradients.
  ClassifierStepRecord run(std::int64_t step, optim::HyperParameters hyper,
                           data::Prefetcher<ClassifierBatch>& loader) {
    ClassifierStepRecord done;
    arena_.zero_gradients();
    done.loss_scale = loss_scale_.value();
    const double share = 1.0 / options_.accumulate, gradient_scale = share / done.loss_scale;
    for (int a = 0; a < options_.accumulate; ++a) {
      const ClassifierBatch& batch = *loader.next();
      nn::set_dropout_step(model_, options_.seed,
                           static_cast<std::uint64_t>(step * options_.accumulate + a));
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
      hyper.gradient_scale = gradient_scale * clip;
      optimizer_.step(arena_.values(), arena_.gradients(), arena_.segments(), hyper);
    }
    return done;
  }

 private:
  // Adds the batch's gradients; returns its loss.
  template <nn::ComputeType T>
  double forward_backward(const ClassifierBatch& batch) {
    const auto& mixed = batch.mixed;
    const auto loss =
        options_.mixup > 0
            ? ops::cross_entropy(logits<T>(mixed.images), batch.labels, mixed.partner_labels,
                                 mixed.lambda, loss_options_)
            : ops::cross_entropy(logits<T>(batch.images), batch.labels, loss_options_);
    loss.backward(Tensor<float>::full({}, static_cast<float>(loss_scale_.value()),
                                      loss.value().device()));
    return loss.value().item();
  }
  template <nn::ComputeType T>
  Variable<T> logits(const Tensor<float>& images) {
    return training_logits(model_, ops::cast<T>(Variable<float>(images)), options_.mode);
  }

  models::Classifier& model_;
  optim::ParameterArena& arena_;
  optim::Optimizer& optimizer_;
  LossScale& loss_scale_;
  const ClassifierOptions& options_;
  const ops::CrossEntropyOptions<float>& loss_options_;
};

}  // namespace mwalimu::train
