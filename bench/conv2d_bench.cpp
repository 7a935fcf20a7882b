// conv2d_bench: all 36 convolutions of xresnet34 for a batch of 32, forward and backward.
//
//   step     as training runs them: ops::conv2d and its backward, weights packed once, gradients
//            added to those of the parameters
//   onednn   the bare primitives on packed weights: the floor of `step`
//   pack, unpack   the copies of weights between parameters and oneDNN's layouts
#include <benchmark/benchmark.h>

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/ops/conv2d.hpp"
#include "support.hpp"

namespace mwalimu::ops {
namespace {

using cpu::Conv2dDirection;

struct Layer {
  Conv2dOptions options;
  Tensor<float> x, dout, out, dx, weight_grad;
  Variable<float> weight;
  std::shared_ptr<PackedWeights> packed = std::make_shared<PackedWeights>();
  bool needs_dx = true;

  std::shared_ptr<const cpu::Conv2dPrimitive> primitive(Conv2dDirection direction) const {
    const auto array = [](const Shape& s) { return std::array{s[0], s[1], s[2], s[3]}; };
    return cpu::detail::conv2d_primitive(direction, array(x.shape()), array(weight.shape()),
                                         array(dout.shape()), options);
  }
};

Tensor<float> noise(const Shape& shape, const Shape& strides) {
  auto tensor = Tensor<float>::with_strides(shape, strides);
  RandomStream random(0, Purpose::test);
  for (float& value : tensor.span()) value = random.uniform(-1.0f, 1.0f);
  return tensor;
}

Layer make_layer(index_t batch, index_t side, index_t in, index_t out, index_t kernel,
                 index_t stride) {
  Layer layer;
  layer.options = {.stride = stride, .padding = kernel / 2};
  layer.needs_dx = in != 3;
  const Shape x{batch, side, side, in}, w{out, in, kernel, kernel};
  const Shape y = detail::conv2d_output_shape(x, w, layer.options);
  layer.x = noise(x, contiguous_strides(x));
  layer.dx = Tensor<float>::empty(x);
  layer.dout = noise(y, contiguous_strides(y));
  layer.out = Tensor<float>::empty(y);
  layer.weight_grad = Tensor<float>::with_strides(w, conv2d_weight_strides(w));
  layer.weight_grad.zero();
  layer.weight = Variable<float>::leaf(noise(w, conv2d_weight_strides(w)), layer.weight_grad);
  return layer;
}

std::vector<Layer> xresnet34(index_t px) {
  constexpr index_t kBatch = 32;
  std::vector<Layer> layers;
  index_t side = px;
  const auto add = [&](index_t in, index_t out, index_t kernel, index_t stride) {
    layers.push_back(make_layer(kBatch, side, in, out, kernel, stride));
    side = layers.back().out.dim(1);
  };
  add(3, 32, 3, 2);
  add(32, 32, 3, 1);
  add(32, 64, 3, 1);
  side /= 2;
  index_t channels = 64;
  for (const auto& [width, blocks] :
       std::vector<std::pair<index_t, int>>{{64, 3}, {128, 4}, {256, 6}, {512, 3}}) {
    for (int block = 0; block < blocks; ++block) {
      add(channels, width, 3, channels == width ? 1 : 2);
      add(width, width, 3, 1);
      if (channels != width) add(channels, width, 1, 1);
      channels = width;
    }
  }
  return layers;
}

// Multiply-adds twice, taps that fall into the padding included, over the directions that run.
double flop(const std::vector<Layer>& layers) {
  double sum = 0;
  for (const Layer& layer : layers) {
    const Shape& w = layer.weight.shape();
    sum +=
        (layer.needs_dx ? 6.0 : 4.0) * static_cast<double>(layer.dout.count() * w[1] * w[2] * w[3]);
  }
  return sum;
}
double weight_bytes(const std::vector<Layer>& layers) {
  double sum = 0;
  for (const Layer& layer : layers) sum += 4.0 * static_cast<double>(layer.weight.value().count());
  return sum;
}
bench::Cost arithmetic(const std::vector<Layer>& layers) {
  return {.bytes = 0, .flop = flop(layers)};
}

// Of the first layers' weights: one element of each gradient against the sum that defines it.
std::string wrong_gradient(const std::vector<Layer>& layers) {
  for (std::size_t l = 0; l < 3; ++l) {
    const Layer& layer = layers[l];
    const auto x = layer.x.view<4>(), dout = layer.dout.view<4>();
    const auto got = layer.weight_grad.view<4>();
    double want = 0, size = 0;  // of the middle tap of the last output and input channel
    const index_t o = got.dim(0) - 1, i = got.dim(1) - 1;
    for (index_t n = 0; n < dout.dim(0); ++n) {
      for (index_t h = 0; h < dout.dim(1); ++h) {
        for (index_t w = 0; w < dout.dim(2); ++w) {
          const double product = double{x(n, h * layer.options.stride, w * layer.options.stride, i)} *
                                 double{dout(n, h, w, o)};
          want += product;
          size += product * product;
        }
      }
    }
    if (!(std::abs(double{got(o, i, 1, 1)} - want) < 1e-4 * std::sqrt(size))) {
      return "layer " + std::to_string(l) + ": a weight's gradient is wrong";
    }
  }
  return {};
}

void step(benchmark::State& state) {
  const auto layers = xresnet34(state.range(0));
  const auto step = [&] {
    for (const Layer& layer : layers) {
      layer.packed->invalidate();  // as after an optimiser's step
      const auto x = layer.needs_dx ? Variable<float>::leaf(layer.x) : Variable<float>(layer.x);
      conv2d(x, layer.weight, layer.options, layer.packed).backward(layer.dout);
    }
  };
  step();
  if (const std::string wrong = wrong_gradient(layers); !wrong.empty()) {
    return state.SkipWithError(wrong.c_str());
  }
  bench::time_host(state, arithmetic(layers), step);
}

void onednn(benchmark::State& state) {
  struct Call {
    const Layer* layer;
    std::shared_ptr<const cpu::Conv2dPrimitive> made;
    std::shared_ptr<const float> weights;
    Conv2dDirection direction;
  };
  const auto layers = xresnet34(state.range(0));
  std::vector<Call> calls;
  using enum Conv2dDirection;
  for (const Layer& layer : layers) {
    for (const auto direction : {forward, backward_data, backward_weight}) {
      if (direction == backward_data && !layer.needs_dx) continue;
      const auto made = layer.primitive(direction);
      calls.push_back(
          {&layer, made,
           cpu::detail::packed_copy(layer.weight.value().view<4>(), made->weight_layout, nullptr),
           direction});
    }
  }
  const auto all = [&] {
    for (const auto& [layer, made, weights, direction] : calls) {
      const bool is_forward = direction == forward, is_data = direction == backward_data;
      cpu::execute("conv2d", made->primitive, made->scratchpad,
                   {{is_data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, made->x,
                     (is_data ? layer->dx : layer->x).data()},
                    {is_forward || is_data ? DNNL_ARG_WEIGHTS : DNNL_ARG_DIFF_WEIGHTS, made->weight,
                     weights.get()},
                    {is_forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, made->out,
                     (is_forward ? layer->out : layer->dout).data()}});
    }
  };
  all();
  bench::time_host(state, arithmetic(layers), all);
}

void pack(benchmark::State& state, Conv2dDirection direction) {
  const auto layers = xresnet34(64);
  std::vector<WeightLayout> layouts;
  std::vector<Tensor<float>> packed;
  for (const Layer& layer : layers) {
    layouts.push_back(layer.primitive(direction)->weight_layout);
    packed.push_back(Tensor<float>::zeros({layouts.back().count}));
  }
  const auto all = [&] {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (direction == Conv2dDirection::backward_weight) {
        auto grad = layers[i].weight_grad;
        cpu::unpack_weights<float>(packed[i].data(), layouts[i], true, grad.view<4>());
      } else {
        cpu::pack_weights<float>(layers[i].weight.value().view<4>(), layouts[i], packed[i].data());
      }
    }
  };
  all();
  const bool adds = direction == Conv2dDirection::backward_weight;
  bench::time_host(state, {.bytes = (adds ? 3 : 2) * weight_bytes(layers), .flop = 0}, all);
}

const bool registered = [] {
  for (const auto& [name, function] : {std::pair{"step", &step}, std::pair{"onednn", &onednn}}) {
    bench::on_host(benchmark::RegisterBenchmark(
                       (std::string("conv2d/") + name + "/cpu/f32/xresnet34").c_str(), function))
        ->ArgName("px")
        ->Arg(64)
        ->Arg(96)
        ->Arg(128);
  }
  using enum Conv2dDirection;
  for (const auto& [name, direction] : {std::pair{"pack_forward", forward},
                                        std::pair{"pack_backward", backward_data},
                                        std::pair{"unpack_gradient", backward_weight}}) {
    bench::on_host(benchmark::RegisterBenchmark(
        (std::string("conv2d/") + name + "/cpu/f32/xresnet34").c_str(), pack, direction));
  }
  return true;
}();

}  // namespace
}  // namespace mwalimu::ops
