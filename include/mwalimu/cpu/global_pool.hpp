// cpu/global_pool: one sample a task, channels in tiles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/cpu/keep_if.hpp"
#include "mwalimu/cpu/prefetch.hpp"
#include "mwalimu/ops/global_pool.hpp"

namespace mwalimu::ops {
namespace detail {

inline constexpr index_t kGlobalTile = 512;  // channels: most maps are read in memory order
inline constexpr index_t kGlobalRun = 64;    // pixels summed in float before the sum goes to double

/// What is kept of a tile of channels of one sample.
template <class T>
struct GlobalTile {
  using A = accumulate_t<T>;
  // An index as wide as the value: comparison and choice then use the same vector lanes.
  using Lane = std::conditional_t<sizeof(A) == 8, std::int64_t, std::int32_t>;

  alignas(64) double sum[kGlobalTile];
  alignas(64) A run[kGlobalTile], largest[kGlobalTile];
  alignas(64) Lane at[kGlobalTile];
};

/// Adds pixel number p. One at a time, in memory order: four for one visit to the tile was slower.
template <bool kMaximum, class T>
void add_pixel(const T* x, index_t p, index_t width, GlobalTile<T>& tile) {
  using A = accumulate_t<T>;
  using Lane = typename GlobalTile<T>::Lane;
  A *run = tile.run, *largest = tile.largest;
  Lane* at = tile.at;
#pragma omp simd
  for (index_t c = 0; c < width; ++c) {
    const A v = convert<A>(x[c]);
    run[c] += v;
    if constexpr (kMaximum) {
      const bool wins = (v > largest[c]) | (v != v);
      largest[c] = wins ? v : largest[c];
      at[c] = wins ? static_cast<Lane>(p) : at[c];
    }
  }
}

/// All P pixels: the sums and, with kMaximum, the largest of each channel and its pixel.
template <bool kMaximum, class T>
void pool_tile(const T* x, index_t stride, index_t P, index_t width, GlobalTile<T>& tile) {
  using A = accumulate_t<T>;
  constexpr index_t kAhead = 4;  // pixels
  std::fill_n(tile.sum, width, 0.0);
  std::fill_n(tile.at, width, 0);
  for (index_t c = 0; c < width; ++c) tile.largest[c] = convert<A>(x[c]);
  for (index_t p0 = 0; p0 < P; p0 += kGlobalRun) {
    std::fill_n(tile.run, width, A{0});
    for (index_t p = p0; p < std::min(P, p0 + kGlobalRun); ++p) {
      prefetch(x, (p + kAhead) * stride, width);
      add_pixel<kMaximum>(x + p * stride, p, width, tile);
    }
#pragma omp simd
    for (index_t c = 0; c < width; ++c) tile.sum[c] += static_cast<double>(tile.run[c]);
  }
}

/// Calls finish(n, c0, width, tile) behind each tile of each sample.
template <bool kMaximum, class T, class Finish>
void for_each_global_tile(View<const T, 3> x, Finish&& finish) {
  const index_t P = x.dim(1), C = x.dim(2);
  for_each_row_range(x.dim(0), P * C, [&](index_t begin, index_t end) {
    GlobalTile<T> tile;
    for (index_t n = begin; n < end; ++n) {
      for (index_t c0 = 0; c0 < C; c0 += kGlobalTile) {
        const index_t width = std::min(kGlobalTile, C - c0);
        pool_tile<kMaximum>(x.data() + n * x.stride(0) + c0, C, P, width, tile);
        finish(n, c0, width, tile);
      }
    }
  });
}

/// to[c] <- the tile's averages over P pixels.
template <class T>
void store_average(const GlobalTile<T>& tile, index_t P, index_t width, T* to) {
  const double weight = 1.0 / static_cast<double>(P);
#pragma omp simd
  for (index_t c = 0; c < width; ++c) to[c] = convert<T>(tile.sum[c] * weight);
}

}  // namespace detail

template <Real T>
void global_average_forward(Cpu, View<const T, 3> x, View<T, 2> average) {
  detail::for_each_global_tile<false>(
      x, [&](index_t n, index_t c0, index_t width, const detail::GlobalTile<T>& tile) {
        detail::store_average(tile, x.dim(1), width, average.data() + n * average.stride(0) + c0);
      });
}

template <Real T>
void concat_pool_forward(Cpu, View<const T, 3> x, View<T, 2> maximum, View<T, 2> average,
                         View<std::int32_t, 2> where) {
  detail::for_each_global_tile<true>(
      x, [&](index_t n, index_t c0, index_t width, const detail::GlobalTile<T>& tile) {
        detail::store_average(tile, x.dim(1), width, average.data() + n * average.stride(0) + c0);
        T* to = maximum.data() + n * maximum.stride(0) + c0;
        std::int32_t* to_at = where.data() + n * where.stride(0) + c0;
#pragma omp simd
        for (index_t c = 0; c < width; ++c) {
          to[c] = convert<T>(tile.largest[c]);
          to_at[c] = static_cast<std::int32_t>(tile.at[c]);
        }
      });
}

template <Real T>
void global_average_backward(Cpu, View<const T, 2> daverage, View<T, 3> dx) {
  using A = accumulate_t<T>;
  const index_t P = dx.dim(1), C = dx.dim(2);
  const A weight = A{1} / static_cast<A>(P);
  detail::for_each_row_range(dx.dim(0) * P, C, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const T* from = daverage.data() + r / P * daverage.stride(0);
      T* to = dx.data() + r * C;
#pragma omp simd
      for (index_t c = 0; c < C; ++c) to[c] = convert<T>(convert<A>(from[c]) * weight);
    }
  });
}

template <Real T>
void concat_pool_backward(Cpu, View<const T, 2> dmaximum, View<const T, 2> daverage,
                          View<const std::int32_t, 2> where, View<T, 3> dx) {
  using A = accumulate_t<T>;
  const index_t P = dx.dim(1), C = dx.dim(2);
  const A weight = A{1} / static_cast<A>(P);
  detail::for_each_row_range(dx.dim(0) * P, C, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t n = r / P;
      const std::int32_t here = static_cast<std::int32_t>(r % P);
      const T *largest = dmaximum.data() + n * dmaximum.stride(0),
              *average = daverage.data() + n * daverage.stride(0);
      const std::int32_t* winner = where.data() + n * where.stride(0);
      T* to = dx.data() + r * C;
#pragma omp simd
      for (index_t c = 0; c < C; ++c) {
        const A from_max = detail::keep_if(winner[c] == here, largest[c]);
        to[c] = convert<T>(convert<A>(average[c]) * weight + from_max);
      }
    }
  });
}

}  // namespace mwalimu::ops
