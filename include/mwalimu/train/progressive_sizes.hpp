// train/progressive_sizes: training on small images first, on larger ones later, in one run.
//
// Small images cost less (a quarter at half the side), and a network that averages over positions
// can go on with larger ones. Source: Howard 2018, "Now anyone can train Imagenet in 18 minutes";
// Tan and Le 2021, arXiv:2104.00298, sec. 4.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/multi_crop_options.hpp"

namespace mwalimu::train {

/// Side of the largest crop.
inline int largest_crop(const data::MultiCropOptions& crops) {
  int largest = 0;
  for (const data::CropGroup& group : crops.groups) largest = std::max(largest, group.size);
  return largest;
}

/// Sides of the training images and how many epochs each has, but for the last one, which has the
/// rest and is not listed: it is the run's own size.
struct ProgressiveSizes {
  struct Phase {
    int size = 0, epochs = 0;
    bool operator==(const Phase&) const = default;
  };
  std::vector<Phase> before = {};  ///< empty: one size throughout

  /// The phase of an epoch, counted from 0; before.size() is the last one.
  std::int64_t phase(std::int64_t epoch) const {
    std::int64_t p = 0;
    for (const Phase& each : before) {
      if (epoch < each.epochs) return p;
      epoch -= each.epochs;
      ++p;
    }
    return p;
  }
  /// @param last  the run's own size.
  int size(std::int64_t epoch, int last) const {
    const auto p = static_cast<std::size_t>(phase(epoch));
    return p < before.size() ? before[p].size : last;
  }
  std::int64_t epochs() const {
    std::int64_t sum = 0;
    for (const Phase& each : before) sum += each.epochs;
    return sum;
  }
  bool operator==(const ProgressiveSizes&) const = default;
};

/// SwAV's crops in an epoch, counted from 0: where the largest are of another size than the run's own,
/// all groups are scaled by the same factor, to whole pixels, at least 1.
/// @param crops  of the last phase.
inline data::MultiCropOptions crops_of_epoch(const ProgressiveSizes& sizes, std::int64_t epoch,
                                             data::MultiCropOptions crops) {
  const int last = largest_crop(crops), size = sizes.size(epoch, last);
  for (data::CropGroup& group : crops.groups) {
    if (size == last) break;
    group.size = std::max(1, static_cast<int>(std::lround(static_cast<double>(group.size) * size /
                                                          last)));
  }
  return crops;
}

/// What "64@10,96@10,128" says: 64 pixels for 10 epochs, 96 for 10, then 128.
struct SizeSchedule {
  ProgressiveSizes progressive;
  int last = 0;  ///< the run's own size
};

/// @throws ValueError  another syntax, or a number out of range.
inline SizeSchedule size_schedule_of(std::string_view text) {
  SizeSchedule schedule;
  const auto refuse = [&] {
    mwalimu::detail::fail<ValueError>(
        "--sizes: want SIZE@EPOCHS,...,SIZE, such as 64@10,96@10,128, sizes from 1 to 4096, got '",
        text, "'");
  };
  const auto number = [&](std::string_view digits, int largest) {
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value < 1 ||
        value > largest) {
      refuse();
    }
    return value;
  };
  for (std::string_view rest = text;;) {
    const auto comma = rest.find(',');
    const std::string_view phase = rest.substr(0, comma);
    const auto at = phase.find('@');
    if ((at == phase.npos) != (comma == rest.npos)) refuse();
    if (comma == rest.npos) {
      schedule.last = number(phase, 4096);
      return schedule;
    }
    schedule.progressive.before.push_back(
        {number(phase.substr(0, at), 4096), number(phase.substr(at + 1), 1000000)});
    rest = rest.substr(comma + 1);
  }
}

/// The phases before the last one, "64@10,96@10"; empty where there are none.
inline std::string text_of(const ProgressiveSizes& sizes) {
  std::string text;
  for (const auto& phase : sizes.before) {
    text += text.empty() ? "" : ",";
    text += std::to_string(phase.size);
    text += '@';
    text += std::to_string(phase.epochs);
  }
  return text;
}

}  // namespace mwalimu::train
