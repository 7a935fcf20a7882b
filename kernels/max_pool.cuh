// kernels/max_pool: the largest value of each window, and its gradient.
//
// Computes   y = max over the window, where = kernel * row + column of the first maximum in it;
//            dx = sum of dy over the windows whose maximum is here.
// Shapes     x, dx (N, H, W, C), y, dy, where (N, H', W', C), dense.
// Mapping    pool2d.cuh: a thread holds 16 bytes of channels of one output (backward: input) pixel.
//            Windows overlap in cache: each input is read kernel^2 / stride^2 times, from memory once.
// Moves      forward and backward: x and y (dx and dy) once, 1 byte an output element.
// Roofline   (256, 64, 64, 64) in bfloat16, 3 x 3, stride 2, on an H200 by its data sheet, 4.8 TB/s:
//            184 MB either way, 38 us.
// Resources  no shared memory, up to 64 registers, no spills (-Xptxas=-v, sm_90). Without a bound of
//            four blocks ptxas takes fewer registers and spills.
// Measured   not yet.
// Numerics   forward exact; backward sums at most ceil(kernel / stride)^2 terms in float, in the order
//            of the windows. A NaN is larger than anything; of several the last is named, as on the Cpu.
// Requires   W C < 2^30, H, W, stride < 2^30.
#pragma once

#include "mwalimu/ops/max_pool.hpp"
#include "pool2d.cuh"

namespace mwalimu {
namespace kernels {

template <class T, int N>
__global__ void __launch_bounds__(256, 4)
    max_pool_kernel(const T* __restrict__ x, PoolSide height, PoolSide breadth, PixelGrid grid,
                    T* __restrict__ y, std::uint8_t* __restrict__ where) {
  using A = accumulate_t<T>;
  grid.for_each([&](index_t n, int oh, int ow, index_t pixel, int pack) {
    const int h1 = height.end(oh), w0 = breadth.begin(ow), w1 = breadth.end(ow);
    const T* image = x + n * height.extent * breadth.extent * grid.C + pack * N;
    A best[N] = {};
    int at[N] = {};
    bool first = true;
    for (int h = height.begin(oh); h < h1; ++h) {
      for (int w = w0; w < w1; ++w) {
        const auto in = load_pack<N>(image + (index_t{h} * breadth.extent + w) * grid.C);
        const int here = (h - height.start(oh)) * height.kernel + (w - breadth.start(ow));
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const A v = widen(in[i]);
          const bool wins = first || v > best[i] || v != v;
          best[i] = wins ? v : best[i];
          at[i] = wins ? here : at[i];
        }
        first = false;
      }
    }
    Pack<T, N> out;
    Pack<std::uint8_t, N> places;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      out[i] = narrow<T>(best[i]);
      places[i] = static_cast<std::uint8_t>(at[i]);
    }
    store_pack<N>(y + pixel * grid.C + pack * N, out);
    store_pack<N>(where + pixel * grid.C + pack * N, places);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(256, 4)
    max_pool_backward_kernel(const T* __restrict__ dy, const std::uint8_t* __restrict__ where,
                             PoolSide height, PoolSide breadth, PixelGrid grid,
                             T* __restrict__ dx) {
  using A = accumulate_t<T>;
  grid.for_each([&](index_t n, int h, int w, index_t pixel, int pack) {
    const int oh1 = height.last(h), ow0 = breadth.first(w), ow1 = breadth.last(w);
    A sum[N] = {};
    for (int oh = height.first(h); oh < oh1; ++oh) {
      for (int ow = ow0; ow < ow1; ++ow) {
        const index_t at =
            ((n * height.count + oh) * breadth.count + ow) * grid.C + pack * N;
        const auto gradient = load_pack<N>(dy + at);
        const auto places = load_pack<N>(where + at);
        const int here = (h - height.start(oh)) * height.kernel + (w - breadth.start(ow));
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] += places[i] == here ? widen(gradient[i]) : A{0};
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
void max_pool_forward(Gpu on, View<const T, 4> x, const Pool2dOptions& options, View<T, 4> y,
                      View<std::uint8_t, 4> where) {
  if (y.count() == 0) return;
  const kernels::PoolSide height(detail::PoolAxis(x.dim(1), options));
  const kernels::PoolSide breadth(detail::PoolAxis(x.dim(2), options));
  kernels::with_pack<T>(
      kernels::pixels_in_packs<T>(x.dim(3), x.data(), y.data(), where.data()), [&](auto n) {
        constexpr int N = decltype(n)::value;
        const kernels::PixelGrid grid(y.dim(0), y.dim(1), y.dim(2), y.dim(3), N);
        kernels::launch(on, "max_pool", kernels::max_pool_kernel<T, N>, grid.launch(), x.data(),
                        height, breadth, grid, y.data(), where.data());
      });
}

template <Real T>
void max_pool_backward(Gpu on, View<const T, 4> dy, View<const std::uint8_t, 4> where,
                       const Pool2dOptions& options, View<T, 4> dx) {
  if (dx.count() == 0) return;
  const kernels::PoolSide height(detail::PoolAxis(dx.dim(1), options));
  const kernels::PoolSide breadth(detail::PoolAxis(dx.dim(2), options));
  kernels::with_pack<T>(
      kernels::pixels_in_packs<T>(dx.dim(3), dy.data(), dx.data(), where.data()), [&](auto n) {
        constexpr int N = decltype(n)::value;
        const kernels::PixelGrid grid(dx.dim(0), dx.dim(1), dx.dim(2), dx.dim(3), N);
        kernels::launch(on, "max_pool_backward", kernels::max_pool_backward_kernel<T, N>,
                        grid.launch(), dy.data(), where.data(), height, breadth, grid, dx.data());
      });
}

}  // namespace ops
}  // namespace mwalimu
