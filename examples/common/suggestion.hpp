// examples/common/suggestion: what the user probably meant.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace mwalimu::programs {

/// The long names of a program's options, without dashes.
inline std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  }
  return names;
}

/// Insertions, deletions and replacements that turn one word into the other (Levenshtein).
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

/// "; did you mean 'batch'?" where one of the names is near, else nothing.
inline std::string suggestion(std::string_view word, const std::vector<std::string>& names) {
  const std::string* best = nullptr;
  std::size_t nearest = word.size() / 3 + 1;  // one slip in three letters
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(word, name);
    if (distance <= nearest && (best == nullptr || distance < nearest)) {
      nearest = distance;
      best = &name;
    }
  }
  return best == nullptr ? "" : "; did you mean '" + *best + "'?";
}

}  // namespace mwalimu::programs
