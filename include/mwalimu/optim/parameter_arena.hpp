// optim/parameter_arena: all parameters of a model in one buffer, all their gradients in another.
//
// Zeroing gradients is one memset, an optimiser's step is one pass, a checkpoint is one write. On a
// device a third buffer holds the parameters in the 16-bit type that the network computes in: the
// optimiser's pass writes it beside the float32 masters.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "mwalimu/nn/module.hpp"
#include "mwalimu/nn/to_device.hpp"
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
  /// The parameters in the type of computation; a float32 arena has none.
  using Copy = std::variant<std::monostate, Tensor<half>, Tensor<bfloat16>>;

  template <nn::Module M>
  explicit ParameterArena(M& model, const GroupOf& group_of = {})
      : ParameterArena(model, Device::cpu(), ElementType::float32, group_of) {}

  /// Moves the model, buffers included, to `device`; parameters get the order of memory that its
  /// kernels want.
  /// @param compute  float32, float16 or bfloat16: what the network will compute in. On a device a
  ///                 16-bit type makes the third buffer; on the cpu each layer keeps its own copy.
  /// @throws ValueError   another type.
  /// @throws DeviceError  no such device, or no room on it.
  template <nn::Module M>
  ParameterArena(M& model, Device device, ElementType compute, const GroupOf& group_of = {}) {
    require<ValueError>(compute == ElementType::float32 || compute == ElementType::float16 ||
                            compute == ElementType::bfloat16,
                        "parameter_arena: want to compute in float32, float16 or bfloat16");
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
    values_ = Tensor<float>::zeros({size_}, device);
    gradients_ = Tensor<float>::zeros({size_}, device);
    if (!device.is_cpu()) {
      if (compute == ElementType::float16) copy_ = Tensor<half>::zeros({size_}, device);
      if (compute == ElementType::bfloat16) copy_ = Tensor<bfloat16>::zeros({size_}, device);
      nn::move_buffers(model, device);
    }
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const Tensor<float> old = parameters_[i]->value();
      if (old.device() == device) {
        strides_.push_back(old.is_dense() ? old.strides() : contiguous_strides(old.shape()));
      } else {
        strides_.push_back(nn::parameter_strides(old.shape(), device));
      }
      auto value = part(values_, i);
      value.copy_from(old);
      parameters_[i]->bind(std::move(value), part(gradients_, i));
    }
    std::visit([&](auto& copy) { bind_copy(copy); }, copy_);
  }

  index_t size() const { return size_; }  ///< elements, padding included
  Device device() const { return values_.device(); }

  /// The buffers, (size).
  Tensor<float>& value_buffer() { return values_; }
  const Tensor<float>& value_buffer() const { return values_; }
  Tensor<float>& gradient_buffer() { return gradients_; }
  const Tensor<float>& gradient_buffer() const { return gradients_; }
  const Copy& copy_buffer() const { return copy_; }

  /// Parameter i of the segments' order in a buffer that is laid out as the arena: its shape and its
  /// order of memory, the buffer's elements.
  template <Element T>
  Tensor<T> part(Tensor<T> buffer, std::size_t i) const {
    return Tensor<T>::borrow(buffer.data() + segments_[i].offset, parameters_[i]->shape(),
                             strides_[i], buffer.storage(), buffer.device());
  }

  /// The parameters in memory order, to write into. Their copies in other types and layouts are made
  /// anew at the next forward, so ask again for every change.
  /// @throws DeviceError  the arena is on a device.
  std::span<float> values() {
    for (nn::Parameter* parameter : parameters_) (void)parameter->mutable_value();
    return on_host(values_).span();
  }
  std::span<const float> values() const { return on_host(values_).span(); }
  std::span<float> gradients() { return on_host(gradients_).span(); }
  std::span<const float> gradients() const { return on_host(gradients_).span(); }

  /// To be called when the parameters, and with them the copy buffer, have been changed.
  void invalidate() {
    for (nn::Parameter* parameter : parameters_) parameter->invalidate();
  }

  /// To be called when value_buffer() has been written other than by an optimiser: the copy buffer, which
  /// a recorded graph reads, is brought up to date.
  void values_changed() {
    for (nn::Parameter* parameter : parameters_) (void)parameter->mutable_value();
    std::visit(
        [&](auto& copy) {
          if constexpr (!std::is_same_v<std::remove_cvref_t<decltype(copy)>, std::monostate>) {
            copy.copy_from(values_);
          }
        },
        copy_);
  }

  /// The layout, with each parameter's present trainable flag.
  std::span<const Segment> segments() {
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      segments_[i].trainable = parameters_[i]->trainable;
    }
    return segments_;
  }

  void zero_gradients() { gradients_.zero(); }

 private:
  template <class T>
  static T& on_host(T& buffer) {
    require<DeviceError>(buffer.device().is_cpu(), "parameter_arena: the parameters are on ",
                         buffer.device(), "; use value_buffer() or gradient_buffer()");
    return buffer;
  }
  void bind_copy(std::monostate) {}
  template <class T>
  void bind_copy(Tensor<T>& copy) {
    copy.copy_from(values_);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      parameters_[i]->packed()->bind_copy(part(copy, i));
    }
  }

  std::vector<nn::Parameter*> parameters_;
  std::vector<Segment> segments_;
  std::vector<Shape> strides_;
  index_t size_ = 0;
  Tensor<float> values_, gradients_;
  Copy copy_;
};

}  // namespace mwalimu::optim
