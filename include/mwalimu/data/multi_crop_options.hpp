// data/multi_crop_options: which views SwAV takes of a sample, and how strongly they differ.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/color.hpp"
#include "mwalimu/data/crop_resize.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data {

/// Views of one size.
struct CropGroup {
  int count = 0;  ///< views a sample
  int size = 0;   ///< side of the square view, pixels
  Range scale;    ///< fractions of the image's area
  friend bool operator==(const CropGroup&, const CropGroup&) = default;
};

namespace detail {
// The study's groups. A function, because g++ 12 takes the list for uninitialised where an options
// struct with this default is copied into another one's.
inline std::vector<CropGroup> study_crop_groups() {
  std::vector<CropGroup> groups;
  groups.push_back({2, 128, {0.25f, 1.0f}});
  groups.push_back({6, 96, {0.05f, 0.30f}});
  return groups;
}
}  // namespace detail

/// What the views are. The defaults are the study's settings, as they were meant: all steps act.
struct MultiCropOptions {
  /// Groups in the order of the batch. Codes are computed on the first two views of group 0.
  std::vector<CropGroup> groups = detail::study_crop_groups();
  Range aspect{3.0f / 4.0f, 4.0f / 3.0f};  ///< width / height of the box, log-uniform
  float flip = 0.5f;                       ///< probability of swapping left and right
  float jitter = 0.3f;                     ///< probability of the colour jitter
  ColorJitterOptions jitter_range;         ///< how far it goes
  float gray = 0.3f;                       ///< probability
  float blur = 0.3f;                       ///< probability
  /// Standard deviation of the blur in pixels of a 224-pixel view, as published; it scales with the
  /// view's side, so that a small view is blurred as much as a large one is when both are seen
  /// alike.
  Range blur_sigma{0.1f, 2.0f};
  float rotate = 0.3f;           ///< probability
  float rotate_degrees = 10.0f;  ///< the angle is U(-x, x)
  /// The views of a group come alternately from the one and the other sensor; which one is first is
  /// drawn for each sample. Off: every view from the first image given.
  bool pairs = true;
  Normalisation normalisation;  ///< ImageNet's
  /// One box, and one order of the jitter's operations, for view v of every sample of a batch.
  bool shared_box = false;
  /// Normalise before the colours change, not after: a jittered view then loses all that lies below
  /// the mean, for the jitter clamps to [0, 1].
  bool normalise_first = false;

  /// The views of "2x128,6x96" (count x side, comma-separated) with the study's scales: the first
  /// group covers 0.25-1.0 of the image, the others 0.05-0.30.
  /// @throws ValueError  another syntax, fewer than two views in the first group, extents out of
  /// range.
  static MultiCropOptions study(std::string_view crops = "2x128,6x96");
  /// The same with facebook's SwAV settings: scales 0.14-1.0 and 0.05-0.14, jitter p 0.8 of
  /// (0.8, 0.8, 0.8, 0.2), gray 0.2, blur 0.5, no rotation.
  static MultiCropOptions facebook(std::string_view crops = "2x224,6x96");
  /// The study's with jitter p 0.8 of (0.6, 0.6, 0.6, 0.2) and rotation by any angle up to 45
  /// degrees p 0.8: for data whose colour is a shortcut (clusters follow an image's overall tint,
  /// not what it shows).
  static MultiCropOptions strong(std::string_view crops = "2x128,6x96");

  int views() const {
    int total = 0;
    for (const CropGroup& group : groups) total += group.count;
    return total;
  }
  /// Where a view, counted over all groups, lies.
  struct Position {
    int group, index;
  };
  Position position(int view) const {
    int group = 0;
    while (view >= groups[static_cast<std::size_t>(group)].count) {
      view -= groups[static_cast<std::size_t>(group++)].count;
    }
    return {group, view};
  }
};

/// What the draws of one group's views depend on. Plain numbers: a kernel's argument.
struct CropRule {
  std::int32_t size = 0;
  std::int32_t count = 0;       ///< views of the group a sample
  std::int32_t first_view = 0;  ///< views of the groups before it
  std::int32_t views = 0;       ///< of all groups
  Range scale, aspect;
  float flip = 0, jitter = 0, gray = 0, blur = 0, rotate = 0;  ///< probabilities
  ColorJitterOptions jitter_range;
  Range blur_sigma;  ///< pixels of a 224-pixel view
  float rotate_degrees = 0;
  bool pairs = false;
  bool shared_box = false, normalise_first = false;
};
static_assert(std::is_trivially_copyable_v<CropRule>);

/// The rule of group `g`, 0 <= g < options.groups.size().
inline CropRule crop_rule(const MultiCropOptions& options, std::size_t g) {
  const CropGroup& group = options.groups[g];
  CropRule rule{.size = group.size,
                .count = group.count,
                .views = options.views(),
                .scale = group.scale,
                .aspect = options.aspect,
                .flip = options.flip,
                .jitter = options.jitter,
                .gray = options.gray,
                .blur = options.blur,
                .rotate = options.rotate,
                .jitter_range = options.jitter_range,
                .blur_sigma = options.blur_sigma,
                .rotate_degrees = options.rotate_degrees,
                .pairs = options.pairs,
                .shared_box = options.shared_box,
                .normalise_first = options.normalise_first};
  for (std::size_t before = 0; before < g; ++before) {
    rule.first_view += options.groups[before].count;
  }
  return rule;
}

/// The groups of "2x128,6x96": the first with the scale `large`, the others with `small`.
/// @throws ValueError  as MultiCropOptions::study.
inline std::vector<CropGroup> parse_crops(std::string_view text, Range large, Range small) {
  constexpr int kMaxCount = 64, kMaxSize = 2048;
  const auto wrong = [&](const auto&... what) {
    mwalimu::detail::fail<ValueError>("crops '", text, "': ", what...,
                                      "; want COUNTxSIZE groups such as 2x128,6x96");
  };
  const auto number = [&](std::string_view digits, int limit, const char* what) {
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc::invalid_argument || end != digits.data() + digits.size()) {
      wrong(what, " '", digits, "' is not a whole number");
    }
    if (error == std::errc::result_out_of_range || value < 1 || value > limit) {
      wrong(what, " ", digits, " is out of range 1..", limit);
    }
    return value;
  };
  std::vector<CropGroup> groups;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    const std::size_t x = part.find('x');
    if (x == std::string_view::npos) wrong("'", part, "' has no 'x'");
    groups.push_back({number(part.substr(0, x), kMaxCount, "count"),
                      number(part.substr(x + 1), kMaxSize, "size"),
                      groups.empty() ? large : small});
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (groups.front().count < 2) {
    wrong("the first group holds one view, but codes are computed on two of its views");
  }
  return groups;
}

inline MultiCropOptions MultiCropOptions::study(std::string_view crops) {
  MultiCropOptions options;
  options.groups = parse_crops(crops, {0.25f, 1.0f}, {0.05f, 0.30f});
  return options;
}

inline MultiCropOptions MultiCropOptions::facebook(std::string_view crops) {
  MultiCropOptions options;
  options.groups = parse_crops(crops, {0.14f, 1.0f}, {0.05f, 0.14f});
  options.jitter = 0.8f;
  options.jitter_range = {0.8f, 0.8f, 0.8f, 0.2f};
  options.gray = 0.2f;
  options.blur = 0.5f;
  options.rotate = 0.0f;
  return options;
}

inline MultiCropOptions MultiCropOptions::strong(std::string_view crops) {
  MultiCropOptions options = study(crops);
  options.jitter = 0.8f;
  options.jitter_range = {0.6f, 0.6f, 0.6f, 0.2f};
  options.rotate = 0.8f;
  options.rotate_degrees = 45.0f;
  return options;
}

/// Checks what parsing did not set.
/// @throws ValueError  no group, a scale or an aspect that is not a range, a probability outside
///                     0..1, a jitter, blur or angle out of range; the text names the option.
inline void validate(const MultiCropOptions& options) {
  require<ValueError>(!options.groups.empty() && options.groups.front().count >= 2,
                      "multi-crop: want at least two views in the first group (codes need them)");
  for (const CropGroup& g : options.groups) {
    require<ValueError>(g.count >= 1 && g.size >= 1,
                        "multi-crop: want a count and a size of at least 1, got ", g.count, "x",
                        g.size);
    require<ValueError>(g.scale.low > 0 && g.scale.low <= g.scale.high && g.scale.high <= 1,
                        "multi-crop: want 0 < scale low <= high <= 1, got ", g.scale.low, "..",
                        g.scale.high, " for ", g.count, "x", g.size);
  }
  require<ValueError>(options.aspect.low > 0 && options.aspect.low <= options.aspect.high &&
                          std::isfinite(options.aspect.high),
                      "multi-crop: want 0 < aspect low <= high, got ", options.aspect.low, "..",
                      options.aspect.high);
  const auto probability = [](const char* name, float p) {
    require<ValueError>(p >= 0 && p <= 1, "multi-crop: want a probability of ", name,
                        " in 0..1, got ", p);
  };
  probability("flip", options.flip);
  probability("jitter", options.jitter);
  probability("gray", options.gray);
  probability("blur", options.blur);
  probability("rotation", options.rotate);
  const ColorJitterOptions& j = options.jitter_range;
  for (const float x : {j.brightness, j.contrast, j.saturation}) {
    require<ValueError>(x >= 0 && x <= 10,
                        "multi-crop: want jitter of brightness, contrast and saturation in "
                        "0..10, got ",
                        x);
  }
  require<ValueError>(j.hue >= 0 && j.hue <= 0.5f,
                      "multi-crop: want a hue jitter in 0..0.5 turns, got ", j.hue);
  require<ValueError>(options.blur_sigma.low > 0 &&
                          options.blur_sigma.low <= options.blur_sigma.high &&
                          options.blur_sigma.high <= 100,
                      "multi-crop: want 0 < blur sigma low <= high <= 100, got ",
                      options.blur_sigma.low, "..", options.blur_sigma.high);
  require<ValueError>(options.rotate_degrees >= 0 && options.rotate_degrees <= 180,
                      "multi-crop: want rotation in 0..180 degrees, got ", options.rotate_degrees);
  for (int c = 0; c < 4; ++c) {
    const float std = options.normalisation.std_of(c);
    require<ValueError>(std > 0, "multi-crop: want a positive standard deviation, got ", std);
  }
}

/// For programs that do not want views magnified beyond what was stored.
/// @throws ValueError  a view is larger than the stored images of store_height x store_width.
inline void check_crop_sizes(const MultiCropOptions& options, int store_height, int store_width) {
  for (const CropGroup& group : options.groups) {
    require<ValueError>(group.size <= std::min(store_height, store_width), "crops of ", group.size,
                        " pixels are larger than the stored images (", store_height, " x ",
                        store_width, "): ask for smaller crops, or store larger images");
  }
}

}  // namespace mwalimu::data
