// train/evaluation_plots: what is drawn of an evaluation: confusion matrix, ROC and
// precision-recall curves, reliability.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/eval/labelled_scores.hpp"
#include "mwalimu/eval/ranking.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/report/confusion_plot.hpp"
#include "mwalimu/report/curve_plot.hpp"
#include "mwalimu/report/reliability_plot.hpp"

namespace mwalimu::train {
namespace detail {

/// A group of images that is looked at by itself, with its name.
struct ScoredGroup {
  std::string title;
  eval::LabelledScores scores;
};

/// Both sensors and each alone; all images where there is one sensor only.
inline std::vector<ScoredGroup> groups_of(const eval::LabelledScores& scores) {
  if (!scores.has(data::Sensor::rgb) || !scores.has(data::Sensor::rgn)) return {{"", scores}};
  return {{"both sensors", scores},
          {"RGB", scores.of(data::Sensor::rgb)},
          {"RGN", scores.of(data::Sensor::rgn)}};
}

/// @param draw  draw(scores of a class, which rows are of it): an eval::Curve.
/// @param prevalence  draw the class's share as a level: where chance lies.
template <class Draw>
std::vector<report::CurvePanel> curve_panels(const eval::LabelledScores& scores, bool prevalence,
                                             Draw&& draw) {
  std::vector<report::CurvePanel> panels;
  for (const ScoredGroup& group : groups_of(scores)) {
    report::CurvePanel panel{group.title, {}};
    for (std::size_t c = 0; c < scores.classes.size(); ++c) {
      const std::vector<bool> positive = group.scores.is(c);
      eval::Curve curve = draw(group.scores.scores_of(c), positive);
      report::UnitCurve drawn{.name = scores.classes[c], .x = std::move(curve.x),
                              .y = std::move(curve.y), .area = curve.area};
      if (prevalence && !drawn.x.empty()) {
        drawn.chance = static_cast<double>(std::count(positive.begin(), positive.end(), true)) /
                       static_cast<double>(positive.size());
      }
      panel.curves.push_back(std::move(drawn));
    }
    panels.push_back(std::move(panel));
  }
  return panels;
}

inline report::ReliabilityPanel reliability_panel(const std::string& title,
                                                  const eval::Metrics& metrics) {
  report::ReliabilityPanel panel{title, {}, {}};
  for (const eval::CalibrationBin& bin : metrics.calibration.bins) {
    panel.bins.push_back({bin.low, bin.high, bin.count, bin.confidence, bin.accuracy});
  }
  panel.notes = {"ECE " + report::fixed(metrics.calibration.ece, 3),
                 "MCE " + report::fixed(metrics.calibration.mce, 3)};
  return panel;
}

}  // namespace detail

/// The confusion matrix of one group of images.
inline std::string confusion_svg(const std::string& title, const eval::Metrics& metrics,
                                 const std::vector<std::string>& classes) {
  report::ConfusionPlot plot{.title = title, .classes = classes};
  for (const auto& row : metrics.confusion) {
    plot.counts.insert(plot.counts.end(), row.begin(), row.end());
  }
  return report::confusion_plot_svg(plot);
}

/// Each class against the rest, together and by sensor.
inline std::string roc_svg(const eval::LabelledScores& scores) {
  return report::curve_plot_svg(
      {.title = "ROC curves, each class against the rest",
       .x_label = "false positive rate",
       .y_label = "true positive rate",
       .area_name = "AUC",
       .note = "Dashed: guessing, AUC 0.5.",
       .diagonal = true,
       .steps = false,
       .panels = detail::curve_panels(scores, false,
                                      [](const std::vector<double>& s, const std::vector<bool>& p) {
                                        return eval::roc_curve(s, p);
                                      })});
}

inline std::string precision_recall_svg(const eval::LabelledScores& scores) {
  return report::curve_plot_svg(
      {.title = "Precision and recall, each class against the rest",
       .x_label = "recall",
       .y_label = "precision",
       .area_name = "AP",
       .note = "Dotted: guessing, the share of the class.",
       .diagonal = false,
       .steps = true,
       .panels = detail::curve_panels(scores, true,
                                      [](const std::vector<double>& s, const std::vector<bool>& p) {
                                        return eval::precision_recall_curve(s, p);
                                      })});
}

inline std::string reliability_svg(const eval::Evaluation& evaluation) {
  report::ReliabilityPlot plot{.title = "Reliability: how often a confidence is right",
                               .panels = {}};
  if (evaluation.rgb && evaluation.rgn) {
    plot.panels = {detail::reliability_panel("both sensors", evaluation.together),
                   detail::reliability_panel("RGB", *evaluation.rgb),
                   detail::reliability_panel("RGN", *evaluation.rgn)};
  } else {
    plot.panels = {detail::reliability_panel("", evaluation.together)};
  }
  return report::reliability_plot_svg(plot);
}

/// Writes roc.svg, precision_recall.svg, reliability.svg and confusion.svg.
/// @throws FileError  cannot write.
inline void write_evaluation_plots(const std::filesystem::path& out,
                                   const eval::Evaluation& evaluation,
                                   const eval::LabelledScores& scores) {
  io::write_file(out / "confusion.svg",
                 confusion_svg("Confusion matrix", evaluation.together, evaluation.classes));
  io::write_file(out / "roc.svg", roc_svg(scores));
  io::write_file(out / "precision_recall.svg", precision_recall_svg(scores));
  io::write_file(out / "reliability.svg", reliability_svg(evaluation));
}

}  // namespace mwalimu::train
