// finetune: a classifier of diseases on an encoder, or from random weights.
#include "mwalimu/train/finetune.hpp"

#include "common/finetuning.hpp"
#include "common/program.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  programs::FinetuningOptions finetuning;
  std::string encoder, arch;
  index_t width = 0;
};

/// What --arch and --width say; where they are silent, what the encoder's file says of itself.
train::Architecture architecture(const Options& o) {
  train::Architecture chosen;
  if (!o.encoder.empty()) {
    if (const auto named = train::architecture_of(io::SafetensorsFile(o.encoder))) chosen = *named;
  }
  if (!o.arch.empty()) chosen.arch = o.arch;
  if (o.width > 0) chosen.width = o.width;
  return chosen;
}

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  auto options = programs::make_finetune_options(o.finetuning, o.common, device);
  options.architecture = architecture(o);
  auto encoder = options.architecture.encoder();
  encoder.initialize(o.common.seed);
  if (!o.encoder.empty()) nn::load_state_dict(encoder, o.encoder);

  const auto data = programs::load_data(o.common, o.finetuning.size);
  const auto rows = train::split_labels(data, o.finetuning.labels_per_class, o.finetuning.valid,
                                      o.common.seed);
  std::cout << "training on " << rows.train.size() << " images, validating on "
            << rows.valid.size() << std::endl;
  train::check(options.classifier, static_cast<index_t>(rows.train.size()));
  models::Classifier model(std::move(encoder), static_cast<index_t>(data.dataset.classes.size()),
                           options.dropout);
  model.head.initialize(o.common.seed);

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
        app.add_option("--encoder", options.encoder, "encoder.safetensors of pretrain")
            ->type_name("FILE");
        app.add_option("--arch", options.arch,
                       "xresnet18, xresnet34 or xresnet50 (default: the encoder's, else xresnet34)");
        app.add_option("--width", options.width,
                       "channels of the first stage (default: the encoder's, else 64)");
      },
      [&](const CLI::App& app) { run(app, options); });
}
