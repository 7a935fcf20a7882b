// examples/common/cross_validation: finetune --folds K.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "common/config_file.hpp"
#include "common/options.hpp"
#include "common/output_folder.hpp"
#include "mwalimu/train/cross_validation.hpp"

namespace mwalimu::programs {

inline constexpr int kMostFolds = 100;

inline void add_folds_option(CLI::App& app, int& folds) {
  app.add_option("--folds", folds,
                 "K-fold cross-validation by plant: train K classifiers, measure each on the "
                 "plants that it has not seen (they choose its best epoch, too: --valid is not "
                 "used); 0: one classifier");
}

/// Trains and measures every fold and prints the table.
/// @param start  the classifier that every fold starts from.
inline void run_folds(const CLI::App& app, const CommonOptions& common, int folds,
                      index_t labels_per_class, const train::FinetuneOptions& options,
                      const train::StudyData& data,
                      const std::function<models::Classifier()>& start) {
  require<ValueError>(folds >= 2 && folds <= kMostFolds, "--folds: want 0 or 2 to ", kMostFolds,
                      ", got ", folds);
  auto labelled = data.train();
  if (labels_per_class > 0) {
    labelled = data::labelled_subset(data.dataset, labels_per_class, common.seed, labelled);
  }
  // What is refused is refused before a folder is made.
  for (const auto& split : data::folds_by_pair(data.dataset, folds, common.seed, labelled)) {
    train::check(options.classifier, static_cast<index_t>(split.train.size()));
  }
  std::vector<std::string> writes{"folds.json", "folds.csv", "oof_logits.npy", "oof_logits.csv",
                                  "metrics.json", "confusion.svg", "roc.svg",
                                  "precision_recall.svg", "reliability.svg", "submission.csv",
                                  // of a run without --folds
                                  "log.csv", "checkpoint.safetensors", "classifier.safetensors",
                                  "logits.npy", "logits.csv"};
  for (int k = 1; k <= kMostFolds; ++k) writes.push_back("fold" + std::to_string(k));
  const OutputFolder out(common, writes);
  const bool resumed = common.resume && std::filesystem::exists(out / "folds.csv");
  require<ValueError>(!common.resume || resumed, "--resume: ", out.path().string(),
                      " holds no cross-validation; leave --folds out, or choose another folder");
  if (!resumed) write_config_toml(app, out / "config.toml");
  train::CrossValidationOptions cross{.folds = folds, .seed = common.seed, .finetune = options};
  cross.bootstrap.seed = common.seed;
  const auto result =
      train::cross_validate(start, data, labelled, cross, out.path(), resumed);
  std::cout << "\nheld-out parts, each of its own fold's model (which epoch is best was chosen on "
               "them, too)\n"
            << train::folds_text(result.held_out) << "\nall held-out predictions together\n"
            << eval::evaluation_text(result.out_of_fold);
  if (result.test) {
    std::cout << "\ntest part, mean of the folds' models\n"
              << eval::evaluation_text(*result.test);
  }
  std::cout << std::flush;
}

}  // namespace mwalimu::programs
