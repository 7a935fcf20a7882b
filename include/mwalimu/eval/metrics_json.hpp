// eval/metrics_json: metrics.json.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mwalimu/eval/metrics.hpp"
#include "mwalimu/io/atomic_file.hpp"

namespace mwalimu::eval {

namespace detail {

inline nlohmann::ordered_json to_json(const Calibration& calibration) {
  auto bins = nlohmann::ordered_json::array();
  for (const CalibrationBin& bin : calibration.bins) {
    bins.push_back({{"low", bin.low},
                    {"high", bin.high},
                    {"count", bin.count},
                    {"confidence", bin.confidence},
                    {"accuracy", bin.accuracy}});
  }
  return {{"ece", calibration.ece}, {"mce", calibration.mce}, {"bins", std::move(bins)}};
}

inline nlohmann::ordered_json to_json(const Confidence& c) {
  const auto pair = [](const Interval& i) { return nlohmann::ordered_json{i.low, i.high}; };
  return {{"accuracy", pair(c.accuracy)},
          {"macro_f1", pair(c.macro_f1)},
          {"log_loss", pair(c.log_loss)},
          {"roc_auc", pair(c.roc_auc)},
          {"ece", pair(c.ece)}};
}

}  // namespace detail

/// log_loss, accuracy, macro_f1, roc_auc and average_precision (means over the classes), confusion
/// (rows true, columns predicted), classes, per_class {precision, recall, f1, support, roc_auc,
/// average_precision: one number a class, in the order of classes}, baseline {majority_class,
/// majority_accuracy, prior_log_loss}, calibration {ece, mce, bins: {low, high, count, confidence,
/// accuracy} each}, and with intervals confidence {metric: [low, high]}. A number that is not
/// defined (the ROC-AUC of one class alone, the accuracy of an empty bin) is null.
inline nlohmann::ordered_json to_json(const Metrics& metrics,
                                      const std::vector<std::string>& classes) {
  nlohmann::ordered_json per_class{{"precision", nlohmann::ordered_json::array()},
                                   {"recall", nlohmann::ordered_json::array()},
                                   {"f1", nlohmann::ordered_json::array()},
                                   {"support", nlohmann::ordered_json::array()},
                                   {"roc_auc", nlohmann::ordered_json::array()},
                                   {"average_precision", nlohmann::ordered_json::array()}};
  for (const ClassMetrics& one : metrics.per_class) {
    per_class["precision"].push_back(one.precision);
    per_class["recall"].push_back(one.recall);
    per_class["f1"].push_back(one.f1);
    per_class["support"].push_back(one.support);
    per_class["roc_auc"].push_back(one.roc_auc);
    per_class["average_precision"].push_back(one.average_precision);
  }
  const Baseline& baseline = metrics.baseline;
  nlohmann::ordered_json json{
      {"log_loss", metrics.log_loss},
      {"accuracy", metrics.accuracy},
      {"macro_f1", metrics.macro_f1},
      {"roc_auc", metrics.roc_auc},
      {"average_precision", metrics.average_precision},
      {"confusion", metrics.confusion},
      {"classes", classes},
      {"per_class", std::move(per_class)},
      {"baseline",
       {{"majority_class", classes[static_cast<std::size_t>(baseline.majority_class)]},
        {"majority_accuracy", baseline.majority_accuracy},
        {"prior_log_loss", baseline.prior_log_loss}}},
      {"calibration", detail::to_json(metrics.calibration)}};
  if (metrics.confidence) json["confidence"] = detail::to_json(*metrics.confidence);
  return json;
}

/// The same of all images, and under by_sensor {rgb, rgn} of each sensor that has any; with
/// intervals bootstrap {resamples, seed, level}, what they come from; with a temperature that.
inline nlohmann::ordered_json to_json(const Evaluation& evaluation) {
  auto json = to_json(evaluation.together, evaluation.classes);
  auto by_sensor = nlohmann::ordered_json::object();
  if (evaluation.rgb) by_sensor["rgb"] = to_json(*evaluation.rgb, evaluation.classes);
  if (evaluation.rgn) by_sensor["rgn"] = to_json(*evaluation.rgn, evaluation.classes);
  json["by_sensor"] = std::move(by_sensor);
  if (evaluation.bootstrap) {
    json["bootstrap"] = {{"resamples", evaluation.bootstrap->resamples},
                         {"seed", evaluation.bootstrap->seed},
                         {"level", evaluation.bootstrap->level}};
  }
  if (evaluation.temperature) json["temperature"] = *evaluation.temperature;
  return json;
}

/// @throws FileError  the file cannot be written.
inline void write_metrics(const std::filesystem::path& path, const Evaluation& evaluation) {
  io::write_file(path, to_json(evaluation).dump(2) + "\n");
}

}  // namespace mwalimu::eval
