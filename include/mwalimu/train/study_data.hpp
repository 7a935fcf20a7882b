// train/study_data: the training and test part of a data set in one store.
#pragma once

#include <filesystem>
#include <functional>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "mwalimu/data/dataset.hpp"
#include "mwalimu/data/image_store.hpp"
#include "mwalimu/data/split.hpp"
#include "mwalimu/train/input.hpp"

namespace mwalimu::train {

/// Samples 0..train_count-1 are the training part, the rest the test part.
struct StudyData {
  data::Dataset dataset;
  data::ImageStore store;
  index_t train_count = 0;

  index_t test_count() const { return dataset.size() - train_count; }
  std::vector<index_t> train() const { return range(0, train_count); }
  std::vector<index_t> test() const { return range(train_count, dataset.size()); }
  /// The test part with its labels, where they are known.
  data::Dataset test_set() const { return data::subset(dataset, test()); }

 private:
  static std::vector<index_t> range(index_t begin, index_t end) {
    std::vector<index_t> all(static_cast<std::size_t>(end - begin));
    std::iota(all.begin(), all.end(), begin);
    return all;
  }
};

/// Whether the folder has a test part.
inline bool has_test_part(const std::filesystem::path& dir) {
  return std::filesystem::exists(dir / "Test.csv") || std::filesystem::is_directory(dir / "test");
}

/// Reads and decodes a data set; the test part may be missing.
/// @param store    size of the stored images and what to do with broken ones.
/// @param input    stacked: a sample is a plant with both its photographs.
/// @throws as data::load_dataset, as_input and data::ImageStore::build.
inline StudyData load_study_data(const std::filesystem::path& dir, data::StoreOptions store,
                                 const data::StoreProgress& progress = {},
                                 Input input = Input::images) {
  StudyData result;
  data::LoadOptions options;
  options.skip_bad = store.skip_bad;
  result.dataset = as_input(data::load_dataset(dir, data::Split::train, options), input);
  std::set<std::filesystem::path> train_paths;
  for (const data::Sample& sample : result.dataset.samples) train_paths.insert(sample.path);
  if (has_test_part(dir)) {
    data::LoadOptions same_classes = options;
    same_classes.classes = result.dataset.classes;
    result.dataset = data::concatenate(
        result.dataset,
        as_input(data::load_dataset(dir, data::Split::test, same_classes), input));
  }
  result.store = data::ImageStore::build(result.dataset, store, progress);
  // Images that do not decode are gone by now; the order is kept.
  while (result.train_count < result.dataset.size() &&
         train_paths.contains(result.dataset[result.train_count].path)) {
    ++result.train_count;
  }
  return result;
}

/// Training and validation rows of the training part: `labels_per_class` plants of each class (0:
/// all), of which a share validates; so the budget counts every label that is looked at.
inline data::IndexSplit split_labels(const StudyData& data, index_t labels_per_class, double valid,
                                     std::uint64_t seed) {
  require<ValueError>(valid >= 0 && valid < 1, "--valid: want at least 0 and below 1, got ", valid);
  std::vector<index_t> labelled = data.train();
  if (labels_per_class > 0) {
    labelled = data::labelled_subset(data.dataset, labels_per_class, seed, labelled);
  }
  if (valid == 0) return {labelled, {}};
  return data::split_by_pair(data.dataset, valid, seed, labelled);
}

}  // namespace mwalimu::train
