// nn/layers: parameters and the operation they belong to, as plain structs.
//
// A layer computes in the type of what it is called with: float, or one of the 16-bit types, with the
// same float parameters (nn/parameter.hpp says which tensor has which type).
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "mwalimu/core/profile.hpp"
#include "mwalimu/nn/initialize.hpp"
#include "mwalimu/nn/module.hpp"
#include "mwalimu/ops/batch_norm.hpp"
#include "mwalimu/ops/conv2d.hpp"
#include "mwalimu/ops/dropout.hpp"
#include "mwalimu/ops/linear.hpp"

namespace mwalimu::nn {

/// 2-D cross-correlation without bias. (N, H, W, Cin) -> (N, Ho, Wo, Cout).
struct Conv2d {
  Parameter weight;  ///< (Cout, Cin / groups, k, k)
  ops::Conv2dOptions options;
  const char* name = nullptr;  ///< in profiles; see name_layers

  Conv2d() = default;
  Conv2d(index_t in, index_t out, index_t kernel, const ops::Conv2dOptions& chosen = {})
      : options(chosen) {
    const Shape shape{out, in / chosen.groups, kernel, kernel};
    weight = Parameter(Parameter::Kind::weight, shape,
                       ops::conv2d_weight_strides(shape));
  }
  template <ComputeType T>
  Variable<T> operator()(const Variable<T>& x) const {
    const LayerScope layer(name, x.value().device());
    return ops::conv2d<T>(x, weight.variable(), options, weight.packed());
  }
  template <class V>
  void visit(V&& v) {
    v("weight", weight);
  }
};

/// x W^T + b. (B, in) -> (B, out).
struct Linear {
  Parameter weight;  ///< (out, in)
  Parameter bias;    ///< (out), or none
  const char* name = nullptr;  ///< in profiles; see name_layers

  Linear() = default;
  Linear(index_t in, index_t out, bool with_bias)
      : weight(Parameter::Kind::weight, {out, in}),
        bias(Parameter::Kind::bias, {with_bias ? out : 0}) {}
  template <ComputeType T>
  Variable<T> operator()(const Variable<T>& x) const {
    const LayerScope layer(name, x.value().device());
    return ops::linear<T>(x, weight.variable(), bias.exists() ? bias.variable() : Variable<float>(),
                          weight.packed());
  }
  template <class V>
  void visit(V&& v) {
    v("weight", weight);
    if (bias.exists()) v("bias", bias);
  }
};

/// Batch norm over all but the last dimension, with the residual and the activation that follow it.
struct BatchNorm {
  Parameter weight, bias;           ///< gamma and beta, (C)
  ops::BatchNormState<float> state;  ///< running statistics, (C) each
  bool training = true;             ///< statistics of the batch; false: the running ones
  const char* name = nullptr;       ///< in profiles; see name_layers

  BatchNorm() = default;
  explicit BatchNorm(index_t channels, float scale = 1.0f, float shift = 0.0f)
      : weight(Parameter::Kind::norm_scale, {channels}),
        bias(Parameter::Kind::norm_shift, {channels}),
        state(ops::BatchNormState<float>::initial(channels)) {
    fill(weight, scale);
    fill(bias, shift);
  }
  /// activation(bn(x)).
  template <ComputeType T>
  Variable<T> operator()(const Variable<T>& x,
                         ops::Activation activation = ops::Activation::none) {
    const LayerScope layer(name, x.value().device());
    return ops::batch_norm<T>(x, weight.variable(), bias.variable(), state,
                              {.training = training, .activation = activation});
  }
  /// activation(bn(x) + residual).
  template <ComputeType T>
  Variable<T> operator()(const Variable<T>& x, ops::Activation activation,
                         const Variable<T>& residual) {
    const LayerScope layer(name, x.value().device());
    return ops::batch_norm<T>(x, weight.variable(), bias.variable(), state,
                              {.training = training, .activation = activation}, residual);
  }
  template <class V>
  void visit(V&& v) {
    v("weight", weight);
    v("bias", bias);
    v("running_mean", state.running_mean);
    v("running_var", state.running_var);
    v("num_batches_tracked", state.num_batches_tracked);
  }
};

/// Zeroes elements with probability p while training and scales the others by 1 / (1 - p). Which
/// ones is a function of (seed, step, layer), so a resumed run drops the same.
struct Dropout {
  float p = 0.5f;
  bool training = true;
  ops::DropoutKey key{};

  template <ComputeType T>
  Variable<T> operator()(const Variable<T>& x) const {
    return ops::dropout(x, p, training, key);
  }
  template <class V>
  void visit(V&&) {}
};

/// Gives every layer inside its path in the model as its name in profiles.
template <Module M>
void name_layers(M& module) {
  // Names outlive every graph that remembers them.
  const auto kept = [](const std::string& path) {
    static std::mutex mutex;
    static auto* names = new std::set<std::string>;
    const std::lock_guard lock(mutex);
    return names->insert(path).first->c_str();
  };
  for_each_module<Conv2d>(module, [&](const auto& path, Conv2d& c) { c.name = kept(path); });
  for_each_module<Linear>(module, [&](const auto& path, Linear& l) { l.name = kept(path); });
  for_each_module<BatchNorm>(module, [&](const auto& path, BatchNorm& n) { n.name = kept(path); });
}

/// Training behaviour (batch statistics, dropout) or that of evaluation, for all layers inside.
template <Module M>
void set_training(M& module, bool training) {
  for_each_module<BatchNorm>(module, [&](const auto&, BatchNorm& n) { n.training = training; });
  for_each_module<Dropout>(module, [&](const auto&, Dropout& d) { d.training = training; });
}

/// Sets what the dropout of the next step depends on. A captured step reads its number on the device.
template <Module M>
void set_dropout_step(M& module, std::uint64_t seed, Scalar step) {
  std::uint64_t layer = 0;
  for_each_module<Dropout>(module, [&](const auto&, Dropout& d) {
    d.key = {.seed = seed, .step = step, .layer = layer++};
  });
}

/// Evaluation behaviour while it lives; every layer's own setting comes back afterwards.
template <Module M>
class EvaluationMode {
 public:
  explicit EvaluationMode(M& module) : module_(module) {
    for_each_module<BatchNorm>(module, [&](const auto&, BatchNorm& n) { before_.push_back(n.training); });
    for_each_module<Dropout>(module, [&](const auto&, Dropout& d) { before_.push_back(d.training); });
    set_training(module, false);
  }
  ~EvaluationMode() {
    std::size_t i = 0;
    for_each_module<BatchNorm>(module_, [&](const auto&, BatchNorm& n) { n.training = before_[i++]; });
    for_each_module<Dropout>(module_, [&](const auto&, Dropout& d) { d.training = before_[i++]; });
  }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  M& module_;
  std::vector<bool> before_;
};

}  // namespace mwalimu::nn
