// cpu/max_pool: tiles of channels stay in the first-level cache while a window is visited.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/max_pool.hpp"

namespace mwalimu::ops {
namespace detail {

inline constexpr index_t kPoolTile = 64;
inline constexpr int kMostWindows = 15 * 15;  // over one pixel: the largest kernel at stride 1

/// One output pixel: maxima of `width` channels, of a whole tile if kWhole: a count that the
/// compiler knows halves the time.
template <bool kWhole, class T>
void max_of_window(const T* image, index_t row, index_t pixel, const PoolAxis& height,
                   const PoolAxis& breadth, index_t oh, index_t ow, index_t tile, T* y,
                   std::uint8_t* where) {
  using A = accumulate_t<T>;
  const index_t width = kWhole ? kPoolTile : tile;
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

/// A window that covers an input pixel: where its gradient lies, and what `where` holds there if the
/// pixel is the largest of the window.
struct CoveringWindow {
  index_t offset;
  std::uint8_t here;
};

/// One input pixel: dx of C channels, collected from the windows that cover it. A count that the
/// compiler knows (kCount, else 0) keeps the sum in registers.
template <int kCount, class T>
void gradient_of_pixel(const T* dy, const std::uint8_t* where, const CoveringWindow* windows,
                       int count, index_t C, T* dx) {
  using A = accumulate_t<T>;
  const int used = kCount > 0 ? kCount : count;
  const T* gradient[kMostWindows];
  const std::uint8_t* winner[kMostWindows];
  for (int i = 0; i < used; ++i) {
    gradient[i] = dy + windows[i].offset;
    winner[i] = where + windows[i].offset;
  }
#pragma omp simd
  for (index_t c = 0; c < C; ++c) {
    A sum = 0;
    for (int i = 0; i < used; ++i) {
      const A part = convert<A>(gradient[i][c]);  // read in any case: else the loop has a branch
      sum += winner[i][c] == windows[i].here ? part : A{0};
    }
    dx[c] = convert<T>(sum);
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
          const index_t width = std::min(detail::kPoolTile, C - c);
          detail::with_flag(width == detail::kPoolTile, [&](auto whole) {
            detail::max_of_window<whole.value>(image + c, x.stride(1), x.stride(2), height, breadth,
                                               oh, ow, width, y.data() + out + c,
                                               where.data() + out + c);
          });
        }
      }
    }
  });
}

template <Real T>
void max_pool_backward(Cpu, View<const T, 4> dy, View<const std::uint8_t, 4> where,
                       const Pool2dOptions& options, View<T, 4> dx) {
  const index_t H = dx.dim(1), W = dx.dim(2), C = dx.dim(3);
  const detail::PoolAxis height(H, options), breadth(W, options);
  // The windows over each column: divisions that every row would repeat.
  std::vector<std::pair<index_t, index_t>> over(static_cast<std::size_t>(W));
  for (index_t w = 0; w < W; ++w) {
    over[static_cast<std::size_t>(w)] = {breadth.first(w), breadth.last(w)};
  }
  detail::for_each_row_range(dx.dim(0) * H, W * C, [&](index_t begin, index_t end) {
    std::array<detail::CoveringWindow, detail::kMostWindows> windows;
    for (index_t r = begin; r < end; ++r) {
      const index_t n = r / H, h = r % H, oh0 = height.first(h), oh1 = height.last(h);
      const T* gradient = dy.data() + n * dy.stride(0);
      const std::uint8_t* winner = where.data() + n * dy.stride(0);
      for (index_t w = 0; w < W; ++w) {
        const auto [ow0, ow1] = over[static_cast<std::size_t>(w)];
        int count = 0;
        for (index_t oh = oh0; oh < oh1; ++oh) {
          for (index_t ow = ow0; ow < ow1; ++ow) {
            windows[static_cast<std::size_t>(count++)] = {
                oh * dy.stride(1) + ow * dy.stride(2),
                static_cast<std::uint8_t>((h - height.start(oh)) * height.kernel +
                                          (w - breadth.start(ow)))};
          }
        }
        T* to = dx.data() + (r * W + w) * C;
        const auto with = [&](auto known) {
          detail::gradient_of_pixel<known.value>(gradient, winner, windows.data(), count, C, to);
        };
        switch (count) {  // 3 x 3 windows at stride 2: 1, 2 or 4
          case 1: with(std::integral_constant<int, 1>{}); break;
          case 2: with(std::integral_constant<int, 2>{}); break;
          case 4: with(std::integral_constant<int, 4>{}); break;
          default: with(std::integral_constant<int, 0>{}); break;
        }
      }
    }
  });
}

}  // namespace mwalimu::ops
