// nn/parameter: a tensor that training changes.
//
// Parameters, their gradients and the optimiser's state are float32, whatever type a network
// computes in: a step often changes a weight by less than 2^-8 of it, which bfloat16 would not show.
// What kernels read is a copy in the compute type, kept in the parameter's PackedWeights until the
// parameter changes. docs/precision.md says which tensor has which type, and why.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/ops/packed_weights.hpp"

namespace mwalimu::nn {

/// The types that a network computes in. Its parameters are float32 in any case.
template <class T>
concept ComputeType = Real<T> && std::is_same_v<accumulate_t<T>, float>;

/// A float32 master weight with its gradient. On its own it holds its memory; a ParameterArena moves
/// it and its gradient into the model's flat buffers.
///
/// A Parameter is an identity, so it moves but does not copy: two models never share weights by
/// accident.
class Parameter {
 public:
  /// Which of them weight decay leaves alone is decided by what they are.
  enum class Kind { weight, bias, norm_scale, norm_shift };

  Parameter() = default;
  /// Zeros. `strides` may order memory otherwise than the extents (convolution weights).
  Parameter(Kind kind, const Shape& shape, const Shape& strides) : kind_(kind) {
    auto value = Tensor<float>::with_strides(shape, strides);
    value.zero();
    bind(std::move(value), Tensor<float>());
  }
  Parameter(Kind kind, const Shape& shape) : Parameter(kind, shape, contiguous_strides(shape)) {}

  Parameter(Parameter&&) = default;
  Parameter& operator=(Parameter&&) = default;
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

  Kind kind() const { return kind_; }
  /// Weight decay belongs on weights, not on biases nor on batch norm's scale and shift.
  bool decays() const { return kind_ == Kind::weight; }
  bool exists() const { return variable_.value().count() > 0; }
  const Shape& shape() const { return variable_.shape(); }

  const Tensor<float>& value() const { return variable_.value(); }
  /// To write into. Copies of the weights in another type or a library's own layout are made anew
  /// afterwards.
  Tensor<float>& mutable_value() {
    packed_->invalidate_all();
    return variable_.value();
  }
  /// @throws ValueError  no gradient has arrived.
  const Tensor<float>& grad() const { return variable_.grad(); }
  bool has_grad() const { return variable_.has_grad(); }
  void clear_grad() { variable_.clear_grad(); }

  /// False: backward computes no gradient for it and optimisers leave it alone.
  bool trainable = true;

  /// What an operation takes: a leaf of the graph, or a constant while frozen.
  Variable<float> variable() const { return trainable ? variable_ : variable_.detach(); }
  /// Where operations keep the weights in the type and layout that their kernels want.
  const std::shared_ptr<ops::PackedWeights>& packed() const { return packed_; }
  /// To be called after the values, and with them those of a bound 16-bit copy, have been changed
  /// other than through mutable_value().
  void invalidate() { packed_->invalidate(); }

  /// Puts value and gradient (or none yet: shape (0)) elsewhere. A bound 16-bit copy is let go.
  void bind(Tensor<float> value, Tensor<float> grad) {
    variable_ = grad.count() == value.count() && value.count() > 0
                    ? Variable<float>::leaf(std::move(value), std::move(grad))
                    : Variable<float>::leaf(std::move(value));
    packed_ = std::make_shared<ops::PackedWeights>();  // a graph may still hold the old one
  }

 private:
  Kind kind_ = Kind::weight;
  Variable<float> variable_;
  std::shared_ptr<ops::PackedWeights> packed_ = std::make_shared<ops::PackedWeights>();
};

}  // namespace mwalimu::nn
