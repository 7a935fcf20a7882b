// models/swav: the network that SwAV trains: encoder, projector, normalised prototypes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/models/encoder.hpp"
#include "mwalimu/ops/concat.hpp"
#include "mwalimu/ops/l2_normalize.hpp"
#include "mwalimu/ops/relu.hpp"

namespace mwalimu::models {

struct SwavHeadOptions {
  index_t hidden = 2048;      ///< width of the projector's hidden layer
  index_t embedding = 128;    ///< D, extent of the space the prototypes live in
  index_t prototypes = 3000;  ///< K
};

/// Linear - BatchNorm - ReLU - Linear.
struct Projector {
  nn::Linear linear1, linear2;
  nn::BatchNorm norm;

  Projector() = default;
  Projector(index_t features, index_t hidden, index_t embedding)
      : linear1(features, hidden, true), linear2(hidden, embedding, true), norm(hidden) {}

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& features) {
    return linear2(norm(linear1(features), ops::Activation::relu));
  }
  template <class V>
  void visit(V&& v) {
    v("0", linear1);
    v("1", norm);
    v("3", linear2);
  }
};

/// Crops to scores against the prototypes.
/// Source: Caron et al. 2020, arXiv:2006.09882, sec. 3.
struct SwavNetwork {
  Encoder encoder;
  Projector projector;
  nn::Linear prototypes;  ///< rows are unit vectors c_k; scores are cosines

  template <nn::ComputeType T>
  struct Output {
    Variable<T> embeddings;  ///< z, (V B, D), unit rows, crop-major: crop v is rows vB..(v+1)B-1
    Variable<T> scores;      ///< z C^T, (V B, K)
  };

  SwavNetwork() = default;
  SwavNetwork(Encoder body, const SwavHeadOptions& head)
      : encoder(std::move(body)),
        projector(encoder.features(), head.hidden, head.embedding),
        prototypes(head.embedding, head.prototypes, false) {}

  /// @param groups  crops of one size each, (V_g B, H_g, W_g, C), crop-major, in the order of the
  ///                crops. Every group has batch statistics of its own; the projector sees all rows.
  template <nn::ComputeType T>
  Output<T> operator()(std::span<const Variable<T>> groups) {
    std::vector<Variable<T>> features;
    for (const auto& crops : groups) features.push_back(encoder(crops));
    auto z = ops::l2_normalize(
        projector(features.size() == 1 ? features[0] : ops::concat(features, 0)));
    auto scores = prototypes(z);
    return {std::move(z), std::move(scores)};
  }
  template <nn::ComputeType T>
  Output<T> operator()(const std::vector<Variable<T>>& groups) {
    return (*this)(std::span<const Variable<T>>(groups));
  }

  /// Scales every prototype to unit length, as after each step of training.
  void normalize_prototypes() {
    const NoGrad no_grad;
    auto& rows = prototypes.weight.mutable_value();
    rows.copy_from(ops::l2_normalize(Variable<float>(rows.clone())).value());
  }

  void initialize(std::uint64_t seed) {
    encoder.initialize(seed);
    // Keys far from the encoder's, which are numbered from 0.
    nn::kaiming_normal(projector.linear1.weight, {seed, 20000});
    nn::kaiming_normal(projector.linear2.weight, {seed, 20001});
    nn::uniform_by_fan(prototypes.weight, prototypes.weight.shape()[1], {seed, 20002});
    normalize_prototypes();
  }

  template <class V>
  void visit(V&& v) {
    v("encoder", encoder);
    v("projector", projector);
    v("prototypes", prototypes);
  }
};

}  // namespace mwalimu::models
