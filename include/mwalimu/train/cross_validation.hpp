// train/cross_validation: as many classifiers as folds, each measured on the plants that it has not
// seen.
//
// What the numbers are biased by: a fold's own held-out part also chooses that fold's best epoch
// and stops its training early, so every fold reports the epoch that suits its held-out plants
// best. The means are therefore a little too good: the more, the fewer plants a fold has, the more
// the curve of its validation loss jumps, and the more epochs there are to choose from. They
// compare options that are chosen among in the same way; they are no substitute for a test part
// that nothing was chosen on. And the folds' trainings share most of their images: the spread
// between folds is no standard error.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/data/folds.hpp"
#include "mwalimu/eval/bootstrap.hpp"
#include "mwalimu/eval/evaluation_text.hpp"
#include "mwalimu/eval/statistics.hpp"
#include "mwalimu/train/evaluation_plots.hpp"
#include "mwalimu/train/finetune.hpp"
#include "mwalimu/train/predictions.hpp"

namespace mwalimu::train {

struct CrossValidationOptions {
  int folds = 5;
  std::uint64_t seed = 0;      ///< of the division into folds
  FinetuneOptions finetune;    ///< of every fold
  eval::BootstrapOptions bootstrap{.resamples = 1000, .seed = 0, .level = 0.95};
};

struct CrossValidationResult {
  std::vector<FinetuneResult> folds;
  std::vector<eval::Evaluation> held_out;  ///< of each fold's own held-out part
  eval::Evaluation out_of_fold;            ///< of all held-out predictions together
  std::optional<eval::Evaluation> test;    ///< of the mean of the folds' models, with test labels
};

namespace detail {

/// Mean and standard deviation (n - 1; null for one) over the folds where the number is defined,
/// and the number of each fold.
inline nlohmann::ordered_json mean_and_sd(const std::vector<double>& values) {
  const std::vector<double> defined = eval::finite(values);
  return {{"mean", eval::mean(defined)},
          {"sd", eval::standard_deviation(defined)},
          {"folds", values}};
}

/// The same structure as metrics.json with {mean, sd, folds} in place of every number. What is no
/// measure (names, counts, bins) is left out.
inline nlohmann::ordered_json over_folds(const std::vector<nlohmann::ordered_json>& folds) {
  const auto& first = folds.front();
  if (first.is_object()) {
    auto out = nlohmann::ordered_json::object();
    for (const auto& [key, value] : first.items()) {
      if (key == "classes" || key == "confusion" || key == "bins" || key == "support" ||
          key == "majority_class") {
        continue;
      }
      std::vector<nlohmann::ordered_json> parts;
      for (const auto& fold : folds) {
        if (fold.contains(key)) parts.push_back(fold[key]);
      }
      if (parts.size() == folds.size()) out[key] = over_folds(parts);
    }
    return out;
  }
  if (first.is_array()) {
    auto out = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < first.size(); ++i) {
      std::vector<nlohmann::ordered_json> parts;
      for (const auto& fold : folds) parts.push_back(fold[i]);
      out.push_back(over_folds(parts));
    }
    return out;
  }
  std::vector<double> values;
  for (const auto& fold : folds) {
    values.push_back(fold.is_number() ? fold.get<double>()
                                      : std::numeric_limits<double>::quiet_NaN());
  }
  return mean_and_sd(values);
}

}  // namespace detail

/// The table that is printed: a row a metric, a column a fold, mean and standard deviation last.
inline std::string folds_text(const std::vector<eval::Evaluation>& folds) {
  std::vector<std::vector<std::string>> rows{{""}};
  for (std::size_t k = 0; k < folds.size(); ++k) {
    rows[0].push_back(std::string{} + "fold " + std::to_string(k + 1));
  }
  rows[0].insert(rows[0].end(), {"mean", "sd"});
  const auto add = [&](const std::string& name, auto&& value) {
    std::vector<double> values;
    rows.push_back({name});
    for (const eval::Evaluation& fold : folds) {
      values.push_back(value(fold));
      rows.back().push_back(eval::detail::number(values.back()));
    }
    const auto summary = detail::mean_and_sd(values);
    rows.back().push_back(eval::detail::number(summary["mean"].get<double>()));
    rows.back().push_back(eval::detail::number(summary["sd"].get<double>()));
  };
  const auto group = [&](const std::string& name, auto&& of) {
    using eval::Evaluation;
    add(name + "accuracy", [&](const Evaluation& e) { return of(e).accuracy; });
    add(name + "log loss", [&](const Evaluation& e) { return of(e).log_loss; });
    add(name + "macro F1", [&](const Evaluation& e) { return of(e).macro_f1; });
    add(name + "ROC-AUC", [&](const Evaluation& e) { return of(e).roc_auc; });
    add(name + "average precision", [&](const Evaluation& e) { return of(e).average_precision; });
    add(name + "ECE", [&](const Evaluation& e) { return of(e).calibration.ece; });
  };
  group("", [](const eval::Evaluation& e) -> const eval::Metrics& { return e.together; });
  add("majority class",
      [](const eval::Evaluation& e) { return e.together.baseline.majority_accuracy; });
  const bool both = std::all_of(folds.begin(), folds.end(), [](const eval::Evaluation& e) {
    return e.rgb.has_value() && e.rgn.has_value();
  });
  if (both) {
    group("RGB ", [](const eval::Evaluation& e) -> const eval::Metrics& { return *e.rgb; });
    group("RGN ", [](const eval::Evaluation& e) -> const eval::Metrics& { return *e.rgn; });
  }
  return eval::detail::columns(rows, "  ");
}

/// Finetunes `folds` classifiers, each from start(), on all but one fold, and predicts that fold.
///
/// Writes under `out`: folds.csv (which fold holds out which image), fold1/ ... as finetune does
/// (its metrics and logits are of the held-out part), oof_logits.npy and .csv (the held-out
/// predictions of all folds, in the order of the data set), metrics.json and the plots of those,
/// folds.json (mean, standard deviation and folds' values of every metric), and with a test part
/// submission.csv: the mean of the folds' probabilities. With `resume` complete folds are predicted
/// again, not trained, and the one that was interrupted goes on.
///
/// @param start     a new classifier, the same whenever it is called.
/// @param labelled  the samples to divide, of the training part; without a label: left out.
/// @throws ValueError  an option is out of range, a class has fewer plants than folds, or what is
///                     resumed was divided or trained differently.
/// @throws FileError   cannot write.
inline CrossValidationResult cross_validate(const std::function<models::Classifier()>& start,
                                            const StudyData& data,
                                            std::span<const index_t> labelled,
                                            const CrossValidationOptions& options,
                                            const std::filesystem::path& out, bool resume,
                                            std::ostream& console = std::cout) {
  const auto splits = data::folds_by_pair(data.dataset, options.folds, options.seed, labelled);
  const ClassifierOptions& classifier = options.finetune.classifier;
  for (const auto& split : splits) check(classifier, static_cast<index_t>(split.train.size()));
  const auto table = data::fold_table(data.dataset, splits);
  if (resume) {
    require<ValueError>(data::read_folds(out / "folds.csv") == table,
                        "--resume: ", (out / "folds.csv").string(), " divides other images or "
                        "divides them differently; give the same --folds, --seed and --data");
  } else {
    data::write_folds(out / "folds.csv", table);
  }

  // The folds' own folders are about their held-out part alone.
  StudyData training = data;
  training.dataset.samples.resize(static_cast<std::size_t>(data.train_count));
  const auto rows = data::rows_of(splits);
  std::vector<std::size_t> row_of(training.dataset.samples.size());
  for (std::size_t r = 0; r < rows.size(); ++r) row_of[static_cast<std::size_t>(rows[r])] = r;
  const auto C = static_cast<std::size_t>(data.dataset.classes.size());
  std::vector<double> probabilities(rows.size() * C);
  std::vector<float> logits(rows.size() * C);
  const auto test_rows = data.test();
  std::vector<double> test_probabilities(test_rows.size() * C);

  CrossValidationResult result;
  for (std::size_t k = 0; k < splits.size(); ++k) {
    const auto folder = out / (std::string{} + "fold" + std::to_string(k + 1));
    std::filesystem::create_directories(folder);
    const bool begun = resume && std::filesystem::exists(folder / "checkpoint.safetensors");
    console << "\nfold " << k + 1 << " of " << splits.size() << ": " << splits[k].train.size()
            << " images train, " << splits[k].valid.size() << " are held out" << std::endl;
    models::Classifier model = start();
    result.folds.push_back(finetune(model, training, training.dataset, splits[k], options.finetune,
                                    folder, begun, console));
    const auto predict_rows = [&](std::span<const index_t> wanted) {
      return predict(model, data.store, wanted, classifier.augment, options.finetune.tta,
                     classifier.seed, classifier.precision);
    };
    const Predictions held = predict_rows(splits[k].valid);
    for (std::size_t r = 0; r < splits[k].valid.size(); ++r) {
      const std::size_t to = row_of[static_cast<std::size_t>(splits[k].valid[r])] * C;
      std::copy_n(held.probabilities.begin() + static_cast<std::ptrdiff_t>(r * C), C,
                  probabilities.begin() + static_cast<std::ptrdiff_t>(to));
      std::copy_n(held.logits.span().begin() + static_cast<std::ptrdiff_t>(r * C), C,
                  logits.begin() + static_cast<std::ptrdiff_t>(to));
    }
    result.held_out.push_back(eval::evaluate(
        eval::labelled_scores(training.dataset, held.probabilities, splits[k].valid)));
    console << "fold " << k + 1 << ": " << summary(result.held_out.back().together) << std::endl;
    if (test_rows.empty()) continue;
    const Predictions test = predict_rows(test_rows);
    for (std::size_t i = 0; i < test_probabilities.size(); ++i) {
      test_probabilities[i] += test.probabilities[i] / static_cast<double>(splits.size());
    }
  }

  const auto scores = eval::labelled_scores(training.dataset, probabilities, rows);
  result.out_of_fold = eval::evaluate(scores, options.bootstrap);
  eval::write_logits(out, data::subset(training.dataset, rows), logits, "oof_logits");
  eval::write_metrics(out / "metrics.json", result.out_of_fold);
  write_evaluation_plots(out, result.out_of_fold, scores);
  std::vector<nlohmann::ordered_json> of_folds;
  for (const auto& fold : result.held_out) of_folds.push_back(eval::to_json(fold));
  nlohmann::ordered_json json{{"folds", options.folds},
                              {"seed", options.seed},
                              {"images", rows.size()},
                              {"plants", scores.plants()},
                              {"best_epoch", nlohmann::ordered_json::array()},
                              {"metrics", detail::over_folds(of_folds)},
                              {"out_of_fold", eval::to_json(result.out_of_fold)}};
  for (const auto& fold : result.folds) json["best_epoch"].push_back(fold.best_epoch);
  if (!test_rows.empty()) {
    const auto test = eval::labelled_scores(data.dataset, test_probabilities, test_rows);
    if (test.rows() > 0) {
      result.test = eval::evaluate(test, options.bootstrap);
      json["test"] = eval::to_json(*result.test);
    }
    eval::write_submission(out / "submission.csv", data.test_set(), test_probabilities);
  }
  io::write_file(out / "folds.json", json.dump(2) + "\n");
  return result;
}

}  // namespace mwalimu::train
