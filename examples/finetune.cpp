// finetune: a classifier of diseases on an encoder, or from random weights.
#include "mwalimu/train/finetune.hpp"

#include "common/cross_validation.hpp"
#include "common/encoder_choice.hpp"
#include "common/finetuning.hpp"
#include "common/program.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  programs::FinetuningOptions finetuning;
  programs::EncoderChoice encoder;
  int folds = 0;
};

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  auto options = programs::make_finetune_options(o.finetuning, o.common, device);
  options.architecture = o.encoder.architecture();
  const auto input = train::input_of_channels(options.architecture.channels, o.encoder.encoder);
  const auto data = programs::load_data(o.common, o.finetuning.store_size(), input);
  if (o.folds != 0) {
    return programs::run_folds(app, o.common, o.folds, o.finetuning.labels_per_class, options, data,
                               [&] {
                                 return programs::make_classifier(options, o.encoder.encoder, data);
                               });
  }
  const auto rows = train::split_labels(data, o.finetuning.labels_per_class, o.finetuning.valid,
                                      o.common.seed);
  std::cout << "training on " << rows.train.size() << " images, validating on "
            << rows.valid.size() << std::endl;
  train::check(options.classifier, static_cast<index_t>(rows.train.size()));
  train::check(options.classifier.class_weights, data.dataset.classes);
  auto model = programs::make_classifier(options, o.encoder.encoder, data);

  const programs::OutputFolder out(
      o.common, {"log.csv", "checkpoint.safetensors", "classifier.safetensors", "metrics.json",
                 "confusion.svg", "logits.npy", "logits.csv", "submission.csv"});
  // A resumed run keeps the options that it began with.
  if (!out.resumed()) programs::write_config_toml(app, out / "config.toml");
  programs::print_result(train::finetune(model, data, data.dataset, rows, options, out.path(),
                                         out.resumed()));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description = "Trains a classifier on a pretrained encoder (or, without --encoder, on a "
                      "random one) and evaluates it by sensor.",
       .example = "finetune --data rice --encoder runs/pretrain/encoder.safetensors --out runs/full"},
      [&](CLI::App& app) {
        programs::add_common_options(app, options.common);
        programs::add_finetuning_options(app, options.finetuning);
        programs::add_encoder_options(app, options.encoder);
        programs::add_folds_option(app, options.folds);
      },
      [&](const CLI::App& app) { run(app, options); });
}
