// train/study_report: the study as one page.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "mwalimu/report/comparison_plot.hpp"
#include "mwalimu/report/html.hpp"
#include "mwalimu/report/image_grid.hpp"
#include "mwalimu/report/line_plot.hpp"
#include "mwalimu/train/study_results.hpp"

namespace mwalimu::train {

namespace detail {

inline report::ConfusionPlot confusion(const std::string& title, const eval::Metrics& metrics,
                                       const std::vector<std::string>& classes) {
  report::ConfusionPlot plot{.title = title, .classes = classes};
  for (const auto& row : metrics.confusion) {
    plot.counts.insert(plot.counts.end(), row.begin(), row.end());
  }
  return plot;
}

}  // namespace detail

/// Writes report.html: what the data look like, what pretraining did to the features, the
/// comparisons at equal labels, RGB against RGN, the rounds of distillation, and both maps. Every
/// number is of this run; where a comparison went the other way, it says so.
inline void write_study_report(const std::filesystem::path& path, const StudyResult& study,
                               const StudyData& data, const StudyOptions& options,
                               const std::string& settings) {
  using detail::mean_text;
  using detail::rounded;
  using detail::signed_rounded;
  const auto& classes = data.dataset.classes;
  const StudyRun& first = study.runs.front();
  const StudyResults results(study);
  const std::vector<const Arm*> arms = results.all();
  const auto accuracy = [](const eval::Evaluation& e) { return e.together.accuracy; };

  report::HtmlReport page(
      "What the network learned",
      std::to_string(data.train_count) + " training and " + std::to_string(data.test_count()) +
          " test images of " + std::to_string(classes.size()) + " classes, " +
          std::to_string(study.runs.size()) + (study.runs.size() == 1 ? " seed" : " seeds") +
          ". Pretrained without labels by SwAV, finetuned with few, self-distilled, mapped by t-SNE.");
  std::vector<double> before, after;
  for (const StudyRun& run : study.runs) {
    before.push_back(run.knn_before);
    after.push_back(run.knn_after);
  }
  std::vector<report::KeyFigure> figures;
  if (std::isfinite(eval::mean(after))) {
    figures.push_back({"k-NN accuracy of the features", rounded(eval::mean(after)),
                       "before pretraining " + rounded(eval::mean(before))});
  }
  const bool compared = !results.scratch.evaluations.empty() && !results.finetuned.evaluations.empty();
  if (compared) {
    figures.push_back(
        {"finetuned accuracy", rounded(eval::mean(results.finetuned.each(accuracy))),
         "from random weights " + rounded(eval::mean(results.scratch.each(accuracy)))});
    figures.push_back({"majority class",
                       rounded(arms[0]->evaluations[0]->together.baseline.majority_accuracy),
                       "what guessing reaches"});
  }
  if (!results.rounds.empty()) {
    figures.push_back({"after distillation",
                       rounded(eval::mean(results.rounds.back().each(accuracy))),
                       "accuracy on the same test images"});
  }
  page.key_figures(figures);

  page.section("The images");
  std::vector<report::ImageRow> rows;
  for (std::size_t c = 0; c < classes.size(); ++c) {
    report::ImageRow row{classes[c], {}};
    for (const data::Plant& plant : data::plants(data.dataset)) {
      if (row.images.size() >= 10) break;
      if (data.dataset[plant.any()].label != static_cast<int>(c)) continue;
      for (const index_t side : {plant.rgb, plant.rgn}) {
        if (side >= 0) row.images.push_back(data.store.image(side).data());
      }
    }
    if (!row.images.empty()) rows.push_back(std::move(row));
  }
  page.image(report::image_grid_png(rows, data.store.height(), data.store.width(), 80),
             "Example images of every class",
             "Examples of every class. Where there are two sensors, a plant's RGB image is followed "
             "by its RGN image (red, green, near infra-red).");

  page.section("Pretraining without labels");
  page.paragraph(
      "SwAV gives a crop a code, a share in each prototype, and asks the other crops of the same "
      "plant to predict it. A falling loss alone is no evidence of learning, so the features are "
      "probed: each test image takes the class that most of its " +
      std::to_string(options.knn) +
      " most similar training images have. The probe sees labels, pretraining does not.");
  report::Table probe{"Accuracy of the nearest-neighbour probe on the test images.",
                      {"seed", "random encoder", "pretrained encoder", "change", "seconds"},
                      {}};
  for (const StudyRun& run : study.runs) {
    probe.rows.push_back({std::to_string(run.seed), rounded(run.knn_before), rounded(run.knn_after),
                          signed_rounded(run.knn_after - run.knn_before),
                          rounded(run.pretrain_seconds, 1)});
  }
  page.table(probe);
  report::LinePlot loss{.title = "SwAV loss", .x_label = "epoch", .y_label = "loss, nats"};
  report::LinePlot entropy{.title = "Entropy of the codes", .x_label = "epoch", .y_label = "nats"};
  for (const StudyRun& run : study.runs) {
    const Log log = read_log(run.folder / "pretrain" / "log.csv");
    const std::string name = "seed " + std::to_string(run.seed);
    loss.series.push_back({.name = name, .x = log.column("epoch"), .y = log.column("loss")});
    entropy.series.push_back(
        {.name = name, .x = log.column("epoch"), .y = log.column("code_entropy")});
    const auto& queue = log.column("queue");
    const auto on = std::find(queue.begin(), queue.end(), 1.0);
    if (on != queue.end() && loss.events.empty()) {
      const double epoch = log.column("epoch")[static_cast<std::size_t>(on - queue.begin())];
      loss.events.push_back({epoch, "queue on"});
      entropy.events.push_back({epoch, "queue on"});
    }
  }
  page.figure(report::line_plot_svg(loss),
              "The loss of every step. Where the queue switches on, the target changes, not the "
              "network: values on the two sides are not comparable.");
  page.figure(report::line_plot_svg(entropy),
              "Mean entropy of the codes; ln K would mean that every image gets the same code.");

  page.section("Finetuning with few labels");
  page.paragraph("Both networks see the same " + std::to_string(first.train_images) +
                 " labelled images (and " + std::to_string(first.valid_images) +
                 " that choose the best epoch), the same epochs and the same draws; one starts from "
                 "the pretrained encoder, the other from random weights.");
  report::Table table{"Test part: mean and standard deviation over the seeds.",
                      {"model", "accuracy", "log loss", "macro F1", "ROC-AUC"},
                      {}};
  report::ComparisonPlot comparison{.title = "Accuracy on the test images",
                                    .value_label = "accuracy"};
  for (const Arm* const arm : arms) {
    table.rows.push_back(
        {arm->name, mean_text(arm->each(accuracy)),
         mean_text(arm->each([](const auto& e) { return e.together.log_loss; })),
         mean_text(arm->each([](const auto& e) { return e.together.macro_f1; })),
         mean_text(arm->each([](const auto& e) { return e.together.roc_auc; }))});
    comparison.rows.push_back({.name = arm->name, .values = arm->each(accuracy)});
  }
  if (!arms.empty()) {
    const auto& baseline = arms[0]->evaluations[0]->together.baseline;
    table.rows.push_back({"majority class, class frequencies", rounded(baseline.majority_accuracy),
                          rounded(baseline.prior_log_loss), "-", "-"});
  }
  page.table(table);
  if (!arms.empty()) page.figure(report::comparison_plot_svg(comparison), "Every seed is a circle.");
  if (compared && results.scratch.evaluations.size() == results.finetuned.evaluations.size()) {
    const auto scratch = results.scratch.each(accuracy);
    const auto pretrained = results.finetuned.each(accuracy);
    int better = 0;
    for (std::size_t i = 0; i < scratch.size(); ++i) better += pretrained[i] > scratch[i] ? 1 : 0;
    page.paragraph("Pretraining changed the accuracy by " +
                   signed_rounded(eval::mean(pretrained) - eval::mean(scratch)) +
                   " on average and was better in " + std::to_string(better) + " of " +
                   std::to_string(scratch.size()) + (scratch.size() == 1 ? " seed." : " seeds."));
  }
  report::LinePlot curves{.title = "Validation loss", .x_label = "epoch", .y_label = "loss, nats"};
  for (const StudyRun& run : study.runs) {
    for (const char* step : {"scratch", "finetune"}) {
      const Log log = read_log(run.folder / step / "log.csv");
      curves.series.push_back({.name = std::string(step) + ", seed " + std::to_string(run.seed),
                               .x = log.column("epoch"), .y = log.column("valid_loss"),
                               .dashed = std::string(step) == "scratch"});
    }
  }
  if (first.valid_images > 0) {
    page.figure(report::line_plot_svg(curves),
                "With label smoothing. The epoch with the lowest value is kept.");
  }

  const bool both = !arms.empty() && arms[0]->evaluations[0]->rgb && arms[0]->evaluations[0]->rgn;
  if (both) {
    page.section("RGB against RGN");
    report::Table sensors{"The same models on the images of each sensor.",
                          {"model", "RGB accuracy", "RGN accuracy", "RGB log loss", "RGN log loss"},
                          {}};
    for (const Arm* const arm : arms) {
      sensors.rows.push_back({arm->name,
                              mean_text(arm->each([](const auto& e) { return e.rgb->accuracy; })),
                              mean_text(arm->each([](const auto& e) { return e.rgn->accuracy; })),
                              mean_text(arm->each([](const auto& e) { return e.rgb->log_loss; })),
                              mean_text(arm->each([](const auto& e) { return e.rgn->log_loss; }))});
    }
    page.table(sensors);
  }

  page.section("Confusion matrices");
  const std::string seed_text = "seed " + std::to_string(first.seed);
  for (const Arm* const arm : arms) {
    page.figure(report::confusion_plot_svg(detail::confusion(arm->name + ", " + seed_text,
                                                             arm->evaluations[0]->together, classes)),
                "Rows are the true classes.");
  }

  if (!first.rounds.empty()) {
    page.section("Self-distillation");
    page.paragraph(
        "In a round the best model predicts the test plants. Those that every image of the plant is "
        "given to one class with probability " + rounded(options.distil.threshold, 2) +
        " or more join the training images under that label. The test labels are used for the table "
        "only; but the rounds are measured on the plants that they learned from, so a gain here says "
        "how these plants are classified, not how new ones would be.");
    report::Table rounds{"What each round changed.",
                         {"seed", "round", "plants believed", "of them right", "accuracy before",
                          "after", "change", "log loss before", "after"},
                         {}};
    for (const StudyRun& run : study.runs) {
      const eval::Evaluation* previous = run.pretrained.test ? &*run.pretrained.test : nullptr;
      for (std::size_t r = 0; r < run.rounds.size(); ++r) {
        const DistilRound& round = run.rounds[r];
        const eval::Evaluation* now = round.result.test ? &*round.result.test : nullptr;
        const auto of = [](const eval::Evaluation* e, double eval::Metrics::*field) {
          return e == nullptr ? std::nan("") : e->together.*field;
        };
        rounds.rows.push_back(
            {std::to_string(run.seed), std::to_string(r + 1),
             std::to_string(round.plants) + " / " + std::to_string(round.candidates),
             rounded(round.purity), rounded(of(previous, &eval::Metrics::accuracy)),
             rounded(of(now, &eval::Metrics::accuracy)),
             signed_rounded(of(now, &eval::Metrics::accuracy) -
                            of(previous, &eval::Metrics::accuracy)),
             rounded(of(previous, &eval::Metrics::log_loss)),
             rounded(of(now, &eval::Metrics::log_loss))});
        previous = now;
      }
    }
    page.table(rounds);
  }

  page.section("Maps of the predictions");
  page.paragraph("t-SNE of the logits of the test images, perplexity " +
                 rounded(study.map.perplexity, 0) + " (chosen among several by Cao and Wang's "
                 "criterion), KL " + rounded(study.map.kl) + ", trustworthiness " +
                 rounded(study.map.trustworthiness) + " at " + std::to_string(study.map.neighbors) +
                 " neighbours. Wrong predictions are marked.");
  page.figure(study.map.scatter_svg, "By class and sensor.");
  if (!study.map.images_png.empty()) {
    page.image(study.map.images_png, "The test images at their points of the map",
               "The same map with the images themselves; the frame's colour is the class, the marker the "
               "sensor, a black outline a wrong prediction.");
  }

  page.section("How it was run");
  page.code(settings);
  page.footer("Made by study in " + format_duration(study.seconds) + " on " +
              std::to_string(num_threads()) + " threads.");
  page.write(path);
}

}  // namespace mwalimu::train
