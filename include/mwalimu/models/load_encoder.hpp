// models/load_encoder: an encoder's weights from a file, also one of images of other channels.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <type_traits>

#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/input_channels.hpp"
#include "mwalimu/nn/state_dict.hpp"

namespace mwalimu::models {

/// Loads `path` into `encoder`. Where the file's first convolution is for another number of channels,
/// it is made one for the encoder's by with_input_channels(): so images of four channels, R, G, B and
/// near infra-red, can begin from what was learned on three.
///
/// @param architecture  the encoder's.
/// @return              channels of the file's first convolution.
/// @throws FileError   the file cannot be read.
/// @throws ShapeError  it holds another network.
inline index_t load_encoder(Encoder& encoder, Architecture architecture,
                            const std::filesystem::path& path) {
  const io::SafetensorsFile file(path);
  std::string first;  // the name of the convolution that sees the images
  nn::for_each_parameter(encoder, [&](const std::string& name, const nn::Parameter& p) {
    if (&p == &encoder.input_weight()) first = name;
  });
  const io::TensorInfo* weight = file.find(first);
  const index_t want = encoder.in_channels();
  const index_t found = weight != nullptr && weight->shape.size() == 4 ? weight->shape[1] : want;
  if (found == want || found < 1) {
    nn::load_state_dict(encoder, file);
    return want;
  }
  architecture.channels = found;
  Encoder given = architecture.encoder();
  nn::load_state_dict(given, file);
  std::map<std::string, Tensor<float>> values;
  std::map<std::string, Tensor<std::int64_t>> counters;
  nn::detail::for_each_state_tensor(given, [&](const std::string& name, const auto& tensor) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(tensor)>, Tensor<float>>) {
      values.emplace(name, name == first ? with_input_channels(tensor, want) : tensor);
    } else {
      counters.emplace(name, tensor);
    }
  });
  nn::detail::for_each_mutable_state_tensor(encoder, [&](const std::string& name, auto& tensor) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(tensor)>, Tensor<float>>) {
      tensor.copy_from(values.at(name));
    } else {
      tensor.copy_from(counters.at(name));
    }
  });
  return found;
}

}  // namespace mwalimu::models
