// train/input: what one image of a model is: a photograph, or a pair of them stacked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/dataset.hpp"
#include "mwalimu/data/image_store.hpp"

namespace mwalimu::train {

enum class Input {
  images,   ///< each photograph by itself: three channels
  stacked,  ///< a pair of sensors as R, G, B and near infra-red: data::stack_pairs
};

constexpr index_t channels_of(Input input) { return input == Input::stacked ? 4 : 3; }

constexpr std::string_view name_of(Input input) {
  return input == Input::stacked ? "stacked" : "images";
}

/// The input of a model with that many channels.
/// @param model  who the model is, for the error.
/// @throws ValueError  neither 3 nor 4.
inline Input input_of_channels(index_t channels, std::string_view model) {
  require<ValueError>(channels == 3 || channels == 4, model, ": takes images of ", channels,
                      " channels; there are images of 3 and, with --input stacked, of 4");
  return channels == 4 ? Input::stacked : Input::images;
}

/// What --input says; for auto what a model takes.
/// @param name      images, stacked or auto.
/// @param channels  of the model; 3 where there is none yet.
/// @param model     who the model is.
/// @throws ValueError  another name, or the model takes images of no number that there is.
inline Input input_named(std::string_view name, index_t channels = 3, std::string_view model = {}) {
  if (name == "images") return Input::images;
  if (name == "stacked") return Input::stacked;
  require<ValueError>(name == "auto", "--input: want images, stacked or auto, got '", name, "'");
  return input_of_channels(channels, model);
}

/// The same for a model that cannot be fitted to another input.
/// @throws ValueError  also where the model takes another one.
inline Input input_of_model(std::string_view name, index_t channels, std::string_view model) {
  const Input of_model = input_of_channels(channels, model);
  require<ValueError>(input_named(name, channels, model) == of_model, "--input ", name, ": ", model,
                      " takes ", name_of(of_model), " (", channels,
                      " channels); leave --input out");
  return of_model;
}

/// The data set as a model sees it.
/// @throws ValueError  a pair is wanted and a side is missing.
inline data::Dataset as_input(data::Dataset dataset, Input input) {
  return input == Input::stacked ? data::stack_pairs(dataset) : dataset;
}

}  // namespace mwalimu::train
