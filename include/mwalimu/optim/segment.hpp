// optim/segment: what an optimiser knows about the parameters that lie in one flat arena.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::optim {

/// One parameter tensor: elements [offset, offset + count) of the arena. Gaps between segments
/// (padding) belong to nobody: no optimiser reads or writes them.
struct Segment {
  std::string name;       ///< the parameter's name in the state_dict
  index_t offset = 0;     ///< first element in the arena
  index_t count = 0;      ///< number of elements, >= 1
  bool decay = true;      ///< weight decay applies (false: biases, batch norm weights and biases)
  bool trainable = true;  ///< false: frozen; value and optimiser state stay as they are
  int group = 0;          ///< parameter group, for learning rates that differ by depth
};

/// @throws ShapeError  a segment is empty, leaves the arena, or does not start after the end of the
///                     one before it.
/// @throws ValueError  a negative group.
inline void check_segments(std::span<const Segment> segments, index_t arena_size) {
  index_t end = 0;
  for (const Segment& segment : segments) {
    require<ShapeError>(
        segment.count >= 1 && segment.offset >= end && segment.count <= arena_size - segment.offset,
        "optimizer: segment '", segment.name, "' of ", segment.count, " elements at ",
        segment.offset, " is empty, overlaps its predecessor or ", "leaves the arena of ",
        arena_size, " elements");
    require<ValueError>(segment.group >= 0, "optimizer: segment '", segment.name,
                        "' has the negative group ", segment.group);
    end = segment.offset + segment.count;
  }
}

/// Learning rates of `groups` parameter groups, from `first` (the input side) to `last` (the head),
/// each the same factor above the one before: first * (last / first)^(j / (groups - 1)).
/// One group gets `last`. With last = 1 they are the factors of HyperParameters::group_scale.
/// @throws ValueError  groups < 1, or a rate that is not positive.
/// Source: fastai, slice(first, last).
inline std::vector<double> geometric_learning_rates(double first, double last, int groups) {
  require<ValueError>(groups >= 1, "geometric_learning_rates: want at least one group, got ",
                      groups);
  require<ValueError>(first > 0 && last > 0 && std::isfinite(first) && std::isfinite(last),
                      "geometric_learning_rates: want positive rates, got ", first, " and ", last);
  std::vector<double> rates(static_cast<std::size_t>(groups), last);
  for (int j = 0; j + 1 < groups; ++j) {
    rates[static_cast<std::size_t>(j)] =
        first * std::pow(last / first, static_cast<double>(j) / (groups - 1));
  }
  return rates;
}

/// `last` for the last of `groups` parameter groups, a tenth of it for all others.
/// @throws ValueError  as geometric_learning_rates.   Source: fastai, slice(last).
inline std::vector<double> tenth_learning_rates(double last, int groups) {
  std::vector<double> rates = geometric_learning_rates(last, last, groups);
  for (std::size_t j = 0; j + 1 < rates.size(); ++j) rates[j] = last / 10;
  return rates;
}

}  // namespace mwalimu::optim
