// tsne: a two-dimensional map of logits or features: what a model learned, and what confuses it.
#include "mwalimu/embedding/tsne.hpp"

#include <map>
#include <memory>

#include "common/program.hpp"
#include "mwalimu/train/checkpoint_maps.hpp"
#include "mwalimu/train/embedding_map.hpp"
#include "mwalimu/train/map_source.hpp"
#include "mwalimu/train/progress.hpp"

namespace {

using namespace mwalimu;

struct Options {
  programs::CommonOptions common;
  std::string logits, input, labels, classifier, encoder, checkpoints;
  std::string of = "logits", part = "test", perplexity = "auto", metric = "euclidean",
              start = "pca", schedule = "auto", colour = "auto";
  int size = 0, iterations = 0;
  train::EmbeddingMapOptions map;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

/// "auto", or numbers separated by commas.
std::vector<double> perplexities(const std::string& text) {
  std::vector<double> values;
  if (text == "auto") return values;
  for (const std::string& part : split(text)) {
    char* end = nullptr;
    const double value = std::strtod(part.c_str(), &end);
    require<ValueError>(!part.empty() && *end == '\0' && std::isfinite(value) && value > 0,
                        "--perplexity: want auto or positive numbers such as 10,30, got '", text, "'");
    require<ValueError>(std::find(values.begin(), values.end(), value) == values.end(),
                        "--perplexity: ", part, " is given twice");
    values.push_back(value);
  }
  require<ValueError>(!values.empty(), "--perplexity: want auto or numbers, got '", text, "'");
  return values;
}

/// What to map: one table, or one for each checkpoint.
std::vector<train::Checkpoint> read_tables(const Options& o, Device device) {
  int given = 0;
  for (const auto* text : {&o.logits, &o.input, &o.classifier, &o.encoder, &o.checkpoints}) {
    given += !text->empty();
  }
  require<ValueError>(given == 1, "want one of --logits, --input, --classifier, --encoder and "
                      "--checkpoints: what to map");
  require<ValueError>(o.labels.empty() || !o.input.empty(), "--labels: names the rows of --input");
  if (!o.input.empty()) return {{"", train::read_map_matrix(o.input, o.labels)}};
  const train::MapSourceOptions source{.data = o.common.data,
                                       .train_part = o.part == "train",
                                       .features = o.of == "features",
                                       .size = o.size,
                                       .skip_bad = o.common.skip_bad,
                                       .precision = train::precision_of(o.common.precision),
                                       .device = device};
  std::vector<train::Checkpoint> tables;
  if (o.checkpoints.empty()) {
    const auto& path = !o.logits.empty() ? o.logits : !o.classifier.empty() ? o.classifier : o.encoder;
    if (!o.logits.empty()) return {{"", eval::read_logits(path)}};
    require<ValueError>(!o.common.data.empty(), o.classifier.empty() ? "--encoder" : "--classifier",
                        ": needs --data, the images to map");
    return {{"", train::read_map_source(path, source)}};
  }
  for (const std::string& part : split(o.checkpoints)) {
    // NAME=PATH, or a path that names itself by its last folder.
    const std::size_t equals = part.find('=');
    std::filesystem::path path = equals == std::string::npos ? part : part.substr(equals + 1);
    require<ValueError>(!path.empty(), "--checkpoints: want paths separated by commas, got '",
                        o.checkpoints, "'");
    if (!path.has_filename()) path = path.parent_path();
    const auto folder = std::filesystem::is_directory(path) ? path : path.parent_path();
    const std::string name =
        equals == std::string::npos ? folder.filename().string() : part.substr(0, equals);
    tables.push_back({name, train::read_map_source(path, source)});
  }
  return tables;
}

void run(const CLI::App& app, Options& o) {
  const Device device = programs::start(o.common);
  o.map.perplexities = perplexities(o.perplexity);
  o.map.tsne.seed = o.common.seed;
  o.map.tsne.device = device;
  o.map.version = MWALIMU_VERSION;
  o.map.tsne.metric = o.metric == "cosine" ? embedding::Metric::cosine : embedding::Metric::euclidean;
  o.map.tsne.start = o.start == "random" ? embedding::Start::random : embedding::Start::pca;
  o.map.tsne.schedule = o.schedule == "classic" ? embedding::Schedule::classic
                                                : embedding::Schedule::automatic;
  if (o.iterations > 0) o.map.tsne.main_iterations = o.iterations;
  const std::map<std::string, report::MapColour> colours{{"auto", report::MapColour::automatic},
                                                         {"label", report::MapColour::label},
                                                         {"prediction", report::MapColour::prediction},
                                                         {"sensor", report::MapColour::sensor}};
  o.map.colour = colours.at(o.colour);
  const auto tables = read_tables(o, device);
  const bool several = !o.checkpoints.empty();
  const train::MapTable& table = tables.back().table;
  // Checked here, so that nothing has been written when it fails.
  train::check_map_options(o.map, table.rows());
  if (several) train::check_checkpoints(tables, o.map);
  std::unique_ptr<train::Thumbnails> thumbnails;
  if (!o.common.data.empty() && (o.input.empty() || !o.labels.empty())) {
    const auto side = static_cast<int>(std::max<index_t>(report::sprite_side(table.rows()), 72));
    thumbnails = std::make_unique<train::Thumbnails>(
        train::load_thumbnails(table, o.common.data, side, o.common.skip_bad));
  }
  auto files = train::embedding_map_files();
  for (const auto& file : train::checkpoint_map_files()) files.push_back(file);
  const programs::OutputFolder out(o.common, files);
  programs::write_config_toml(app, out / "config.toml");
  std::unique_ptr<train::Progress> search;  // shows itself where there is time to read it
  o.map.tsne.search_progress = [&](index_t done, index_t total) {
    if (done == 0) {
      search = std::make_unique<train::Progress>("neighbours", total,
                                                 train::ProgressOptions{.unit = "points"});
    }
    search->update(done);
    if (done == total) search.reset();
  };
  std::unique_ptr<train::Progress> progress;
  int last = 0;
  o.map.tsne.callback = [&](const embedding::TsneProgress& p) {
    if (progress == nullptr || p.iteration <= last) {
      if (progress != nullptr) progress->finish();
      progress = std::make_unique<train::Progress>("t-SNE", p.total,
                                                   train::ProgressOptions{.unit = "iterations"});
    }
    last = p.iteration;
    char note[48];
    std::snprintf(note, sizeof note, "perplexity %g, KL %.4f", p.perplexity, p.kl);
    progress->update(p.iteration, note);
    return true;
  };
  const auto* images = thumbnails.get();
  const auto map = several ? train::draw_checkpoint_maps(tables, images, o.map, out.path())
                           : train::draw_embedding_map(table, images, o.map, out.path());
  if (progress != nullptr) progress->finish();
  std::cout << train::summary(map);
  std::cout << "the map to walk about in: " << (out / "map.html").string() << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return programs::run_program(
      argc, argv,
      {.description = "Maps logits or features to two dimensions by t-SNE: a scatter plot by class "
                      "with wrong predictions marked, the images themselves at their points, a page "
                      "to walk about in, and what the map shows about the two sensors.",
       .example = "tsne --logits runs/full --data rice --out runs/map --perplexity 2,10,30,50,100"},
      [&](CLI::App& app) {
        programs::add_common_options(app, options.common, {.data = false, .resume = false});
        app.add_option("--data", options.common.data, "data set with the images")->type_name("DIR");
        app.add_flag("--skip-bad", options.common.skip_bad, "leave out broken images");
        app.add_option("--logits", options.logits,
                       "folder with logits.npy and logits.csv, of finetune or evaluate")
            ->type_name("DIR");
        app.add_option("--input", options.input, "any N x D matrix of float32, 64 or 16")
            ->type_name("FILE.npy");
        app.add_option("--labels", options.labels,
                       "with --input: a line a row, any of image_id, label, predicted, probability, "
                       "sensor")
            ->type_name("FILE.csv");
        app.add_option("--classifier", options.classifier, "classifier.safetensors, run on --data")
            ->type_name("FILE");
        app.add_option("--encoder", options.encoder,
                       "encoder.safetensors: its features of the images of --data")
            ->type_name("FILE");
        app.add_option("--checkpoints", options.checkpoints,
                       "two or more of these (folders of logits, classifiers, encoders) separated by "
                       "commas: a map each, side by side, each from the one before; NAME=PATH names one")
            ->type_name("A,B,...");
        app.add_option("--of", options.of, "of a classifier: logits or features")
            ->check(CLI::IsMember({"logits", "features"}));
        app.add_option("--part", options.part, "of --data that a model is run on: test or train")
            ->check(CLI::IsMember({"test", "train"}));
        app.add_option("--size", options.size,
                       "side of a model's input; 0: as trained, 128 for an encoder")
            ->check(CLI::Range(0, 4096));
        app.add_option("--perplexity", options.perplexity,
                       "numbers, a map each, or auto: 5 to 100; the best by Cao and Wang's "
                       "criterion becomes scatter.svg");
        app.add_flag("--multiscale", options.map.multiscale,
                     "one map over all these perplexities at once");
        app.add_option("--pca", options.map.tsne.pca_dims,
                       "reduce to so many principal components first; 0: do not");
        app.add_option("--metric", options.metric, "between rows: euclidean or cosine")
            ->check(CLI::IsMember({"euclidean", "cosine"}));
        app.add_option("--start", options.start, "where points start: pca or random")
            ->check(CLI::IsMember({"pca", "random"}));
        app.add_option("--iterations", options.iterations,
                       "after the 250 of early exaggeration; 0: 500, classic 750")
            ->check(CLI::Range(0, 1000000));
        app.add_option("--schedule", options.schedule,
                       "of rates and momentum: auto, or classic, that of the first programs")
            ->check(CLI::IsMember({"auto", "classic"}));
        app.add_option("--late-exaggeration", options.map.tsne.late_exaggeration,
                       "of the attraction after the early iterations; about 4 keeps the clusters "
                       "of hundreds of thousands of points apart")
            ->check(CLI::Range(1.0, 100.0));
        app.add_option("--neighbors", options.map.neighbors,
                       "that the measures look at; 0: 12, fewer for few points");
        app.add_option("--color", options.colour,
                       "of the markers: label, prediction, sensor, or auto: the first that is known")
            ->check(CLI::IsMember({"auto", "label", "prediction", "sensor"}));
        app.add_flag("--pair-lines", options.map.pair_lines, "join the two images of a plant");
        app.add_option("--thumbnail", options.map.thumbnail,
                       "side of the images in images.png, pixels; 0: by their number")
            ->check(CLI::Range(0, 512));
        app.add_flag("--animate", options.map.animate,
                     "animation.html: how the points found their places");
        app.add_option("--title", options.map.title, "of the pictures");
      },
      [&](const CLI::App& app) { run(app, options); });
}
