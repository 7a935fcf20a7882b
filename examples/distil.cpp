// distil: a classifier teaches itself with its confident predictions on the test part.
#include "mwalimu/train/distil.hpp"

#include "common/finetuning.hpp"
#include "common/program.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  programs::FinetuningOptions finetuning;
  std::string classifier, input = "auto";
  int rounds = 2;
  double threshold = 0.9;
};

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  auto saved = train::load_classifier(o.classifier);
  nn::to(saved.model, device);
  if (o.finetuning.size == 0) o.finetuning.size = saved.size;
  train::DistilOptions options{.rounds = o.rounds, .threshold = o.threshold,
                               .finetune = programs::make_finetune_options(o.finetuning, o.common,
                                                                   device)};
  options.finetune.architecture = saved.architecture;
  train::check(options);
  saved.model.head.set_dropout(options.finetune.dropout);
  const auto input =
      train::input_of_model(o.input, saved.architecture.channels, o.classifier);
  const auto data = programs::load_data(o.common, o.finetuning.store_size(), input);
  require<ValueError>(data.dataset.classes == saved.classes, o.classifier,
                      ": was trained on other classes than those of ", o.common.data);
  const auto rows = train::split_labels(data, o.finetuning.labels_per_class, o.finetuning.valid,
                                      o.common.seed);

  train::check(options.finetune.classifier, static_cast<index_t>(rows.train.size()));
  train::check(options.finetune.classifier.class_weights, data.dataset.classes);
  const programs::OutputFolder out(o.common, {"round1", "round2", "round3", "round4"});
  options.resume = o.common.resume;
  if (!options.resume) programs::write_config_toml(app, out / "config.toml");
  for (const auto& round : train::distil(saved.model, data, rows, options, out.path())) {
    programs::print_result(round.result);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.finetuning.size = 0;
  return programs::run_program(
      argc, argv,
      {.description = "Self-distillation: test plants that every image of which the classifier is "
                      "sure of are added to the training set with its label, and training goes on. "
                      "Give the --seed, --valid and --labels-per-class that finetune had, so that "
                      "the same plants validate.",
       .example = "distil --data rice --classifier runs/full/classifier.safetensors --out runs/distil"},
      [&](CLI::App& app) {
        programs::add_common_options(app, options.common);
        programs::add_finetuning_options(app, options.finetuning);
        app.add_option("--classifier", options.classifier, "classifier.safetensors of finetune")
            ->required()
            ->type_name("FILE");
        programs::add_input_option(app, options.input, "auto: as the classifier was trained");
        app.add_option("--rounds", options.rounds, "how often to predict and train");
        app.add_option("--threshold", options.threshold,
                       "smallest probability, of both images of a pair, that is believed");
      },
      [&](const CLI::App& app) { run(app, options); });
}
