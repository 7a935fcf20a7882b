// cpu/conv2d: convolution on the host. float, and bfloat16 on processors with AVX-512, through
// oneDNN; the other types by plain loops.
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
  dnnl_data_type_t type;                  ///< of images and weights; the weights' gradient is float
  std::array<index_t, 4> x, weight, out;  ///< (N, H, W, C), (O, I, kh, kw), (N, Ho, Wo, O)
  index_t stride, padding, groups;
  int threads;
  bool operator==(const Conv2dKey&) const = default;

  std::size_t hash() const {
    return hash_of(static_cast<int>(direction), static_cast<int>(type), x[0], x[1], x[2], x[3],
                   weight[0], weight[2], weight[3], stride, padding, groups, threads);
  }
  friend std::ostream& operator<<(std::ostream& out, const Conv2dKey& key) {
    return out << (key.type == dnnl_f32 ? "" : "bfloat16 ") << key.x[0] << 'x'
               << key.x[1] << 'x' << key.x[2] << 'x' << key.x[3] << " -> " << key.weight[0]
               << ", kernel " << key.weight[2] << 'x' << key.weight[3] << ", stride " << key.stride
               << ", padding " << key.padding << ", groups " << key.groups;
  }
};

/// A convolution in one direction, ready to run.
struct Conv2dPrimitive {
  DnnlPrimitive primitive;
  DnnlLayout x, weight, out, scratchpad;
  ops::WeightLayout weight_layout;
};

namespace detail {

/// oneDNN's description of blocked (O, I, kh, kw) or (g, O, I, kh, kw) weights in our words.
inline ops::WeightLayout weight_layout(const DnnlLayout& md, bool grouped) {
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
  layout.count =
      static_cast<index_t>(dnnl_memory_desc_get_size(&md) / (md.data_type == dnnl_f32 ? 4 : 2));
  index_t step = 1;
  for (int k = blocking.inner_nblks - 1; k >= 0; --k) {
    const auto dimension = blocking.inner_idxs[k] - first;  // -1: the groups
    index_t& block = dimension < 0    ? layout.block_g
                     : dimension == 0 ? layout.block_o
                                      : layout.block_i;
    index_t& inner = dimension < 0    ? layout.inner_g
                     : dimension == 0 ? layout.inner_o
                                      : layout.inner_i;
    index_t* pair = dimension == 0 ? &layout.pair_o : dimension == 1 ? &layout.pair_i : nullptr;
    // A second block of one dimension is known where the first was the innermost of all.
    require<DnnlError>(
        dimension <= 1 && (block == 1 || (pair != nullptr && *pair == 1 && inner == 1)),
        "conv2d: oneDNN wants weights in a layout that Mwalimu does not know");
    if (block > 1) *pair = block;
    block *= blocking.inner_blks[k];
    inner = step;
    step *= blocking.inner_blks[k];
  }
  return layout;
}

inline const char* name_of(Conv2dDirection direction) {
  switch (direction) {
    case Conv2dDirection::forward: return "conv2d forward";
    case Conv2dDirection::backward_data: return "conv2d backward data";
    case Conv2dDirection::backward_weight: return "conv2d backward weight";
  }
  return "conv2d";
}

inline Conv2dPrimitive make_conv2d(const Conv2dKey& key) {
  const char* const name = name_of(key.direction);
  const auto image = [&](const std::array<index_t, 4>& nhwc) {
    return dnnl_layout(name, key.type, {nhwc[0], nhwc[3], nhwc[1], nhwc[2]}, dnnl_nhwc);
  };
  const auto& w = key.weight;
  const index_t g = key.groups;
  const auto x = image(key.x), out = image(key.out);
  const auto any_layout = [&](dnnl_data_type_t type) {
    return g == 1 ? dnnl_layout(name, type, {w[0], w[1], w[2], w[3]}, dnnl_format_tag_any)
                  : dnnl_layout(name, type, {g, w[0] / g, w[1], w[2], w[3]}, dnnl_format_tag_any);
  };
  const auto weight = any_layout(key.type);
  const dnnl_dims_t strides{key.stride, key.stride}, padding{key.padding, key.padding};
  const auto attributes = user_scratchpad(name);

  dnnl_convolution_desc_t convolution;
  dnnl_check(name, dnnl_convolution_forward_desc_init(
                       &convolution, dnnl_forward_training, dnnl_convolution_direct, &x, &weight,
                       nullptr, &out, strides, padding, padding));
  auto chosen = dnnl_describe(name, convolution, attributes);
  auto weight_operand = dnnl_query_weights_md;
  if (key.direction == Conv2dDirection::backward_data) {
    const auto forward = std::move(chosen);
    dnnl_check(name, dnnl_convolution_backward_data_desc_init(&convolution, dnnl_convolution_direct,
                                                              &x, &weight, &out, strides, padding,
                                                              padding));
    chosen = dnnl_describe(name, convolution, attributes, forward.get());
  } else if (key.direction == Conv2dDirection::backward_weight) {
    const auto forward = std::move(chosen);
    const auto gradient = any_layout(dnnl_f32);
    dnnl_check(name, dnnl_convolution_backward_weights_desc_init(
                         &convolution, dnnl_convolution_direct, &x, &gradient, nullptr, &out,
                         strides, padding, padding));
    chosen = dnnl_describe(name, convolution, attributes, forward.get());
    weight_operand = dnnl_query_diff_weights_md;
  }
  record_implementation({name, dnnl_implementation(chosen), mwalimu::detail::concatenate(key)});
  const auto weights = dnnl_layout_of(chosen, weight_operand);
  return {dnnl_make<DnnlPrimitive>(name, dnnl_primitive_create, chosen.get()),
          x,
          weights,
          out,
          dnnl_layout_of(chosen, dnnl_query_scratchpad_md),
          weight_layout(weights, g > 1)};
}

inline std::shared_ptr<const Conv2dPrimitive> conv2d_primitive(const Conv2dKey& key) {
  static auto* cache = new PrimitiveCache<Conv2dKey, Conv2dPrimitive>;
  return cache->get(key, [&] { return make_conv2d(key); });
}
template <class T = float>
std::shared_ptr<const Conv2dPrimitive> conv2d_primitive(Conv2dDirection direction,
                                                        const std::array<index_t, 4>& x,
                                                        const std::array<index_t, 4>& weight,
                                                        const std::array<index_t, 4>& out,
                                                        const ops::Conv2dOptions& options) {
  return conv2d_primitive({direction, dnnl_type<T>(), x, weight, out, options.stride,
                           options.padding, options.groups, num_threads()});
}

/// `weight` in the layout of a primitive, from the layer's copies where it keeps some.
template <class T>
std::shared_ptr<const T> packed_copy(View<const T, 4> weight, const ops::WeightLayout& layout,
                                     ops::PackedWeights* packed) {
  const auto pack = [&](T* into) { pack_weights(weight, layout, into); };
  if (packed != nullptr) return packed->get(layout, weight.data(), pack);
  auto block =
      CachingAllocator::instance().allocate(static_cast<std::size_t>(layout.count) * sizeof(T));
  auto* data = reinterpret_cast<T*>(block.get());
  pack(data);
  return {std::move(block), data};
}

}  // namespace detail
}  // namespace mwalimu::cpu

namespace mwalimu::cpu {

/// oneDNN's three directions, arguments as those of the operation.
template <class T>
void conv2d_dnnl_forward(View<const T, 4> x, View<const T, 4> weight,
                         const ops::Conv2dOptions& options, ops::PackedWeights* packed,
                         View<T, 4> out) {
  const auto conv = detail::conv2d_primitive<T>(Conv2dDirection::forward, x.extents(),
                                                weight.extents(), out.extents(), options);
  const auto w = detail::packed_copy(weight, conv->weight_layout, packed);
  execute("conv2d forward", conv->primitive, conv->scratchpad,
          {{DNNL_ARG_SRC, conv->x, x.data()},
           {DNNL_ARG_WEIGHTS, conv->weight, w.get()},
           {DNNL_ARG_DST, conv->out, out.data()}});
}
template <class T>
void conv2d_dnnl_backward_data(View<const T, 4> dout, View<const T, 4> weight,
                               const ops::Conv2dOptions& options, ops::PackedWeights* packed,
                               View<T, 4> dx) {
  const auto conv = detail::conv2d_primitive<T>(Conv2dDirection::backward_data, dx.extents(),
                                                weight.extents(), dout.extents(), options);
  const auto w = detail::packed_copy(weight, conv->weight_layout, packed);
  execute("conv2d backward data", conv->primitive, conv->scratchpad,
          {{DNNL_ARG_DIFF_DST, conv->out, dout.data()},
           {DNNL_ARG_WEIGHTS, conv->weight, w.get()},
           {DNNL_ARG_DIFF_SRC, conv->x, dx.data()}});
}
template <class T>
void conv2d_dnnl_backward_weight(View<const T, 4> x, View<const T, 4> dout,
                                 const ops::Conv2dOptions& options, bool accumulate,
                                 View<float, 4> dweight) {
  const auto conv = detail::conv2d_primitive<T>(Conv2dDirection::backward_weight, x.extents(),
                                                dweight.extents(), dout.extents(), options);
  const auto block = CachingAllocator::instance().allocate(
      static_cast<std::size_t>(conv->weight_layout.count) * sizeof(float));
  auto* blocked = reinterpret_cast<float*>(block.get());
  execute("conv2d backward weight", conv->primitive, conv->scratchpad,
          {{DNNL_ARG_SRC, conv->x, x.data()},
           {DNNL_ARG_DIFF_DST, conv->out, dout.data()},
           {DNNL_ARG_DIFF_WEIGHTS, conv->weight, blocked}});
  unpack_weights<float>(blocked, conv->weight_layout, accumulate, dweight);
}

}  // namespace mwalimu::cpu

namespace mwalimu::ops {

template <class T>
void conv2d_forward(Cpu, View<const T, 4> x, View<const T, 4> weight, const Conv2dOptions& options,
                    [[maybe_unused]] PackedWeights* packed, View<T, 4> out) {
  if constexpr (cpu::kDnnlElement<T>) {
    if (cpu::dnnl_computes<T>()) {
      return cpu::conv2d_dnnl_forward<T>(x, weight, options, packed, out);
    }
  }
  cpu::Conv2dLoops<T>(x.extents(), weight.extents(), out.extents(), options)
      .forward(x.data(), weight, out.data());
}

template <class T>
void conv2d_backward_data(Cpu, View<const T, 4> dout, View<const T, 4> weight,
                          const Conv2dOptions& options, [[maybe_unused]] PackedWeights* packed,
                          View<T, 4> dx) {
  if constexpr (cpu::kDnnlElement<T>) {
    if (cpu::dnnl_computes<T>()) {
      return cpu::conv2d_dnnl_backward_data<T>(dout, weight, options, packed, dx);
    }
  }
  cpu::Conv2dLoops<T>(dx.extents(), weight.extents(), dout.extents(), options)
      .backward_data(dout.data(), weight, dx.data());
}

template <class T>
void conv2d_backward_weight(Cpu, View<const T, 4> x, View<const T, 4> dout,
                            const Conv2dOptions& options, bool accumulate,
                            View<accumulate_t<T>, 4> dweight) {
  if constexpr (cpu::kDnnlElement<T>) {
    if (cpu::dnnl_computes<T>()) {
      return cpu::conv2d_dnnl_backward_weight<T>(x, dout, options, accumulate, dweight);
    }
  }
  cpu::Conv2dLoops<T>(x.extents(), dweight.extents(), dout.extents(), options)
      .backward_weight(x.data(), dout.data(), accumulate, dweight);
}

}  // namespace mwalimu::ops
