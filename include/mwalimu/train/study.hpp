// train/study: the whole study in order, over several seeds: pretrain, finetune beside training from
// random weights, self-distil, and map what was learned.
#pragma once

#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "mwalimu/train/distil.hpp"
#include "mwalimu/train/embedding_map.hpp"
#include "mwalimu/train/encoder_probe.hpp"
#include "mwalimu/train/linear_evaluation.hpp"
#include "mwalimu/train/pretrain.hpp"

namespace mwalimu::train {

struct StudyOptions {
  PretrainOptions pretrain;    ///< its seed is replaced by each of the study's
  FinetuneOptions finetune;
  DistilOptions distil;        ///< rounds and threshold; the rest is finetune's
  double distil_lr_scale = 0.3;  ///< of finetune's learning rate: distillation goes on from a model
  index_t labels_per_class = 0;  ///< labelled plants a class, validation included; 0: all
  double valid = 0.2;            ///< of the labelled plants
  std::vector<std::uint64_t> seeds{0, 1};
  index_t knn = 10;              ///< neighbours of the probe
  std::vector<double> perplexities;
};

/// What one seed gave.
struct StudyRun {
  std::uint64_t seed = 0;
  std::filesystem::path folder;
  double knn_before = 0, knn_after = 0;  ///< accuracy of the encoder's features on the test part
  LinearEvaluation linear_random, linear_pretrained;  ///< on frozen features, from the same labels
  FinetuneResult pretrained, scratch;
  std::vector<DistilRound> rounds;
  index_t train_images = 0, valid_images = 0;
  double pretrain_seconds = 0;
};

struct StudyResult {
  std::vector<StudyRun> runs;
  EmbeddingMap map;     ///< of the first seed's last model: its logits on the test part
  double seconds = 0;
};

/// k-nearest-neighbour accuracy of an encoder's features: test images find their neighbours among
/// the training images, whose labels are used for nothing else here.
/// @return  NaN where the test part has no labels.
inline double knn_probe(models::Encoder& encoder, const StudyData& data, int size, index_t k,
                        Precision precision = Precision::float32) {
  const auto unknown = [](const data::Sample& sample) { return sample.label < 0; };
  if (data.train_count == 0 || data.test_count() == 0 ||
      std::any_of(data.dataset.samples.begin(), data.dataset.samples.end(), unknown)) {
    return std::nan("");
  }
  EncoderProbeOptions options;
  options.k = k;
  options.inference.size = size;
  options.inference.precision = precision;
  return EncoderProbe(data.dataset, data.store, data.train(), data.test(), options)(encoder);
}

/// Runs everything, with a folder a step under out/seedN, and the map under out/map.
inline StudyResult run_study(const StudyData& data, const StudyOptions& options,
                             const std::filesystem::path& out,
                             std::ostream& console = std::cout) {
  const auto began = std::chrono::steady_clock::now();
  require<ValueError>(!options.seeds.empty(), "--seeds: want at least one");
  const Architecture& architecture = options.pretrain.architecture;
  const Precision precision = options.pretrain.trainer.precision;
  const int size = options.finetune.classifier.augment.size;
  const auto classes = static_cast<index_t>(data.dataset.classes.size());
  const data::Dataset train_set = data::subset(data.dataset, data.train());
  const auto samples = view_pairs(train_set, options.pretrain.crops.pairs);
  StudyResult result;
  std::filesystem::path last_round;
  for (const std::uint64_t seed : options.seeds) {
    StudyRun run;
    run.seed = seed;
    run.folder = out / ("seed" + std::to_string(seed));
    const auto step_folder = [&](const char* name) {
      const auto folder = run.folder / name;
      std::filesystem::create_directories(folder);
      console << "\nseed " << seed << ", " << name << std::endl;
      return folder;
    };

    const auto rows = split_labels(data, options.labels_per_class, options.valid, seed);
    run.train_images = static_cast<index_t>(rows.train.size());
    run.valid_images = static_cast<index_t>(rows.valid.size());
    InferenceOptions frozen;
    frozen.size = size;
    frozen.precision = precision;

    const auto pretrain_folder = step_folder("pretrain");
    PretrainOptions pretrain_options = options.pretrain;
    pretrain_options.trainer.seed = seed;
    auto encoder = architecture.encoder();
    encoder.initialize(seed);
    nn::to(encoder, pretrain_options.trainer.device);
    run.knn_before = knn_probe(encoder, data, size, options.knn, precision);
    run.linear_random = linear_evaluation(encoder, data, rows, frozen);
    const auto pretrained =
        pretrain(pretrain_options, data.store, samples, pretrain_folder, false, console);
    run.pretrain_seconds = pretrained.seconds;
    nn::load_state_dict(encoder, pretrain_folder / "encoder.safetensors");
    run.knn_after = knn_probe(encoder, data, size, options.knn, precision);
    run.linear_pretrained = linear_evaluation(encoder, data, rows, frozen);
    char text[160];
    std::snprintf(text, sizeof text, "%lld-nearest-neighbour accuracy %.3f before, %.3f after",
                  static_cast<long long>(options.knn), run.knn_before, run.knn_after);
    console << text << std::endl;
    if (run.linear_random.test && run.linear_pretrained.test) {
      std::snprintf(text, sizeof text,
                    "linear classifier on the features: accuracy %.3f before, %.3f after",
                    run.linear_random.test->together.accuracy,
                    run.linear_pretrained.test->together.accuracy);
      console << text << std::endl;
    }

    FinetuneOptions finetune_options = options.finetune;
    finetune_options.architecture = architecture;
    finetune_options.classifier.seed = seed;
    const auto classifier = [&](models::Encoder body) {
      models::Classifier model(std::move(body), classes, finetune_options.dropout);
      model.head.initialize(seed);
      return model;
    };
    auto random_encoder = architecture.encoder();
    random_encoder.initialize(seed);
    auto scratch = classifier(std::move(random_encoder));
    run.scratch = finetune(scratch, data, data.dataset, rows, finetune_options,
                           step_folder("scratch"), false, console);
    auto model = classifier(std::move(encoder));
    run.pretrained = finetune(model, data, data.dataset, rows, finetune_options,
                              step_folder("finetune"), false, console);

    if (data.test_count() > 0 && options.distil.rounds > 0) {
      DistilOptions distil_options = options.distil;
      distil_options.finetune = finetune_options;
      std::visit([&](auto& schedule) { schedule.lr *= options.distil_lr_scale; },
                 distil_options.finetune.classifier.schedule);
      run.rounds = distil(model, data, rows, distil_options, step_folder("distil"), console);
    }
    if (last_round.empty()) {
      last_round = run.rounds.empty()
                       ? run.folder / "finetune"
                       : run.folder / "distil" / ("round" + std::to_string(run.rounds.size()));
    }
    result.runs.push_back(std::move(run));
  }

  console << "\nmap of " << last_round.string() << std::endl;
  std::filesystem::create_directories(out / "map");
  const auto table = eval::read_logits(last_round);
  const auto thumbnails = thumbnails_of(table, data.dataset, data.store);
  EmbeddingMapOptions map_options;
  map_options.title = "Logits of the test images";
  map_options.perplexities = options.perplexities;
  map_options.tsne.seed = options.seeds.front();
  result.map = draw_embedding_map(table, &thumbnails, map_options, out / "map");
  result.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return result;
}

}  // namespace mwalimu::train
