// ops/conv2d: two-dimensional convolution (cross-correlation) of NHWC images.
#pragma once

#include <memory>
#include <utility>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/packed_weights.hpp"

namespace mwalimu::ops {

struct Conv2dOptions {
  index_t stride = 1;   ///< of both dimensions, >= 1
  index_t padding = 0;  ///< zeros on each of the four sides, >= 0
  index_t groups = 1;   ///< must divide the channels of input and output
};

// Backends: one overload per place. x (N, H, W, Cin), out (N, Ho, Wo, Cout) and their gradients are
// contiguous; weight (Cout, Cin / groups, kh, kw) may have any strides. Images and weights are of the
// type T that is computed in, sums and the weights' gradient of accumulate_t<T>. `packed` may be
// null. Cpu is defined in mwalimu/cpu/conv2d.hpp, Gpu in mwalimu/gpu/conv2d.hpp.

/// out <- conv(x, weight).
template <class T>
void conv2d_forward(Cpu, View<const T, 4> x, View<const T, 4> weight, const Conv2dOptions& options,
                    PackedWeights* packed, View<T, 4> out);
template <class T>
void conv2d_forward(Gpu, View<const T, 4> x, View<const T, 4> weight, const Conv2dOptions& options,
                    PackedWeights* packed, View<T, 4> out);
/// dx <- d(out . dout) / dx.
template <class T>
void conv2d_backward_data(Cpu, View<const T, 4> dout, View<const T, 4> weight,
                          const Conv2dOptions& options, PackedWeights* packed, View<T, 4> dx);
template <class T>
void conv2d_backward_data(Gpu, View<const T, 4> dout, View<const T, 4> weight,
                          const Conv2dOptions& options, PackedWeights* packed, View<T, 4> dx);
/// dweight <- d(out . dout) / dweight, added to what is there if `accumulate`.
template <class T>
void conv2d_backward_weight(Cpu, View<const T, 4> x, View<const T, 4> dout,
                            const Conv2dOptions& options, bool accumulate,
                            View<accumulate_t<T>, 4> dweight);
template <class T>
void conv2d_backward_weight(Gpu, View<const T, 4> x, View<const T, 4> dout,
                            const Conv2dOptions& options, bool accumulate,
                            View<accumulate_t<T>, 4> dweight);

/// The strides that parameters should have in memory for weights of shape `oihw`.
///
/// Cpu: (kh, kw, I, O), O densest. Of the six plain orders of a 3 x 3 layer this one makes two of the
/// three copies between parameters and oneDNN's blocked layouts move whole runs of 16 to 64 output
/// channels (forward weights and weight gradient; the data gradient's weights are transposed in
/// 16 x 16 tiles). Gpu: (O, kh, kw, I), I densest, the order of cuDNN's kernels for images (N, H, W,
/// C), which read the weights where they lie.
inline Shape conv2d_weight_strides(const Shape& oihw, Device device = Device::cpu()) {
  require<ShapeError>(oihw.rank() == 4, "conv2d_weight_strides: want (O, I, kh, kw), got ", oihw);
  const index_t O = oihw[0], I = oihw[1], kh = oihw[2], kw = oihw[3];
  if (!device.is_cpu()) return {kh * kw * I, 1, kw * I, I};
  return {1, O, kw * I * O, I * O};
}

namespace detail {

inline index_t conv2d_extent(index_t in, index_t kernel, const Conv2dOptions& options) {
  return (in + 2 * options.padding - kernel) / options.stride + 1;
}

inline Shape conv2d_output_shape(const Shape& x, const Shape& weight,
                                 const Conv2dOptions& options) {
  require<ValueError>(options.stride >= 1 && options.padding >= 0 && options.groups >= 1,
                      "conv2d: want stride >= 1, padding >= 0, groups >= 1, got ", options.stride,
                      ", ", options.padding, ", ", options.groups);
  require<ShapeError>(x.rank() == 4 && weight.rank() == 4,
                      "conv2d: want x (N, H, W, Cin) and weight (Cout, Cin / groups, kh, kw), got ",
                      x, " and ", weight);
  require<ShapeError>(x.count() > 0 && weight.count() > 0, "conv2d: nothing to convolve: x ", x,
                      ", weight ", weight);
  require<ShapeError>(x[3] == weight[1] * options.groups && weight[0] % options.groups == 0,
                      "conv2d: x has ", x[3], " channels, weight ", weight,
                      " with groups = ", options.groups, " wants ", weight[1] * options.groups,
                      " and its outputs divided among the groups");
  const Shape out{x[0], conv2d_extent(x[1], weight[2], options),
                  conv2d_extent(x[2], weight[3], options), weight[0]};
  require<ShapeError>(
      x[1] + 2 * options.padding >= weight[2] && x[2] + 2 * options.padding >= weight[3],
      "conv2d: kernel ", weight[2], " x ", weight[3], " is larger than the image ", x[1], " x ",
      x[2], " with padding ", options.padding);
  return out;
}

}  // namespace detail

/// Convolution without bias:
///   out[n, y, x, o] = sum_{i, h, w} in[n, y s - p + h, x s - p + w, i] weight[o, i, h, w],
/// where i runs over the input channels of o's group and pixels outside the image are zero.
///
/// @param x        (N, H, W, Cin), all extents >= 1; copied first if it is not contiguous. Its type T
///                 is the type computed in and returned.
/// @param weight   (Cout, Cin / groups, kh, kw), PyTorch's shape; any strides, those of
///                 conv2d_weight_strides are the fastest. float for 16-bit T: it is rounded to T
///                 first, and its gradient is float.
/// @param packed   the layer's PackedWeights, whose owner invalidates it with every change of the
///                 weights; null: weights are packed anew at every use.
/// @return         (N, Ho, Wo, Cout), Ho = (H + 2 padding - kh) / stride + 1 rounded down.
/// @throws ShapeError  ranks, channels or extents do not fit; the text says which.
/// @throws ValueError  an option is out of range.
///
/// Saves     x if weight needs a gradient; weight (shared, not copied) if x does.
/// Moves     x, weight and out once each; N Ho Wo Cout kh kw Cin / groups multiply-adds.
/// Accuracy  float: within 1e-6 relative L2 of double at the networks' shapes
///           (Conv2d.MatchesFp64Reference); the same input gives the same bits on the same number
///           of threads. 16-bit types: products and sums in float, then one rounding of the result.
/// Source    oneDNN direct convolution, NHWC images and weights in a layout of its choice.
template <Real T>
Variable<T> conv2d(const Variable<T>& x, const Variable<accumulate_t<T>>& weight,
                   const Conv2dOptions& options = {},
                   std::shared_ptr<PackedWeights> packed = nullptr) {
  using A = accumulate_t<T>;
  const Shape shape = detail::conv2d_output_shape(x.shape(), weight.shape(), options);
  require<DeviceError>(x.value().device() == weight.value().device(), "conv2d: x is on ",
                       x.value().device(), ", weight on ", weight.value().device());
  const Tensor<T> in = x.value().contiguous();
  const Tensor<T> w = detail::weights_in<T>(weight.value(), packed.get());
  auto out = Tensor<T>::empty(shape, in.device());
  on_device("conv2d", in.device(), [&](auto place) {
    conv2d_forward<T>(place, in.template view<4>(), w.template view<4>(), options, packed.get(),
                      out.template view<4>());
  });

  // Only what the backward pass will read is kept alive: nothing of x where weights are frozen.
  auto backward = [in = weight.needs_grad() ? in : Tensor<T>(),
                   w = x.needs_grad() ? w : Tensor<T>(), x_shape = in.shape(), options,
                   packed = std::move(packed)](Inputs inputs, const Tensor<T>& incoming) {
    const Tensor<T> dout = incoming.contiguous();
    on_device("conv2d", dout.device(), [&](auto place) {
      if (inputs.needs_grad(0)) {
        auto dx = Tensor<T>::empty(x_shape, dout.device());
        conv2d_backward_data<T>(place, dout.template view<4>(), w.template view<4>(), options,
                                packed.get(), dx.template view<4>());
        inputs.add_grad(0, std::move(dx));
      }
      if (inputs.needs_grad(1)) {
        auto [dweight, accumulate] = inputs.template slot<A>(1);
        conv2d_backward_weight<T>(place, in.template view<4>(), dout.template view<4>(), options,
                                  accumulate, dweight.template view<4>());
      }
    });
  };
  return Variable<T>(std::move(out), {x, weight}, std::move(backward));
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/conv2d.hpp"
