// train/map_source: the rows of a map, from wherever a run of the other programs left them.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/train/finetune.hpp"
#include "mwalimu/train/map_table.hpp"

namespace mwalimu::train {

/// How a model is run to get rows.
struct MapSourceOptions {
  std::string data;           ///< folder of images; needed by models
  bool train_part = false;    ///< else the test part
  bool features = false;      ///< of a classifier: its encoder's features, not its logits
  int size = 0;               ///< side of the input; 0: as trained, 128 for an encoder
  bool skip_bad = false;
  Precision precision = Precision::float32;
  Device device = Device::cpu();
};

namespace detail {

inline MapTable named_rows(const data::Dataset& dataset, const Tensor<float>& rows) {
  MapTable table;
  table.C = rows.dim(1);
  table.logits = rows.to_vector();
  bool paired = false;
  for (const data::Sample& sample : dataset.samples) {
    paired = paired || sample.pair >= 0 || sample.sensor == data::Sensor::rgn;
  }
  for (const data::Sample& sample : dataset.samples) {
    table.id.push_back(sample.id);
    if (paired) table.sensor.push_back(sample.sensor);
    table.label.push_back(
        sample.label < 0 ? "" : dataset.classes[static_cast<std::size_t>(sample.label)]);
  }
  return table;
}

}  // namespace detail

/// The rows of `path`: a folder with logits.npy and logits.csv, classifier.safetensors of finetune,
/// or encoder.safetensors of pretrain (its features). Models are run on options.data.
/// @throws FileError   none of these.  @throws ValueError  a model without data.
inline MapTable read_map_source(const std::filesystem::path& path, const MapSourceOptions& options) {
  if (std::filesystem::is_directory(path)) return eval::read_logits(path);
  const auto architecture = architecture_of(io::SafetensorsFile(path));
  require<FileError>(architecture.has_value(), path.string(),
                     ": want a folder with logits.npy and logits.csv, a classifier.safetensors of "
                     "finetune or an encoder.safetensors of pretrain");
  require<ValueError>(!options.data.empty(), path.string(),
                      ": a model needs --data, the images to map");
  const bool classifier = io::SafetensorsFile(path).metadata().contains("classes");
  SavedClassifier saved;
  models::Encoder encoder;
  if (classifier) {
    saved = load_classifier(path);
    nn::to(saved.model, options.device);
  } else {
    encoder = architecture->encoder();
    nn::load_state_dict(encoder, path);
    nn::to(encoder, options.device);
  }
  const int size = options.size > 0 ? options.size : classifier ? saved.size : 128;
  const Input input = input_of_channels(architecture->channels, path.string());
  auto dataset = as_input(
      data::load_dataset(options.data, options.train_part ? data::Split::train : data::Split::test,
                         {.skip_bad = options.skip_bad, .classes = saved.classes}),
      input);
  const auto store =
      data::ImageStore::build(dataset, {.size = size, .skip_bad = options.skip_bad});
  InferenceOptions inference{.size = size};
  inference.precision = options.precision;
  if (!classifier) return detail::named_rows(dataset, infer(encoder, store, {}, inference));
  const auto predictions =
      predict(saved.model, store, {}, {.size = size}, 0, 0, options.precision);
  MapTable table = detail::named_rows(
      dataset, options.features ? infer(saved.model.encoder, store, {}, inference)
                                : predictions.logits);
  const auto C = static_cast<index_t>(saved.classes.size());
  const auto predicted = eval::arg_max(predictions.probabilities, C);
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    const auto best = static_cast<std::size_t>(predicted[i]);
    table.predicted.push_back(saved.classes[best]);
    table.probability.push_back(static_cast<float>(
        predictions.probabilities[i * static_cast<std::size_t>(C) + best]));
  }
  return table;
}

}  // namespace mwalimu::train
