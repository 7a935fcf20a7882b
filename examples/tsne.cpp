// tsne: a two-dimensional map of logits or features: what a model learned, and what confuses it.
#include "mwalimu/embedding/tsne.hpp"

#include <memory>

#include "common/program.hpp"
#include "common/training.hpp"
#include "mwalimu/io/npy.hpp"
#include "mwalimu/train/embedding_map.hpp"
#include "mwalimu/train/finetune.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  std::string logits, input, classifier, of = "logits", part = "test", perplexity = "auto";
  std::string title = "t-SNE";
  train::EmbeddingMapOptions map;
};

/// "auto", or numbers separated by commas.
std::vector<double> perplexities(const std::string& text) {
  std::vector<double> values;
  if (text == "auto") return values;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    char* end = nullptr;
    const double value = std::strtod(part.c_str(), &end);
    require<ValueError>(!part.empty() && *end == '\0' && std::isfinite(value) && value > 0,
                        "--perplexity: want auto or positive numbers such as 10,30, got '", text, "'");
    values.push_back(value);
  }
  require<ValueError>(!values.empty(), "--perplexity: want auto or numbers, got '", text, "'");
  return values;
}

/// A bare matrix.
eval::LogitTable read_matrix(const std::string& path) {
  const io::NpyFile file(path);
  const auto& array = file.array();
  require<FileError>(array.shape.size() == 2 && array.dtype == io::Dtype::f32, path,
                     ": want an N x D float32 matrix");
  eval::LogitTable table;
  table.C = array.shape[1];
  table.logits = array.values<float>();
  for (std::int64_t i = 0; i < array.shape[0]; ++i) table.id.push_back(std::to_string(i));
  return table;
}

/// Logits or features of a classifier on one part of a data set.
eval::LogitTable run_classifier(const Options& o, Device device) {
  require<ValueError>(!o.common.data.empty(), "--classifier: needs --data, the images to map");
  auto saved = train::load_classifier(o.classifier);
  nn::to(saved.model, device);
  auto dataset = data::load_dataset(
      o.common.data, o.part == "train" ? data::Split::train : data::Split::test,
      {.skip_bad = o.common.skip_bad, .classes = saved.classes});
  const auto store =
      data::ImageStore::build(dataset, {.size = saved.size, .skip_bad = o.common.skip_bad});
  const auto precision = train::precision_of(o.common.precision);
  const auto predictions =
      train::predict(saved.model, store, {}, {.size = saved.size}, 0, 0, precision);
  const auto predicted =
      eval::arg_max(predictions.probabilities, static_cast<index_t>(saved.classes.size()));
  Tensor<float> rows = predictions.logits;
  if (o.of == "features") {
    train::InferenceOptions inference{.size = saved.size};
    inference.precision = precision;
    rows = train::infer(saved.model.encoder, store, {}, inference);
  }
  eval::LogitTable table;
  table.C = rows.dim(1);
  table.logits = rows.to_vector();
  for (index_t i = 0; i < dataset.size(); ++i) {
    const data::Sample& sample = dataset[i];
    table.id.push_back(sample.id);
    table.sensor.push_back(sample.sensor);
    table.label.push_back(
        sample.label < 0 ? "" : saved.classes[static_cast<std::size_t>(sample.label)]);
    table.predicted.push_back(
        saved.classes[static_cast<std::size_t>(predicted[static_cast<std::size_t>(i)])]);
  }
  return table;
}

eval::LogitTable read_table(const Options& o, Device device) {
  const int given = !o.logits.empty() + !o.input.empty() + !o.classifier.empty();
  require<ValueError>(given == 1, "want one of --logits, --input and --classifier: what to map");
  if (!o.logits.empty()) return eval::read_logits(o.logits);
  return o.input.empty() ? run_classifier(o, device) : read_matrix(o.input);
}

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  o.map.perplexities = perplexities(o.perplexity);
  const eval::LogitTable table = read_table(o, device);
  // Checked here, so that nothing has been written when it fails.
  for (const double p : o.map.perplexities) {
    std::vector<std::string> warnings;
    embedding::detail::allowed_perplexity(p, table.rows(), embedding::PerplexityPolicy::strict,
                                          warnings);
  }
  std::unique_ptr<train::Thumbnails> thumbnails;
  if (!o.common.data.empty() && o.input.empty()) {
    const auto data = train::load_study_data(
        o.common.data, {.size = 64, .skip_bad = o.common.skip_bad, .cache = {}});
    thumbnails = std::make_unique<train::Thumbnails>(
        train::thumbnails_of(table, data.dataset, data.store));
  }
  const programs::OutputFolder out(o.common,
                                   {"embedding.csv", "scatter.svg", "images.png", "tsne.json"});
  programs::write_config_toml(app, out / "config.toml");
  o.map.title = o.title;
  o.map.tsne.seed = o.common.seed;
  train::Progress* current = nullptr;
  std::unique_ptr<train::Progress> progress;
  o.map.tsne.callback = [&](const embedding::TsneProgress& p) {
    if (current == nullptr || p.iteration <= o.map.tsne.callback_every) {
      if (current != nullptr) current->finish();
      progress = std::make_unique<train::Progress>("t-SNE", p.total,
                                                   train::ProgressOptions{.unit = "iterations"});
      current = progress.get();
    }
    char note[32];
    std::snprintf(note, sizeof note, "KL %.4f", p.kl);
    current->update(p.iteration, note);
    return true;
  };
  const auto map = train::draw_embedding_map(table, thumbnails.get(), o.map, out.path());
  if (current != nullptr) current->finish();
  std::cout << map.json.dump(2) << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description = "Maps logits or features to two dimensions by t-SNE: a scatter plot by class "
                      "with wrong predictions marked, and the images themselves at their points.",
       .example = "tsne --logits runs/full --data rice --out runs/map --perplexity 10,30,50"},
      [&](CLI::App& app) {
        programs::add_common_options(app, options.common, {.data = false, .resume = false});
        app.add_option("--data", options.common.data, "data set with the images, for images.png")
            ->type_name("DIR");
        app.add_flag("--skip-bad", options.common.skip_bad, "leave out broken images");
        app.add_option("--logits", options.logits,
                       "folder with logits.npy and logits.csv, of finetune or evaluate")
            ->type_name("DIR");
        app.add_option("--input", options.input, "any N x D float32 matrix")->type_name("FILE.npy");
        app.add_option("--classifier", options.classifier, "classifier.safetensors, run on --data")
            ->type_name("FILE");
        app.add_option("--of", options.of, "with --classifier: logits or features")
            ->check(CLI::IsMember({"logits", "features"}));
        app.add_option("--part", options.part, "with --classifier: test or train")
            ->check(CLI::IsMember({"test", "train"}));
        app.add_option("--perplexity", options.perplexity,
                       "numbers, a map each, or auto: 5 to 100; the best by Cao and Wang's "
                       "criterion becomes scatter.svg");
        app.add_option("--pca", options.map.tsne.pca_dims,
                       "reduce to so many principal components first; 0: do not");
        app.add_option("--title", options.title, "of the plots");
      },
      [&](const CLI::App& app) { run(app, options); });
}
