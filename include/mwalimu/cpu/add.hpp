// cpu/add: one pass, row by row.
#pragma once

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/add.hpp"

namespace mwalimu::ops {

template <Real T>
void add_forward(Cpu, View<const T, 2> a, View<const T, 2> b, View<T, 2> y) {
  using A = accumulate_t<T>;
  const index_t C = a.dim(1);
  detail::for_each_row_range(a.dim(0), C, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const T *left = a.data() + r * a.stride(0), *right = b.data() + r * b.stride(0);
      T* to = y.data() + r * y.stride(0);
#pragma omp simd
      for (index_t c = 0; c < C; ++c) {
        to[c] = convert<T>(convert<A>(left[c]) + convert<A>(right[c]));
      }
    }
  });
}

}  // namespace mwalimu::ops
