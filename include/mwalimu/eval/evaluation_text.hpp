// eval/evaluation_text: an evaluation as text, class balance first: what a terminal shows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "mwalimu/eval/metrics.hpp"

namespace mwalimu::eval {
namespace detail {

inline std::string number(double value, int digits = 3) {
  if (!std::isfinite(value)) return "-";
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

/// " (95 % interval 0.871 to 0.944)"; nothing where there is none.
inline std::string in_words(const Interval& interval, double level) {
  if (!interval.known()) return {};
  const int digits = level * 100 == std::floor(level * 100) ? 0 : 1;
  return std::string{} + " (" + number(100 * level, digits) + " % interval " +
         number(interval.low) + " to " + number(interval.high) + ")";
}

/// Columns as wide as their widest cell, two blanks apart; the first and column `notes` flush left,
/// the others right.
inline std::string columns(const std::vector<std::vector<std::string>>& rows,
                           const std::string& indent, std::size_t notes = 0) {
  std::vector<std::size_t> width;
  for (const auto& row : rows) {
    width.resize(std::max(width.size(), row.size()));
    for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line = indent;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string blanks(width[c] - row[c].size(), ' ');
      if (c > 0) line += "  ";
      const bool left = c == 0 || c == notes;
      line.append(left ? row[c] : blanks).append(left ? blanks : row[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text.append(line).append("\n");
  }
  return text;
}

}  // namespace detail

/// How the accuracy stands to always giving the most frequent class.
enum class Standing { better, no_better, worse };

/// By the interval where there is one: no better where it includes the majority's accuracy. Without
/// an interval by the numbers alone.
inline Standing standing(const Metrics& m) {
  const double majority = m.baseline.majority_accuracy;
  const bool known = m.confidence && m.confidence->accuracy.known();
  const double low = known ? m.confidence->accuracy.low : m.accuracy;
  const double high = known ? m.confidence->accuracy.high : m.accuracy;
  if (low > majority) return Standing::better;
  return high < majority ? Standing::worse : Standing::no_better;
}

/// One sentence: whether the accuracy is better than, no better than, or worse than that of always
/// answering the most frequent class.
inline std::string verdict(const Metrics& m, const std::vector<std::string>& classes,
                           double level = BootstrapOptions{}.level) {
  const Standing how = standing(m);
  const bool known = m.confidence && m.confidence->accuracy.known();
  std::string text = how == Standing::better  ? "The accuracy is better than"
                     : how == Standing::worse ? "The accuracy is worse than"
                                              : "The accuracy is no better than";
  text.append(" the majority class: ").append(detail::number(m.accuracy));
  if (known) text += detail::in_words(m.confidence->accuracy, level);
  text.append(" against ").append(detail::number(m.baseline.majority_accuracy));
  text.append(" for always answering '");
  text.append(classes[static_cast<std::size_t>(m.baseline.majority_class)]).append("'.");
  return text;
}

/// Images a class and their share, together and by sensor.
inline std::string class_balance_text(const Evaluation& e) {
  std::vector<std::vector<std::string>> rows{{"class", "images", "share"}};
  if (e.rgb && e.rgn) rows[0].insert(rows[0].end(), {"rgb", "rgn"});
  for (std::size_t c = 0; c < e.classes.size(); ++c) {
    const index_t n = e.together.per_class[c].support;
    const double share = static_cast<double>(n) / static_cast<double>(e.together.samples);
    rows.push_back({e.classes[c], std::to_string(n), detail::number(100 * share, 1) + " %"});
    if (!e.rgb || !e.rgn) continue;
    rows.back().push_back(std::to_string(e.rgb->per_class[c].support));
    rows.back().push_back(std::to_string(e.rgn->per_class[c].support));
  }
  return detail::columns(rows, "  ");
}

/// The numbers of one group of images: the whole, with intervals, by class, and the confusion.
inline std::string metrics_text(const Metrics& m, const std::vector<std::string>& classes) {
  const auto& c = m.confidence;
  const auto interval = [&](Interval Confidence::*field) -> std::string {
    if (!c || !((*c).*field).known()) return {};
    const Interval& i = (*c).*field;
    return std::string{} + "[" + detail::number(i.low) + ", " + detail::number(i.high) + "]";
  };
  const std::string majority = detail::number(m.baseline.majority_accuracy);
  const std::string prior = detail::number(m.baseline.prior_log_loss);
  std::vector<std::vector<std::string>> rows{
      {"accuracy", detail::number(m.accuracy), interval(&Confidence::accuracy),
       std::string{} + "majority class " + majority},
      {"log loss", detail::number(m.log_loss), interval(&Confidence::log_loss),
       std::string{} + "class frequencies " + prior},
      {"macro F1", detail::number(m.macro_f1), interval(&Confidence::macro_f1)},
      {"ROC-AUC", detail::number(m.roc_auc), interval(&Confidence::roc_auc)},
      {"average precision", detail::number(m.average_precision)},
      {"ECE", detail::number(m.calibration.ece), interval(&Confidence::ece)},
      {"MCE", detail::number(m.calibration.mce)}};
  std::string text = detail::columns(rows, "  ", 3);

  rows = {{"class", "images", "precision", "recall", "F1", "ROC-AUC", "AP"}};
  for (std::size_t k = 0; k < classes.size(); ++k) {
    const ClassMetrics& one = m.per_class[k];
    rows.push_back({classes[k], std::to_string(one.support), detail::number(one.precision),
                    detail::number(one.recall), detail::number(one.f1),
                    detail::number(one.roc_auc), detail::number(one.average_precision)});
  }
  text.append("\n").append(detail::columns(rows, "  "));

  rows = {{"true \\ predicted"}};
  rows[0].insert(rows[0].end(), classes.begin(), classes.end());
  for (std::size_t r = 0; r < classes.size(); ++r) {
    rows.push_back({classes[r]});
    for (const index_t n : m.confusion[r]) rows.back().push_back(std::to_string(n));
  }
  return text.append("\n").append(detail::columns(rows, "  "));
}

/// Class balance, then together and by sensor all numbers and the verdict.
inline std::string evaluation_text(const Evaluation& e) {
  std::string text = "class balance\n" + class_balance_text(e);
  const double level = e.bootstrap ? e.bootstrap->level : BootstrapOptions{}.level;
  const auto group = [&](const char* name, const Metrics& m) {
    text.append("\n").append(name).append(", ").append(std::to_string(m.samples));
    text.append(m.samples == 1 ? " image" : " images");
    if (e.bootstrap && m.confidence && m.confidence->accuracy.known()) {
      text.append("; in brackets ").append(detail::number(100 * level, 0));
      text.append(" % intervals, plants resampled ");
      text.append(std::to_string(e.bootstrap->resamples)).append(" times");
    }
    text.append("\n").append(metrics_text(m, e.classes));
    text.append("  ").append(verdict(m, e.classes, level)).append("\n");
  };
  if (e.rgb && e.rgn) {
    group("both sensors", e.together);
    group("RGB", *e.rgb);
    group("RGN", *e.rgn);
  } else {
    group("all images", e.together);
  }
  return text;
}

}  // namespace mwalimu::eval
