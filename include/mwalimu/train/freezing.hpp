// train/freezing: which parameter groups train, as fastai's freeze_to has it.
#pragma once

#include <string>

#include "mwalimu/nn/module.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"

namespace mwalimu::train {

/// Parameters of the groups before `first` stand still from here on, all others train. Batch norm is
/// never frozen: its scales and shifts train in every group, and its statistics go on in training
/// mode. The optimiser forgets what it remembered, as if no step had been taken.
/// @param group_of  the group of a parameter by its path, as the optimiser's arena was given it.
/// Source: fastai, Learner.freeze_to with train_bn, which creates the optimiser anew.
template <nn::Module M>
void freeze_to(M& model, const optim::ParameterArena::GroupOf& group_of, int first,
               optim::Optimizer& optimizer) {
  using Kind = nn::Parameter::Kind;
  nn::for_each_parameter(model, [&](const std::string& path, nn::Parameter& parameter) {
    const bool norm = parameter.kind() == Kind::norm_scale || parameter.kind() == Kind::norm_shift;
    parameter.trainable = norm || group_of(path) >= first;
  });
  optimizer.reset();
}

/// All groups train; the optimiser forgets.
template <nn::Module M>
void unfreeze(M& model, optim::Optimizer& optimizer) {
  nn::set_trainable(model, true);
  optimizer.reset();
}

}  // namespace mwalimu::train
