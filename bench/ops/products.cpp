// Convolutions by oneDNN and cuDNN, matrix products by oneDNN and cuBLASLt, at the shapes of
// xresnet34 and SwAV's head.
#include "case.hpp"
#include "mwalimu/ops/conv2d.hpp"
#include "mwalimu/ops/linear.hpp"

namespace mwalimu::ops {
namespace {

using bench::case_of, bench::noise, bench::register_case, bench::tolerance, bench::Work;
using bench::work_on;

enum class Pass { forward, backward_data, backward_weight, backward_bias };

const char* name_of(Pass pass) {
  switch (pass) {
    case Pass::forward: return "/forward";
    case Pass::backward_data: return "/backward_data";
    case Pass::backward_weight: return "/backward_weight";
    case Pass::backward_bias: return "/backward_bias";
  }
  return "";
}

struct Layer {
  index_t N, side, in, out, kernel, stride;

  Conv2dOptions options() const { return {.stride = stride, .padding = kernel / 2}; }
  Shape x() const { return {N, side, side, in}; }
  Shape weight() const { return {out, in, kernel, kernel}; }
  Shape y() const { return detail::conv2d_output_shape(x(), weight(), options()); }
  double flop() const { return 2.0 * static_cast<double>(y().count() * in * kernel * kernel); }
  std::string name() const {
    return "N:" + std::to_string(N) + "/px:" + std::to_string(side) + "/I:" + std::to_string(in) +
           "/O:" + std::to_string(out) + "/k:" + std::to_string(kernel) + "/s:" +
           std::to_string(stride);
  }
};

template <Real T>
Work conv2d_pass(Device device, const Layer& layer, Pass pass) {
  using A = accumulate_t<T>;
  const Shape strides = conv2d_weight_strides(layer.weight(), device);
  auto weight = Tensor<T>::with_strides(layer.weight(), strides, device);
  weight.copy_from(noise<T>(layer.weight(), device, 1));
  auto dweight = Tensor<A>::with_strides(layer.weight(), strides, device);
  auto x = noise<T>(layer.x(), device, 2), dx = Tensor<T>::empty(layer.x(), device);
  auto dout = noise<T>(layer.y(), device, 3), out = Tensor<T>::empty(layer.y(), device);
  const Conv2dOptions options = layer.options();
  const auto call = [=](auto place) mutable {
    if (pass == Pass::forward) {
      conv2d_forward<T>(place, x.template view<4>(), weight.template view<4>(), options, nullptr,
                        out.template view<4>());
    } else if (pass == Pass::backward_data) {
      conv2d_backward_data<T>(place, dout.template view<4>(), weight.template view<4>(), options,
                              nullptr, dx.template view<4>());
    } else {
      conv2d_backward_weight<T>(place, x.template view<4>(), dout.template view<4>(), options,
                                false, dweight.template view<4>());
    }
  };
  if (pass == Pass::backward_weight) return work_on(device, call, dweight);
  return work_on(device, call, pass == Pass::forward ? out : dx);
}

template <Real T>
Work linear_pass(Device device, index_t B, index_t in, index_t out, Pass pass) {
  using A = accumulate_t<T>;
  auto weight = noise<T>({out, in}, device, 1);
  auto bias = noise<A>({out}, device, 2);
  auto x = noise<T>({B, in}, device, 3), dx = Tensor<T>::empty({B, in}, device);
  auto dy = noise<T>({B, out}, device, 4), y = Tensor<T>::empty({B, out}, device);
  auto dweight = Tensor<A>::zeros({out, in}, device), dbias = Tensor<A>::zeros({out}, device);
  const auto call = [=](auto place) mutable {
    switch (pass) {
      case Pass::forward:
        return linear_forward<T>(place, x.template view<2>(), weight.template view<2>(),
                                 bias.data(), y.template view<2>());
      case Pass::backward_data:
        return linear_backward_data<T>(place, dy.template view<2>(), weight.template view<2>(),
                                       dx.template view<2>());
      case Pass::backward_weight:
        return linear_backward_weight<T>(place, x.template view<2>(), dy.template view<2>(), false,
                                         dweight.template view<2>());
      case Pass::backward_bias:
        return linear_backward_bias<T>(place, dy.template view<2>(), false,
                                       dbias.template view<1>());
    }
  };
  if (pass == Pass::forward || pass == Pass::backward_data) {
    return work_on(device, call, pass == Pass::forward ? y : dx);
  }
  return work_on(device, call, pass == Pass::backward_weight ? dweight : dbias);
}

// The distinct convolutions of xresnet34 on `N` images of 128 pixels.
std::vector<Layer> xresnet34(index_t N) {
  std::vector<Layer> layers{{N, 128, 3, 32, 3, 2}, {N, 64, 32, 32, 3, 1}, {N, 64, 32, 64, 3, 1}};
  index_t side = 32, channels = 64;
  for (const index_t width : {64, 128, 256, 512}) {
    if (channels != width) {
      layers.push_back({N, side, channels, width, 3, 2});
      side /= 2;
      layers.push_back({N, side, channels, width, 1, 1});
    }
    layers.push_back({N, side, width, width, 3, 1});
    channels = width;
  }
  return layers;
}

template <Real T>
void register_conv2d(const std::vector<Layer>& layers) {
  for (const Layer& layer : layers) {
    for (const Pass pass : {Pass::forward, Pass::backward_data, Pass::backward_weight}) {
      if (pass == Pass::backward_data && layer.in == 3) continue;  // images have no gradient
      const auto count = [](const Shape& shape) { return static_cast<double>(shape.count()); };
      const double weight_size = pass == Pass::backward_weight ? 4 : sizeof(T);
      const Layer small{2, 9, 8, 16, layer.kernel, layer.stride};
      register_case<T>(case_of<T>(
          std::string("conv2d") + name_of(pass), layer.name(),
          {(count(layer.x()) + count(layer.y())) * sizeof(T) + count(layer.weight()) * weight_size,
           layer.flop()},
          tolerance<T>(), [=]<class R>(R, Device d) { return conv2d_pass<R>(d, layer, pass); },
          [=]<class R>(R, Device d) { return conv2d_pass<R>(d, small, pass); }));
    }
  }
}

template <Real T>
void register_linear() {
  struct Extents {
    index_t B, in, out;
  };
  for (const Extents& e : std::vector<Extents>{{256, 1024, 2048}, {256, 2048, 128},
                                               {256, 128, 3000}, {2048, 1024, 2048},
                                               {2048, 2048, 128}, {2048, 128, 3000}}) {
    for (const Pass pass : {Pass::forward, Pass::backward_data, Pass::backward_weight,
                            Pass::backward_bias}) {
      const auto b = static_cast<double>(e.B), i = static_cast<double>(e.in),
                 o = static_cast<double>(e.out);
      const bool is_bias = pass == Pass::backward_bias;
      const double weight_size = pass == Pass::backward_weight ? 4 : sizeof(T);
      register_case<T>(case_of<T>(
          std::string("linear") + name_of(pass),
          "B:" + std::to_string(e.B) + "/I:" + std::to_string(e.in) + "/O:" + std::to_string(e.out),
          is_bias ? bench::Cost{b * o * sizeof(T) + 4 * o, b * o}
                  : bench::Cost{(b * i + b * o) * sizeof(T) + i * o * weight_size, 2 * b * i * o},
          tolerance<T>(),
          [=]<class R>(R, Device d) { return linear_pass<R>(d, e.B, e.in, e.out, pass); },
          [=]<class R>(R, Device d) { return linear_pass<R>(d, 8, 24, 16, pass); }));
    }
  }
}

const bool registered = [] {
  register_conv2d<bfloat16>(xresnet34(64));
  register_conv2d<float>({{64, 32, 64, 64, 3, 1}, {64, 4, 512, 512, 3, 1}});
  register_linear<bfloat16>();
  register_linear<float>();
  return true;
}();

}  // namespace
}  // namespace mwalimu::ops
