// optim/weight_average: a step of the exponential moving average of weights.
#pragma once

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/optim/chunks.hpp"

namespace mwalimu::optim {

// Backends. Cpu is defined below, Gpu in kernels/weight_average.cuh.

/// average[i] <- average[i] + share (values[i] - average[i]).
/// @param values, average  (n) dense; they do not overlap.
/// @param share            in [0, 1].
template <class T>
void weight_average(Cpu, View<const T, 1> values, T share, View<T, 1> average);
template <class T>
void weight_average(Gpu, View<const T, 1> values, T share, View<T, 1> average);

template <class T>
void weight_average(Cpu, View<const T, 1> values, T share, View<T, 1> average) {
  const T* from = values.data();
  T* to = average.data();
  parallel_for(average.dim(0), kChunk, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) to[i] += share * (from[i] - to[i]);
  });
}

}  // namespace mwalimu::optim
