// find_lr: the learning-rate range test, for pretraining and for the classifier.
#include "mwalimu/train/find_lr.hpp"

#include "common/crops.hpp"
#include "common/encoder_choice.hpp"
#include "common/finetuning.hpp"
#include "common/program.hpp"
#include "common/swav_options.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  programs::FinetuningOptions finetuning;
  programs::CropOptions crops;
  programs::SwavOptions swav;
  optim::LrFindOptions sweep;
  train::PretrainOptions pretrain;
  programs::EncoderChoice encoder;
  std::string task = "classifier", images = "train";
  int size = 0;
};

void declare(CLI::App& app, Options& o) {
  programs::add_common_options(app, o.common, {.resume = false});
  app.add_option("--task", o.task, "what to train: classifier, as finetune, or swav, as pretrain")
      ->check(CLI::IsMember({"classifier", "swav"}));
  app.add_option("--start", o.sweep.start, "learning rate of the first step");
  app.add_option("--end", o.sweep.end, "learning rate that the last step would be followed by");
  app.add_option("--steps", o.sweep.steps, "from --start to --end, by the same factor each")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--divergence", o.sweep.divergence,
                 "stop where the smoothed loss is so many times its best");
  programs::add_step_options(app, o.finetuning.training);
  app.get_option("--weight-decay")
      ->description("not on biases and batch norm; -1: 1e-2 for the classifier, 1e-6 for swav");
  programs::add_encoder_options(app, o.encoder);
  app.add_option("--size", o.size,
                 "side of the classifier's input, or of swav's stored images, pixels; 0: 128, or "
                 "that of the largest crop");
  programs::add_classifier_options(app, o.finetuning);
  programs::add_crop_options(app, o.crops);
  app.add_option("--images", o.images, "which part swav learns from: train or all")
      ->check(CLI::IsMember({"train", "all"}));
  programs::add_code_options(app, o.swav);
}

/// The steps done, as the test goes on.
class SweepProgress {
 public:
  SweepProgress(const optim::LrFindOptions& sweep, index_t images_per_step)
      : progress_("find_lr", sweep.steps,
                  {.items_per_step = static_cast<double>(images_per_step), .unit = "images"}) {}
  void operator()(std::int64_t done) { progress_.update(done); }
  void finish() { progress_.finish(); }

 private:
  train::Progress progress_;
};

optim::LrFinder test_classifier(Options& o, Device device) {
  auto& finetuning = o.finetuning;
  finetuning.size = o.size == 0 ? 128 : o.size;
  auto options = programs::make_finetune_options(finetuning, o.common, device);
  options.architecture = o.encoder.architecture();
  const auto input = train::input_of_channels(options.architecture.channels, o.encoder.encoder);
  const auto data = programs::load_data(o.common, finetuning.size, input);
  const auto rows = train::split_labels(data, finetuning.labels_per_class, finetuning.valid,
                                        o.common.seed);
  optim::LrFinder finder(o.sweep);
  train::check(options.classifier, static_cast<index_t>(rows.train.size()));
  auto model = programs::make_classifier(options, o.encoder.encoder, data);
  train::ClassifierTrainer trainer(model, {data.dataset, data.store, rows.train, {}},
                                   options.classifier);
  SweepProgress progress(o.sweep, options.classifier.batch * options.classifier.accumulate);
  trainer.find_lr(finder, std::ref(progress));
  progress.finish();
  return finder;
}

optim::LrFinder test_swav(Options& o, Device device) {
  const auto& training = o.finetuning.training;
  auto& pretrain = o.pretrain;
  pretrain.crops = programs::make_crop_options(o.crops);
  pretrain.architecture = o.encoder.architecture();
  pretrain.encoder = o.encoder.encoder;
  pretrain.workers = training.workers;
  pretrain.store = gpu::store_placement(training.store);
  auto& trainer = pretrain.trainer;
  programs::apply(o.swav, trainer);
  trainer.batch = training.batch;
  trainer.accumulate = training.accumulate;
  trainer.optimizer = training.make_optimizer();
  trainer.precision = train::precision_of(o.common.precision);
  trainer.seed = o.common.seed;
  trainer.device = device;
  trainer.graph = training.graph == "on";
  int size = o.size;
  for (const auto& group : pretrain.crops.groups) {
    if (o.size == 0) size = std::max(size, group.size);
  }
  data::check_crop_sizes(pretrain.crops, size, size);
  const auto input = train::input_of_channels(pretrain.architecture.channels, o.encoder.encoder);
  const auto data = programs::load_data(o.common, size, input);
  data::Dataset images = data.dataset;
  if (o.images == "train") images = data::subset(data.dataset, data.train());
  pretrain.crops.pairs = programs::wants_pairs(o.crops, images);
  const auto samples = train::view_pairs(images, pretrain.crops.pairs);
  SweepProgress progress(o.sweep, trainer.batch * trainer.accumulate);
  auto finder = train::find_swav_lr(pretrain, data.store, samples, o.sweep, std::ref(progress));
  progress.finish();
  return finder;
}

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  (void)optim::LrFinder(o.sweep);  // refuses a wrong sweep before anything is read
  const bool swav = o.task == "swav";
  double& weight_decay = o.finetuning.training.weight_decay;
  if (weight_decay < 0) weight_decay = swav ? 1e-6 : 1e-2;
  const programs::OutputFolder out(o.common, {"lr.csv", "lr.svg"});
  const auto finder = swav ? test_swav(o, device) : test_classifier(o, device);
  const auto found = train::write_lr_test(out.path(), finder,
                                          swav ? "Learning-rate range test, SwAV"
                                               : "Learning-rate range test, classifier");
  programs::write_config_toml(app, out / "config.toml");
  if (std::ssize(finder.rates()) < o.sweep.steps) {
    std::cout << "the loss diverged at " << train::format_rate(finder.rates().back()) << ", after "
              << finder.rates().size() << " steps\n";
  }
  std::cout << train::summary(found) << "\nwrote " << (out / "lr.svg").string() << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.finetuning.training.weight_decay = -1;
  return programs::run_program(
      argc, argv,
      {.description = "Learning-rate range test: trains for some steps at rising learning rates, "
                      "until the loss diverges, and suggests four to train with. No weights are "
                      "kept. A test that was interrupted starts again; --overwrite replaces an "
                      "earlier one.",
       .example = "find_lr --data rice --encoder runs/pretrain/encoder.safetensors --out runs/lr"},
      [&](CLI::App& app) { declare(app, options); },
      [&](const CLI::App& app) { run(app, options); });
}
