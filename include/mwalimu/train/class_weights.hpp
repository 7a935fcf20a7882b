// train/class_weights: how much each class counts in the classifier's loss.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::train {

/// What --class-weights says.
struct ClassWeights {
  bool balanced = false;            ///< inversely to how often the classes are in the training rows
  std::vector<double> values = {};  ///< one a class; empty and not balanced: all count the same

  bool none() const { return !balanced && values.empty(); }
  bool operator==(const ClassWeights&) const = default;
};

/// "none", "balanced", or a number a class, such as "1,2.5,1".
/// @throws ValueError  another syntax, a number below 0, or none above.
inline ClassWeights class_weights_of(std::string_view text) {
  if (text == "none") return {};
  if (text == "balanced") return {.balanced = true};
  ClassWeights weights;
  const auto refuse = [&] {
    mwalimu::detail::fail<ValueError>("--class-weights: want none, balanced, or a number of at "
                                      "least 0 for each class, such as 1,2.5,1, got '", text, "'");
  };
  const std::string all(text);
  for (const char* at = all.c_str();;) {
    char* end = nullptr;
    const double value = std::strtod(at, &end);
    if (end == at || !(value >= 0) || !std::isfinite(value)) refuse();
    weights.values.push_back(value);
    if (*end == '\0') break;
    if (*end != ',') refuse();
    at = end + 1;
  }
  if (*std::max_element(weights.values.begin(), weights.values.end()) == 0) refuse();
  return weights;
}

/// How it is written on a command line.
inline std::string text_of(const ClassWeights& weights) {
  if (weights.none()) return "none";
  if (weights.balanced) return "balanced";
  std::string text;
  for (const double value : weights.values) {
    char number[32];
    std::snprintf(number, sizeof number, "%.9g", value);
    text += text.empty() ? "" : ",";
    text += number;
  }
  return text;
}

/// @throws ValueError  not as many numbers as classes; the text names the option.
inline void check(const ClassWeights& weights, std::span<const std::string> classes) {
  if (weights.values.empty()) return;
  std::string names;
  for (const std::string& name : classes) {
    names += names.empty() ? "" : ", ";
    names += name;
  }
  require<ValueError>(weights.values.size() == classes.size(), "--class-weights: want ",
                      classes.size(), " numbers, one a class (", names, "), got ",
                      weights.values.size());
}

/// The weight of each class: n / (K n_c) where balanced, n_c the rows of class c among the n and K
/// the classes that have any, so that the mean over the rows is 1; 1 for a class without rows.
/// @param labels  of the training rows, in [0, classes).
/// @return        (classes), or none where all count the same.
/// Source: the rule that scikit-learn calls "balanced"; King and Zeng 2001, "Logistic regression in
/// rare events data".
inline std::vector<double> weights_for(const ClassWeights& weights, std::span<const int> labels,
                                       index_t classes) {
  if (!weights.balanced) return weights.values;
  std::vector<double> counts(static_cast<std::size_t>(classes), 0.0);
  for (const int label : labels) counts[static_cast<std::size_t>(label)] += 1;
  const auto present = static_cast<double>(
      std::count_if(counts.begin(), counts.end(), [](double count) { return count > 0; }));
  std::vector<double> result;
  for (const double count : counts) {
    result.push_back(count > 0 ? static_cast<double>(labels.size()) / (present * count) : 1.0);
  }
  return result;
}

}  // namespace mwalimu::train
