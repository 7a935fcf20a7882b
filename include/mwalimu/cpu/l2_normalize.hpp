// cpu/l2_normalize: a row fits into the first-level cache, so its second pass is free.
#pragma once

#include <algorithm>
#include <cmath>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/l2_normalize.hpp"

namespace mwalimu::ops {
namespace detail {

/// sum_i a[i] b[i] in double.
template <class T>
double inner_product(const T* a, const T* b, index_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (index_t i = 0; i < n; ++i) sum += convert<double>(a[i]) * convert<double>(b[i]);
  return sum;
}

}  // namespace detail

template <Real T>
void l2_normalize_forward(Cpu, View<const T, 2> x, double eps, View<T, 2> y,
                          View<accumulate_t<T>, 1> norm) {
  using A = accumulate_t<T>;
  const index_t D = x.dim(1);
  detail::for_each_row_range(x.dim(0), D, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b) {
      const T* from = x.data() + b * x.stride(0);
      T* to = y.data() + b * y.stride(0);
      const double length = std::sqrt(detail::inner_product(from, from, D));
      norm(b) = convert<A>(length);
      // Not a product with 1 / length: that overflows where the length is subnormal.
      const double divisor = std::max(length, eps);
#pragma omp simd
      for (index_t d = 0; d < D; ++d) to[d] = convert<T>(convert<double>(from[d]) / divisor);
    }
  });
}

template <Real T>
void l2_normalize_backward(Cpu, View<const T, 2> dy, View<const T, 2> y,
                           View<const accumulate_t<T>, 1> norm, double eps, View<T, 2> dx) {
  const index_t D = y.dim(1);
  detail::for_each_row_range(y.dim(0), D, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b) {
      const T *gradient = dy.data() + b * dy.stride(0), *unit = y.data() + b * y.stride(0);
      T* to = dx.data() + b * dx.stride(0);
      const double length = static_cast<double>(norm(b));
      const double along = length < eps ? 0.0 : detail::inner_product(gradient, unit, D);
      const double divisor = std::max(length, eps);
#pragma omp simd
      for (index_t d = 0; d < D; ++d) {
        to[d] =
            convert<T>((convert<double>(gradient[d]) - convert<double>(unit[d]) * along) / divisor);
      }
    }
  });
}

}  // namespace mwalimu::ops
