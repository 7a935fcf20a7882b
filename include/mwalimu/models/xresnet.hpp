// models/xresnet: ResNets with fastai's tweaks (three-convolution stem, average pooling before the
// shortcut's 1x1 convolution, zero-initialised last scale).
//
// Tensor names, shapes and initial values are fastai's, so weights travel both ways.
// Source: He et al. 2018, "Bag of tricks", arXiv:1812.01187, fig. 2 (ResNet-C, -D); fastai's XResNet.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/models/pooling.hpp"
#include "mwalimu/nn/layers.hpp"
#include "mwalimu/ops/average_pool.hpp"
#include "mwalimu/ops/max_pool.hpp"

namespace mwalimu::models {

/// Convolution, batch norm, activation: fastai's ConvLayer. `0` is the convolution, `1` the norm.
struct ConvNorm {
  nn::Conv2d conv;
  nn::BatchNorm norm;

  ConvNorm() = default;
  /// Padding keeps the extent at stride 1.
  ConvNorm(index_t in, index_t out, index_t kernel, index_t stride = 1, float scale = 1.0f)
      : conv(in, out, kernel, {.stride = stride, .padding = kernel / 2}), norm(out, scale) {}

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& x, ops::Activation activation) {
    return norm(conv(x), activation);
  }
  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& x, ops::Activation activation,
                         const Variable<T>& residual) {
    return norm(conv(x), activation, residual);
  }
  template <class V>
  void visit(V&& v) {
    v("0", conv);
    v("1", norm);
  }
};

/// relu(convpath(x) + idpath(x)).
struct ResBlock {
  std::vector<ConvNorm> convpath;
  std::optional<ConvNorm> shortcut;  ///< 1x1, where the number of channels changes
  bool pool = false;                 ///< 2x2 average in front of the shortcut, where stride is 2

  ResBlock() = default;
  /// @param expansion  1: two 3x3 convolutions; 4: the bottleneck 1x1, 3x3, 1x1.
  /// @param in, width  channels in and of the inner convolutions; the block returns
  ///                   width * expansion channels.
  /// @param stride     1 or 2.
  ResBlock(index_t expansion, index_t in, index_t width, index_t stride) : pool(stride != 1) {
    const index_t out = width * expansion;
    // The last scale starts at 0: every block starts as the identity.
    if (expansion == 1) {
      convpath.emplace_back(in, width, 3, stride);
      convpath.emplace_back(width, out, 3, 1, 0.0f);
    } else {
      convpath.emplace_back(in, width, 1);
      convpath.emplace_back(width, width, 3, stride);
      convpath.emplace_back(width, out, 1, 1, 0.0f);
    }
    if (in != out) shortcut.emplace(in, out, 1);
  }

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& x) {
    Variable<T> identity = x;
    // ceil mode, so that odd extents give the same size as the strided convolution.
    if (pool) {
      identity = ops::average_pool(identity, {{.kernel = 2, .stride = 2, .ceil_mode = true}});
    }
    if (shortcut) identity = (*shortcut)(identity, ops::Activation::none);
    Variable<T> y = x;
    for (std::size_t i = 0; i + 1 < convpath.size(); ++i) {
      y = convpath[i](y, ops::Activation::relu);
    }
    return convpath.back()(y, ops::Activation::relu, identity);
  }

  template <class V>
  void visit(V&& v) {
    for (std::size_t i = 0; i < convpath.size(); ++i) {
      v("convpath." + std::to_string(i), convpath[i]);
    }
    if (shortcut) v(pool ? "idpath.1" : "idpath.0", *shortcut);
  }
};

struct XResNetOptions {
  std::array<int, 4> blocks{3, 4, 6, 3};  ///< residual blocks in each of the four stages
  index_t expansion = 1;                  ///< 1: basic blocks; 4: bottlenecks
  index_t width = 64;                     ///< channels of the first stage; halves for the stem
  index_t in_channels = 3;
  Pooling pooling = Pooling::concat;      ///< [maximum, average]: fastai's order
};

/// The encoder: images (N, H, W, in_channels) -> features (N, features()), any H, W >= 1.
struct XResNet {
  XResNetOptions options;
  std::array<ConvNorm, 3> stem;
  std::array<std::vector<ResBlock>, 4> stages;

  XResNet() = default;
  /// @throws ValueError  width is not a positive even number, or a count is not positive.
  explicit XResNet(const XResNetOptions& chosen) : options(chosen) {
    require<ValueError>(chosen.width >= 2 && chosen.width % 2 == 0,
                        "xresnet: want a positive even width, got ", chosen.width);
    require<ValueError>(chosen.in_channels >= 1, "xresnet: want at least one input channel, got ",
                        chosen.in_channels);
    require<ValueError>(chosen.expansion == 1 || chosen.expansion == 4,
                        "xresnet: want expansion 1 or 4, got ", chosen.expansion);
    const index_t half = chosen.width / 2;
    stem = {ConvNorm(chosen.in_channels, half, 3, 2), ConvNorm(half, half, 3),
            ConvNorm(half, chosen.width, 3)};
    index_t in = chosen.width;
    for (std::size_t s = 0; s < 4; ++s) {
      require<ValueError>(chosen.blocks[s] >= 1, "xresnet: stage ", s + 1, " has no block");
      const index_t width = chosen.width << s;
      for (int b = 0; b < chosen.blocks[s]; ++b) {
        stages[s].emplace_back(chosen.expansion, in, width, s > 0 && b == 0 ? 2 : 1);
        in = width * chosen.expansion;
      }
    }
  }

  index_t in_channels() const { return options.in_channels; }
  index_t features() const {
    return pooled_features(options.pooling, (options.width << 3) * options.expansion);
  }
  /// The weight that the images meet first, (width / 2, in_channels, 3, 3).
  nn::Parameter& input_weight() { return stem[0].conv.weight; }

  /// Observed as it runs: observe("stem" | "pool" | "layer1".."layer4", activation).
  template <nn::ComputeType T, class Observe>
  Variable<T> forward(const Variable<T>& images, Observe&& observe) {
    require<ShapeError>(images.value().rank() == 4 && images.dim(3) == options.in_channels,
                        "xresnet: want images (N, H, W, ", options.in_channels, "), got ",
                        images.shape());
    Variable<T> x = images;
    for (ConvNorm& layer : stem) x = layer(x, ops::Activation::relu);
    observe("stem", x);
    x = ops::max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});
    observe("pool", x);
    for (std::size_t s = 0; s < 4; ++s) {
      for (ResBlock& block : stages[s]) x = block(x);
      observe("layer" + std::to_string(s + 1), x);
    }
    return pool(x, options.pooling, ops::ConcatPoolOrder::max_average);
  }
  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& images) {
    return forward(images, [](const std::string&, const Variable<T>&) {});
  }

  /// Kaiming normal convolutions; batch norm keeps the values it was built with (1, 0, and 0 for the
  /// last scale of a block).
  void initialize(std::uint64_t seed) {
    std::uint64_t number = 0;
    nn::for_each_module<nn::Conv2d>(*this, [&](const std::string&, nn::Conv2d& conv) {
      nn::kaiming_normal(conv.weight, {seed, number++});
    });
  }

  // The children of fastai's Sequential: 0-2 stem, 3 max pool, 4-7 stages.
  template <class V>
  void visit(V&& v) {
    for (std::size_t i = 0; i < stem.size(); ++i) v(std::to_string(i), stem[i]);
    for (std::size_t s = 0; s < 4; ++s) {
      for (std::size_t b = 0; b < stages[s].size(); ++b) {
        v(std::to_string(4 + s) + "." + std::to_string(b), stages[s][b]);
      }
    }
  }
};

/// xresnet18, 34, 50 and 101 by name.
/// @throws ValueError  another name.
inline XResNetOptions xresnet_options(std::string_view name) {
  if (name == "xresnet18") return {.blocks = {2, 2, 2, 2}};
  if (name == "xresnet34") return {.blocks = {3, 4, 6, 3}};
  if (name == "xresnet50") return {.blocks = {3, 4, 6, 3}, .expansion = 4};
  if (name == "xresnet101") return {.blocks = {3, 4, 23, 3}, .expansion = 4};
  mwalimu::detail::fail<ValueError>("arch: no xresnet '", name,
                                    "'; want xresnet18, xresnet34, xresnet50 or xresnet101");
}

}  // namespace mwalimu::models
