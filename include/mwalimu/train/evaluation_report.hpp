// train/evaluation_report: an evaluation as one page.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "mwalimu/data/image_store.hpp"
#include "mwalimu/eval/bootstrap.hpp"
#include "mwalimu/eval/evaluation_text.hpp"
#include "mwalimu/report/gallery.hpp"
#include "mwalimu/report/html.hpp"
#include "mwalimu/train/evaluation_plots.hpp"

namespace mwalimu::train {

/// What the page says of the run besides the numbers.
struct EvaluationReportOptions {
  std::string title = "Evaluation";
  std::string lead = {};      ///< below the title: which classifier on which images
  std::string settings = {};  ///< at the end, as it stands
  index_t mistakes = 12;      ///< wrong images shown, of each sensor
};

/// Rows that are wrong, the most confident first (the first row among equals), at most `count`.
inline std::vector<index_t> worst_mistakes(const eval::LabelledScores& scores, index_t count) {
  const std::vector<int> predicted = eval::arg_max(scores.probabilities, scores.class_count());
  const std::vector<double> confidence =
      eval::confidences(scores.probabilities, scores.class_count());
  std::vector<index_t> wrong;
  for (index_t i = 0; i < scores.rows(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (predicted[at] != scores.labels[at]) wrong.push_back(i);
  }
  std::stable_sort(wrong.begin(), wrong.end(), [&](index_t a, index_t b) {
    return confidence[static_cast<std::size_t>(a)] > confidence[static_cast<std::size_t>(b)];
  });
  if (static_cast<index_t>(wrong.size()) > count) wrong.resize(static_cast<std::size_t>(count));
  return wrong;
}

namespace detail {

/// "0.912 (0.871 to 0.944)".
inline std::string with_interval(double value, const eval::Metrics& m,
                                 eval::Interval eval::Confidence::*field) {
  std::string text = eval::detail::number(value);
  if (!m.confidence || !((*m.confidence).*field).known()) return text;
  const eval::Interval& i = (*m.confidence).*field;
  text.append(" (").append(eval::detail::number(i.low)).append(" to ");
  return text.append(eval::detail::number(i.high)).append(")");
}

/// "0.871 to 0.944", for below a number.
inline std::string interval_note(const eval::Metrics& m,
                                 eval::Interval eval::Confidence::*field) {
  if (!m.confidence || !((*m.confidence).*field).known()) return {};
  const eval::Interval& i = (*m.confidence).*field;
  return std::string{} + eval::detail::number(i.low) + " to " + eval::detail::number(i.high);
}

/// A group's name and its metrics.
struct NamedMetrics {
  std::string name;
  const eval::Metrics* metrics;
};
inline std::vector<NamedMetrics> named_metrics(const eval::Evaluation& e) {
  if (!e.rgb || !e.rgn) return {{"all images", &e.together}};
  return {{"both sensors", &e.together}, {"RGB", &*e.rgb}, {"RGN", &*e.rgn}};
}

inline void add_class_balance(report::HtmlReport& page, const eval::Evaluation& e) {
  const bool both = e.rgb && e.rgn;
  report::Table table{"Images of each class.", {"class", "images", "share"}, {}};
  if (both) table.header.insert(table.header.end(), {"RGB", "RGN"});
  for (std::size_t c = 0; c < e.classes.size(); ++c) {
    const index_t n = e.together.per_class[c].support;
    const double share = static_cast<double>(n) / static_cast<double>(e.together.samples);
    table.rows.push_back({e.classes[c], std::to_string(n), report::fixed(100 * share, 1) + " %"});
    if (!both) continue;
    table.rows.back().push_back(std::to_string(e.rgb->per_class[c].support));
    table.rows.back().push_back(std::to_string(e.rgn->per_class[c].support));
  }
  page.table(table);
  const eval::Baseline& baseline = e.together.baseline;
  page.paragraph("Whoever always answers '" +
                 e.classes[static_cast<std::size_t>(baseline.majority_class)] +
                 "' is right in " + report::fixed(100 * baseline.majority_accuracy, 1) +
                 "\xC2\xA0% of the images, and whoever always gives the classes their shares has a "
                 "log loss of " + report::fixed(baseline.prior_log_loss, 3) +
                 " nats. A classifier has to be better than both.");
}

inline void add_measures(report::HtmlReport& page, const eval::Evaluation& e) {
  const auto groups = named_metrics(e);
  std::string caption = "ROC-AUC and average precision are means over the classes, each against "
                        "the rest. ECE and MCE: calibration errors in 15 bins.";
  if (e.bootstrap) {
    caption += " In brackets 95 % intervals, from " + std::to_string(e.bootstrap->resamples) +
               " resamples of the plants: both images of a plant are drawn together. The interval "
               "of the ECE lies high, since resampling itself adds to it.";
  }
  report::Table table{caption, {"measure"}, {}};
  for (const NamedMetrics& g : groups) table.header.push_back(g.name);
  const auto add = [&](const char* name, auto&& text) {
    table.rows.push_back({name});
    for (const NamedMetrics& g : groups) table.rows.back().push_back(text(*g.metrics));
  };
  using eval::Confidence;
  using eval::Metrics;
  using eval::detail::number;
  add("images", [](const Metrics& m) { return std::to_string(m.samples); });
  add("accuracy",
      [](const Metrics& m) { return with_interval(m.accuracy, m, &Confidence::accuracy); });
  add("accuracy of the majority class",
      [](const Metrics& m) { return number(m.baseline.majority_accuracy); });
  add("log loss, nats",
      [](const Metrics& m) { return with_interval(m.log_loss, m, &Confidence::log_loss); });
  add("log loss of the class frequencies",
      [](const Metrics& m) { return number(m.baseline.prior_log_loss); });
  add("macro F1",
      [](const Metrics& m) { return with_interval(m.macro_f1, m, &Confidence::macro_f1); });
  add("ROC-AUC",
      [](const Metrics& m) { return with_interval(m.roc_auc, m, &Confidence::roc_auc); });
  add("average precision", [](const Metrics& m) { return number(m.average_precision); });
  add("ECE",
      [](const Metrics& m) { return with_interval(m.calibration.ece, m, &Confidence::ece); });
  add("MCE", [](const Metrics& m) { return number(m.calibration.mce); });
  page.table(table);
}

inline void add_classes(report::HtmlReport& page, const eval::Evaluation& e) {
  using eval::detail::number;
  for (const NamedMetrics& g : named_metrics(e)) {
    if (e.rgb && e.rgn) page.subsection(g.name);
    report::Table table{"",
                        {"class", "images", "precision", "recall", "F1", "ROC-AUC",
                         "average precision"},
                        {}};
    for (std::size_t c = 0; c < e.classes.size(); ++c) {
      const eval::ClassMetrics& one = g.metrics->per_class[c];
      table.rows.push_back({e.classes[c], std::to_string(one.support), number(one.precision),
                            number(one.recall), number(one.f1), number(one.roc_auc),
                            number(one.average_precision)});
    }
    page.table(table);
  }
}

/// An image of the store as red, green and blue bytes: what can be shown of it.
inline std::vector<std::uint8_t> visible_pixels(const data::ImageStore& store, index_t image) {
  const auto stored = store.image(image);
  const auto C = static_cast<std::size_t>(store.channels());
  std::vector<std::uint8_t> pixels;
  for (std::size_t at = 0; at < stored.size(); at += C) {
    pixels.insert(pixels.end(), stored.begin() + static_cast<std::ptrdiff_t>(at),
                  stored.begin() + static_cast<std::ptrdiff_t>(at) + 3);
  }
  return pixels;
}

inline void add_mistakes(report::HtmlReport& page, const eval::LabelledScores& scores,
                         const data::Dataset& dataset, const data::ImageStore& store,
                         index_t count) {
  for (const ScoredGroup& group : groups_of(scores)) {
    if (group.title == "both sensors") continue;  // each sensor has its own
    if (!group.title.empty()) page.subsection(group.title);
    const auto all = worst_mistakes(group.scores, group.scores.rows());
    const auto wrong = worst_mistakes(group.scores, count);
    page.paragraph(std::to_string(all.size()) + " of " + std::to_string(group.scores.rows()) +
                   " images are wrong" + (wrong.size() < all.size() ? "; the " +
                   std::to_string(wrong.size()) + " most confident:" : all.empty() ? "." : ":"));
    std::vector<report::GalleryItem> items;
    std::vector<std::vector<std::uint8_t>> pictures;
    for (const index_t row : wrong) {
      const auto at = static_cast<std::size_t>(row);
      const auto p = group.scores.row(row);
      const auto best = static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin());
      const auto truth = static_cast<std::size_t>(group.scores.labels[at]);
      const data::Sample& sample = dataset[group.scores.sample[at]];
      pictures.push_back(visible_pixels(store, group.scores.sample[at]));
      items.push_back({.image = pictures.back().data(),
                       .title = scores.classes[best] + " " + report::fixed(p[best], 3),
                       .lines = {"is " + scores.classes[truth] + " (" +
                                     report::fixed(p[truth], 3) + ")",
                                 sample.id},
                       .alt = sample.id + ": " + scores.classes[truth] + ", taken for " +
                              scores.classes[best]});
    }
    if (items.empty()) continue;
    page.figure(report::gallery_html(items, store.height(), store.width(), 136),
                "Below each image the class that it was taken for with its probability, then the "
                "true class with its own.");
  }
}

}  // namespace detail

/// Writes the page: class balance first, then the measures with intervals, confusion matrices, the
/// classes, curves, calibration and the worst mistakes. It opens without a network.
///
/// @param scores   what `evaluation` is of.
/// @param dataset  whose samples the scores name.
/// @param store    their images, in the order of the data set.
/// @throws FileError  cannot write.
inline void write_evaluation_report(const std::filesystem::path& path,
                                    const eval::Evaluation& evaluation,
                                    const eval::LabelledScores& scores,
                                    const data::Dataset& dataset, const data::ImageStore& store,
                                    const EvaluationReportOptions& options = {}) {
  using eval::Confidence;
  const eval::Metrics& all = evaluation.together;
  const double level =
      evaluation.bootstrap ? evaluation.bootstrap->level : eval::BootstrapOptions{}.level;
  report::HtmlReport page(options.title, options.lead);
  const auto groups = detail::named_metrics(evaluation);
  const std::vector<report::KeyFigure> figures{
      {"accuracy", report::fixed(all.accuracy, 3),
       detail::interval_note(all, &Confidence::accuracy)},
      {"macro F1", report::fixed(all.macro_f1, 3),
       detail::interval_note(all, &Confidence::macro_f1)},
      {"log loss, nats", report::fixed(all.log_loss, 3),
       detail::interval_note(all, &Confidence::log_loss)},
      {"ROC-AUC", eval::detail::number(all.roc_auc),
       detail::interval_note(all, &Confidence::roc_auc)},
      {"ECE", report::fixed(all.calibration.ece, 3),
       detail::interval_note(all, &Confidence::ece)}};
  page.key_figures(figures);
  if (groups.size() == 1) {
    page.paragraph(eval::verdict(all, evaluation.classes, level));
  } else {
    std::vector<std::string> verdicts;
    for (const auto& g : groups) {
      verdicts.push_back(g.name + ": " + eval::verdict(*g.metrics, evaluation.classes, level));
    }
    page.list(verdicts);
  }

  page.section("Class balance");
  detail::add_class_balance(page, evaluation);
  page.section("Measures");
  detail::add_measures(page, evaluation);
  page.section("Confusion");
  page.figure(confusion_svg("Confusion, " + groups[0].name, all, evaluation.classes),
              "Rows are the true classes; the share is of the row.");
  if (groups.size() > 1) {
    // Side by side where the page is wide enough.
    std::string pair = "<div style=\"display:flex;flex-wrap:wrap;gap:1rem\">\n";
    for (std::size_t g = 1; g < groups.size(); ++g) {
      pair += "<div style=\"flex:1 1 20rem\">" +
              confusion_svg(groups[g].name, *groups[g].metrics, evaluation.classes) + "</div>\n";
    }
    page.figure(pair + "</div>\n", "The same of each sensor's images.");
  }
  page.section("By class");
  detail::add_classes(page, evaluation);
  page.section("Curves");
  page.figure(roc_svg(scores), "The area is the chance that an image of the class scores higher "
                               "than one that is not, a tie counting one half.");
  page.figure(precision_recall_svg(scores),
              "Average precision: the precision at each distinct score, weighted by the recall "
              "that it adds. Where a class is rare this says more than the ROC curve.");
  page.section("Calibration");
  page.figure(reliability_svg(evaluation),
              "Images by the probability of the class that they were given, in 15 bins of equal "
              "width. A bar below the diagonal: the model says more than it knows. ECE: the mean "
              "distance over the images; MCE: the largest, often of a bin with few.");
  page.section("Worst mistakes");
  detail::add_mistakes(page, scores, dataset, store, options.mistakes);
  if (!options.settings.empty()) {
    page.section("How it was run");
    page.code(options.settings);
  }
  page.write(path);
}

}  // namespace mwalimu::train
