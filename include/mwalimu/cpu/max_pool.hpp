// cpu/max_pool: tiles of channels stay in the first-level cache while a window is visited.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/cpu/keep_if.hpp"
#include "mwalimu/cpu/prefetch.hpp"
#include "mwalimu/ops/max_pool.hpp"

namespace mwalimu::ops {
namespace detail {

inline constexpr index_t kPoolTile = 64;
inline constexpr int kMostCovering = 15;  // windows over a row or a column: the largest kernel

/// The largest so far of a tile of channels, and where in the window it lies.
template <class T>
struct MaximumTile {
  using A = accumulate_t<T>;
  // An index as wide as the value: comparison and choice then use the same vector lanes.
  using Lane = std::conditional_t<sizeof(A) == 8, std::int64_t, std::int32_t>;

  alignas(64) A best[kPoolTile];
  alignas(64) Lane at[kPoolTile];
};

/// Holds kPixels neighbours of a window's row, the first of them number `here`, against the tile:
/// several for one visit. `width` channels, of a whole tile if kWhole: a count that the compiler
/// knows halves the time.
template <int kPixels, bool kWhole, class T>
void compare_pixels(const T* x, index_t pixel, index_t here, index_t tile_width,
                    MaximumTile<T>& tile) {
  using A = accumulate_t<T>;
  using Lane = typename MaximumTile<T>::Lane;
  const index_t width = kWhole ? kPoolTile : tile_width;
  A* largest = tile.best;
  Lane* winner = tile.at;
#pragma omp simd
  for (index_t c = 0; c < width; ++c) {
    A best = largest[c];
    Lane at = winner[c];
    for (int i = 0; i < kPixels; ++i) {
      const A v = convert<A>(x[i * pixel + c]);
      const bool wins = (v > best) | (v != v);
      best = wins ? v : best;
      at = wins ? static_cast<Lane>(here + i) : at;
    }
    largest[c] = best;
    winner[c] = at;
  }
}

/// One output pixel: maxima of a tile of channels.
template <bool kWhole, class T>
void max_of_window(const T* image, index_t row, index_t pixel, const PoolAxis& height,
                   const PoolAxis& breadth, index_t oh, index_t ow, index_t tile_width, T* y,
                   std::uint8_t* where) {
  using A = accumulate_t<T>;
  using Lane = typename MaximumTile<T>::Lane;
  const index_t width = kWhole ? kPoolTile : tile_width;
  const index_t h0 = height.begin(oh), h1 = height.end(oh);
  const index_t w0 = breadth.begin(ow), w1 = breadth.end(ow);
  index_t here = (h0 - height.start(oh)) * height.kernel + (w0 - breadth.start(ow));
  MaximumTile<T> tile;
  std::fill_n(tile.best, width, -std::numeric_limits<A>::infinity());
  std::fill_n(tile.at, width, static_cast<Lane>(here));
  for (index_t h = h0; h < h1; ++h, here += height.kernel) {
    const T* x = image + h * row + w0 * pixel;
    if (w1 - w0 == 3) {
      compare_pixels<3, kWhole>(x, pixel, here, width, tile);
    } else if (w1 - w0 == 2) {
      compare_pixels<2, kWhole>(x, pixel, here, width, tile);
    } else {
      for (index_t w = 0; w < w1 - w0; ++w) {
        compare_pixels<1, kWhole>(x + w * pixel, pixel, here + w, width, tile);
      }
    }
  }
#pragma omp simd
  for (index_t c = 0; c < width; ++c) {
    y[c] = convert<T>(tile.best[c]);
    where[c] = static_cast<std::uint8_t>(tile.at[c]);
  }
}

/// The windows over row or column i of an image: how far their gradients lie from the first, and
/// what this coordinate adds to the pixel's number in them, `step` a pixel.
struct CoveringWindows {
  std::array<index_t, kMostCovering> offset;
  std::array<index_t, kMostCovering> here;
  int count = 0;

  CoveringWindows(const PoolAxis& axis, index_t i, index_t stride, index_t step) {
    for (index_t o = axis.first(i); o < axis.last(i); ++o, ++count) {
      offset[static_cast<std::size_t>(count)] = o * stride;
      here[static_cast<std::size_t>(count)] = (i - axis.start(o)) * step;
    }
  }
};

/// One input pixel: dx of C channels, collected from the windows that cover it. Counts that the
/// compiler knows (kDown, kAcross, else 0) keep the sum in registers.
template <int kDown, int kAcross, class T>
void gradient_of_pixel(const T* dy, const std::uint8_t* where, const CoveringWindows& rows,
                       const CoveringWindows& columns, index_t C, T* dx) {
  using A = accumulate_t<T>;
  constexpr int kMost = kDown > 0 ? kDown * kAcross : kMostCovering * kMostCovering;
  const int down = kDown > 0 ? kDown : rows.count, across = kDown > 0 ? kAcross : columns.count;
  const T* gradient[kMost];
  const std::uint8_t* winner[kMost];
  std::uint8_t here[kMost];
  for (int i = 0; i < down * across; ++i) {
    const auto r = static_cast<std::size_t>(i / across), c = static_cast<std::size_t>(i % across);
    gradient[i] = dy + rows.offset[r] + columns.offset[c];
    winner[i] = where + rows.offset[r] + columns.offset[c];
    here[i] = static_cast<std::uint8_t>(rows.here[r] + columns.here[c]);
  }
#pragma omp simd
  for (index_t c = 0; c < C; ++c) {
    A sum = 0;
    for (int i = 0; i < down * across; ++i) {
      sum += keep_if(winner[i][c] == here[i], gradient[i][c]);
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
        // What the windows below this one add.
        const index_t below =
            (height.start(oh) + height.kernel) * x.stride(1) + ow * options.stride * x.stride(2);
        for (index_t i = 0; i < options.stride; ++i) {
          detail::prefetch(image, below + i * x.stride(1), options.stride * C);
        }
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
  std::vector<detail::CoveringWindows> columns;
  for (index_t w = 0; w < W; ++w) columns.emplace_back(breadth, w, dy.stride(2), 1);
  detail::for_each_row_range(dx.dim(0) * H, W * C, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t n = r / H;
      const detail::CoveringWindows rows(height, r % H, dy.stride(1), height.kernel);
      const T* gradient = dy.data() + n * dy.stride(0);
      const std::uint8_t* winner = where.data() + n * dy.stride(0);
      T* to = dx.data() + r * W * C;
      for (const detail::CoveringWindows& over : columns) {
        const auto with = [&](auto down, auto across) {
          detail::gradient_of_pixel<down.value, across.value>(gradient, winner, rows, over, C, to);
        };
        constexpr std::integral_constant<int, 0> any;
        constexpr std::integral_constant<int, 1> one;
        constexpr std::integral_constant<int, 2> two;
        detail::prefetch_to_write(to, 16 * C, C);
        if (rows.count == 1 && over.count == 1) {  // 3 x 3 windows at stride 2: one or two each way
          with(one, one);
        } else if (rows.count == 1 && over.count == 2) {
          with(one, two);
        } else if (rows.count == 2 && over.count == 1) {
          with(two, one);
        } else if (rows.count == 2 && over.count == 2) {
          with(two, two);
        } else {
          with(any, any);
        }
        to += C;
      }
    }
  });
}

}  // namespace mwalimu::ops
