// train/embedding_queue: embeddings of past steps, which make the codes' problem larger than a batch.
#pragma once

#include <cstdint>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::train {

/// The last `length` embeddings of crop 0, oldest overwritten first. Starts as random unit vectors.
/// Source: Caron et al. 2020, arXiv:2006.09882, sec. 4.1 ("a small queue"); filled from the first
/// step on, as in self_supervised.
class EmbeddingQueue {
 public:
  EmbeddingQueue() = default;
  /// @param length     rows L, a multiple of the batch; 0: no queue.
  /// @param dimension  D of the embeddings.
  /// @throws ValueError  length is not a multiple of batch.
  EmbeddingQueue(index_t length, index_t dimension, index_t batch, std::uint64_t seed)
      : rows_(Tensor<float>::empty({length, dimension})) {
    require<ValueError>(length >= 0 && length % batch == 0,
                        "queue: want a length that is a multiple of the batch ", batch, ", got ",
                        length);
    for (index_t i = 0; i < length; ++i) {
      RandomStream random(seed, Purpose::queue, 0, static_cast<std::uint64_t>(i));
      float* row = rows_.data() + i * dimension;
      double squares = 0;
      for (index_t d = 0; d < dimension; ++d) {
        row[d] = random.normal();
        squares += double{row[d]} * row[d];
      }
      const float scale = static_cast<float>(1.0 / std::sqrt(squares));
      for (index_t d = 0; d < dimension; ++d) row[d] *= scale;
    }
  }

  index_t length() const { return rows_.dim(0); }
  const Tensor<float>& rows() const { return rows_; }  ///< (L, D), unit rows
  Tensor<float>& rows() { return rows_; }
  index_t cursor() const { return cursor_; }           ///< where the next batch goes
  /// @throws ValueError  outside the queue.
  void set_cursor(index_t cursor) {
    require<ValueError>(cursor >= 0 && cursor < std::max<index_t>(length(), 1), "queue: cursor ",
                        cursor, " of ", length());
    cursor_ = cursor;
  }
  /// Overwrites the oldest rows. @param batch  (B, D) unit rows; B divides the length.
  void push(const Tensor<float>& batch) {
    if (length() == 0) return;
    rows_.slice(0, cursor_, cursor_ + batch.dim(0)).copy_from(batch);
    cursor_ = (cursor_ + batch.dim(0)) % length();
  }

 private:
  Tensor<float> rows_ = Tensor<float>::empty({0, 0});
  index_t cursor_ = 0;
};

}  // namespace mwalimu::train
