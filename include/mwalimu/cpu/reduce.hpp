// cpu/reduce: sums by fixed chunks.
#pragma once

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/ops/reduce.hpp"

namespace mwalimu::ops {

template <Real T>
void sum_forward(Cpu, View<const T, 1> x, double factor, View<accumulate_t<T>, 0> result) {
  const index_t n = x.dim(0);
  auto partial = Tensor<double>::empty({detail::chunk_count(n, detail::kGrain)});
  double* parts = partial.data();
  detail::for_each_chunk(n, detail::kGrain, 1, [&](index_t chunk, index_t begin, index_t end) {
    double sum = 0;
    const T* values = x.data();
#pragma omp simd reduction(+ : sum)
    for (index_t i = begin; i < end; ++i) sum += convert<double>(values[i]);
    parts[chunk] = sum;
  });
  double sum = 0;
  for (index_t chunk = 0; chunk < partial.count(); ++chunk) sum += parts[chunk];
  result() = static_cast<accumulate_t<T>>(factor * sum);
}

template <Real T>
void sum_backward(Cpu, View<const accumulate_t<T>, 0> dresult, double factor, View<T, 1> dx) {
  const double value = factor * static_cast<double>(dresult());
  T* to = dx.data();
  parallel_for(dx.dim(0), detail::kGrain, [&](index_t begin, index_t end) {
    // Not std::fill, which stores structs of 16 bits one by one.
#pragma omp simd
    for (index_t i = begin; i < end; ++i) to[i] = convert<T>(value);
  });
}

}  // namespace mwalimu::ops
