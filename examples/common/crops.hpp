// examples/common/crops: SwAV's views, as pretrain and study take them from the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/multi_crop_options.hpp"
#include "mwalimu/data/sample.hpp"

namespace mwalimu::programs {

/// What is left empty or negative is as --augment has it.
struct CropOptions {
  std::string crops = "2x128,6x96", augment = "study", pairs = "auto";
  std::string large_scale, small_scale;
  float jitter = -1, gray = -1, rotate_degrees = -1;
};

inline void add_crop_options(CLI::App& app, CropOptions& o) {
  app.add_option("--crops", o.crops, "crops a sample, COUNTxSIZE,...: the first group is large");
  app.add_option("--augment", o.augment,
                 "study; strong: more jitter and rotation, where colour is a shortcut; facebook")
      ->check(CLI::IsMember({"study", "strong", "facebook"}));
  app.add_option("--large-scale", o.large_scale,
                 "shares of the image's area that large crops cover, such as 0.25-1; empty: as "
                 "--augment has it")
      ->type_name("LOW-HIGH");
  app.add_option("--small-scale", o.small_scale, "of the small crops, likewise")
      ->type_name("LOW-HIGH");
  app.add_option("--jitter", o.jitter, "probability of the colour jitter; -1: as --augment has it")
      ->type_name("P");
  app.add_option("--gray", o.gray, "probability of a gray crop; -1: as --augment has it")
      ->type_name("P");
  app.add_option("--rotate", o.rotate_degrees,
                 "turn every crop by any angle up to so many degrees; -1: as --augment has it")
      ->type_name("DEGREES");
  app.add_option("--pairs", o.pairs,
                 "on: crops come from both sensors of a plant; off: from one image; auto: on where "
                 "there are pairs")
      ->check(CLI::IsMember({"on", "off", "auto"}));
}

/// The range of "0.25-1".
/// @throws ValueError  another syntax; the range itself is data::validate's matter.
inline data::Range parse_scale(const char* option, std::string_view text) {
  const auto dash = text.find('-');
  data::Range range;
  const auto number = [&](std::string_view digits, float& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  require<ValueError>(dash != text.npos && number(text.substr(0, dash), range.low) &&
                          number(text.substr(dash + 1), range.high) && range.low > 0 &&
                          range.low <= range.high && range.high <= 1,
                      option, ": want LOW-HIGH with 0 < LOW <= HIGH <= 1, such as 0.25-1, got '",
                      text, "'");
  return range;
}

/// The views that the options describe; whether they come in pairs, the data decide later.
/// @throws ValueError  an option is out of range.
inline data::MultiCropOptions make_crop_options(const CropOptions& o) {
  auto crops = o.augment == "facebook" ? data::MultiCropOptions::facebook(o.crops)
               : o.augment == "strong" ? data::MultiCropOptions::strong(o.crops)
                                       : data::MultiCropOptions::study(o.crops);
  for (std::size_t g = 0; g < crops.groups.size(); ++g) {
    const std::string& scale = g == 0 ? o.large_scale : o.small_scale;
    if (scale.empty()) continue;
    crops.groups[g].scale = parse_scale(g == 0 ? "--large-scale" : "--small-scale", scale);
  }
  if (o.jitter >= 0) crops.jitter = o.jitter;
  if (o.gray >= 0) crops.gray = o.gray;
  if (o.rotate_degrees >= 0) {
    crops.rotate = 1;
    crops.rotate_degrees = o.rotate_degrees;
  }
  data::validate(crops);
  return crops;
}

/// Whether views come in pairs: as --pairs says, or where some image has a partner.
inline bool wants_pairs(const CropOptions& o, const data::Dataset& images) {
  return o.pairs == "on" ||
         (o.pairs == "auto" &&
          std::any_of(images.samples.begin(), images.samples.end(),
                      [](const data::Sample& sample) { return sample.pair >= 0; }));
}

}  // namespace mwalimu::programs
