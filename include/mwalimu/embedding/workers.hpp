// embedding/workers: loops shared out to threads that sleep when there is nothing to do.
//
// An iteration of t-SNE is a handful of loops of a tenth of a millisecond to a few milliseconds. On
// a machine that others use too, a barrier where threads spin, and a part for each that all wait
// for, makes two threads slower than one. Here parts are small and taken one after the other by
// whoever has time; a helper that the system has not let run yet is not waited for.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding {
namespace detail {

/// Helpers of the process, started when first needed, at most num_threads() - 1.
class Workers {
 public:
  static Workers& shared() {
    static Workers workers;
    return workers;
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  /// Calls part(context, 0 ... parts - 1), each once, in the caller's thread and in helpers;
  /// returns when all are done. A second caller at the same time does its parts alone.
  void run(index_t parts, void (*part)(void*, index_t), void* context) {
    std::unique_lock busy(owner_, std::defer_lock);
    if (inside_ || num_threads() == 1 || !busy.try_lock()) {
      for (index_t p = 0; p < parts; ++p) part(context, p);
      return;
    }
    const int helpers = static_cast<int>(std::min<index_t>(num_threads(), parts)) - 1;
    {
      const std::lock_guard lock(mutex_);
      while (static_cast<int>(threads_.size()) < helpers) {
        threads_.emplace_back([this] { serve(); });
      }
      part_ = part;
      context_ = context;
      parts_ = parts;
      next_ = 0;
      places_ = helpers;
    }
    for (int h = 0; h < helpers; ++h) wake_.notify_one();
    work();
    std::unique_lock lock(mutex_);
    places_ = 0;  // whoever has not begun by now need not
    idle_.wait(lock, [&] { return active_ == 0; });
  }

 private:
  Workers() = default;

  void work() {
    inside_ = true;
    for (index_t p; (p = next_.fetch_add(1)) < parts_;) part_(context_, p);
    inside_ = false;
  }
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return closing_ || places_ > 0; });
      if (closing_) return;
      --places_;
      ++active_;
      lock.unlock();
      work();
      lock.lock();
      if (--active_ == 0) idle_.notify_one();
    }
  }

  inline static thread_local bool inside_ = false;
  std::mutex owner_, mutex_;
  std::condition_variable wake_, idle_;
  std::vector<std::thread> threads_;
  bool closing_ = false;
  int places_ = 0, active_ = 0;
  void (*part_)(void*, index_t) = nullptr;
  void* context_ = nullptr;
  index_t parts_ = 0;
  std::atomic<index_t> next_ = 0;
};

}  // namespace detail

/// Calls body(begin, end) on disjoint ranges that cover [0, n), at least `grain` long where n
/// allows. Which thread takes which range is left to chance: iterations must not depend on each
/// other, and then the result has the same bits for any number of threads. Exceptions must not
/// leave body.
template <class Body>
void share_out(index_t n, index_t grain, Body&& body) {
  if (n <= 0) return;
  constexpr index_t kPartsAThread = 4;  // so that a thread held up for a while holds up little
  const index_t most = num_threads() == 1 ? 1 : kPartsAThread * num_threads();
  const index_t parts = std::clamp<index_t>(n / std::max<index_t>(grain, 1), 1, most);
  if (parts == 1 || omp_in_parallel()) {
    body(index_t{0}, n);
    return;
  }
  struct Share {
    std::remove_reference_t<Body>* body;
    index_t n, parts;
  } share{&body, n, parts};
  detail::Workers::shared().run(
      parts,
      [](void* context, index_t p) {
        const Share& s = *static_cast<const Share*>(context);
        (*s.body)(s.n * p / s.parts, s.n * (p + 1) / s.parts);
      },
      &share);
}

}  // namespace mwalimu::embedding
