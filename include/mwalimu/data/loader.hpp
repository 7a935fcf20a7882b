// data/loader: threads that prepare batches ahead of the loop that uses them.
#pragma once

#include <omp.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"

namespace mwalimu::data {

struct PrefetcherOptions {
  int workers = 1;  ///< threads; 0: batches are made by next() itself, when asked for
  int depth = 2;    ///< batches that may be ready or in the making ahead of the one in use, >= 1
};

/// Calls make(step, batch) for first, first + 1, ..., last - 1 on its own threads and hands the
/// batches over strictly in that order, whichever is ready first. With a `make` that is a function
/// of the step alone, the consumer sees the same bits for any number of workers and for any first
/// step.
///
/// Batches are made once and used again and again: a ring of depth + 1 of them. What `make` finds
/// in one is an older step's content; resizing memory to what it already is costs nothing.
///
///     Prefetcher<Batch> loader(step, steps, [&](std::int64_t s, Batch& batch) { ... }, {.workers =
///     2}); while (const Batch* batch = loader.next()) train(*batch);
///
/// `make` must be safe to call from several threads at once for different steps. Parallel loops
/// inside it run serially: each worker's OpenMP team is one thread.
template <class Batch>
class Prefetcher {
 public:
  using Make = std::function<void(std::int64_t step, Batch& batch)>;

  /// @throws ValueError  workers < 0, depth < 1, first < 0 or last < first.
  Prefetcher(std::int64_t first, std::int64_t last, Make make, PrefetcherOptions options = {})
      : make_(std::move(make)), last_(last), to_make_(first), to_hand_(first) {
    require<ValueError>(options.workers >= 0 && options.workers <= 256,
                        "prefetcher: want 0..256 workers, got ", options.workers);
    require<ValueError>(options.depth >= 1 && options.depth <= 4096,
                        "prefetcher: want a depth in 1..4096, got ", options.depth);
    require<ValueError>(first >= 0 && first <= last,
                        "prefetcher: want 0 <= first <= last step, got ", first, " and ", last);
    slots_ =
        std::vector<Slot>(options.workers == 0 ? 1 : static_cast<std::size_t>(options.depth) + 1);
    try {
      for (int i = 0; i < options.workers; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {  // the system refused a thread
      stop();
      throw;
    }
  }
  /// Waits for batches in the making, at most one a worker, and no longer.
  ~Prefetcher() { stop(); }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// The next step's batch, or nullptr after the last. It is the caller's until the next call.
  /// @throws whatever make(step, ...) threw, at that step's turn and at every call after it.
  Batch* next() {
    const auto asked = std::chrono::steady_clock::now();
    Slot* slot = workers_.empty() ? make_here() : wait_for_worker();
    last_wait_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count();
    total_wait_ += last_wait_;
    if (slot == nullptr) return nullptr;
    if (slot->error) std::rethrow_exception(slot->error);
    return &slot->batch;
  }

  /// The step of the batch that the next call of next() returns.
  std::int64_t step() const { return to_hand_ + (in_use_ ? 1 : 0); }
  /// Seconds that the last next() kept its caller waiting. Near zero: the loader keeps up.
  double last_wait_seconds() const { return last_wait_; }
  /// Their sum.
  double total_wait_seconds() const { return total_wait_; }

 private:
  struct Slot {
    Batch batch{};
    std::exception_ptr error;
    bool ready = false;
  };

  Slot& slot_of(std::int64_t step) {
    return slots_[static_cast<std::size_t>(step) % slots_.size()];
  }

  void make_into(std::int64_t step, Slot& slot) {
    try {
      make_(step, slot.batch);
    } catch (...) {
      slot.error = std::current_exception();
    }
  }

  Slot* make_here() {
    advance();
    if (to_hand_ == last_) return nullptr;
    Slot& slot = slots_.front();
    if (!slot.error) make_into(to_hand_, slot);
    in_use_ = !slot.error;
    return &slot;
  }

  Slot* wait_for_worker() {
    std::unique_lock lock(mutex_);
    if (in_use_) {
      slot_of(to_hand_).ready = false;
      advance();
      room_.notify_one();
    }
    if (to_hand_ == last_) return nullptr;
    Slot& slot = slot_of(to_hand_);
    filled_.wait(lock, [&] { return slot.ready; });
    in_use_ = !slot.error;  // a failed step stays at the head
    return &slot;
  }

  void advance() {
    if (in_use_) ++to_hand_;
    in_use_ = false;
  }

  void work() {
    omp_set_num_threads(1);  // of this thread alone
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto room = static_cast<std::int64_t>(slots_.size());
      room_.wait(lock,
                 [&] { return stopping_ || to_make_ == last_ || to_make_ < to_hand_ + room; });
      if (stopping_ || to_make_ == last_) return;
      const std::int64_t step = to_make_++;
      Slot& slot = slot_of(step);
      lock.unlock();
      make_into(step, slot);
      lock.lock();
      slot.ready = true;
      if (slot.error) stopping_ = true;  // nothing after it will be handed over
      filled_.notify_one();
      if (stopping_ || to_make_ == last_) room_.notify_all();
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  Make make_;
  const std::int64_t last_;
  std::int64_t to_make_;  // the next step a worker takes
  std::int64_t to_hand_;  // the step in use, or the next one if none is
  bool in_use_ = false, stopping_ = false;
  double last_wait_ = 0, total_wait_ = 0;
  std::vector<Slot> slots_;
  std::mutex mutex_;
  std::condition_variable room_, filled_;
  std::vector<std::thread> workers_;
};

}  // namespace mwalimu::data
