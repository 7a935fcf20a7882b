// train/layer_schedule: which layers of a classifier train in an epoch, and at what share of the
// learning rate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mwalimu/models/classifier.hpp"
#include "mwalimu/nn/module.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/optim/schedule.hpp"
#include "mwalimu/optim/segment.hpp"
#include "mwalimu/train/classifier_options.hpp"
#include "mwalimu/train/freezing.hpp"

namespace mwalimu::train {

/// Parameter groups by depth: the stem, the four stages, the head.
inline constexpr int kDepthGroups = 6;
/// The group of a classifier's parameter, whatever the family of its encoder.
inline int depth_group(std::string_view path) {
  if (path.starts_with("1.")) return kDepthGroups - 1;
  path.remove_prefix(2);  // "0."
  if (path.starts_with("layer")) return path[5] - '0';  // layer1 to layer4
  const bool stage = path[0] >= '4' && path[0] <= '7' && path[1] == '.';  // xresnet's children
  return stage ? path[0] - '3' : 0;
}

/// Mode full: all layers, one learning rate. mlp: the head alone. discriminative: all, with rates
/// that fall geometrically from the head to the stem. optim::FineTune has these, too, after a first
/// phase in which the encoder stands still but for its batch norm, at a tenth of the head's rate.
///
///     LayerSchedule layers(model, options);   // before the arena, which asks who trains
///     ParameterArena arena(model, device, type, layers.group_of());
///     layers.enter(epoch, optimizer);         // before each epoch
///     optimizer.step(arena, {.lr = lr, .group_scale = layers.group_scale()});
class LayerSchedule {
 public:
  /// Sets what trains in the model, which must outlive this, as the options must.
  LayerSchedule(models::Classifier& model, const ClassifierOptions& options)
      : model_(model), options_(options) {
    nn::set_trainable(model.encoder, options.mode != FinetuneMode::mlp);
    nn::set_trainable(model.head, true);
    if (by_depth()) group_scale_ = discriminative();
  }

  /// The groups of the optimiser's arena.
  optim::ParameterArena::GroupOf group_of() const {
    return [grouped = by_depth()](const std::string& path) {
      return grouped ? depth_group(path) : 0;
    };
  }
  /// Factors on the learning rate by group; empty: one group.
  const std::vector<double>& group_scale() const { return group_scale_; }

  /// Goes over to the phase of an epoch, counted from 0; the optimiser begins each anew.
  /// @return  whether this is another phase than before: a recorded step is out of date.
  bool enter(std::int64_t epoch, optim::Optimizer& optimizer) {
    const bool frozen = frozen_in(epoch);
    if (frozen == frozen_) return false;
    frozen_ = frozen;
    if (frozen) {
      freeze_to(model_, depth_group, kDepthGroups - 1, optimizer);
      group_scale_ = optim::tenth_learning_rates(1.0, kDepthGroups);
    } else {
      unfreeze(model_, optimizer);
      group_scale_ = discriminative();
    }
    return true;
  }

 private:
  bool by_depth() const {
    return options_.mode == FinetuneMode::discriminative ||
           std::holds_alternative<optim::FineTune>(options_.schedule);
  }
  bool frozen_in(std::int64_t epoch) const {
    const auto* schedule = std::get_if<optim::FineTune>(&options_.schedule);
    return schedule != nullptr &&
           static_cast<double>(epoch) / options_.epochs < schedule->frozen;
  }
  std::vector<double> discriminative() const {
    return optim::geometric_learning_rates(options_.encoder_lr_ratio, 1.0, kDepthGroups);
  }

  models::Classifier& model_;
  const ClassifierOptions& options_;
  std::vector<double> group_scale_;
  bool frozen_ = false;  // the encoder, by optim::FineTune
};

}  // namespace mwalimu::train
