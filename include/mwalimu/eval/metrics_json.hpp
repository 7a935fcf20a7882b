// eval/metrics_json: metrics.json.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mwalimu/eval/metrics.hpp"
#include "mwalimu/io/atomic_file.hpp"

namespace mwalimu::eval {

/// log_loss, accuracy, macro_f1, roc_auc, confusion (rows true, columns predicted), classes,
/// per_class {precision, recall, f1, support: one number a class, in the order of classes},
/// baseline {majority_accuracy, prior_log_loss}. A number that is not defined (the ROC-AUC of one
/// class alone) is null.
inline nlohmann::ordered_json to_json(const Metrics& metrics,
                                      const std::vector<std::string>& classes) {
  nlohmann::ordered_json per_class{{"precision", nlohmann::ordered_json::array()},
                                   {"recall", nlohmann::ordered_json::array()},
                                   {"f1", nlohmann::ordered_json::array()},
                                   {"support", nlohmann::ordered_json::array()}};
  for (const ClassMetrics& one : metrics.per_class) {
    per_class["precision"].push_back(one.precision);
    per_class["recall"].push_back(one.recall);
    per_class["f1"].push_back(one.f1);
    per_class["support"].push_back(one.support);
  }
  return {{"log_loss", metrics.log_loss},
          {"accuracy", metrics.accuracy},
          {"macro_f1", metrics.macro_f1},
          {"roc_auc", metrics.roc_auc},
          {"confusion", metrics.confusion},
          {"classes", classes},
          {"per_class", std::move(per_class)},
          {"baseline",
           {{"majority_accuracy", metrics.baseline.majority_accuracy},
            {"prior_log_loss", metrics.baseline.prior_log_loss}}}};
}

/// The same of all images, and under by_sensor {rgb, rgn} of each sensor that has any.
inline nlohmann::ordered_json to_json(const Evaluation& evaluation) {
  auto json = to_json(evaluation.together, evaluation.classes);
  auto by_sensor = nlohmann::ordered_json::object();
  if (evaluation.rgb) by_sensor["rgb"] = to_json(*evaluation.rgb, evaluation.classes);
  if (evaluation.rgn) by_sensor["rgn"] = to_json(*evaluation.rgn, evaluation.classes);
  json["by_sensor"] = std::move(by_sensor);
  return json;
}

/// @throws FileError  the file cannot be written.
inline void write_metrics(const std::filesystem::path& path, const Evaluation& evaluation) {
  io::write_file(path, to_json(evaluation).dump(2) + "\n");
}

}  // namespace mwalimu::eval
