// kernels/average_pool: the mean of each window, and its gradient.
//
// Computes   y = (sum over the window) / count; dx = sum over the windows that cover a pixel of
//            dy / count. count: the pixels of the image in the window, or those of image and padding.
// Shapes     x, dx (N, H, W, C), y, dy (N, H', W', C), dense.
// Mapping    pool2d.cuh: a thread holds 16 bytes of channels of one output (backward: input) pixel.
// Moves      forward x and y once, backward dy and dx once; windows overlap in cache.
// Roofline   (256, 64, 64, 64) in bfloat16, 2 x 2, stride 2, on an H200 by its data sheet, 4.8 TB/s:
//            168 MB either way, 35 us.
// Resources  no shared memory, up to 64 registers, no spills (-Xptxas=-v, sm_90). Without a bound of
//            four blocks ptxas takes fewer registers and spills.
// Measured   not yet.
// Numerics   sums of at most kernel^2 terms in float, row by row; one rounding to T.
// Requires   W C < 2^30, H, W, stride < 2^30.
#pragma once

#include "mwalimu/ops/average_pool.hpp"
#include "pool2d.cuh"

namespace mwalimu {
namespace kernels {

/// 1 / (what window (oh, ow) is divided by).
template <class A>
__device__ __forceinline__ A window_weight(const PoolSide& height, const PoolSide& breadth,
                                           bool include_pad, int oh, int ow) {
  const int count = include_pad ? height.padded_length(oh) * breadth.padded_length(ow)
                                : (height.end(oh) - height.begin(oh)) *
                                      (breadth.end(ow) - breadth.begin(ow));
  return A{1} / static_cast<A>(count);
}

template <class T, int N>
__global__ void __launch_bounds__(256, 4)
    average_pool_kernel(const T* __restrict__ x, PoolSide height, PoolSide breadth,
                        bool include_pad, PixelGrid grid, T* __restrict__ y) {
  using A = accumulate_t<T>;
  grid.for_each([&](index_t n, int oh, int ow, index_t pixel, int pack) {
    const int h1 = height.end(oh), w0 = breadth.begin(ow), w1 = breadth.end(ow);
    const T* image = x + n * height.extent * breadth.extent * grid.C + pack * N;
    A sum[N] = {};
    for (int h = height.begin(oh); h < h1; ++h) {
      for (int w = w0; w < w1; ++w) {
        const auto in = load_pack<N>(image + (index_t{h} * breadth.extent + w) * grid.C);
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] += widen(in[i]);
      }
    }
    const A weight = window_weight<A>(height, breadth, include_pad, oh, ow);
    Pack<T, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) out[i] = narrow<T>(weight * sum[i]);
    store_pack<N>(y + pixel * grid.C + pack * N, out);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(256, 4)
    average_pool_backward_kernel(const T* __restrict__ dy, PoolSide height, PoolSide breadth,
                                 bool include_pad, PixelGrid grid, T* __restrict__ dx) {
  using A = accumulate_t<T>;
  grid.for_each([&](index_t n, int h, int w, index_t pixel, int pack) {
    const int oh1 = height.last(h), ow0 = breadth.first(w), ow1 = breadth.last(w);
    A sum[N] = {};
    for (int oh = height.first(h); oh < oh1; ++oh) {
      for (int ow = ow0; ow < ow1; ++ow) {
        const index_t at =
            ((n * height.count + oh) * breadth.count + ow) * grid.C + pack * N;
        const auto gradient = load_pack<N>(dy + at);
        const A weight = window_weight<A>(height, breadth, include_pad, oh, ow);
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] += weight * widen(gradient[i]);
      }
    }
    Pack<T, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) out[i] = narrow<T>(sum[i]);
    store_pack<N>(dx + pixel * grid.C + pack * N, out);
  });
}

}  // namespace kernels

namespace ops {

template <Real T>
void average_pool_forward(Gpu on, View<const T, 4> x, const AveragePoolOptions& options,
                          View<T, 4> y) {
  if (y.count() == 0) return;
  const kernels::PoolSide height(detail::PoolAxis(x.dim(1), options));
  const kernels::PoolSide breadth(detail::PoolAxis(x.dim(2), options));
  kernels::with_pack<T>(kernels::pixels_in_packs<T>(x.dim(3), x.data(), y.data()), [&](auto n) {
    constexpr int N = decltype(n)::value;
    const kernels::PixelGrid grid(y.dim(0), y.dim(1), y.dim(2), y.dim(3), N);
    kernels::launch(on, "average_pool", kernels::average_pool_kernel<T, N>, grid.launch(), x.data(),
                    height, breadth, options.count_include_pad, grid, y.data());
  });
}

template <Real T>
void average_pool_backward(Gpu on, View<const T, 4> dy, const AveragePoolOptions& options,
                           View<T, 4> dx) {
  if (dx.count() == 0) return;
  const kernels::PoolSide height(detail::PoolAxis(dx.dim(1), options));
  const kernels::PoolSide breadth(detail::PoolAxis(dx.dim(2), options));
  kernels::with_pack<T>(kernels::pixels_in_packs<T>(dx.dim(3), dy.data(), dx.data()), [&](auto n) {
    constexpr int N = decltype(n)::value;
    const kernels::PixelGrid grid(dx.dim(0), dx.dim(1), dx.dim(2), dx.dim(3), N);
    kernels::launch(on, "average_pool_backward", kernels::average_pool_backward_kernel<T, N>,
                    grid.launch(), dy.data(), height, breadth, options.count_include_pad, grid,
                    dx.data());
  });
}

}  // namespace ops
}  // namespace mwalimu
