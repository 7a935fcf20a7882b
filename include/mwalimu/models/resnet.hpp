// models/resnet: ResNets of bottleneck blocks, with torchvision's names and initial values.
//
// ResNetOf is the frame that this family shares: 7x7 stem, max pool, four stages of blocks, pooling.
// What a stage is made of is its parameter: Bottleneck here, Bottle2neck in models/res2net.hpp.
// Source: He et al. 2015, arXiv:1512.03385, table 1; the stride lies in the 3x3 convolution ("v1.5").
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/models/pooling.hpp"
#include "mwalimu/nn/layers.hpp"
#include "mwalimu/ops/max_pool.hpp"

namespace mwalimu::models {

struct ResNetOptions {
  std::array<int, 4> blocks{3, 4, 6, 3};  ///< residual blocks in each of the four stages
  index_t width = 64;                     ///< channels of the stem; a stage returns 4, 8, .. times it
  index_t in_channels = 3;
  Pooling pooling = Pooling::concat;      ///< [average, maximum]: timm's order
};

/// The projection of a block's input where its shape changes: 1x1 convolution and batch norm, `0`
/// and `1`.
struct Downsample {
  nn::Conv2d conv;
  nn::BatchNorm norm;

  Downsample(index_t in, index_t out, index_t stride)
      : conv(in, out, 1, {.stride = stride}), norm(out) {}

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& x) {
    return norm(conv(x));
  }
  template <class V>
  void visit(V&& v) {
    v("0", conv);
    v("1", norm);
  }
};

/// relu(bn3(conv 1x1) o relu(bn2(conv 3x3)) o relu(bn1(conv 1x1))(x) + shortcut(x)).
struct Bottleneck {
  using Options = ResNetOptions;
  static constexpr index_t kExpansion = 4;
  static constexpr const char* kFamily = "resnet";

  nn::Conv2d conv1, conv2, conv3;
  nn::BatchNorm bn1, bn2, bn3;
  std::optional<Downsample> downsample;

  /// @param planes  channels of the inner convolutions; the block returns 4 planes.
  Bottleneck(const Options&, index_t in, index_t planes, index_t stride)
      : conv1(in, planes, 1),
        conv2(planes, planes, 3, {.stride = stride, .padding = 1}),
        conv3(planes, planes * kExpansion, 1),
        bn1(planes),
        bn2(planes),
        bn3(planes * kExpansion) {
    if (stride != 1 || in != planes * kExpansion) {
      downsample.emplace(in, planes * kExpansion, stride);
    }
  }

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& x) {
    const auto shortcut = downsample ? (*downsample)(x) : x;
    auto y = bn1(conv1(x), ops::Activation::relu);
    y = bn2(conv2(y), ops::Activation::relu);
    return bn3(conv3(y), ops::Activation::relu, shortcut);
  }
  template <class V>
  void visit(V&& v) {
    v("conv1", conv1);
    v("bn1", bn1);
    v("conv2", conv2);
    v("bn2", bn2);
    v("conv3", conv3);
    v("bn3", bn3);
    if (downsample) v("downsample", *downsample);
  }
};

/// The encoder: images (N, H, W, in_channels) -> features (N, features()), any H, W >= 1.
template <class Block>
struct ResNetOf {
  using Options = typename Block::Options;

  Options options;
  nn::Conv2d conv1;
  nn::BatchNorm bn1;
  std::array<std::vector<Block>, 4> stages;

  ResNetOf() = default;
  /// @throws ValueError  a count is not positive, or the blocks cannot be of that width.
  explicit ResNetOf(const Options& chosen) : options(chosen) {
    require<ValueError>(chosen.width >= 1, Block::kFamily, ": want a positive width, got ",
                        chosen.width);
    require<ValueError>(chosen.in_channels >= 1, Block::kFamily,
                        ": want at least one input channel, got ", chosen.in_channels);
    conv1 = nn::Conv2d(chosen.in_channels, chosen.width, 7, {.stride = 2, .padding = 3});
    bn1 = nn::BatchNorm(chosen.width);
    index_t in = chosen.width;
    for (std::size_t s = 0; s < 4; ++s) {
      require<ValueError>(chosen.blocks[s] >= 1, Block::kFamily, ": stage ", s + 1,
                          " has no block");
      const index_t planes = chosen.width << s;
      for (int b = 0; b < chosen.blocks[s]; ++b) {
        stages[s].emplace_back(chosen, in, planes, s > 0 && b == 0 ? 2 : 1);
        in = planes * Block::kExpansion;
      }
    }
  }

  index_t in_channels() const { return options.in_channels; }
  index_t features() const {
    return pooled_features(options.pooling, (options.width << 3) * Block::kExpansion);
  }
  /// The weight that the images meet first, (width, in_channels, 7, 7).
  nn::Parameter& input_weight() { return conv1.weight; }

  /// Observed as it runs: observe("stem" | "pool" | "layer1".."layer4", activation).
  template <nn::ComputeType T, class Observe>
  Variable<T> forward(const Variable<T>& images, Observe&& observe) {
    require<ShapeError>(images.value().rank() == 4 && images.dim(3) == options.in_channels,
                        Block::kFamily, ": want images (N, H, W, ", options.in_channels,
                        "), got ", images.shape());
    Variable<T> x = bn1(conv1(images), ops::Activation::relu);
    observe("stem", x);
    x = ops::max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});
    observe("pool", x);
    for (std::size_t s = 0; s < 4; ++s) {
      for (Block& block : stages[s]) x = block(x);
      observe("layer" + std::to_string(s + 1), x);
    }
    return pool(x, options.pooling, ops::ConcatPoolOrder::average_max);
  }
  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& images) {
    return forward(images, [](const std::string&, const Variable<T>&) {});
  }

  /// Kaiming normal convolutions by fan-out; batch norm keeps the values it was built with.
  void initialize(std::uint64_t seed) {
    std::uint64_t number = 0;
    nn::for_each_module<nn::Conv2d>(*this, [&](const std::string&, nn::Conv2d& conv) {
      nn::kaiming_normal_by_fan(conv.weight, nn::fan_out(conv.weight.shape()), {seed, number++});
    });
  }

  template <class V>
  void visit(V&& v) {
    v("conv1", conv1);
    v("bn1", bn1);
    for (std::size_t s = 0; s < 4; ++s) {
      for (std::size_t b = 0; b < stages[s].size(); ++b) {
        v("layer" + std::to_string(s + 1) + "." + std::to_string(b), stages[s][b]);
      }
    }
  }
};

using ResNet = ResNetOf<Bottleneck>;

}  // namespace mwalimu::models
