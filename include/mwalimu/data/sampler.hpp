// data/sampler: which samples make up the batch of a step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/random.hpp"

namespace mwalimu::data {

struct BatchSamplerOptions {
  bool shuffle = true;    ///< a new order every epoch; off: 0, 1, 2, ...
  bool drop_last = true;  ///< leave out the epoch's last, shorter batch
};

/// Cuts shuffled epochs into batches. A batch is a function of (n, batch, seed, options, step)
/// alone, so a run can start at any step. Safe to call from several threads; copies share their
/// memory.
class BatchSampler {
 public:
  /// @param n      samples, >= 1
  /// @param batch  samples a step, >= 1
  /// @throws ValueError  n or batch below 1, or drop_last with a batch larger than the data.
  BatchSampler(std::int64_t n, std::int64_t batch, std::uint64_t seed,
               BatchSamplerOptions options = {})
      : n_(n), batch_(batch), seed_(seed), options_(options), cache_(std::make_shared<Cache>()) {
    require<ValueError>(n >= 1, "sampler: want at least one sample, got ", n);
    require<ValueError>(batch >= 1, "sampler: want a batch of at least one sample, got ", batch);
    require<ValueError>(!options.drop_last || batch <= n, "sampler: a batch of ", batch,
                        " is larger than the data (", n, " samples): use a batch of at most ", n);
  }

  std::int64_t size() const { return n_; }
  std::int64_t batch() const { return batch_; }
  std::int64_t steps_per_epoch() const {
    return options_.drop_last ? n_ / batch_ : (n_ + batch_ - 1) / batch_;
  }
  std::int64_t epoch(std::int64_t step) const { return step / steps_per_epoch(); }

  /// The samples of global step `step` >= 0, `batch` of them (fewer in an epoch's last batch
  /// without drop_last). Epoch e is random_permutation(n) of (seed, shuffle, e); an epoch holds no
  /// sample twice.
  std::vector<std::int64_t> indices(std::int64_t step) const {
    require<ValueError>(step >= 0, "sampler: want a step of at least 0, got ", step);
    const std::int64_t begin = step % steps_per_epoch() * batch_;
    const std::int64_t end = std::min(begin + batch_, n_);
    std::vector<std::int64_t> result(static_cast<std::size_t>(end - begin));
    if (!options_.shuffle) {
      for (std::int64_t i = begin; i < end; ++i) result[static_cast<std::size_t>(i - begin)] = i;
      return result;
    }
    const auto order = epoch_order(epoch(step));
    std::copy(order->begin() + begin, order->begin() + end, result.begin());
    return result;
  }

 private:
  using Order = std::shared_ptr<const std::vector<std::int64_t>>;
  // Loaders run ahead across the end of an epoch: two orders are in use at once.
  struct Cache {
    std::mutex mutex;
    std::int64_t epochs[2] = {-1, -1};
    Order orders[2];
  };

  Order epoch_order(std::int64_t epoch) const {
    const std::size_t slot = static_cast<std::size_t>(epoch % 2);
    const std::lock_guard lock(cache_->mutex);
    if (cache_->epochs[slot] != epoch) {
      cache_->orders[slot] = std::make_shared<const std::vector<std::int64_t>>(random_permutation(
          n_, RandomStream(seed_, Purpose::shuffle, static_cast<std::uint64_t>(epoch))));
      cache_->epochs[slot] = epoch;
    }
    return cache_->orders[slot];
  }

  std::int64_t n_, batch_;
  std::uint64_t seed_;
  BatchSamplerOptions options_;
  std::shared_ptr<Cache> cache_;
};

}  // namespace mwalimu::data
