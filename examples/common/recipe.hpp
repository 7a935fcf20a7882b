// examples/common/recipe: published settings as presets of a program's options.
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"

namespace mwalimu::programs {

/// A name of --recipe and the values that it gives to options.
struct Recipe {
  std::string name, source, departs;  ///< departs: what of its source it does not repeat
  std::vector<std::pair<std::string, std::string>> values;  ///< option without dashes, value
};

/// Those of pretrain, at their real sizes.
inline const std::vector<Recipe>& pretraining_recipes() {
  static const std::vector<Recipe> recipes{
      {"swav",
       "facebook's SwAV, 400 epochs with small batches (arXiv:2006.09882 and its code)",
       "(there all parameters decay, batch norm's and biases, too)",
       {{"arch", "resnet50"},
        {"crops", "2x224,6x96"},
        {"augment", "facebook"},
        {"prototypes", "3000"},
        {"hidden", "2048"},
        {"embedding", "128"},
        {"freeze-prototypes", "313"},
        {"epsilon", "0.05"},
        {"temperature", "0.1"},
        {"sinkhorn-iterations", "3"},
        {"code-crops", "0,1"},
        {"queue-length", "3840"},
        {"queue-start", "0.0375"},
        {"queues", "per-crop"},
        {"queue-begin", "empty"},
        {"enqueue", "after"},
        {"epochs", "400"},
        {"batch", "256"},
        {"optimizer", "lars"},
        {"weight-decay", "1e-6"},
        {"schedule", "cosine"},
        {"lr", "0.6"},
        {"lr-final", "0.0006"},
        {"warmup", "0.025"}}},
      {"study",
       "the rice study of 128-pixel images, with self_supervised's SwAV",
       "(its program departs from this: see --reference-quirks)",
       {{"arch", "xresnet34"},
        {"crops", "2x128,6x96"},
        {"augment", "study"},
        {"prototypes", "3000"},
        {"hidden", "2048"},
        {"embedding", "128"},
        {"freeze-prototypes", "0"},
        {"epsilon", "0.05"},
        {"temperature", "0.1"},
        {"sinkhorn-iterations", "3"},
        {"code-crops", "0,1"},
        {"queue-length", "2048"},
        {"queue-start", "0.5"},
        {"queues", "single"},
        {"queue-begin", "random"},
        {"enqueue", "before"},
        {"epochs", "600"},
        {"batch", "32"},
        {"optimizer", "lamb"},
        {"weight-decay", "1e-6"},
        {"schedule", "one-cycle"},
        {"lr", "1e-4"}}}};
  return recipes;
}

/// What --help says of them.
inline std::string recipes_text(std::span<const Recipe> recipes) {
  std::string text = "Recipes (a value given on the command line or in --config wins):";
  for (const Recipe& recipe : recipes) {
    text.append("\n  ").append(recipe.name).append(": ").append(recipe.source);
    std::string line;
    for (const auto& [option, value] : recipe.values) {
      const std::string item = std::string("--").append(option).append(" ").append(value);
      if (line.empty() || line.size() + item.size() > 90) {
        text += line;
        line = "\n     ";
      }
      line.append(" ").append(item);
    }
    text.append(line).append("\n      ").append(recipe.departs);
  }
  return text;
}

/// Gives the recipe's values to those options that neither the command line nor a config file has
/// set. To be called once these have been parsed; config.toml then holds what is in force.
/// @throws ValueError  no recipe of that name.
inline void apply_recipe(CLI::App& app, std::span<const Recipe> recipes, std::string_view name) {
  if (name == "none") return;
  for (const Recipe& recipe : recipes) {
    if (recipe.name != name) continue;
    for (const auto& [option_name, value] : recipe.values) {
      CLI::Option* option = app.get_option(std::string("--").append(option_name));
      if (option->count() > 0) continue;
      option->add_result(value);
      option->run_callback();
    }
    return;
  }
  mwalimu::detail::fail<ValueError>("--recipe: no recipe '", name, "'");
}

}  // namespace mwalimu::programs
