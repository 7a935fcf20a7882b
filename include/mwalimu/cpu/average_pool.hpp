// cpu/average_pool: sums of windows in tiles of channels; backward gathers, so no two threads meet.
#pragma once

#include <algorithm>
#include <vector>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/cpu/prefetch.hpp"
#include "mwalimu/ops/average_pool.hpp"

namespace mwalimu::ops {
namespace detail {

inline constexpr index_t kAverageTile = 128;

/// 1 / (what each window is divided by), (windows down, windows across): in the loops a division
/// would cost more than the window.
template <class A>
std::vector<A> window_weights(const PoolAxis& height, const PoolAxis& breadth, bool include_pad) {
  std::vector<A> weights;
  for (index_t oh = 0; oh < height.count; ++oh) {
    for (index_t ow = 0; ow < breadth.count; ++ow) {
      const index_t count =
          include_pad ? height.padded_length(oh) * breadth.padded_length(ow)
                      : (height.end(oh) - height.begin(oh)) * (breadth.end(ow) - breadth.begin(ow));
      weights.push_back(A{1} / static_cast<A>(count));
    }
  }
  return weights;
}

}  // namespace detail

template <Real T>
void average_pool_forward(Cpu, View<const T, 4> x, const AveragePoolOptions& options,
                          View<T, 4> y) {
  using A = accumulate_t<T>;
  const index_t C = x.dim(3), row = x.stride(1), pixel = x.stride(2);
  const detail::PoolAxis height(x.dim(1), options), breadth(x.dim(2), options);
  const auto weights = detail::window_weights<A>(height, breadth, options.count_include_pad);
  const index_t rows = x.dim(0) * height.count;
  detail::for_each_row_range(rows, x.dim(2) * options.stride * C, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t n = r / height.count, oh = r % height.count;
      const index_t h0 = height.begin(oh), h1 = height.end(oh);
      for (index_t ow = 0; ow < breadth.count; ++ow) {
        const A weight = weights[static_cast<std::size_t>(oh * breadth.count + ow)];
        const index_t w0 = breadth.begin(ow), w1 = breadth.end(ow);
        const T* window = x.data() + n * x.stride(0) + h0 * row + w0 * pixel;
        T* to = y.data() + (r * breadth.count + ow) * C;
        for (index_t i = 0; i < options.stride; ++i) {  // what the window below this one reads
          detail::prefetch(window, (options.stride + i) * row, options.stride * C);
        }
        if (h1 - h0 == 2 && w1 - w0 == 2) {  // the shortcut of every down-sampling block
          const T *below = window + row, *beside = window + pixel, *across = below + pixel;
#pragma omp simd
          for (index_t c = 0; c < C; ++c) {
            to[c] = convert<T>(weight * ((convert<A>(window[c]) + convert<A>(beside[c])) +
                                         (convert<A>(below[c]) + convert<A>(across[c]))));
          }
          continue;
        }
        for (index_t c0 = 0; c0 < C; c0 += detail::kAverageTile) {
          const index_t width = std::min(detail::kAverageTile, C - c0);
          alignas(64) A sum[detail::kAverageTile];
          std::fill_n(sum, width, A{0});
          for (index_t h = 0; h < h1 - h0; ++h) {
            for (index_t w = 0; w < w1 - w0; ++w) {
              const T* from = window + h * row + w * pixel + c0;
#pragma omp simd
              for (index_t c = 0; c < width; ++c) sum[c] += convert<A>(from[c]);
            }
          }
#pragma omp simd
          for (index_t c = 0; c < width; ++c) to[c0 + c] = convert<T>(weight * sum[c]);
        }
      }
    }
  });
}

template <Real T>
void average_pool_backward(Cpu, View<const T, 4> dy, const AveragePoolOptions& options,
                           View<T, 4> dx) {
  using A = accumulate_t<T>;
  const index_t H = dx.dim(1), W = dx.dim(2), C = dx.dim(3);
  const detail::PoolAxis height(H, options), breadth(W, options);
  const auto weights = detail::window_weights<A>(height, breadth, options.count_include_pad);
  detail::for_each_row_range(dx.dim(0) * H, W * C, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t n = r / H, h = r % H, oh0 = height.first(h), oh1 = height.last(h);
      for (index_t w = 0; w < W; ++w) {
        const index_t ow0 = breadth.first(w), ow1 = breadth.last(w);
        T* to = dx.data() + (r * W + w) * C;
        if (oh1 - oh0 == 1 && ow1 - ow0 == 1) {  // windows that do not overlap
          const A weight = weights[static_cast<std::size_t>(oh0 * breadth.count + ow0)];
          const T* from = dy.data() + ((n * height.count + oh0) * breadth.count + ow0) * C;
#pragma omp simd
          for (index_t c = 0; c < C; ++c) to[c] = convert<T>(weight * convert<A>(from[c]));
          continue;
        }
        for (index_t c0 = 0; c0 < C; c0 += detail::kAverageTile) {
          const index_t width = std::min(detail::kAverageTile, C - c0);
          alignas(64) A sum[detail::kAverageTile];
          std::fill_n(sum, width, A{0});
          for (index_t oh = oh0; oh < oh1; ++oh) {
            for (index_t ow = ow0; ow < ow1; ++ow) {
              const A weight = weights[static_cast<std::size_t>(oh * breadth.count + ow)];
              const T* from = dy.data() + ((n * height.count + oh) * breadth.count + ow) * C + c0;
#pragma omp simd
              for (index_t c = 0; c < width; ++c) sum[c] += weight * convert<A>(from[c]);
            }
          }
#pragma omp simd
          for (index_t c = 0; c < width; ++c) to[c0 + c] = convert<T>(sum[c]);
        }
      }
    }
  });
}

}  // namespace mwalimu::ops
