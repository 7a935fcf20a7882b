// evaluate: metrics of a classifier on a labelled set, by sensor and together.
#include "common/program.hpp"
#include "common/training.hpp"
#include "mwalimu/train/finetune.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  std::string classifier, part = "test";
  int size = 0, tta = 0;
};

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  auto saved = train::load_classifier(o.classifier);
  const int size = o.size == 0 ? saved.size : o.size;
  require<ValueError>(size >= 1 && size <= 4096, "--size: want 1 to 4096, got ", size);
  require<ValueError>(o.tta >= 0, "--tta: want 0 or more, got ", o.tta);
  auto dataset = data::load_dataset(
      o.common.data, o.part == "train" ? data::Split::train : data::Split::test,
      {.skip_bad = o.common.skip_bad, .classes = saved.classes});
  const auto store =
      data::ImageStore::build(dataset, {.size = size, .skip_bad = o.common.skip_bad});
  if (!dataset.skipped.empty()) std::cout << "left out " << dataset.skipped.summary() << std::endl;

  data::AugmentOptions augment{.size = size};
  nn::to(saved.model, device);
  const auto predictions = train::predict(saved.model, store, {}, augment, o.tta, o.common.seed,
                                          train::precision_of(o.common.precision));
  const auto evaluation = train::evaluate(predictions, dataset);
  require<ValueError>(evaluation.has_value(), o.common.data, ": no image of the ", o.part,
                      " part has a label; want Train.csv, TestLabels.csv or class folders");
  const programs::OutputFolder out(o.common,
                                   {"metrics.json", "confusion.svg", "logits.npy", "logits.csv"});
  programs::write_config_toml(app, out / "config.toml");
  train::write_evaluation(out.path(), dataset, predictions, evaluation);
  std::cout << train::summary(*evaluation) << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description = "Evaluates a classifier on a labelled set, both sensors together and each "
                      "alone.",
       .example = "evaluate --data rice --classifier runs/full/classifier.safetensors --out runs/eval"},
      [&](CLI::App& app) {
        programs::add_common_options(app, options.common, {.resume = false});
        app.add_option("--classifier", options.classifier, "classifier.safetensors of finetune")
            ->required()
            ->type_name("FILE");
        app.add_option("--part", options.part, "test or train")
            ->check(CLI::IsMember({"test", "train"}));
        app.add_option("--size", options.size, "side of the input; 0: as trained");
        app.add_option("--tta", options.tta, "random passes to average; 0: the plain one alone");
      },
      [&](const CLI::App& app) { run(app, options); });
}
