// train/finetune: a classifier from an encoder, and what a run of it leaves on disk.
#pragma once

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/data/image_store.hpp"
#include "mwalimu/data/split.hpp"
#include "mwalimu/eval/logits_csv.hpp"
#include "mwalimu/eval/metrics_json.hpp"
#include "mwalimu/eval/submission.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/report/confusion_plot.hpp"
#include "mwalimu/train/classifier_options.hpp"
#include "mwalimu/train/classifier_trainer.hpp"
#include "mwalimu/train/optimizer_text.hpp"
#include "mwalimu/train/precision.hpp"
#include "mwalimu/train/predictions.hpp"
#include "mwalimu/train/progress.hpp"
#include "mwalimu/train/recorder.hpp"
#include "mwalimu/train/settings.hpp"
#include "mwalimu/train/step_profile.hpp"
#include "mwalimu/train/study_data.hpp"

namespace mwalimu::train {

using models::Architecture;
using models::architecture_of;

/// A classifier written by finetune, with its classes.
struct SavedClassifier {
  models::Classifier model;
  Architecture architecture;
  std::vector<std::string> classes;
  int size = 0;  ///< side of the inputs that it was trained on
};

inline void save_classifier(const std::filesystem::path& path, models::Classifier& model,
                            const Architecture& architecture,
                            const std::vector<std::string>& classes, int size) {
  io::Metadata metadata = architecture.metadata();
  metadata["classes"] = nlohmann::json(classes).dump();
  metadata["size"] = std::to_string(size);
  nn::save_state_dict(path, model, metadata);
}

/// @throws FileError   the file is missing, damaged or no classifier of ours.
inline SavedClassifier load_classifier(const std::filesystem::path& path) {
  const io::SafetensorsFile file(path);
  const auto architecture = architecture_of(file);
  const auto classes = file.metadata().find("classes"), size = file.metadata().find("size");
  require<FileError>(architecture && classes != file.metadata().end() && size != file.metadata().end(),
                     path.string(), ": not a classifier.safetensors of finetune (its metadata names "
                     "no architecture, classes and size)");
  SavedClassifier saved;
  saved.architecture = *architecture;
  const auto names = nlohmann::json::parse(classes->second, nullptr, false);
  require<FileError>(names.is_array() && !names.empty(), path.string(),
                     ": its metadata names no classes");
  for (const auto& name : names) {
    require<FileError>(name.is_string(), path.string(), ": its metadata names no classes");
    saved.classes.push_back(name.get<std::string>());
  }
  saved.size = static_cast<int>(std::strtol(size->second.c_str(), nullptr, 10));
  require<FileError>(saved.size >= 1 && saved.size <= 4096, path.string(),
                     ": its metadata names the size '", size->second, "'");
  saved.model = models::Classifier(architecture->encoder(),
                                   static_cast<index_t>(saved.classes.size()));
  nn::load_state_dict(saved.model, file);
  return saved;
}

/// Writes what an evaluation is: logits.npy, logits.csv; with labels metrics.json and confusion.svg.
inline void write_evaluation(const std::filesystem::path& out, const data::Dataset& dataset,
                             const Predictions& predictions,
                             const std::optional<eval::Evaluation>& evaluation) {
  eval::write_logits(out, dataset, predictions.logits.span());
  if (!evaluation) return;
  eval::write_metrics(out / "metrics.json", *evaluation);
  report::ConfusionPlot plot{.title = "Confusion matrix", .classes = evaluation->classes};
  for (const auto& row : evaluation->together.confusion) {
    plot.counts.insert(plot.counts.end(), row.begin(), row.end());
  }
  io::write_file(out / "confusion.svg", report::confusion_plot_svg(plot));
}

/// One line: "accuracy 0.912, log loss 0.301, macro F1 0.905 (majority class 0.410)".
inline std::string summary(const eval::Metrics& m) {
  char text[160];
  std::snprintf(text, sizeof text,
                "accuracy %.3f, log loss %.3f, macro F1 %.3f (majority class %.3f) on %lld images",
                m.accuracy, m.log_loss, m.macro_f1, m.baseline.majority_accuracy,
                static_cast<long long>(m.samples));
  return text;
}
inline std::string summary(const eval::Evaluation& evaluation) {
  std::string text = "together: " + summary(evaluation.together);
  if (evaluation.rgb) text += "\nrgb:      " + summary(*evaluation.rgb);
  if (evaluation.rgn) text += "\nrgn:      " + summary(*evaluation.rgn);
  return text;
}

struct FinetuneOptions {
  Architecture architecture;
  ClassifierOptions classifier;
  float dropout = 0.5f;
  int tta = 0;  ///< random passes at test time; 0: the plain one alone
  bool profile = false;  ///< record some steps: profile.txt and profile.json
};

struct FinetuneResult {
  std::int64_t epochs = 0, best_epoch = 0;
  std::optional<eval::Evaluation> valid, test;  ///< of the best epoch
  double seconds = 0;
};

namespace detail {

// Which images train and validate, by name, with their labels.
inline std::uint64_t fingerprint(const data::Dataset& dataset, const data::IndexSplit& rows) {
  std::string text;
  for (const auto* part : {&rows.train, &rows.valid}) {
    for (const index_t i : *part) {
      text.append(dataset[i].id).append("\t").append(std::to_string(dataset[i].label)).append("\n");
    }
    text.append("\n");
  }
  return data::detail::hash_bytes(std::as_bytes(std::span<const char>(text)), 0);
}

}  // namespace detail

/// Trains `model` on `rows.train` and writes, under `out`: log.csv (a row an epoch),
/// checkpoint.safetensors, classifier.safetensors (the best epoch by validation loss), and of the
/// test part (without one: of the validation rows) logits.npy, logits.csv, metrics.json,
/// confusion.svg; with a test part submission.csv.
///
/// @param dataset  may hold pseudo-labels; must be `data`'s otherwise.
/// @param data     whose test labels, where known, the metrics are computed with.
/// @throws ValueError  an option is out of range.  @throws FileError  cannot write.
inline FinetuneResult finetune(models::Classifier& model, const StudyData& data,
                               const data::Dataset& dataset, const data::IndexSplit& rows,
                               const FinetuneOptions& options, const std::filesystem::path& out,
                               bool resume, std::ostream& console = std::cout) {
  ClassifierTrainer trainer(model, {dataset, data.store, rows.train, rows.valid},
                            options.classifier);
  const CheckpointIdentity identity{"finetune", options.architecture.arch};
  Settings settings;
  settings.add("arch", options.architecture.arch);
  settings.add("width", options.architecture.width);
  settings.add("mode", static_cast<int>(options.classifier.mode));
  settings.add("size", options.classifier.augment.size);
  settings.add("epochs", options.classifier.epochs);
  settings.add("batch", options.classifier.batch);
  settings.add("accumulate", options.classifier.accumulate);
  settings.add("optimizer", options.classifier.optimizer.index());
  settings.add("schedule", options.classifier.schedule.index());
  settings.add("lr", std::visit([](const auto& s) { return s.lr; }, options.classifier.schedule));
  settings.add("label-smoothing", options.classifier.label_smoothing);
  settings.add("dropout", options.dropout);
  settings.add("train images", rows.train.size());
  settings.add("valid images", rows.valid.size());
  settings.add("seed", options.classifier.seed);
  const Precision precision = options.classifier.precision;
  settings.add_unless("precision", name_of(precision), name_of(Precision::float32));
  const ClassifierOptions& chosen = options.classifier;
  const ClassifierOptions standard;
  settings.add_unless("mixup", chosen.mixup, standard.mixup);
  settings.add_unless("class-weights", text_of(chosen.class_weights),
                      text_of(standard.class_weights));
  settings.add_unless("balanced", chosen.balanced, standard.balanced);
  settings.add_unless("sizes", text_of(chosen.sizes), text_of(standard.sizes));
  settings.add_unless("ema", chosen.ema, standard.ema);
  if (const auto* schedule = std::get_if<optim::FineTune>(&chosen.schedule)) {
    settings.add("frozen", schedule->frozen);
  }
  settings.add_unless("clip-norm", chosen.clip_norm, standard.clip_norm);
  settings.add_unless("encoder-lr-ratio", chosen.encoder_lr_ratio, standard.encoder_lr_ratio);
  settings.add_unless("patience", chosen.patience, standard.patience);
  settings.add_unless("weight-decay",
                      std::visit([](const auto& o) { return o.weight_decay; }, chosen.optimizer),
                      std::visit([](const auto& o) { return o.weight_decay; }, standard.optimizer));
  add_optimizer(settings, chosen.optimizer, chosen.schedule);
  settings.add_unless("tta", options.tta, 0);
  settings.add_unless("channels", options.architecture.channels, index_t{3});
  settings.add_unless("pool", models::name_of(options.architecture.pooling),
                      models::name_of(models::Pooling::concat));
  settings.add("rows", detail::fingerprint(dataset, rows));
  if (resume) {
    const CheckpointReader checkpoint(out / "checkpoint.safetensors", identity);
    settings.require_same_as(checkpoint.text("settings"));
    trainer.restore(checkpoint);
    console << "resuming after epoch " << trainer.epoch() << std::endl;
  }
  std::vector<std::string> columns{"valid_loss",         "valid_log_loss",     "valid_accuracy",
                                   "valid_macro_f1",     "valid_accuracy_rgb", "valid_accuracy_rgn",
                                   "improved"};
  const bool resized = !options.classifier.sizes.before.empty();
  if (resized) columns.push_back("size");
  const bool scaled =
      loss_scale_options(precision, options.classifier.loss_scale).has_value();
  if (scaled) columns.insert(columns.end(), {"loss_scale", "skipped_steps"});
  Recorder recorder(out / "log.csv", columns,
                    resume ? std::optional<index_t>(trainer.epoch() * trainer.steps_per_epoch())
                           : std::nullopt);
  Progress progress("finetune", trainer.steps(),
                    {.start = trainer.epoch() * trainer.steps_per_epoch(),
                     .items_per_step = static_cast<double>(options.classifier.batch *
                                                           options.classifier.accumulate),
                     .unit = "images", .stream = &console});
  StepProfile profile({.on = options.profile}, out, options.classifier.device);
  const auto tell = [&](const std::string& text) {
    if (!text.empty()) progress.message(text);
  };
  profile.before_step();
  while (!trainer.finished()) {
    std::string note = "epoch " + std::to_string(trainer.epoch() + 1);
    const EpochRecord record = trainer.run_epoch(
        [&](std::int64_t done, std::int64_t) {
          tell(profile.after_step());
          progress.update(done, note);
          profile.before_step();
        });
    std::vector<LogValue> values{{"improved", record.improved ? 1.0 : 0.0}};
    if (resized) values.emplace_back("size", static_cast<double>(record.size));
    if (scaled) {
      values.emplace_back("loss_scale", record.loss_scale);
      values.emplace_back("skipped_steps", static_cast<double>(record.skipped_steps));
    }
    if (record.valid) {
      const eval::Evaluation& valid = *record.valid;
      values.insert(values.end(), {{"valid_loss", record.valid_loss},
                                   {"valid_log_loss", valid.together.log_loss},
                                   {"valid_accuracy", valid.together.accuracy},
                                   {"valid_macro_f1", valid.together.macro_f1}});
      if (valid.rgb) values.emplace_back("valid_accuracy_rgb", valid.rgb->accuracy);
      if (valid.rgn) values.emplace_back("valid_accuracy_rgn", valid.rgn->accuracy);
      char text[80];
      std::snprintf(text, sizeof text, "epoch %lld, valid loss %.4f, accuracy %.3f",
                    static_cast<long long>(record.epoch), record.valid_loss,
                    valid.together.accuracy);
      progress.update(record.step, text);
    }
    recorder.record({.step = record.step,
                     .epoch = static_cast<double>(record.epoch),
                     .loss = record.train_loss,
                     .lr = record.lr,
                     .momentum = record.momentum,
                     .gradient_norm = record.gradient_norm,
                     .images = trainer.steps_per_epoch() * options.classifier.accumulate *
                               options.classifier.batch},
                    values);
    recorder.flush();
    CheckpointWriter checkpoint(identity);
    checkpoint.put_text("settings", settings.text());
    trainer.save(checkpoint);
    checkpoint.save(out / "checkpoint.safetensors");
  }
  tell(profile.finish());
  progress.finish();
  trainer.load_best();

  FinetuneResult result{.epochs = trainer.epoch(), .best_epoch = trainer.best_epoch(),
                        .valid = {}, .test = {}, .seconds = recorder.seconds()};
  const auto& augment = options.classifier.augment;
  const auto seed = options.classifier.seed;
  Predictions valid;
  if (!rows.valid.empty()) {
    valid = predict(model, data.store, rows.valid, augment, options.tta, seed, precision);
    result.valid = evaluate(valid, dataset, rows.valid);
  }
  save_classifier(out / "classifier.safetensors", model, options.architecture, dataset.classes,
                  augment.size);
  if (data.test_count() > 0) {
    const auto rows_of_test = data.test();
    const Predictions test =
        predict(model, data.store, rows_of_test, augment, options.tta, seed, precision);
    result.test = evaluate(test, data.dataset, rows_of_test);
    const data::Dataset test_set = data.test_set();
    write_evaluation(out, test_set, test, result.test);
    eval::write_submission(out / "submission.csv", test_set, test.probabilities);
  } else if (!rows.valid.empty()) {
    write_evaluation(out, data::subset(dataset, rows.valid), valid, result.valid);
  }
  return result;
}

}  // namespace mwalimu::train
