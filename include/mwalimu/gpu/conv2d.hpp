// gpu/conv2d: convolution on a CUDA device, by cuDNN: what surrounds a call of the library.
//
// cuDNN reads weights as (Cout, kh, kw, Cin / groups), input channels densest. Weights that lie so
// (conv2d_weight_strides of a Gpu) are read where they are, others are copied at every use.
#pragma once

#include <array>
#include <memory>
#include <type_traits>

#include "mwalimu/core/device_copy.hpp"
#include "mwalimu/core/profile.hpp"
#include "mwalimu/gpu/cast_add.hpp"
#include "mwalimu/gpu/conv_problem.hpp"
#include "mwalimu/gpu/scratch.hpp"
#include "mwalimu/ops/conv2d.hpp"

namespace mwalimu::gpu {
namespace detail {

template <class T>
Shape shape_of(View<T, 4> view) {
  return {view.dim(0), view.dim(1), view.dim(2), view.dim(3)};
}
template <class T>
Shape strides_of(View<T, 4> view) {
  return {view.stride(0), view.stride(1), view.stride(2), view.stride(3)};
}

/// Whether elements (O, I, kh, kw) lie as (O, kh, kw, I). The stride of a single element means
/// nothing.
template <class T>
bool is_channels_last(View<T, 4> weight) {
  const auto want = channels_last_strides(weight.extents());
  for (int i = 0; i < 4; ++i) {
    if (weight.dim(i) > 1 && weight.stride(i) != want[static_cast<std::size_t>(i)]) return false;
  }
  return true;
}
inline Shape channels_last(const Shape& oihw) {
  const auto s = channels_last_strides({oihw[0], oihw[1], oihw[2], oihw[3]});
  return {s[0], s[1], s[2], s[3]};
}

/// The weights as cuDNN reads them: where they are, or a copy.
template <class T>
std::shared_ptr<const T> weights_for_cudnn(Gpu on, View<const T, 4> weight) {
  if (is_channels_last(weight)) return {std::shared_ptr<void>(), weight.data()};
  const Shape shape = shape_of(weight);
  auto copy = scratch<T>(on, weight.count());
  copy_elements(on, shape, element_type<T>(), weight.data(), strides_of(weight), element_type<T>(),
                copy.get(), channels_last(shape));
  return copy;
}

/// dweight <- gradient (channels last), added to what is there if `accumulate`.
template <class T>
void store_weight_gradient(Gpu on, const T* gradient, bool accumulate,
                           View<accumulate_t<T>, 4> dweight) {
  using A = accumulate_t<T>;
  const index_t count = dweight.count();
  const View<const T, 1> from(gradient, {count}, {1});
  if (is_channels_last(dweight)) {
    return cast_add<T>(on, from, accumulate, View<A, 1>(dweight.data(), {count}, {1}));
  }
  const Shape shape = shape_of(dweight), there = strides_of(dweight), here = channels_last(shape);
  if (accumulate) {
    const auto sum = scratch<A>(on, count);
    copy_elements(on, shape, element_type<A>(), dweight.data(), there, element_type<A>(), sum.get(),
                  here);
    cast_add<T>(on, from, true, View<A, 1>(sum.get(), {count}, {1}));
    return copy_elements(on, shape, element_type<A>(), sum.get(), here, element_type<A>(),
                         dweight.data(), there);
  }
  copy_elements(on, shape, element_type<T>(), gradient, here, element_type<A>(), dweight.data(),
                there);
}

/// One call of the library; a profiler sees it as one kernel.
template <class T>
void convolve(Gpu on, ConvPass pass, const std::array<index_t, 4>& x_extents, const T* x,
              const std::array<index_t, 4>& weight_extents, const T* weight,
              const std::array<index_t, 4>& out_extents, const T* out,
              const ops::Conv2dOptions& options) {
  constexpr const char* kNames[] = {"conv2d_forward", "conv2d_backward_data",
                                    "conv2d_backward_weight"};
  const ProfileScope range(kNames[static_cast<int>(pass)], on, ProfileRecord::Kind::kernel);
  const MathOptions math = math_options();
  Convolution::run(on,
                   {.pass = pass,
                    .type = type_name<T>(),
                    .x = x_extents,
                    .weight = weight_extents,
                    .out = out_extents,
                    .stride = options.stride,
                    .padding = options.padding,
                    .groups = options.groups,
                    .float32 = math.float32,
                    .deterministic = math.deterministic,
                    .alignment = common_alignment({x, weight, out})},
                   x, weight, out);
}

}  // namespace detail
}  // namespace mwalimu::gpu

namespace mwalimu::ops {

template <class T>
void conv2d_forward(Gpu on, View<const T, 4> x, View<const T, 4> weight,
                    const Conv2dOptions& options, PackedWeights*, View<T, 4> out) {
  const auto w = gpu::detail::weights_for_cudnn<T>(on, weight);
  gpu::detail::convolve<T>(on, gpu::ConvPass::forward, x.extents(), x.data(), weight.extents(),
                           w.get(), out.extents(), out.data(), options);
}

template <class T>
void conv2d_backward_data(Gpu on, View<const T, 4> dout, View<const T, 4> weight,
                          const Conv2dOptions& options, PackedWeights*, View<T, 4> dx) {
  const auto w = gpu::detail::weights_for_cudnn<T>(on, weight);
  gpu::detail::convolve<T>(on, gpu::ConvPass::backward_data, dx.extents(), dx.data(),
                           weight.extents(), w.get(), dout.extents(), dout.data(), options);
}

/// cuDNN overwrites, and writes the gradient in T alone (it has no engine that leaves sums of 16-bit
/// products in float). Where float is wanted, or a sum, it writes to memory of its own first: a 16-bit
/// gradient is rounded to T once per use of the weights, before it is added.
template <class T>
void conv2d_backward_weight(Gpu on, View<const T, 4> x, View<const T, 4> dout,
                            const Conv2dOptions& options, bool accumulate,
                            View<accumulate_t<T>, 4> dweight) {
  const auto write_to = [&](T* into) {
    gpu::detail::convolve<T>(on, gpu::ConvPass::backward_weight, x.extents(), x.data(),
                             dweight.extents(), into, dout.extents(), dout.data(), options);
  };
  if constexpr (std::is_same_v<T, accumulate_t<T>>) {
    if (!accumulate && gpu::detail::is_channels_last(dweight)) return write_to(dweight.data());
  }
  const auto gradient = gpu::scratch<T>(on, dweight.count());
  write_to(gradient.get());
  gpu::detail::store_weight_gradient<T>(on, gradient.get(), accumulate, dweight);
}

}  // namespace mwalimu::ops
