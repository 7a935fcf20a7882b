// gpu/engine_choice: which of cuDNN's engines solves a problem, and how it is set. Written as numbers,
// so that a file can keep it.
#pragma once

#include <cstdint>
#include <map>
#include <ostream>

namespace mwalimu::gpu {

/// An engine by cuDNN's global index, and its knobs (tile sizes, splits of the sum, ...) by cuDNN's
/// number of each. Means something for one problem, one kind of device and one version of cuDNN.
struct EngineChoice {
  std::int64_t engine = 0;
  std::map<int, std::int64_t> knobs;

  bool operator==(const EngineChoice&) const = default;
  /// "engine 62 knobs {2: 24, 14: 3}"
  friend std::ostream& operator<<(std::ostream& text, const EngineChoice& choice) {
    text << "engine " << choice.engine << " knobs {";
    const char* separator = "";
    for (const auto& [knob, value] : choice.knobs) {
      text << separator << knob << ": " << value;
      separator = ", ";
    }
    return text << '}';
  }
};

}  // namespace mwalimu::gpu
