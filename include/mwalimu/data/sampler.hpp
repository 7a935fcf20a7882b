// data/sampler: which samples make up the batch of a step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/random.hpp"

namespace mwalimu::data {

struct BatchSamplerOptions {
  bool shuffle = true;    ///< a new order every epoch; off: 0, 1, 2, ...
  bool drop_last = true;  ///< leave out the epoch's last, shorter batch
  /// The class of every sample, >= 0: classes then have equal shares of an epoch, see balanced_order.
  /// Empty: an epoch holds every sample once.
  std::vector<int> classes = {};
};

/// n draws of n samples in random order, in which classes have equal shares, but for the remainder,
/// which goes to other classes every epoch. A class with fewer samples than its share has them all,
/// again and again, each as often as any other of them but for one time; of a class with more a new
/// random part is drawn every epoch. A class without a sample has no share.
inline std::vector<std::int64_t> balanced_order(std::span<const int> classes, std::uint64_t seed,
                                                std::uint64_t epoch) {
  std::vector<std::vector<std::int64_t>> members;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const auto c = static_cast<std::size_t>(classes[i]);
    if (c >= members.size()) members.resize(c + 1);
    members[c].push_back(static_cast<std::int64_t>(i));
  }
  std::erase_if(members, [](const auto& samples) { return samples.empty(); });
  std::uint64_t streams = 0;
  const auto permutation = [&](std::size_t n) {
    return random_permutation(static_cast<std::int64_t>(n),
                              RandomStream(seed, Purpose::shuffle, epoch, ++streams));
  };
  const std::size_t n = classes.size(), K = members.size();
  std::vector<std::int64_t> drawn;
  for (std::size_t k = 0; k < K; ++k) {
    const bool one_more = (k + static_cast<std::size_t>(epoch)) % K < n % K;
    const std::size_t until = drawn.size() + n / K + (one_more ? 1 : 0);
    while (drawn.size() < until) {
      for (const std::int64_t j : permutation(members[k].size())) {
        if (drawn.size() == until) break;
        drawn.push_back(members[k][static_cast<std::size_t>(j)]);
      }
    }
  }
  std::vector<std::int64_t> order;
  for (const std::int64_t j : permutation(drawn.size())) {
    order.push_back(drawn[static_cast<std::size_t>(j)]);
  }
  return order;
}

/// Cuts shuffled epochs into batches. A batch is a function of (n, batch, seed, options, step)
/// alone, so a run can start at any step. Safe to call from several threads; copies share their
/// memory.
class BatchSampler {
 public:
  /// @param n      samples, >= 1
  /// @param batch  samples a step, >= 1
  /// @throws ValueError  n or batch below 1, drop_last with a batch larger than the data, or classes
  ///                     that are not n, negative, or given without shuffle.
  BatchSampler(std::int64_t n, std::int64_t batch, std::uint64_t seed,
               BatchSamplerOptions options = {})
      : n_(n),
        batch_(batch),
        seed_(seed),
        options_(std::move(options)),
        cache_(std::make_shared<Cache>()) {
    require<ValueError>(n >= 1, "sampler: want at least one sample, got ", n);
    require<ValueError>(batch >= 1, "sampler: want a batch of at least one sample, got ", batch);
    require<ValueError>(!options_.drop_last || batch <= n, "sampler: a batch of ", batch,
                        " is larger than the data (", n, " samples): use a batch of at most ", n);
    const auto& classes = options_.classes;
    require<ValueError>(
        classes.empty() || (std::ssize(classes) == n && options_.shuffle &&
                            std::all_of(classes.begin(), classes.end(), [](int c) { return c >= 0; })),
        "sampler: to balance classes, want one of at least 0 for each of ", n,
        " samples, and shuffle");
  }

  std::int64_t size() const { return n_; }
  std::int64_t batch() const { return batch_; }
  std::int64_t steps_per_epoch() const {
    return options_.drop_last ? n_ / batch_ : (n_ + batch_ - 1) / batch_;
  }
  std::int64_t epoch(std::int64_t step) const { return step / steps_per_epoch(); }

  /// The samples of global step `step` >= 0, `batch` of them (fewer in an epoch's last batch
  /// without drop_last). Epoch e is random_permutation(n) of (seed, shuffle, e), which holds no
  /// sample twice; with classes it is balanced_order(classes, seed, e).
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
      cache_->orders[slot] = std::make_shared<const std::vector<std::int64_t>>(
          make_order(static_cast<std::uint64_t>(epoch)));
      cache_->epochs[slot] = epoch;
    }
    return cache_->orders[slot];
  }
  std::vector<std::int64_t> make_order(std::uint64_t epoch) const {
    if (!options_.classes.empty()) return balanced_order(options_.classes, seed_, epoch);
    return random_permutation(n_, RandomStream(seed_, Purpose::shuffle, epoch));
  }

  std::int64_t n_, batch_;
  std::uint64_t seed_;
  BatchSamplerOptions options_;
  std::shared_ptr<Cache> cache_;
};

}  // namespace mwalimu::data
