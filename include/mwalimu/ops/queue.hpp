// ops/queue: a ring of rows, the oldest overwritten first.
#pragma once

#include <cstdint>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/profile.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// queue[(cursor + b) mod L, :] <- batch[b, :]; cursor <- (cursor + B) mod L.
template <Real T>
void queue_push(Cpu, View<const T, 2> batch, View<std::int64_t, 0> cursor, View<float, 2> queue);
template <Real T>
void queue_push(Gpu, View<const T, 2> batch, View<std::int64_t, 0> cursor, View<float, 2> queue);

/// Overwrites the oldest rows of a ring. The cursor lies beside the rows, so that a captured graph
/// goes round the ring by itself.
///
/// @param batch   (B, D), B <= L.
/// @param cursor  scalar in [0, L), where the next batch goes; moves on.
/// @param queue   (L, D).
/// @throws ShapeError   extents disagree.
/// @throws DeviceError  the three do not lie on one device.
///
/// Moves  B D elements in, B D floats out.
template <Real T>
void queue_push(const Tensor<T>& batch, Tensor<std::int64_t>& cursor, Tensor<float>& queue) {
  require<ShapeError>(batch.rank() == 2 && queue.rank() == 2 && batch.dim(1) == queue.dim(1) &&
                          batch.dim(0) <= queue.dim(0),
                      "queue_push: want rows (B, D) for a queue (L, D) with B <= L, got ",
                      batch.shape(), " and ", queue.shape());
  require<DeviceError>(batch.device() == queue.device() && cursor.device() == queue.device(),
                       "queue_push: the queue is on ", queue.device(), ", its cursor on ",
                       cursor.device(), ", the batch on ", batch.device());
  if (batch.dim(0) == 0) return;
  const Tensor<T> rows = detail::with_rows(batch);
  on_device("queue", queue.device(), [&](auto place) {
    queue_push<T>(place, detail::rows(rows), detail::view<0>(cursor), detail::view<2>(queue));
  });
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/queue.hpp"
