// cpu/relu: one pass over a dense vector each way.
#pragma once

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/relu.hpp"

namespace mwalimu::ops {

template <Real T>
void relu_forward(Cpu, View<const T, 1> x, View<T, 1> y) {
  using A = accumulate_t<T>;
  const T* from = x.data();
  T* to = y.data();
  parallel_for(x.dim(0), detail::kGrain, [&](index_t begin, index_t end) {
#pragma omp simd
    for (index_t i = begin; i < end; ++i) {
      const A value = convert<A>(from[i]);
      to[i] = convert<T>(value <= A{0} ? A{0} : value);  // NaN stays NaN
    }
  });
}

template <Real T>
void relu_backward(Cpu, View<const T, 1> y, View<const T, 1> dy, View<T, 1> dx) {
  using A = accumulate_t<T>;
  const T *value = y.data(), *from = dy.data();
  T* to = dx.data();
  parallel_for(y.dim(0), detail::kGrain, [&](index_t begin, index_t end) {
#pragma omp simd
    for (index_t i = begin; i < end; ++i) {
      const A gradient = convert<A>(from[i]);  // read in any case: else the loop has a branch
      to[i] = convert<T>(convert<A>(value[i]) <= A{0} ? A{0} : gradient);
    }
  });
}

}  // namespace mwalimu::ops
