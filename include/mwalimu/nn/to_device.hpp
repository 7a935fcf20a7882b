// nn/to_device: a model's tensors on another device.
#pragma once

#include <string>
#include <utility>

#include "mwalimu/nn/module.hpp"
#include "mwalimu/ops/conv2d.hpp"

namespace mwalimu::nn {

/// The order of memory that a device's kernels want a parameter in. Convolution weights, the only
/// ones of rank 4, have one by device; all others are row-major everywhere.
inline Shape parameter_strides(const Shape& shape, Device device) {
  return shape.rank() == 4 ? ops::conv2d_weight_strides(shape, device) : contiguous_strides(shape);
}

/// Moves the buffers of a model (running statistics), not its parameters.
template <Module M>
void move_buffers(M& model, Device device) {
  for_each_buffer(model, [&](const std::string&, auto& buffer) { buffer = buffer.to(device); });
}

/// Moves a model: every parameter in the order that the device wants, and every buffer. Gradients
/// are dropped. A model in a ParameterArena leaves it: make the arena on the device instead.
template <Module M>
void to(M& model, Device device) {
  for_each_parameter(model, [&](const std::string&, Parameter& parameter) {
    const Tensor<float>& old = parameter.value();
    if (old.device() == device) return;
    auto value = Tensor<float>::with_strides(
        old.shape(), parameter_strides(old.shape(), device), device);
    value.copy_from(old);
    parameter.bind(std::move(value), Tensor<float>());
  });
  move_buffers(model, device);
}

}  // namespace mwalimu::nn
