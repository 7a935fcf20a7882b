// embedding/search_progress: how far a search for neighbours has got.
#pragma once

#include <functional>
#include <mutex>
#include <utility>

#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding {

/// Told how many of the points have their neighbours. Calls come from any thread, one at a time,
/// and `done` never falls; it is 0 at first, and again when what prepares the search is over.
using SearchProgress = std::function<void(index_t done, index_t total)>;

namespace detail {

/// Adds up what the threads of a search have done.
class SearchCount {
 public:
  SearchCount(SearchProgress progress, index_t total)
      : progress_(std::move(progress)), total_(total) {
    add(0);
  }
  void add(index_t points) {
    if (!progress_) return;
    const std::lock_guard lock(mutex_);
    progress_(done_ += points, total_);
  }

 private:
  SearchProgress progress_;
  index_t total_, done_ = 0;
  std::mutex mutex_;
};

}  // namespace detail
}  // namespace mwalimu::embedding
