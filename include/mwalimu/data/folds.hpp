// data/folds: the parts of a k-fold cross-validation, by plant and stratified.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/data/split.hpp"
#include "mwalimu/io/csv.hpp"

namespace mwalimu::data {

/// Divides the labelled plants into `folds` parts; part k is `valid` of split k, and all others are
/// its `train`. Both images of a plant are in the same part, every labelled sample is in `valid`
/// exactly once, and the parts' counts of a class differ by one plant at most. The same seed gives
/// the same parts.
///
/// @param within  the samples to divide; empty: all. Those without a label are left out.
/// @throws ValueError  folds < 2, or a class has fewer plants than there are folds: then some part
///                     could not be measured on it. The text names the class.
inline std::vector<IndexSplit> folds_by_pair(const Dataset& data, int folds, std::uint64_t seed,
                                             std::span<const index_t> within = {}) {
  require<ValueError>(folds >= 2, "--folds: want at least 2, got ", folds);
  std::vector<index_t> labelled;
  const auto keep = [&](index_t i) {
    require<ValueError>(i >= 0 && i < data.size(), "folds: sample ", i, " of ", data.size());
    if (data[i].label >= 0) labelled.push_back(i);
  };
  for (index_t i = 0; within.empty() && i < data.size(); ++i) keep(i);
  for (const index_t i : within) keep(i);
  std::vector<std::set<index_t>> plants_of(data.classes.size());  // by their first samples
  for (const index_t i : labelled) {
    const index_t pair = data[i].pair;
    plants_of[static_cast<std::size_t>(data[i].label)].insert(pair >= 0 ? std::min(i, pair) : i);
  }
  for (std::size_t c = 0; c < plants_of.size(); ++c) {
    require<ValueError>(plants_of[c].size() >= static_cast<std::size_t>(folds), "--folds: class '",
                        data.classes[c], "' has ", plants_of[c].size(),
                        plants_of[c].size() == 1 ? " plant" : " plants", ", too few for ", folds,
                        " folds; want at least one a fold");
  }
  return stratified_folds(data, folds, seed, labelled);
}

/// The samples that the folds hold, in the order of the data set.
inline std::vector<index_t> rows_of(std::span<const IndexSplit> folds) {
  std::vector<index_t> rows;
  for (const IndexSplit& fold : folds) {
    rows.insert(rows.end(), fold.valid.begin(), fold.valid.end());
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

/// Which fold holds out an image; folds are counted from 1.
struct FoldOfImage {
  std::string id;
  int fold = 0;
  bool operator==(const FoldOfImage&) const = default;
};

/// One entry an image of the folds, in the order of the data set.
inline std::vector<FoldOfImage> fold_table(const Dataset& data, std::span<const IndexSplit> folds) {
  std::vector<int> fold_of(data.samples.size(), 0);
  for (std::size_t k = 0; k < folds.size(); ++k) {
    for (const index_t i : folds[k].valid) {
      fold_of[static_cast<std::size_t>(i)] = static_cast<int>(k + 1);
    }
  }
  std::vector<FoldOfImage> table;
  for (const index_t i : rows_of(folds)) {
    table.push_back({data[i].id, fold_of[static_cast<std::size_t>(i)]});
  }
  return table;
}

/// folds.csv: image_id,fold.
/// @throws FileError  cannot write.
inline void write_folds(const std::filesystem::path& path, std::span<const FoldOfImage> table) {
  io::CsvWriter csv(path, {"image_id", "fold"});
  for (const FoldOfImage& image : table) csv.row(image.id, image.fold);
  csv.commit();
}
/// @throws FileError  the file is missing or malformed.
inline std::vector<FoldOfImage> read_folds(const std::filesystem::path& path) {
  const io::CsvTable csv = io::read_csv(path);
  const std::size_t id = csv.column("image_id"), fold = csv.column("fold");
  std::vector<FoldOfImage> table;
  for (std::size_t row = 0; row < csv.rows.size(); ++row) {
    table.push_back({csv.rows[row][id], static_cast<int>(csv.number(row, fold))});
  }
  return table;
}

}  // namespace mwalimu::data
