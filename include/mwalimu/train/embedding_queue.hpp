// train/embedding_queue: embeddings of past steps, which make the codes' problem larger than a batch.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/queue.hpp"

namespace mwalimu::train {

/// The last `length` embeddings of crop 0, oldest overwritten first. Starts as random unit vectors.
/// Source: Caron et al. 2020, arXiv:2006.09882, sec. 4.1 ("a small queue"); filled from the first
/// step on, as in self_supervised.
class EmbeddingQueue {
 public:
  EmbeddingQueue() = default;
  /// @param length     rows L, a multiple of the batch; 0: no queue.
  /// @param dimension  D of the embeddings.
  /// @param device     where the rows live; they start with the same bits on any.
  /// @throws ValueError  length is not a multiple of batch.
  EmbeddingQueue(index_t length, index_t dimension, index_t batch, std::uint64_t seed,
                 Device device = Device::cpu()) {
    require<ValueError>(length >= 0 && length % batch == 0,
                        "queue: want a length that is a multiple of the batch ", batch, ", got ",
                        length);
    auto start = Tensor<float>::empty({length, dimension});
    for (index_t i = 0; i < length; ++i) {
      RandomStream random(seed, Purpose::queue, 0, static_cast<std::uint64_t>(i));
      float* row = start.data() + i * dimension;
      double squares = 0;
      for (index_t d = 0; d < dimension; ++d) {
        row[d] = random.normal();
        squares += double{row[d]} * row[d];
      }
      const float scale = static_cast<float>(1.0 / std::sqrt(squares));
      for (index_t d = 0; d < dimension; ++d) row[d] *= scale;
    }
    rows_ = start.to(device);
    cursor_ = Tensor<std::int64_t>::zeros({}, device);
  }

  index_t length() const { return rows_.dim(0); }
  const Tensor<float>& rows() const { return rows_; }  ///< (L, D), unit rows
  Tensor<float>& rows() { return rows_; }
  /// Where the next batch goes; waits for a device.
  index_t cursor() const { return cursor_.item(); }
  /// @throws ValueError  outside the queue.
  void set_cursor(index_t cursor) {
    require<ValueError>(cursor >= 0 && cursor < std::max<index_t>(length(), 1), "queue: cursor ",
                        cursor, " of ", length());
    cursor_.fill(cursor);
  }
  /// Overwrites the oldest rows. The host need not know the cursor: a captured graph pushes, too.
  /// @param batch  (B, D) unit rows on the queue's device, at most as many as the queue has.
  template <Real T>
  void push(const Tensor<T>& batch) {
    if (length() > 0) ops::queue_push(batch, cursor_, rows_);
  }

 private:
  Tensor<float> rows_ = Tensor<float>::empty({0, 0});
  Tensor<std::int64_t> cursor_ = Tensor<std::int64_t>::zeros({});
};

}  // namespace mwalimu::train
