// train/embedding_queue: embeddings of past steps, which make the codes' problem larger than a batch.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/queue.hpp"

namespace mwalimu::train {

/// Which past embeddings join the codes, and when. The defaults are self_supervised's, which the
/// study used; facebook() is the original's.
struct QueueOptions {
  index_t length = 2048;  ///< rows L of a queue, a multiple of the batch; 0: no queue
  double start = 0.5;     ///< fraction of the run after which the queue joins, or begins to fill
  /// A queue for each crop that has codes, of that crop's embeddings; false: one, of the first such
  /// crop's, that all share.
  bool per_crop = false;
  /// False: random unit vectors, which join from `start` on. True: nothing; filled from `start` on,
  /// it joins once it is full.
  bool empty_at_first = false;
  /// The batch enters before its codes are computed: then it is among what it is balanced with.
  bool enqueue_first = true;

  static QueueOptions facebook(index_t length = 3840, double start = 15.0 / 400) {
    return {.length = length,
            .start = start,
            .per_crop = true,
            .empty_at_first = true,
            .enqueue_first = false};
  }
};

/// Whether the queue joins the codes of a step.
/// @param step, steps  of the run, from 0.
/// @param rows         that a step adds to a queue: batch times accumulated batches.
inline bool queue_joins(const QueueOptions& options, std::int64_t step, std::int64_t steps,
                        index_t rows) {
  if (options.length == 0) return false;
  const double begin = options.start * static_cast<double>(steps);
  if (!options.empty_at_first) return static_cast<double>(step) > begin;
  const double filling = static_cast<double>(step) - std::ceil(begin);
  return filling * static_cast<double>(rows) >= static_cast<double>(options.length);
}

/// The last `length` embeddings pushed, oldest overwritten first.
/// Source: Caron et al. 2020, arXiv:2006.09882, sec. 4.1 ("a small queue").
class EmbeddingQueue {
 public:
  EmbeddingQueue() = default;
  /// Starts as random unit vectors.
  /// @param length     rows L, a multiple of the batch; 0: no queue.
  /// @param dimension  D of the embeddings.
  /// @param device     where the rows live; they start with the same bits on any.
  /// @param number     of this queue among the run's: each starts with other vectors.
  /// @throws ValueError  length is not a multiple of batch.
  EmbeddingQueue(index_t length, index_t dimension, index_t batch, std::uint64_t seed,
                 Device device = Device::cpu(), std::uint64_t number = 0) {
    require<ValueError>(length >= 0 && length % batch == 0,
                        "queue: want a length that is a multiple of the batch ", batch, ", got ",
                        length);
    auto start = Tensor<float>::empty({length, dimension});
    for (index_t i = 0; i < length; ++i) {
      RandomStream random(seed, Purpose::queue, number, static_cast<std::uint64_t>(i));
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

/// The queues of a run: none, one, or one for each crop that has codes.
class EmbeddingQueues {
 public:
  EmbeddingQueues() = default;
  /// @param code_crops  crops that have codes, one at least.
  /// @throws ValueError  as EmbeddingQueue.
  EmbeddingQueues(const QueueOptions& options, std::span<const index_t> code_crops,
                  index_t dimension, index_t batch, std::uint64_t seed,
                  Device device = Device::cpu())
      : batch_(batch), enqueue_first_(options.enqueue_first) {
    if (options.length == 0) return;
    crops_.assign(code_crops.begin(), options.per_crop ? code_crops.end() : code_crops.begin() + 1);
    for (std::size_t q = 0; q < crops_.size(); ++q) {
      queues_.emplace_back(options.length, dimension, batch, seed, device, q);
      if (options.empty_at_first) queues_.back().rows().fill(0.0f);
    }
  }

  bool empty() const { return queues_.empty(); }
  index_t count() const { return static_cast<index_t>(queues_.size()); }
  /// Rows of each; 0: there is none.
  index_t length() const { return empty() ? 0 : queues_.front().length(); }
  bool enqueue_first() const { return enqueue_first_; }
  EmbeddingQueue& operator[](index_t q) { return queues_[static_cast<std::size_t>(q)]; }
  const EmbeddingQueue& operator[](index_t q) const { return queues_[static_cast<std::size_t>(q)]; }

  /// Each queue takes the embeddings of its crop.
  /// @param embeddings  (V B, D) of all crops, crop-major.
  template <Real T>
  void push(const Tensor<T>& embeddings) {
    for (std::size_t q = 0; q < queues_.size(); ++q) {
      queues_[q].push(embeddings.slice(0, crops_[q] * batch_, (crops_[q] + 1) * batch_));
    }
  }

 private:
  index_t batch_ = 1;
  bool enqueue_first_ = true;
  std::vector<index_t> crops_;  // whose embeddings each queue takes
  std::vector<EmbeddingQueue> queues_;
};

}  // namespace mwalimu::train
