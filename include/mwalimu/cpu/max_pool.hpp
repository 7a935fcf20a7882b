// cpu/max_pool: tiles of channels stay in the first-level cache while a window is visited.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/max_pool.hpp"

namespace mwalimu::ops {
namespace detail {

inline constexpr index_t kPoolTile = 64;

/// One output pixel: maxima of `width` channels.
template <class T>
void max_of_window(const T* image, index_t row, index_t pixel, const PoolAxis& height,
                   const PoolAxis& breadth, index_t oh, index_t ow, index_t width, T* y,
                   std::uint8_t* where) {
  using A = accumulate_t<T>;
  // An index as wide as the value: comparison and choice then use the same vector lanes.
  using Lane = std::conditional_t<sizeof(A) == 8, std::int64_t, std::int32_t>;
  alignas(64) A best[kPoolTile];
  alignas(64) Lane at[kPoolTile];
  bool first = true;
  for (index_t h = height.begin(oh); h < height.end(oh); ++h) {
    for (index_t w = breadth.begin(ow); w < breadth.end(ow); ++w) {
      const T* x = image + h * row + w * pixel;
      const Lane here =
          static_cast<Lane>((h - height.start(oh)) * height.kernel + (w - breadth.start(ow)));
      if (first) {
#pragma omp simd
        for (index_t c = 0; c < width; ++c) {
          best[c] = convert<A>(x[c]);
          at[c] = here;
        }
        first = false;
        continue;
      }
#pragma omp simd
      for (index_t c = 0; c < width; ++c) {
        const A v = convert<A>(x[c]);
        const bool wins = (v > best[c]) | (v != v);
        best[c] = wins ? v : best[c];
        at[c] = wins ? here : at[c];
      }
    }
  }
#pragma omp simd
  for (index_t c = 0; c < width; ++c) {
    y[c] = convert<T>(best[c]);
    where[c] = static_cast<std::uint8_t>(at[c]);
  }
}

}  // namespace detail

template <Real T>
void max_pool_forward(Cpu, View<const T, 4> x, const Pool2dOptions& options, View<T, 4> y,
                      View<std::uint8_t, 4> where) {
  const index_t C = x.dim(3);
  const detail::PoolAxis height(x.dim(1), options), breadth(x.dim(2), options);
  const index_t rows = x.dim(0) * height.count;
  detail::for_each_row_range(rows, x.dim(2) * options.stride * C, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t n = r / height.count, oh = r % height.count;
      const T* image = x.data() + n * x.stride(0);
      for (index_t ow = 0; ow < breadth.count; ++ow) {
        const index_t out = (r * breadth.count + ow) * C;
        for (index_t c = 0; c < C; c += detail::kPoolTile) {
          detail::max_of_window(image + c, x.stride(1), x.stride(2), height, breadth, oh, ow,
                                std::min(detail::kPoolTile, C - c), y.data() + out + c,
                                where.data() + out + c);
        }
      }
    }
  });
}

template <Real T>
void max_pool_backward(Cpu, View<const T, 4> dy, View<const std::uint8_t, 4> where,
                       const Pool2dOptions& options, View<T, 4> dx) {
  using A = accumulate_t<T>;
  const index_t H = dx.dim(1), W = dx.dim(2), C = dx.dim(3);
  const detail::PoolAxis height(H, options), breadth(W, options);
  detail::for_each_row_range(dx.dim(0) * H, W * C, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t n = r / H, h = r % H;
      for (index_t w = 0; w < W; ++w) {
        for (index_t c0 = 0; c0 < C; c0 += detail::kPoolTile) {
          const index_t width = std::min(detail::kPoolTile, C - c0);
          alignas(64) A sum[detail::kPoolTile];
          std::fill_n(sum, width, A{0});
          for (index_t oh = height.first(h); oh < height.last(h); ++oh) {
            for (index_t ow = breadth.first(w); ow < breadth.last(w); ++ow) {
              const index_t from = ((n * height.count + oh) * breadth.count + ow) * C + c0;
              const T* gradient = dy.data() + from;
              const std::uint8_t* winner = where.data() + from;
              const int here = static_cast<int>((h - height.start(oh)) * options.kernel +
                                                (w - breadth.start(ow)));
#pragma omp simd
              for (index_t c = 0; c < width; ++c) {
                sum[c] += winner[c] == here ? convert<A>(gradient[c]) : A{0};
              }
            }
          }
          T* to = dx.data() + (r * W + w) * C + c0;
#pragma omp simd
          for (index_t c = 0; c < width; ++c) to[c] = convert<T>(sum[c]);
        }
      }
    }
  });
}

}  // namespace mwalimu::ops
