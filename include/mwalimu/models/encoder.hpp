// models/encoder: any of the networks that turn an image into a feature vector.
//
// What trains an encoder (SwAV, a classifier) and what reads one holds an Encoder and does not ask
// which family it is of. It is a value, as its networks are: one of them lies in it, and a call is
// one branch. Whoever does ask looks into `network`:
//
//     models::Encoder encoder(models::res2net_options("res2next50"));
//     if (auto* res2net = std::get_if<models::Res2Net>(&encoder.network)) ...
//
// A family of your own joins by one line in the variant, if it has what the others have.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "mwalimu/models/res2net.hpp"
#include "mwalimu/models/resnet.hpp"
#include "mwalimu/models/xresnet.hpp"

namespace mwalimu::models {

using EncoderOptions = std::variant<XResNetOptions, ResNetOptions, Res2NetOptions>;

/// Images (N, H, W, in_channels()) -> features (N, features()), any H, W >= 1.
struct Encoder {
  std::variant<XResNet, ResNet, Res2Net> network;

  Encoder() = default;
  Encoder(XResNet chosen) : network(std::move(chosen)) {}  // NOLINT: an xresnet is an encoder
  Encoder(ResNet chosen) : network(std::move(chosen)) {}   // NOLINT
  Encoder(Res2Net chosen) : network(std::move(chosen)) {}  // NOLINT
  /// @throws ValueError  an option is out of range.
  explicit Encoder(const EncoderOptions& options) {
    struct Build {
      Encoder& encoder;
      void operator()(const XResNetOptions& o) { encoder.network.emplace<XResNet>(o); }
      void operator()(const ResNetOptions& o) { encoder.network.emplace<ResNet>(o); }
      void operator()(const Res2NetOptions& o) { encoder.network.emplace<Res2Net>(o); }
    };
    std::visit(Build{*this}, options);
  }

  index_t in_channels() const {
    return std::visit([](const auto& net) { return net.in_channels(); }, network);
  }
  index_t features() const {
    return std::visit([](const auto& net) { return net.features(); }, network);
  }
  /// The weight that the images meet first, (Cout, in_channels, k, k).
  nn::Parameter& input_weight() {
    return std::visit([](auto& net) -> nn::Parameter& { return net.input_weight(); }, network);
  }

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& images) {
    return std::visit([&](auto& net) { return net(images); }, network);
  }
  /// Observed as it runs: observe("stem" | "pool" | "layer1".."layer4", activation).
  template <nn::ComputeType T, class Observe>
  Variable<T> forward(const Variable<T>& images, Observe&& observe) {
    return std::visit([&](auto& net) { return net.forward(images, observe); }, network);
  }
  void initialize(std::uint64_t seed) {
    std::visit([&](auto& net) { net.initialize(seed); }, network);
  }
  /// The network's own children: its tensors keep the names of its family.
  template <class V>
  void visit(V&& v) {
    std::visit([&](auto& net) { net.visit(v); }, network);
  }
};

}  // namespace mwalimu::models
