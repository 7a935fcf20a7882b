// kernels/l2_normalize: rows scaled to unit length, and the gradient of that.
//
// Computes   forward:  norm[b] = |x[b, :]|, y[b, :] = x[b, :] / max(norm[b], eps).
//            backward: dx[b, :] = (dy - y (y . dy)) / norm[b]; dy / eps where norm[b] < eps.
// Shapes     x, y, dy, dx (B, D), rows any distance apart; norm (B). y may be x.
// Mapping    a warp a row, 8 rows a block: lanes take packs of 16 bytes of the statistics' type,
//            twice (the second time from the first-level cache), and meet in one tree of shuffles.
// Moves      forward B D (2 s) + B a bytes, backward B D (3 s) + B a, for elements of s bytes and
//            statistics of a bytes.
// Roofline   B = 256, D = 128 in float (a SwAV step): 0.26 MB, all in the second-level cache; the
//            launch is the cost. B = 2^20: 1.07 GB, 224 us on an H200 by its data sheet.
// Resources  float: 40 registers, no shared memory; no spills (sm_90).
// Measured   not yet.
// Numerics   squares and products are summed in double, so rows of 1e30 and of 1e-30 keep their
//            digits. 16 and 32-bit rows are multiplied by the double 1 / length; double's are
//            divided, for the reciprocal of a subnormal length overflows. Same bits on every run.
// Requires   D >= 0, B < 2^34.
#pragma once

#include "mwalimu/ops/l2_normalize.hpp"
#include "rows.cuh"

namespace mwalimu {
namespace kernels {

/// value / divisor, where the reciprocal is at hand.
template <class T>
__device__ __forceinline__ double quotient(double value, double divisor, double reciprocal) {
  return std::is_same_v<T, double> ? value / divisor : value * reciprocal;
}

template <class T, int N>
__global__ void __launch_bounds__(256)
    l2_normalize_forward_kernel(Rows<const T> x, double eps, Rows<T> y, accumulate_t<T>* norm,
                                index_t norm_stride, index_t B, index_t D) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const index_t b = static_cast<index_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (b >= B) return;  // a whole warp
  const T* from = x[b];
  T* to = y[b];
  double squares = 0;
  for_each_piece<N>(0, D, lane, 32, [&](index_t at, auto width) {
    constexpr int W = width;
    const auto v = load_pack<W>(from + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const double value = static_cast<double>(widen(v[i]));
      squares += value * value;
    }
  });
  const double length = sqrt(warp_reduce(squares, Sum{}));
  const double divisor = length < eps ? eps : length;  // NaN stays NaN
  const double reciprocal = 1.0 / divisor;
  if (lane == 0) norm[b * norm_stride] = static_cast<accumulate_t<T>>(length);
  for_each_piece<N>(0, D, lane, 32, [&](index_t at, auto width) {
    constexpr int W = width;
    auto v = load_pack<W>(from + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const double value = static_cast<double>(widen(v[i]));
      v[i] = narrow<T>(static_cast<accumulate_t<T>>(quotient<T>(value, divisor, reciprocal)));
    }
    store_pack<W>(to + at, v);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(256)
    l2_normalize_backward_kernel(Rows<const T> dy, Rows<const T> y, const accumulate_t<T>* norm,
                                 index_t norm_stride, double eps, Rows<T> dx, index_t B,
                                 index_t D) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const index_t b = static_cast<index_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (b >= B) return;  // a whole warp
  const T *gradient = dy[b], *unit = y[b];
  T* to = dx[b];
  double product = 0;
  for_each_piece<N>(0, D, lane, 32, [&](index_t at, auto width) {
    constexpr int W = width;
    const auto g = load_pack<W>(gradient + at), u = load_pack<W>(unit + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      product += static_cast<double>(widen(g[i])) * static_cast<double>(widen(u[i]));
    }
  });
  const double length = static_cast<double>(norm[b * norm_stride]);
  const double sum = warp_reduce(product, Sum{});
  const double along = length < eps ? 0.0 : sum, divisor = length < eps ? eps : length;
  const double reciprocal = 1.0 / divisor;
  for_each_piece<N>(0, D, lane, 32, [&](index_t at, auto width) {
    constexpr int W = width;
    const auto g = load_pack<W>(gradient + at), u = load_pack<W>(unit + at);
    Pack<T, W> out;
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const double rest =
          static_cast<double>(widen(g[i])) - static_cast<double>(widen(u[i])) * along;
      out[i] = narrow<T>(static_cast<accumulate_t<T>>(quotient<T>(rest, divisor, reciprocal)));
    }
    store_pack<W>(to + at, out);
  });
}

}  // namespace kernels

namespace ops {

template <Real T>
void l2_normalize_forward(Gpu on, View<const T, 2> x, double eps, View<T, 2> y,
                          View<accumulate_t<T>, 1> norm) {
  if (x.dim(0) == 0) return;
  constexpr int N = kernels::kRowPack<T>;
  const kernels::Rows<const T> from(x);
  const kernels::Rows<T> to(y);
  const bool packs = from.fit(N) && to.fit(N);
  kernels::launch(on, "l2_normalize_forward",
                  packs ? kernels::l2_normalize_forward_kernel<T, N>
                        : kernels::l2_normalize_forward_kernel<T, 1>,
                  {.grid = kernels::row_blocks(x.dim(0), 8), .block = 256}, from, eps, to,
                  norm.data(), norm.stride(0), x.dim(0), x.dim(1));
}

template <Real T>
void l2_normalize_backward(Gpu on, View<const T, 2> dy, View<const T, 2> y,
                           View<const accumulate_t<T>, 1> norm, double eps, View<T, 2> dx) {
  if (y.dim(0) == 0) return;
  constexpr int N = kernels::kRowPack<T>;
  const kernels::Rows<const T> gradient(dy), unit(y);
  const kernels::Rows<T> to(dx);
  const bool packs = gradient.fit(N) && unit.fit(N) && to.fit(N);
  kernels::launch(on, "l2_normalize_backward",
                  packs ? kernels::l2_normalize_backward_kernel<T, N>
                        : kernels::l2_normalize_backward_kernel<T, 1>,
                  {.grid = kernels::row_blocks(y.dim(0), 8), .block = 256}, gradient, unit,
                  norm.data(), norm.stride(0), eps, to, y.dim(0), y.dim(1));
}

}  // namespace ops
}  // namespace mwalimu
