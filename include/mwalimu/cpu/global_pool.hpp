// cpu/global_pool: one sample a task, channels in tiles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/global_pool.hpp"

namespace mwalimu::ops {
namespace detail {
inline constexpr index_t kGlobalTile = 128;
}

template <Real T>
void global_average_forward(Cpu, View<const T, 3> x, View<T, 2> average) {
  using A = accumulate_t<T>;
  const index_t P = x.dim(1), C = x.dim(2);
  constexpr index_t kRun = 64;  // pixels summed in float before the sum goes to double
  detail::for_each_row_range(x.dim(0), P * C, [&](index_t begin, index_t end) {
    for (index_t n = begin; n < end; ++n) {
      for (index_t c0 = 0; c0 < C; c0 += detail::kGlobalTile) {
        const index_t width = std::min(detail::kGlobalTile, C - c0);
        const T* pixels = x.data() + n * x.stride(0) + c0;
        alignas(64) A run[detail::kGlobalTile];
        alignas(64) double sum[detail::kGlobalTile] = {};
        for (index_t p0 = 0; p0 < P; p0 += kRun) {
          std::fill_n(run, width, A{0});
          for (index_t p = p0; p < std::min(P, p0 + kRun); ++p) {
#pragma omp simd
            for (index_t c = 0; c < width; ++c) run[c] += convert<A>(pixels[p * C + c]);
          }
#pragma omp simd
          for (index_t c = 0; c < width; ++c) sum[c] += static_cast<double>(run[c]);
        }
        T* to = average.data() + n * average.stride(0) + c0;
        const double weight = 1.0 / static_cast<double>(P);
        for (index_t c = 0; c < width; ++c) to[c] = convert<T>(sum[c] * weight);
      }
    }
  });
}

template <Real T>
void concat_pool_forward(Cpu, View<const T, 3> x, View<T, 2> maximum, View<T, 2> average,
                         View<std::int32_t, 2> where) {
  using A = accumulate_t<T>;
  using Lane = std::conditional_t<sizeof(A) == 8, std::int64_t, std::int32_t>;
  const index_t P = x.dim(1), C = x.dim(2);
  detail::for_each_row_range(x.dim(0), P * C, [&](index_t begin, index_t end) {
    for (index_t n = begin; n < end; ++n) {
      for (index_t c0 = 0; c0 < C; c0 += detail::kGlobalTile) {
        const index_t width = std::min(detail::kGlobalTile, C - c0);
        const T* pixels = x.data() + n * x.stride(0) + c0;
        alignas(64) A best[detail::kGlobalTile];
        alignas(64) Lane at[detail::kGlobalTile] = {};
        for (index_t c = 0; c < width; ++c) best[c] = convert<A>(pixels[c]);
        for (index_t p = 1; p < P; ++p) {
          const Lane here = static_cast<Lane>(p);
#pragma omp simd
          for (index_t c = 0; c < width; ++c) {
            const A v = convert<A>(pixels[p * C + c]);
            const bool wins = (v > best[c]) | (v != v);
            best[c] = wins ? v : best[c];
            at[c] = wins ? here : at[c];
          }
        }
        T* to = maximum.data() + n * maximum.stride(0) + c0;
        std::int32_t* to_at = where.data() + n * where.stride(0) + c0;
        for (index_t c = 0; c < width; ++c) {
          to[c] = convert<T>(best[c]);
          to_at[c] = static_cast<std::int32_t>(at[c]);
        }
      }
    }
  });
  global_average_forward<T>(Cpu{}, x, average);
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
        const A from_max = winner[c] == here ? convert<A>(largest[c]) : A{0};
        to[c] = convert<T>(convert<A>(average[c]) * weight + from_max);
      }
    }
  });
}

}  // namespace mwalimu::ops
