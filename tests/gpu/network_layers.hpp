// tests/gpu/network_layers: every kind of convolution in the networks of the study, once.
#pragma once

#include <algorithm>
#include <array>
#include <ostream>
#include <vector>

#include "mwalimu/core/shape.hpp"
#include "mwalimu/ops/conv2d.hpp"

namespace mwalimu::test {

struct ConvLayer {
  index_t N, H, W, Cin, Cout, kernel;
  ops::Conv2dOptions options = {};

  Shape x() const { return {N, H, W, Cin}; }
  Shape weight() const { return {Cout, Cin / options.groups, kernel, kernel}; }
  Shape out() const { return ops::detail::conv2d_output_shape(x(), weight(), options); }
  auto key() const {
    return std::array{N,      H, W, Cin, Cout, kernel, options.stride, options.padding,
                      options.groups};
  }
  friend std::ostream& operator<<(std::ostream& text, const ConvLayer& p) {
    return text << p.x() << " weight " << p.weight() << " stride " << p.options.stride
                << " padding " << p.options.padding << " groups " << p.options.groups;
  }
};

namespace detail {
class LayerList {
 public:
  explicit LayerList(index_t batch) : batch_(batch) {}

  /// Padded so that stride 1 keeps the extent; returns the extent behind it.
  index_t add(index_t side, index_t in, index_t out, index_t kernel, index_t stride = 1,
              index_t groups = 1) {
    const ConvLayer layer{batch_, side, side, in, out, kernel, {stride, kernel / 2, groups}};
    const bool known = std::any_of(layers_.begin(), layers_.end(), [&](const ConvLayer& other) {
      return other.key() == layer.key();
    });
    if (!known) layers_.push_back(layer);
    return (side + stride - 1) / stride;
  }
  std::vector<ConvLayer> take() { return std::move(layers_); }

 private:
  index_t batch_;
  std::vector<ConvLayer> layers_;
};
}  // namespace detail

/// xresnet34's for images of px x px.
inline std::vector<ConvLayer> xresnet34_layers(index_t batch, index_t px) {
  detail::LayerList list(batch);
  index_t side = list.add(px, 3, 32, 3, 2);
  list.add(side, 32, 32, 3);
  list.add(side, 32, 64, 3);
  side = (side + 1) / 2;  // max pool
  list.add(side, 64, 64, 3);
  for (index_t in = 64; in < 512; in *= 2) {
    const index_t after = list.add(side, in, 2 * in, 3, 2);
    list.add(after, in, 2 * in, 1);  // behind the average pool of the shortcut
    list.add(after, 2 * in, 2 * in, 3);
    side = after;
  }
  return list.take();
}

/// res2next50's (4 scales, 8 groups): 7 x 7 stem, 1 x 1 in and out, grouped 3 x 3 of a quarter of the
/// channels, strided 1 x 1 shortcuts.
inline std::vector<ConvLayer> res2next50_layers(index_t batch, index_t px) {
  detail::LayerList list(batch);
  index_t side = list.add(px, 3, 64, 7, 2);
  side = (side + 1) / 2;  // max pool
  index_t in = 64;
  for (index_t width = 32; width <= 256; width *= 2) {
    const index_t stride = width == 32 ? 1 : 2, out = width * 8;
    list.add(side, in, 4 * width, 1);
    list.add(side, in, out, 1, stride);
    const index_t after = list.add(side, width, width, 3, stride, 8);
    list.add(after, width, width, 3, 1, 8);
    list.add(after, 4 * width, out, 1);
    list.add(after, out, 4 * width, 1);
    side = after;
    in = out;
  }
  return list.take();
}

}  // namespace mwalimu::test
