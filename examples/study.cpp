// study: the whole of it, from images to a report.
#include "mwalimu/train/study.hpp"

#include "common/crops.hpp"
#include "common/program.hpp"
#include "common/swav_options.hpp"
#include "common/training.hpp"
#include "mwalimu/data/rice_files.hpp"
#include "mwalimu/train/study_report.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  // Crops large enough to show some of the spots, and colours mild enough to leave them visible:
  // with crops of 5 % of 64 pixels there is nothing for two of them to agree on, and codes collapse.
  programs::CropOptions crops{.crops = "2x48,4x32", .large_scale = "0.4-1", .small_scale = "0.2-0.6",
                              .jitter = 0.8f, .gray = 0.6f, .rotate_degrees = 45};
  std::string preset = "demo", mode = "full";
  std::string arch = "xresnet18";
  index_t width = 16;
  int size = 64, seeds = 2, workers = 1;
  int epochs = 16, finetune_epochs = 30;
  index_t batch = 32, finetune_batch = 16, labels_per_class = 30;
  double lr = 2e-3, finetune_lr = 1e-3, valid = 0.33, difficulty = 0.3, closeup = 1;
  // Label smoothing of 0.1 aims at a probability of 0.93. 0.9 believes a third of the test plants,
  // 0.8 more than half, and 96 of 100 labels are still right.
  double threshold = 0.8;
  programs::SwavOptions swav{.head = {.hidden = 256, .embedding = 64, .prototypes = 24},
                             .epsilon = 0.02,
                             .queue_length = 0,
                             .freeze_prototypes = -1};
  std::string optimizer = "adamw", finetune_optimizer = "adamw";
  int rounds = 2;
  index_t rice_pairs = 1800, rice_test_pairs = 150;
};

void declare(CLI::App& app, Options& o) {
  programs::add_common_options(app, o.common, {.data = false, .resume = false});
  app.add_option("--data", o.common.data,
                 "data set; left out, synthetic rice leaves are made under --out/data")
      ->type_name("DIR");
  app.add_flag("--skip-bad", o.common.skip_bad, "leave out broken images and rows");
  app.add_option("--preset", o.preset, "demo: a small network on small images, minutes on two cores")
      ->check(CLI::IsMember({"demo"}));
  app.add_option("--seeds", o.seeds, "how many runs, with --seed, --seed + 1, ...")
      ->check(CLI::Range(1, 1000));
  app.add_option("--arch", o.arch, models::architecture_names());
  app.add_option("--width", o.width, "channels of the encoder's first stage");
  app.add_option("--size", o.size, "side of the images, pixels");
  programs::add_crop_options(app, o.crops);
  app.add_option("--epochs", o.epochs, "of pretraining");
  app.add_option("--batch", o.batch, "of pretraining");
  app.add_option("--lr", o.lr, "of pretraining");
  app.add_option("--optimizer", o.optimizer, "of pretraining");
  programs::add_swav_options(app, o.swav);
  app.add_option("--labels-per-class", o.labels_per_class,
                 "labelled plants a class, those that validate included; 0: all");
  app.add_option("--valid", o.valid, "share of them that chooses the best epoch");
  app.add_option("--mode", o.mode, "of finetuning: full, mlp or discriminative")
      ->check(CLI::IsMember({"full", "mlp", "discriminative"}));
  app.add_option("--finetune-epochs", o.finetune_epochs, "of finetuning and of each round");
  app.add_option("--finetune-batch", o.finetune_batch, "of finetuning");
  app.add_option("--finetune-lr", o.finetune_lr, "of finetuning");
  app.add_option("--finetune-optimizer", o.finetune_optimizer, "of finetuning");
  app.add_option("--rounds", o.rounds, "of distillation; 0: none")->check(CLI::Range(0, 9));
  app.add_option("--threshold", o.threshold, "smallest probability that distillation believes");
  app.add_option("--rice-pairs", o.rice_pairs, "synthetic plants to train on");
  app.add_option("--rice-test-pairs", o.rice_test_pairs, "synthetic plants to test on");
  app.add_option("--difficulty", o.difficulty, "of the synthetic plants, 0 to 1");
  app.add_option("--closeup", o.closeup, "how near their pictures are, 0 to 1");
  app.add_option("--workers", o.workers, "threads that prepare batches ahead");
}

train::StudyOptions study_options(const Options& o, Device device) {
  train::StudyOptions study;
  auto& trainer = study.pretrain.trainer;
  study.pretrain.architecture.arch = o.arch;
  study.pretrain.architecture.width = o.width;
  study.pretrain.crops = programs::make_crop_options(o.crops);
  study.pretrain.epochs = o.epochs;
  study.pretrain.workers = o.workers;
  study.pretrain.checkpoint_epochs = std::max(1, o.epochs / 4);
  trainer.batch = o.batch;
  programs::apply(o.swav, trainer);
  trainer.optimizer = optim::optimizer_options(o.optimizer, 0.01);
  trainer.schedule = optim::make_schedule("one-cycle", o.lr);
  auto& classifier = study.finetune.classifier;
  classifier.mode = train::finetune_mode(o.mode);
  classifier.epochs = o.finetune_epochs;
  classifier.batch = o.finetune_batch;
  classifier.workers = o.workers;
  classifier.optimizer = optim::optimizer_options(o.finetune_optimizer, 0.01);
  classifier.schedule = optim::make_schedule("one-cycle", o.finetune_lr);
  classifier.augment.size = o.size;
  trainer.precision = classifier.precision = train::precision_of(o.common.precision);
  trainer.device = classifier.device = device;
  study.distil.rounds = o.rounds;
  study.distil.threshold = o.threshold;
  if (o.rounds > 0) train::check(study.distil);
  study.labels_per_class = o.labels_per_class;
  study.valid = o.valid;
  study.seeds.clear();
  for (int i = 0; i < o.seeds; ++i) study.seeds.push_back(o.common.seed + static_cast<std::uint64_t>(i));
  return study;
}

void make_rice(const Options& o, const std::filesystem::path& folder) {
  data::RiceSetOptions rice{.train_pairs = o.rice_pairs, .test_pairs = o.rice_test_pairs};
  rice.rice = {.size = o.size, .difficulty = o.difficulty, .closeup = o.closeup};
  rice.seed = o.common.seed;
  train::Progress progress("make_rice", o.rice_pairs + o.rice_test_pairs, {.unit = "pairs"});
  data::write_rice_set(folder, rice, [&](index_t done, index_t) { progress.update(done); });
  progress.finish();
}

/// Reads --data, and decides by it whether crops come from pairs.
train::StudyData load(const Options& o, train::StudyOptions& study) {
  auto data = programs::load_data(o.common, o.size);
  require<ValueError>(data.test_count() > 0, o.common.data,
                      ": the data set has no test part; want Test.csv or test/");
  study.pretrain.crops.pairs = programs::wants_pairs(o.crops, data.dataset);
  train::check(study.pretrain, static_cast<index_t>(
      train::view_pairs(data::subset(data.dataset, data.train()), study.pretrain.crops.pairs).size()));
  return data;
}

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  auto study = study_options(o, device);
  data::check_crop_sizes(study.pretrain.crops, o.size, o.size);
  const bool synthetic = o.common.data.empty();
  train::StudyData data;
  if (!synthetic) data = load(o, study);
  const programs::OutputFolder out(o.common, {"data", "map", "report.html", "results.csv"});
  for (const auto seed : study.seeds) {
    const auto folder = out / ("seed" + std::to_string(seed));
    require<ValueError>(o.common.overwrite || !std::filesystem::exists(folder), "--out: ",
                        folder.string(), " is of an earlier run; choose another folder, or give "
                        "--overwrite to replace it");
    std::filesystem::remove_all(folder);
  }
  programs::write_config_toml(app, out / "config.toml");
  if (synthetic) {
    o.common.data = (out / "data").string();
    make_rice(o, o.common.data);
    data = load(o, study);
  }
  const auto result = train::run_study(data, study, out.path());
  train::write_study_report(out / "report.html", result, data, study,
                            io::read_file(out / "config.toml"));
  const train::StudyResults results(result);
  train::write_results(out / "results.csv", results);
  std::cout << "\n";
  train::print_results(results, std::cout);
  std::cout << "\nwrote " << (out / "report.html").string() << " in "
            << train::format_duration(result.seconds) << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.common.out = "runs/study";
  return programs::run_program(
      argc, argv,
      {.description = "The main job: pretrain without labels, finetune beside training from random "
                      "weights, self-distil, map, and write a report that opens offline.",
       .example = "study --out runs/study --seeds 2"},
      [&](CLI::App& app) { declare(app, options); },
      [&](const CLI::App& app) { run(app, options); });
}
