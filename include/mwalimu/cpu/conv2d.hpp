// cpu/conv2d: convolution on the host. float through oneDNN, double by plain loops.
//
// Images are handed to oneDNN as dense NHWC, weights in whatever layout its kernel wants: on
// AVX-512 that pairing has a fast kernel in all three directions for every layer of our networks,
// while leaving the images' layout open, or strided images, falls back to reference loops.
#pragma once

#include <array>
#include <memory>
#include <ostream>
#include <type_traits>
#include <utility>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/cpu/conv2d_loops.hpp"
#include "mwalimu/cpu/dnnl.hpp"
#include "mwalimu/cpu/packed_weights.hpp"
#include "mwalimu/ops/conv2d.hpp"

namespace mwalimu::cpu {

enum class Conv2dDirection { forward, backward_data, backward_weight };

/// All that shapes a convolution primitive.
struct Conv2dKey {
  Conv2dDirection direction;
  std::array<index_t, 4> x, weight, out;  ///< (N, H, W, C), (O, I, kh, kw), (N, Ho, Wo, O)
  index_t stride, padding, groups;
  int threads;
  bool operator==(const Conv2dKey&) const = default;

  std::size_t hash() const {
    return hash_of(static_cast<int>(direction), x[0], x[1], x[2], x[3], weight[0], weight[2],
                   weight[3], stride, padding, groups, threads);
  }
  friend std::ostream& operator<<(std::ostream& out, const Conv2dKey& key) {
    return out << key.x[0] << 'x' << key.x[1] << 'x' << key.x[2] << 'x' << key.x[3] << " -> "
               << key.weight[0] << ", kernel " << key.weight[2] << 'x' << key.weight[3]
               << ", stride " << key.stride << ", padding " << key.padding << ", groups "
               << key.groups;
  }
};

/// A convolution in one direction, ready to run.
struct Conv2dPrimitive {
  dnnl::primitive primitive;
  dnnl::memory::desc x, weight, out, scratchpad;
  ops::WeightLayout weight_layout;
};

namespace detail {

/// oneDNN's description of blocked (O, I, kh, kw) or (g, O, I, kh, kw) weights in our words.
inline ops::WeightLayout weight_layout(const dnnl::memory::desc& described, bool grouped) {
  const dnnl_memory_desc_t& md = described.data;
  const auto& blocking = md.format_desc.blocking;
  const int first = grouped ? 1 : 0;
  ops::WeightLayout layout;
  layout.groups = grouped ? md.dims[0] : 1;
  layout.padded_g = grouped ? md.padded_dims[0] : 1;
  layout.padded_o = md.padded_dims[first];
  layout.padded_i = md.padded_dims[first + 1];
  layout.stride_g = grouped ? blocking.strides[0] : 0;
  layout.stride_o = blocking.strides[first];
  layout.stride_i = blocking.strides[first + 1];
  layout.stride_h = blocking.strides[first + 2];
  layout.stride_w = blocking.strides[first + 3];
  layout.count = static_cast<index_t>(described.get_size() / sizeof(float));
  index_t step = 1;
  for (int k = blocking.inner_nblks - 1; k >= 0; --k) {
    const auto dimension = blocking.inner_idxs[k] - first;  // -1: the groups
    index_t& block = dimension < 0    ? layout.block_g
                     : dimension == 0 ? layout.block_o
                                      : layout.block_i;
    index_t& inner = dimension < 0    ? layout.inner_g
                     : dimension == 0 ? layout.inner_o
                                      : layout.inner_i;
    require<DnnlError>(dimension <= 1 && block == 1,
                       "conv2d: oneDNN wants weights in a layout that Mwalimu does not know");
    block = blocking.inner_blks[k];
    inner = step;
    step *= block;
  }
  return layout;
}

inline Conv2dPrimitive make_conv2d(const Conv2dKey& key) {
  using Memory = dnnl::memory;
  using Tag = Memory::format_tag;
  constexpr auto kFloat = Memory::data_type::f32;
  const auto image = [](const std::array<index_t, 4>& nhwc) {
    return Memory::desc({nhwc[0], nhwc[3], nhwc[1], nhwc[2]}, kFloat, Tag::nhwc);
  };
  const auto& w = key.weight;
  const index_t g = key.groups;
  const auto x = image(key.x), out = image(key.out);
  const Memory::desc weight = g == 1
                                  ? Memory::desc({w[0], w[1], w[2], w[3]}, kFloat, Tag::any)
                                  : Memory::desc({g, w[0] / g, w[1], w[2], w[3]}, kFloat, Tag::any);
  const Memory::dims strides{key.stride, key.stride}, padding{key.padding, key.padding};
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
  const auto attributes = user_scratchpad();

  const dnnl::convolution_forward::primitive_desc forward(
      {dnnl::prop_kind::forward_training, kDirect, x, weight, out, strides, padding, padding},
      attributes, engine());
  const auto ready = [&](const char* direction, const auto& descriptor, auto primitive,
                         const Memory::desc& weights) {
    record_implementation({mwalimu::detail::concatenate("conv2d ", direction),
                           descriptor.impl_info_str(), mwalimu::detail::concatenate(key)});
    return Conv2dPrimitive{
        std::move(primitive),         x, weights, out, descriptor.scratchpad_desc(),
        weight_layout(weights, g > 1)};
  };
  switch (key.direction) {
    case Conv2dDirection::forward:
      return ready("forward", forward, dnnl::convolution_forward(forward), forward.weights_desc());
    case Conv2dDirection::backward_data: {
      const dnnl::convolution_backward_data::primitive_desc backward(
          {kDirect, x, weight, out, strides, padding, padding}, attributes, engine(), forward);
      return ready("backward data", backward, dnnl::convolution_backward_data(backward),
                   backward.weights_desc());
    }
    case Conv2dDirection::backward_weight: {
      const dnnl::convolution_backward_weights::primitive_desc backward(
          {kDirect, x, weight, out, strides, padding, padding}, attributes, engine(), forward);
      return ready("backward weight", backward, dnnl::convolution_backward_weights(backward),
                   backward.diff_weights_desc());
    }
  }
  mwalimu::detail::fail<ValueError>("conv2d: no such direction");
}

inline std::shared_ptr<const Conv2dPrimitive> conv2d_primitive(Conv2dDirection direction,
                                                               const std::array<index_t, 4>& x,
                                                               const std::array<index_t, 4>& weight,
                                                               const std::array<index_t, 4>& out,
                                                               const ops::Conv2dOptions& options) {
  static auto* cache = new PrimitiveCache<Conv2dKey, Conv2dPrimitive>;
  const Conv2dKey key{direction,    x, weight, out, options.stride, options.padding, options.groups,
                      num_threads()};
  return cache->get(key, [&] { return make_conv2d(key); });
}

/// `weight` in the layout of a primitive, from the layer's copies where it keeps some.
inline std::shared_ptr<const float> packed_copy(View<const float, 4> weight,
                                                const ops::WeightLayout& layout,
                                                ops::PackedWeights* packed) {
  const auto pack = [&](float* into) { pack_weights(weight, layout, into); };
  if (packed != nullptr) return packed->get(layout, weight.data(), pack);
  auto block =
      CachingAllocator::instance().allocate(static_cast<std::size_t>(layout.count) * sizeof(float));
  auto* data = reinterpret_cast<float*>(block.get());
  pack(data);
  return {std::move(block), data};
}

}  // namespace detail
}  // namespace mwalimu::cpu

namespace mwalimu::ops {

template <class T>
void conv2d_forward(Cpu, View<const T, 4> x, View<const T, 4> weight, const Conv2dOptions& options,
                    [[maybe_unused]] PackedWeights* packed, View<T, 4> out) {
  if constexpr (std::is_same_v<T, float>) {
    cpu::dnnl_call("conv2d forward", [&] {
      const auto conv = cpu::detail::conv2d_primitive(cpu::Conv2dDirection::forward, x.extents(),
                                                      weight.extents(), out.extents(), options);
      const auto w = cpu::detail::packed_copy(weight, conv->weight_layout, packed);
      cpu::execute(conv->primitive, conv->scratchpad,
                   {{DNNL_ARG_SRC, cpu::wrap(conv->x, x.data())},
                    {DNNL_ARG_WEIGHTS, cpu::wrap(conv->weight, w.get())},
                    {DNNL_ARG_DST, cpu::wrap(conv->out, out.data())}});
    });
  } else {
    cpu::Conv2dLoops<T>(x.extents(), weight.extents(), out.extents(), options)
        .forward(x.data(), weight, out.data());
  }
}

template <class T>
void conv2d_backward_data(Cpu, View<const T, 4> dout, View<const T, 4> weight,
                          const Conv2dOptions& options, [[maybe_unused]] PackedWeights* packed,
                          View<T, 4> dx) {
  if constexpr (std::is_same_v<T, float>) {
    cpu::dnnl_call("conv2d backward data", [&] {
      const auto conv =
          cpu::detail::conv2d_primitive(cpu::Conv2dDirection::backward_data, dx.extents(),
                                        weight.extents(), dout.extents(), options);
      const auto w = cpu::detail::packed_copy(weight, conv->weight_layout, packed);
      cpu::execute(conv->primitive, conv->scratchpad,
                   {{DNNL_ARG_DIFF_DST, cpu::wrap(conv->out, dout.data())},
                    {DNNL_ARG_WEIGHTS, cpu::wrap(conv->weight, w.get())},
                    {DNNL_ARG_DIFF_SRC, cpu::wrap(conv->x, dx.data())}});
    });
  } else {
    cpu::Conv2dLoops<T>(dx.extents(), weight.extents(), dout.extents(), options)
        .backward_data(dout.data(), weight, dx.data());
  }
}

template <class T>
void conv2d_backward_weight(Cpu, View<const T, 4> x, View<const T, 4> dout,
                            const Conv2dOptions& options, bool accumulate,
                            View<accumulate_t<T>, 4> dweight) {
  if constexpr (std::is_same_v<T, float>) {
    cpu::dnnl_call("conv2d backward weight", [&] {
      const auto conv =
          cpu::detail::conv2d_primitive(cpu::Conv2dDirection::backward_weight, x.extents(),
                                        dweight.extents(), dout.extents(), options);
      const auto block = CachingAllocator::instance().allocate(
          static_cast<std::size_t>(conv->weight_layout.count) * sizeof(float));
      auto* blocked = reinterpret_cast<float*>(block.get());
      cpu::execute(conv->primitive, conv->scratchpad,
                   {{DNNL_ARG_SRC, cpu::wrap(conv->x, x.data())},
                    {DNNL_ARG_DIFF_DST, cpu::wrap(conv->out, dout.data())},
                    {DNNL_ARG_DIFF_WEIGHTS, cpu::wrap(conv->weight, blocked)}});
      cpu::unpack_weights<float>(blocked, conv->weight_layout, accumulate, dweight);
    });
  } else {
    cpu::Conv2dLoops<T>(x.extents(), dweight.extents(), dout.extents(), options)
        .backward_weight(x.data(), dout.data(), accumulate, dweight);
  }
}

}  // namespace mwalimu::ops
