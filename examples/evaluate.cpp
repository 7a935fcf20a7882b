// evaluate: how good a classifier is on a labelled set, by sensor and together, with intervals.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "common/program.hpp"
#include "common/training.hpp"
#include "mwalimu/eval/temperature.hpp"
#include "mwalimu/train/evaluation_report.hpp"
#include "mwalimu/train/finetune.hpp"
#include "mwalimu/train/predictions.hpp"
#include "mwalimu/train/test_time_augmentation.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  std::string classifier, part = "test", calibrate, input = "auto";
  int size = 0;
  train::TtaOptions tta;
  index_t bootstrap = 1000, mistakes = 12;
};

/// "classifier.safetensors on the test part of rice: 240 labelled images of 120 plants".
std::string lead(const Options& o, const eval::LabelledScores& scores,
                 std::optional<double> temperature) {
  std::string text = o.classifier + " on the " + o.part + " part of " + o.common.data + ": ";
  text += std::to_string(scores.rows()) + " labelled images of ";
  text += std::to_string(scores.plants()) + " plants";
  if (o.tta.passes > 0) {
    text += ", each also seen in " + std::to_string(o.tta.passes) + " random views";
  }
  text += ".";
  if (temperature) {
    text += " Logits divided by the temperature " + report::fixed(*temperature, 3) + ", fitted on ";
    text += o.calibrate + ".";
  }
  return text;
}

/// Divides the logits by the temperature that suits the labelled images of --calibrate, and says
/// what that changes here.
double calibrate(const Options& o, const data::Dataset& dataset, train::Predictions& predictions) {
  std::vector<std::string> evaluated;
  for (const data::Sample& sample : dataset.samples) evaluated.push_back(sample.id);
  const double temperature = eval::read_temperature(o.calibrate, dataset.classes, evaluated);
  const auto measure = [&] {
    return eval::evaluate(eval::labelled_scores(dataset, predictions.probabilities)).together;
  };
  const eval::Metrics before = measure();
  for (float& logit : predictions.logits.span()) {
    logit = static_cast<float>(logit / temperature);
  }
  predictions.probabilities =
      eval::softmax(predictions.logits.span(), static_cast<index_t>(dataset.classes.size()));
  const eval::Metrics after = measure();
  using eval::detail::number;
  std::cout << "temperature " << number(temperature) << ": log loss " << number(before.log_loss)
            << " -> " << number(after.log_loss) << ", ECE " << number(before.calibration.ece)
            << " -> " << number(after.calibration.ece) << std::endl;
  return temperature;
}

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  auto saved = train::load_classifier(o.classifier);
  const int size = o.size == 0 ? saved.size : o.size;
  require<ValueError>(size >= 1 && size <= 4096, "--size: want 1 to 4096, got ", size);
  train::check(o.tta);
  require<ValueError>(o.bootstrap >= 0 && o.bootstrap <= 1'000'000,
                      "--bootstrap: want 0 to 1000000 resamples, got ", o.bootstrap);
  require<ValueError>(o.mistakes >= 0, "--mistakes: want 0 or more, got ", o.mistakes);
  const auto input = train::input_of_model(o.input, saved.architecture.channels, o.classifier);
  auto dataset = train::as_input(
      data::load_dataset(o.common.data,
                         o.part == "train" ? data::Split::train : data::Split::test,
                         {.skip_bad = o.common.skip_bad, .classes = saved.classes}),
      input);
  const auto store =
      data::ImageStore::build(dataset, {.size = size, .skip_bad = o.common.skip_bad});
  if (!dataset.skipped.empty()) std::cout << "left out " << dataset.skipped.summary() << std::endl;

  nn::to(saved.model, device);
  auto predictions =
      train::predict_with_tta(saved.model, store, {}, {.size = size}, o.tta, o.common.seed,
                              train::precision_of(o.common.precision));
  require<ValueError>(std::ranges::any_of(dataset.samples,
                                          [](const auto& sample) { return sample.label >= 0; }),
                      o.common.data, ": no image of the ", o.part,
                      " part has a label; want Train.csv, TestLabels.csv or class folders");
  std::optional<double> temperature;
  if (!o.calibrate.empty()) temperature = calibrate(o, dataset, predictions);
  const auto scores = eval::labelled_scores(dataset, predictions.probabilities);
  auto evaluation = eval::evaluate(
      scores, {.resamples = o.bootstrap, .seed = o.common.seed, .level = 0.95});
  evaluation.temperature = temperature;

  const programs::OutputFolder out(
      o.common, {"metrics.json", "confusion.svg", "roc.svg", "precision_recall.svg",
                 "reliability.svg", "report.html", "logits.npy", "logits.csv"});
  programs::write_config_toml(app, out / "config.toml");
  eval::write_logits(out.path(), dataset, predictions.logits.span());
  eval::write_metrics(out / "metrics.json", evaluation);
  train::write_evaluation_plots(out.path(), evaluation, scores);
  train::write_evaluation_report(out / "report.html", evaluation, scores, dataset, store,
                                 {.title = "How good the classifier is",
                                  .lead = lead(o, scores, temperature),
                                  .settings = io::read_file(out / "config.toml"),
                                  .mistakes = o.mistakes});
  std::cout << eval::evaluation_text(evaluation) << "\nreport: " << (out / "report.html").string()
            << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description = "Evaluates a classifier on a labelled set, both sensors together and each "
                      "alone: metrics.json, plots, and report.html that shows it all.",
       .example = "evaluate --data rice --classifier runs/full/classifier.safetensors "
                  "--out runs/eval"},
      [&](CLI::App& app) {
        programs::add_common_options(app, options.common, {.resume = false});
        app.add_option("--classifier", options.classifier, "classifier.safetensors of finetune")
            ->required()
            ->type_name("FILE");
        app.add_option("--part", options.part, "test or train")
            ->check(CLI::IsMember({"test", "train"}));
        app.add_option("--size", options.size, "side of the input; 0: as trained");
        programs::add_input_option(app, options.input, "auto: as the classifier was trained");
        app.add_option("--tta", options.tta.passes,
                       "random views of each image to average; 0: the plain one alone");
        app.add_option("--tta-beta", options.tta.beta,
                       "weight of the plain view; the random ones share the rest");
        app.add_flag("--tta-max", options.tta.max,
                     "the largest probability of any view instead of the average");
        app.add_option("--calibrate", options.calibrate,
                       "divide the logits by the temperature that suits the labelled images of "
                       "this file of logits, such as oof_logits.csv of finetune --folds")
            ->type_name("FILE");
        app.add_option("--bootstrap", options.bootstrap,
                       "resamples of the plants for the 95 % intervals (their seed is --seed); 0: "
                       "no intervals");
        app.add_option("--mistakes", options.mistakes,
                       "most confident wrong images that the page shows, of each sensor");
      },
      [&](const CLI::App& app) { run(app, options); });
}
