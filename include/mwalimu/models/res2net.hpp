// models/res2net: ResNets whose 3x3 convolution is a ladder over four quarters of its channels, so
// that one block sees several sizes of surroundings. Tensor names and values are timm's.
//
// Source: Gao et al. 2019, arXiv:1904.01169, fig. 2(b); timm's Bottle2neck.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/models/resnet.hpp"
#include "mwalimu/ops/add.hpp"
#include "mwalimu/ops/average_pool.hpp"
#include "mwalimu/ops/concat.hpp"

namespace mwalimu::models {

struct Res2NetOptions {
  std::array<int, 4> blocks{3, 4, 6, 3};  ///< residual blocks in each of the four stages
  index_t width = 64;                     ///< channels of the stem; a stage returns 4, 8, .. times it
  index_t in_channels = 3;
  Pooling pooling = Pooling::concat;      ///< [average, maximum]: timm's order
  index_t base_width = 26;                ///< channels of a quarter at 64 planes and one group
  index_t cardinality = 1;                ///< groups of the 3x3 convolutions
};

/// With u = relu(bn1(conv1(x))) in four quarters u1..u4:
///   y1 = c1(u1),  y2 = c2(y1 + u2),  y3 = c3(y2 + u3),  y4 = u4,  where ci = relu(bn(conv 3x3));
///   block(x) = relu(bn3(conv3([y1, y2, y3, y4])) + shortcut(x)).
/// The first block of a stage has no sums (yi = ci(ui)), and y4 is a 3x3 mean of u4.
struct Bottle2neck {
  using Options = Res2NetOptions;
  static constexpr index_t kExpansion = 4, kScale = 4;
  static constexpr const char* kFamily = "res2net";

  nn::Conv2d conv1, conv3;
  nn::BatchNorm bn1, bn3;
  std::array<nn::Conv2d, kScale - 1> convs;
  std::array<nn::BatchNorm, kScale - 1> bns;
  std::optional<Downsample> downsample;
  index_t stride = 1;

  /// @param planes  of the stage; a quarter has floor(planes base_width / 64) cardinality channels,
  ///                the block returns 4 planes.
  /// @throws ValueError  a quarter would have no channel.
  Bottle2neck(const Options& options, index_t in, index_t planes, index_t chosen_stride)
      : stride(chosen_stride) {
    const index_t groups = options.cardinality;
    const index_t quarter = planes * options.base_width / 64 * groups;
    require<ValueError>(groups >= 1 && quarter >= 1, "res2net: ", planes,
                        " planes with base width ", options.base_width, " and cardinality ",
                        groups, " leave a quarter without channels; want a width of at least ",
                        (64 + options.base_width - 1) / options.base_width);
    const index_t out = planes * kExpansion;
    conv1 = nn::Conv2d(in, quarter * kScale, 1);
    bn1 = nn::BatchNorm(quarter * kScale);
    for (auto& conv : convs) {
      conv = nn::Conv2d(quarter, quarter, 3, {.stride = stride, .padding = 1, .groups = groups});
    }
    for (auto& bn : bns) bn = nn::BatchNorm(quarter);
    conv3 = nn::Conv2d(quarter * kScale, out, 1);
    bn3 = nn::BatchNorm(out, 0.0f);  // every block starts as its shortcut
    if (stride != 1 || in != out) downsample.emplace(in, out, stride);
  }

  /// Whether it is the first of its stage.
  bool first() const { return downsample.has_value(); }

  template <nn::ComputeType T>
  Variable<T> operator()(const Variable<T>& x) {
    const auto shortcut = first() ? (*downsample)(x) : x;
    const auto u = ops::split(bn1(conv1(x), ops::Activation::relu), 3, kScale);
    std::vector<Variable<T>> y;
    for (std::size_t i = 0; i + 1 < kScale; ++i) {
      // Convolutions want dense images: the sum reads the quarter where it lies and writes one.
      const auto in = i == 0 || first() ? u[i] : ops::add(y[i - 1], u[i]);
      y.push_back(bns[i](convs[i](in), ops::Activation::relu));
    }
    const auto& last = u[kScale - 1];
    y.push_back(first() ? ops::average_pool(last, {{.kernel = 3, .stride = stride, .padding = 1},
                                                   /*count_include_pad=*/true})
                        : last);
    return bn3(conv3(ops::concat(y, 3)), ops::Activation::relu, shortcut);
  }

  template <class V>
  void visit(V&& v) {
    v("conv1", conv1);
    v("bn1", bn1);
    for (std::size_t i = 0; i < convs.size(); ++i) v("convs." + std::to_string(i), convs[i]);
    for (std::size_t i = 0; i < bns.size(); ++i) v("bns." + std::to_string(i), bns[i]);
    v("conv3", conv3);
    v("bn3", bn3);
    if (downsample) v("downsample", *downsample);
  }
};

using Res2Net = ResNetOf<Bottle2neck>;

/// res2net50 (timm's res2net50_26w_4s) and res2next50 by name.
/// @throws ValueError  another name.
inline Res2NetOptions res2net_options(std::string_view name) {
  if (name == "res2net50" || name == "res2net50_26w_4s") return {};
  if (name == "res2next50") return {.base_width = 4, .cardinality = 8};
  mwalimu::detail::fail<ValueError>("arch: no res2net '", name,
                                    "'; want res2net50, res2net50_26w_4s or res2next50");
}

}  // namespace mwalimu::models
