// cpu/queue: rows copied one by one.
#pragma once

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/queue.hpp"

namespace mwalimu::ops {

template <Real T>
void queue_push(Cpu, View<const T, 2> batch, View<std::int64_t, 0> cursor, View<float, 2> queue) {
  const index_t B = batch.dim(0), D = batch.dim(1), L = queue.dim(0);
  for (index_t b = 0; b < B; ++b) {
    const T* from = batch.data() + b * batch.stride(0);
    float* to = queue.data() + (cursor() + b) % L * queue.stride(0);
    for (index_t d = 0; d < D; ++d) to[d] = convert<float>(from[d]);
  }
  cursor() = (cursor() + B) % L;
}

}  // namespace mwalimu::ops
