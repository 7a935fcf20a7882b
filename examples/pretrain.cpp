// pretrain: SwAV without labels. Crops of a plant's two sensors should get the same code.
//
// Reads from top to bottom: options, data, one call of train::pretrain. The step itself, in the
// paper's words, is train/swav_trainer.hpp, and the loss train/swav_loss.hpp.
#include "mwalimu/train/pretrain.hpp"

#include "common/crops.hpp"
#include "common/program.hpp"
#include "common/recipe.hpp"
#include "common/reference_quirks.hpp"
#include "common/swav_options.hpp"
#include "common/training.hpp"
#include "mwalimu/train/encoder_probe.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  programs::TrainingOptions training;
  programs::CropOptions crops;
  programs::SwavOptions swav;
  train::PretrainOptions pretrain;
  std::string recipe = "none", images = "train", encoder, input = "images", pool = "concat", sizes;
  bool reference_quirks = false;
  int size = 0;
  double probe_held_out = 0.2, warmup = 0.025, lr_final = 0;
};

void declare(CLI::App& app, Options& o) {
  programs::add_common_options(app, o.common);
  app.add_option("--recipe", o.recipe,
                 "published settings for the options that are not given: swav, study; see below")
      ->check(CLI::IsMember({"swav", "study", "none"}));
  app.add_flag("--reference-quirks", o.reference_quirks,
               "also what the study's program did unsaid; see below");
  programs::add_training_options(app, o.training);
  app.add_option("--warmup", o.warmup,
                 "share of the run in which the rate of --schedule cosine rises");
  app.add_option("--lr-final", o.lr_final, "the rate that --schedule cosine ends on");
  app.add_option("--arch", o.pretrain.architecture.arch, models::architecture_names());
  app.add_option("--width", o.pretrain.architecture.width,
                 "channels of the encoder's first stage");
  app.add_option("--size", o.size, "side of the stored images, pixels; 0: that of the largest crop");
  programs::add_input_option(app, o.input);
  programs::add_pool_option(app, o.pool);
  programs::add_crop_options(app, o.crops);
  app.add_option("--sizes", o.sizes,
                 "larger crops as training goes on: 64@10,96@10,128 has the largest of 64 pixels for "
                 "10 epochs, of 96 for 10, then of 128 as --crops has them; the others in proportion")
      ->type_name("SIZE@EPOCHS,...,SIZE");
  app.add_option("--images", o.images, "which part to learn from, without labels: train or all")
      ->check(CLI::IsMember({"train", "all"}));
  programs::add_swav_options(app, o.swav);
  app.add_option("--checkpoint-epochs", o.pretrain.checkpoint_epochs,
                 "epochs between two checkpoints");
  app.add_option("--encoder", o.encoder, "encoder.safetensors to start from")->type_name("FILE");
  app.add_option("--probe", o.pretrain.probe.name,
                 "score the encoder on held-out labelled images as it learns: knn, by its nearest "
                 "labelled images; linear, by a linear classifier; the best is kept in "
                 "best_encoder.safetensors")
      ->check(CLI::IsMember({"knn", "linear", "none"}));
  app.add_option("--probe-epochs", o.pretrain.probe.epochs, "epochs between two probes");
  app.add_option("--probe-held-out", o.probe_held_out,
                 "share of the labelled training plants that a probe is scored on");
  app.footer(programs::recipes_text(programs::pretraining_recipes()) + "\n\n" +
             programs::kReferenceQuirksText);
  app.parse_complete_callback(
      [&] { programs::apply_recipe(app, programs::pretraining_recipes(), o.recipe); });
}

/// What --probe asks for. `data` must outlive it.
std::function<double(models::Encoder&)> make_probe(const Options& o, const train::StudyData& data) {
  if (o.pretrain.probe.name == "none") return {};
  require<ValueError>(o.probe_held_out > 0 && o.probe_held_out < 1,
                      "--probe-held-out: want a share between 0 and 1, got ", o.probe_held_out);
  auto rows = train::labelled_split(data.dataset, data.train(), o.probe_held_out, o.common.seed);
  train::EncoderProbeOptions probe;
  if (o.pretrain.probe.name == "linear") probe.kind = train::EncoderProbeOptions::Kind::linear;
  probe.inference.size = o.size;
  probe.inference.precision = o.pretrain.trainer.precision;
  std::cout << "probe: " << rows.valid.size() << " labelled images by " << rows.train.size()
            << " others" << std::endl;
  return train::EncoderProbe(data.dataset, data.store, std::move(rows.train), std::move(rows.valid),
                             probe);
}

/// Reads --sizes. Returns the side of the largest crop of any epoch.
/// @throws ValueError  another syntax, or it does not end on the crops of --crops.
int apply_sizes(Options& o) {
  int largest = train::largest_crop(o.pretrain.crops);
  if (o.sizes.empty()) return largest;
  const auto schedule = train::size_schedule_of(o.sizes);
  require<ValueError>(schedule.last == largest, "--sizes: ends on ", schedule.last,
                      " pixels, but the largest of --crops ", o.crops.crops, " has ", largest);
  o.pretrain.sizes = schedule.progressive;
  for (const auto& phase : schedule.progressive.before) largest = std::max(largest, phase.size);
  return largest;
}

/// @throws ValueError  stacked images do not go with another option.
void check_stacked(const Options& o, train::Input input) {
  if (input == train::Input::images) return;
  require<ValueError>(o.crops.pairs != "on", "--pairs on: with --input stacked a pair is one image; "
                      "leave one of them out");
  require<ValueError>(!o.reference_quirks, "--reference-quirks: takes a plant's RGB image alone; "
                      "leave --input stacked out");
}

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  auto& pretrain = o.pretrain;
  pretrain.crops = programs::make_crop_options(o.crops);
  pretrain.epochs = o.training.epochs;
  pretrain.workers = o.training.workers;
  pretrain.encoder = o.encoder;
  programs::apply(o.swav, pretrain.trainer);
  pretrain.trainer.batch = o.training.batch;
  pretrain.trainer.accumulate = o.training.accumulate;
  pretrain.trainer.optimizer = o.training.make_optimizer();
  pretrain.trainer.schedule = o.training.make_schedule();
  if (auto* cosine = std::get_if<optim::CosineWarmup>(&pretrain.trainer.schedule)) {
    cosine->warmup = o.warmup;
    cosine->lr_final = o.lr_final;
  }
  pretrain.trainer.precision = train::precision_of(o.common.precision);
  pretrain.trainer.seed = o.common.seed;
  pretrain.trainer.device = device;
  pretrain.trainer.graph = o.training.graph == "on";
  pretrain.store = gpu::store_placement(o.training.store);
  pretrain.profile = o.training.profile;

  if (o.reference_quirks) programs::apply_reference_quirks(o.crops, o.swav, pretrain.crops);
  const int largest = apply_sizes(o);
  if (o.size == 0) o.size = largest;
  require<ValueError>(o.size >= largest, "--size: crops of ", largest,
                      " pixels are larger than the stored images (", o.size,
                      "): ask for smaller crops, or store larger images");
  pretrain.architecture.pooling = models::pooling_named(o.pool);
  const auto input = train::input_named(o.input);
  check_stacked(o, input);
  const auto data = programs::load_data(o.common, o.size, input);
  data::Dataset images = data.dataset;
  if (o.images == "train") images = data::subset(data.dataset, data.train());
  pretrain.crops.pairs = !o.reference_quirks && programs::wants_pairs(o.crops, images);
  const auto samples = o.reference_quirks ? train::rgb_views(images)
                                          : train::view_pairs(images, pretrain.crops.pairs);
  std::cout << samples.size()
            << (input == train::Input::stacked ? " stacked pairs"
                : pretrain.crops.pairs         ? " pairs"
                                               : " single images")
            << std::endl;

  pretrain.probe.accuracy = make_probe(o, data);
  if (pretrain.probe.accuracy && o.probe_held_out != 0.2) pretrain.probe.held_out = o.probe_held_out;
  train::check(pretrain, static_cast<index_t>(samples.size()));
  const programs::OutputFolder out(
      o.common, {"log.csv", "log.svg", "checkpoint.safetensors", "encoder.safetensors",
                 "best_encoder.safetensors", "swav.safetensors"});
  // A resumed run keeps the options that it began with.
  if (!out.resumed()) programs::write_config_toml(app, out / "config.toml");
  const auto result =
      train::pretrain(pretrain, data.store, samples, out.path(), out.resumed());
  std::cout << "wrote " << (out / "encoder.safetensors").string() << " after " << result.steps
            << " steps, " << train::format_duration(result.seconds) << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description = "Learns an image encoder without labels: SwAV on pairs of sensors, or on "
                      "single images.",
       .example = "pretrain --data rice --out runs/pretrain --arch xresnet34 --crops 2x128,6x96"},
      [&](CLI::App& app) { declare(app, options); },
      [&](const CLI::App& app) { run(app, options); });
}
