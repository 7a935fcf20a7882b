// data/split: dividing a data set by plant, so that the two images of one plant stay together.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/data/sample.hpp"

namespace mwalimu::data {

/// Indices of samples, each part in increasing order.
struct IndexSplit {
  std::vector<index_t> train, valid;
};

namespace detail {

// The plants of each label in random order. A plant belongs to `within` if one of its sides does.
inline std::map<int, std::vector<Plant>> shuffled_plants(const Dataset& data, std::uint64_t seed,
                                                         std::span<const index_t> within) {
  std::vector<char> inside(data.samples.size(), within.empty() ? 1 : 0);
  for (const index_t i : within) {
    require<ValueError>(i >= 0 && i < data.size(), "split: index ", i, " of ", data.size(),
                        " samples");
    inside[static_cast<std::size_t>(i)] = 1;
  }
  const auto keep = [&](index_t i) { return i >= 0 && inside[static_cast<std::size_t>(i)] != 0; };
  std::map<int, std::vector<Plant>> by_label;
  for (const Plant& plant : plants(data)) {
    const Plant kept{keep(plant.rgb) ? plant.rgb : -1, keep(plant.rgn) ? plant.rgn : -1};
    if (kept.any() >= 0) by_label[data[kept.any()].label].push_back(kept);
  }
  for (auto& [label, group] : by_label) {
    const auto order = random_permutation(
        static_cast<std::int64_t>(group.size()),
        RandomStream(seed, Purpose::split, static_cast<std::uint64_t>(label + 1)));
    std::vector<Plant> shuffled;
    for (const auto i : order) shuffled.push_back(group[static_cast<std::size_t>(i)]);
    group = std::move(shuffled);
  }
  return by_label;
}

inline void append_plant(std::vector<index_t>& out, const Plant& plant) {
  if (plant.rgb >= 0) out.push_back(plant.rgb);
  if (plant.rgn >= 0) out.push_back(plant.rgn);
}

}  // namespace detail

/// A random share of the plants of every class for validation, the rest for training.
///
/// @param fraction  of the plants that go to `valid`, in (0, 1); rounded a class, but a class with
///                  two plants or more has one on either side, and a single plant trains.
/// @param within    the samples to divide; empty: all.
/// @throws ValueError  fraction out of range.
inline IndexSplit split_by_pair(const Dataset& data, double fraction, std::uint64_t seed,
                                std::span<const index_t> within = {}) {
  require<ValueError>(fraction > 0 && fraction < 1,
                      "split_by_pair: want a fraction in (0, 1), got ", fraction);
  IndexSplit split;
  for (const auto& [label, group] : detail::shuffled_plants(data, seed, within)) {
    const auto n = static_cast<long>(group.size());
    const long valid =
        n < 2 ? 0 : std::clamp(std::lround(fraction * static_cast<double>(n)), 1L, n - 1);
    for (long i = 0; i < n; ++i) {
      detail::append_plant(i < valid ? split.valid : split.train,
                           group[static_cast<std::size_t>(i)]);
    }
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.valid.begin(), split.valid.end());
  return split;
}

/// `per_class` random plants of every class, for learning from few labels. Plants without a label
/// are left out. A larger `per_class` of the same seed contains the smaller.
/// @throws ValueError  per_class < 1, or a class has fewer plants than that.
inline std::vector<index_t> labelled_subset(const Dataset& data, index_t per_class,
                                            std::uint64_t seed,
                                            std::span<const index_t> within = {}) {
  require<ValueError>(per_class >= 1, "labelled_subset: want at least one plant a class, got ",
                      per_class);
  std::vector<index_t> chosen;
  for (const auto& [label, group] : detail::shuffled_plants(data, seed, within)) {
    if (label < 0) continue;
    require<ValueError>(static_cast<index_t>(group.size()) >= per_class, "labelled_subset: want ",
                        per_class, " plants a class, but '",
                        data.classes[static_cast<std::size_t>(label)], "' has ", group.size());
    for (index_t i = 0; i < per_class; ++i) {
      detail::append_plant(chosen, group[static_cast<std::size_t>(i)]);
    }
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

/// k-fold cross-validation: every plant is in `valid` of exactly one fold, and the folds' counts of
/// a class differ by one at most.
/// @throws ValueError  k < 2, or there are fewer than k plants.
inline std::vector<IndexSplit> stratified_folds(const Dataset& data, int k, std::uint64_t seed,
                                                std::span<const index_t> within = {}) {
  require<ValueError>(k >= 2, "stratified_folds: want at least two folds, got ", k);
  const auto groups = detail::shuffled_plants(data, seed, within);
  std::size_t count = 0;
  for (const auto& [label, group] : groups) count += group.size();
  require<ValueError>(count >= static_cast<std::size_t>(k), "stratified_folds: ", count,
                      " plants do not fill ", k, " folds");
  std::vector<IndexSplit> folds(static_cast<std::size_t>(k));
  std::size_t next = 0;  // goes on from class to class, so that fold sizes differ by one at most
  for (const auto& [label, group] : groups) {
    for (const Plant& plant : group) {
      for (std::size_t fold = 0; fold < folds.size(); ++fold) {
        const bool here = fold == next % folds.size();
        detail::append_plant(here ? folds[fold].valid : folds[fold].train, plant);
      }
      ++next;
    }
  }
  for (IndexSplit& fold : folds) {
    std::sort(fold.train.begin(), fold.train.end());
    std::sort(fold.valid.begin(), fold.valid.end());
  }
  return folds;
}

}  // namespace mwalimu::data
