// models/classifier: an encoder and the head that names the disease.
#pragma once

#include <cstdint>
#include <utility>

#include "mwalimu/models/encoder.hpp"
#include "mwalimu/ops/relu.hpp"

namespace mwalimu::models {

/// BatchNorm - Dropout(p/2) - Linear - ReLU - BatchNorm - Dropout(p) - Linear.
/// (B, features) -> logits (B, classes). Neither linear layer has a bias: a norm precedes it.
/// Source: fastai's create_head with one hidden layer of 512.
struct ClassifierHead {
  static constexpr index_t kHidden = 512;

  nn::BatchNorm norm1, norm2;
  nn::Dropout dropout1, dropout2;
  nn::Linear linear1, linear2;

  ClassifierHead() = default;
  ClassifierHead(index_t features, index_t classes, float p = 0.5f)
      : norm1(features, 1.0f, 1e-3f),
        norm2(kHidden, 1.0f, 1e-3f),
        dropout1{.p = p / 2},
        dropout2{.p = p},
        linear1(features, kHidden, false),
        linear2(kHidden, classes, false) {}

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& features) {
    const auto hidden = ops::relu(linear1(dropout1(norm1(features))));
    return linear2(dropout2(norm2(hidden)));
  }
  void initialize(std::uint64_t seed) {
    // Keys far from the encoder's, which are numbered from 0.
    nn::uniform_by_fan(linear1.weight, linear1.weight.shape()[1], {seed, 10000});
    nn::uniform_by_fan(linear2.weight, linear2.weight.shape()[1], {seed, 10001});
  }
  /// Drops a share p of the last layer's inputs, and half as many before.
  void set_dropout(float p) {
    dropout1.p = p / 2;
    dropout2.p = p;
  }
  template <class V>
  void visit(V&& v) {
    v("0", norm1);
    v("1", dropout1);
    v("2", linear1);
    v("4", norm2);
    v("5", dropout2);
    v("6", linear2);
  }
};

/// Images (N, H, W, C) -> logits (N, classes).
struct Classifier {
  Encoder encoder;
  ClassifierHead head;

  Classifier() = default;
  Classifier(Encoder body, index_t classes, float dropout = 0.5f)
      : encoder(std::move(body)), head(encoder.features(), classes, dropout) {}

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& images) {
    return head(encoder(images));
  }

  template <class V>
  void visit(V&& v) {
    v("0", encoder);
    v("1", head);
  }
};

}  // namespace mwalimu::models
