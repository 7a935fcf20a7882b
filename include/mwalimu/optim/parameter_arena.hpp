// optim/parameter_arena: all parameters of a model in one buffer, all their gradients in another.
//
// Zeroing gradients is one memset, an optimiser's step is one pass, a checkpoint is one write.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/nn/module.hpp"
#include "mwalimu/optim/segment.hpp"

namespace mwalimu::optim {

/// Moves a model's parameters and gradients into two float32 buffers. The model must outlive the
/// arena's use and must not gain or lose parameters; its modules may be moved only before this.
class ParameterArena {
 public:
  /// Every parameter starts at a cache line of its own.
  static constexpr index_t kAlignment = 16;

  /// The group of a parameter by its path; groups are numbered from 0, the input side first.
  using GroupOf = std::function<int(const std::string& path)>;

  template <nn::Module M>
  explicit ParameterArena(M& model, const GroupOf& group_of = {}) {
    nn::for_each_parameter(model, [&](const std::string& path, nn::Parameter& parameter) {
      parameters_.push_back(&parameter);
      segments_.push_back({.name = path,
                           .offset = size_,
                           .count = parameter.value().count(),
                           .decay = parameter.decays(),
                           .trainable = parameter.trainable,
                           .group = group_of ? group_of(path) : 0});
      size_ += (segments_.back().count + kAlignment - 1) / kAlignment * kAlignment;
    });
    values_ = Tensor<float>::zeros({size_});
    gradients_ = Tensor<float>::zeros({size_});
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const Tensor<float>& old = parameters_[i]->value();
      const auto at = [&](Tensor<float>& buffer) {
        return Tensor<float>::borrow(buffer.data() + segments_[i].offset, old.shape(),
                                     old.strides(), buffer.storage());
      };
      auto value = at(values_);
      value.copy_from(old);
      parameters_[i]->bind(std::move(value), at(gradients_));
    }
  }

  index_t size() const { return size_; }  ///< elements, padding included
  /// The parameters in memory order, to write into. Their copies in a library's own layout are made
  /// anew at the next forward, so ask again for every change.
  std::span<float> values() {
    for (nn::Parameter* parameter : parameters_) parameter->invalidate();
    return values_.span();
  }
  std::span<const float> values() const { return values_.span(); }
  std::span<float> gradients() { return gradients_.span(); }
  std::span<const float> gradients() const { return gradients_.span(); }

  /// The layout, with each parameter's present trainable flag.
  std::span<const Segment> segments() {
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      segments_[i].trainable = parameters_[i]->trainable;
    }
    return segments_;
  }

  void zero_gradients() { gradients_.zero(); }

 private:
  std::vector<nn::Parameter*> parameters_;
  std::vector<Segment> segments_;
  index_t size_ = 0;
  Tensor<float> values_, gradients_;
};

}  // namespace mwalimu::optim
