// models/model_support: filling a model with the golden numbers and reading its gradients.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "mwalimu/nn/layers.hpp"
#include "support/golden.hpp"

namespace mwalimu::test {

inline golden::Shape extents(const Shape& shape) { return {shape.begin(), shape.end()}; }

/// Row-major values into a tensor of any strides.
inline void assign(Tensor<float>& tensor, const std::vector<float>& values) {
  tensor.copy_from(Tensor<float>::from(values, tensor.shape()));
}

/// Fills every parameter and float buffer by the golden rule, names taken relative to `module`.
template <class M>
void fill_golden(M& module, const std::string& salt, const std::string& prefix = "") {
  nn::walk(module, [&](const std::string& path, nn::Child child) {
    const auto filled = [&](const Shape& shape) {
      const auto e = extents(shape);
      return golden::fill(prefix + path, e, golden::fill_kind_of(path, e), salt);
    };
    if (auto* parameter = child.as<nn::Parameter>()) {
      assign(parameter->mutable_value(), filled(parameter->shape()));
    } else if (auto* buffer = child.as<Tensor<float>>()) {
      assign(*buffer, filled(buffer->shape()));
    }
  });
}

/// A golden image batch, (N, C, H, W) in the file, as (N, H, W, C).
inline Tensor<float> images_from_nchw(const std::vector<float>& values, const golden::Shape& nchw) {
  return Tensor<float>::from(values, {nchw[0], nchw[1], nchw[2], nchw[3]})
      .permute({0, 2, 3, 1})
      .contiguous();
}

/// An image tensor's elements in the order of (N, C, H, W).
inline std::vector<double> nchw(const Tensor<float>& images) {
  return to_double(images.permute({0, 3, 1, 2}).to_vector());
}

template <class T>
std::vector<double> doubles(const Tensor<T>& tensor) {
  return tensor.template to<double>().to_vector();
}

inline double norm(const Tensor<float>& tensor) {
  double squares = 0;
  for (const float x : tensor.to_vector()) squares += double{x} * x;
  return std::sqrt(squares);
}

/// The 2-norm of every parameter's gradient, in state_dict order.
template <class M>
std::vector<double> gradient_norms(M& module) {
  std::vector<double> norms;
  nn::for_each_parameter(module, [&](const std::string&, nn::Parameter& p) {
    norms.push_back(p.has_grad() ? norm(p.grad()) : 0.0);
  });
  return norms;
}

template <class M>
void clear_gradients(M& module) {
  nn::for_each_parameter(module, [](const std::string&, nn::Parameter& p) { p.clear_grad(); });
}

/// Every parameter and buffer by name.
template <class M>
std::map<std::string, Tensor<float>> tensors_by_name(M& module) {
  std::map<std::string, Tensor<float>> found;
  nn::walk(module, [&](const std::string& path, nn::Child child) {
    if (const auto* parameter = child.as<nn::Parameter>()) found.emplace(path, parameter->value());
    if (const auto* buffer = child.as<Tensor<float>>()) found.emplace(path, *buffer);
  });
  return found;
}

}  // namespace mwalimu::test
