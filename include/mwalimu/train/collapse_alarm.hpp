// train/collapse_alarm: says, once, that codes have stopped telling images apart.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "mwalimu/train/swav_loss.hpp"

namespace mwalimu::train {

/// Watches the codes of a run. What they tell of their image is their mutual information
/// I = H(mean code) - mean H(code), 0 <= I <= ln min(K, codes of a batch): it is 0 where all images
/// have one code, be it uniform or of one prototype. A loss pinned at ln K is the other sign: the
/// predictions are uniform, whatever the codes are. Either lasts some steps at the start of a sound
/// run, so the alarm waits for `kPatience` of them in a row.
class CollapseAlarm {
 public:
  static constexpr int kPatience = 100;
  static constexpr double kInformation = 0.01;  ///< of the most that is possible
  static constexpr double kLoss = 0.01;         ///< nats from ln K

  /// @param prototypes  K.
  /// @param codes       of a batch: batch times crops that have codes.
  CollapseAlarm(index_t prototypes, index_t codes)
      : log_prototypes_(std::log(static_cast<double>(prototypes))),
        most_(std::log(static_cast<double>(std::min(prototypes, codes)))) {}

  /// What the codes of a step tell of their images, as a share of the most that is possible; 1 where
  /// nothing could be told (one prototype).
  double information(const SwavStatistics& step) const {
    return most_ > 0 ? (step.mean_code_entropy - step.code_entropy) / most_ : 1;
  }

  /// To be called every step. @return  the warning, one line, when it is due: once a run.
  std::optional<std::string> observe(const SwavStatistics& step) {
    same_codes_ = information(step) < kInformation ? same_codes_ + 1 : 0;
    flat_ = std::abs(step.loss - log_prototypes_) < kLoss ? flat_ + 1 : 0;
    if (spoken_ || std::max(same_codes_, flat_) < kPatience) return std::nullopt;
    spoken_ = true;
    std::string text = "warning: the codes have collapsed: for ";
    text.append(std::to_string(kPatience));
    if (same_codes_ < kPatience) {
      text += " steps the loss has stood at ln(prototypes)";
    } else if (step.code_entropy > 0.9 * log_prototypes_) {
      text += " steps all images have had the same, uniform code";
    } else {
      text += " steps all images have had the same few prototypes";
    }
    return text + "; try a smaller --lr or --epsilon, --freeze-prototypes -1, or larger crops "
                  "(--small-scale)";
  }

 private:
  double log_prototypes_, most_;
  int same_codes_ = 0, flat_ = 0;
  bool spoken_ = false;
};

}  // namespace mwalimu::train
