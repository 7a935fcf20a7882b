// optim/lr_find: the learning-rate range test: the sweep, when to stop, what to suggest. The loop
// that trains, and restores model and optimiser afterwards, is in train/find_lr.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/optim/schedule.hpp"
#include "mwalimu/optim/smoothed_loss.hpp"

namespace mwalimu::optim {

struct LrFindOptions {
  double start = 1e-7;
  double end = 10;
  int steps = 100;
  double divergence = 4;  ///< stop when the smoothed loss is this many times its best
};

/// Learning rates that a range test suggests.
struct LrSuggestions {
  double valley = 0;   ///< two thirds into the longest descent, counted backwards: the default
  double steep = 0;    ///< where the loss falls fastest per factor of the rate
  double minimum = 0;  ///< a tenth of the rate with the smallest loss
  double slide = 0;    ///< where the slope, followed from the right, stops changing
};

namespace detail {

// The longest strictly decreasing subsequence by dynamic programming, the first that is found; its
// start is taken to be as many points before its end as it is long.
inline std::size_t valley_index(std::span<const double> losses) {
  const int n = static_cast<int>(losses.size());
  std::vector<int> length(losses.size(), 1);
  int end = 0;
  for (int i = 1; i < n; ++i) {
    int& here = length[static_cast<std::size_t>(i)];
    for (int j = 0; j < i; ++j) {
      if (losses[static_cast<std::size_t>(i)] < losses[static_cast<std::size_t>(j)]) {
        here = std::max(here, length[static_cast<std::size_t>(j)] + 1);
      }
    }
    if (length[static_cast<std::size_t>(end)] < here) end = i;
  }
  // The start is -1 where the descent fills everything up to its end, and 0 where there is none.
  const int start = end == 0 ? 0 : end - length[static_cast<std::size_t>(end)];
  const double third = (end - start) / 3.0;
  const int index = start + static_cast<int>(third) + static_cast<int>(third / 2);
  return static_cast<std::size_t>(std::max(index, 0));
}

inline std::size_t steep_index(std::span<const double> rates, std::span<const double> losses) {
  std::size_t steepest = 0;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i + 1 < losses.size(); ++i) {
    const double slope =
        (losses[i + 1] - losses[i]) / (std::log(rates[i + 1]) - std::log(rates[i]));
    if (slope < least) {
      least = slope;
      steepest = i;
    }
  }
  return steepest;
}

// From the right: two points 15 apart move left together while their slopes differ.
inline std::size_t slide_index(std::span<const double> losses) {
  constexpr std::size_t kApart = 15;
  constexpr double kThreshold = 0.005;
  const std::size_t n = losses.size();
  const auto gradient = [&](std::size_t i) {
    if (i == 0) return losses[1] - losses[0];
    if (i == n - 1) return losses[n - 1] - losses[n - 2];
    return (losses[i + 1] - losses[i - 1]) / 2;
  };
  if (n <= kApart) return 0;
  std::size_t found = n - 1 - kApart;
  for (std::size_t left = found + 1; left-- > 0;) {
    if (!(std::abs(gradient(left + kApart) - gradient(left)) > kThreshold)) break;
    found = left;
  }
  return found;
}

}  // namespace detail

/// Suggestions from a whole sweep: the first steps / 10 and the last five points are left out, and
/// everything from the first NaN on.
/// @param rates, losses  learning rate and smoothed loss of each step that ran, in order.
/// @param steps          steps the sweep was to have.
/// @throws ShapeError  different lengths.
/// @throws ValueError  fewer than two points are left: the loss diverged at once.
/// Source: fastai, lr_find and its suggestion functions.
inline LrSuggestions suggest_rates(std::span<const double> rates, std::span<const double> losses,
                                   int steps) {
  require<ShapeError>(rates.size() == losses.size(), "lr_find: ", rates.size(), " rates, but ",
                      losses.size(), " losses");
  const std::size_t begin = static_cast<std::size_t>(std::max(steps, 0) / 10);
  std::size_t end = losses.size() < 5 ? 0 : losses.size() - 5;
  for (std::size_t i = begin; i < end; ++i) {
    if (std::isnan(losses[i])) end = i;
  }
  require<ValueError>(end >= begin + 2, "lr_find: of ", losses.size(),
                      " losses fewer than two can be used; the loss diverged too early: start "
                      "from a smaller learning rate or take more steps");
  rates = rates.subspan(begin, end - begin);
  losses = losses.subspan(begin, end - begin);
  const auto lowest = std::min_element(losses.begin(), losses.end()) - losses.begin();
  return {.valley = rates[detail::valley_index(losses)],
          .steep = rates[detail::steep_index(rates, losses)],
          .minimum = rates[static_cast<std::size_t>(lowest)] / 10,
          .slide = rates[detail::slide_index(losses)]};
}

/// The course of one range test:
///
///     LrFinder finder;
///     while (!finder.finished()) finder.observe(train_one_batch(finder.rate()));
///     const LrSuggestions suggestions = finder.suggestions();
///
/// Source: Smith 2017, arXiv:1506.01186; fastai, lr_find.
class LrFinder {
 public:
  /// @throws ValueError  not 0 < start < end, steps < 1, divergence <= 1.
  explicit LrFinder(LrFindOptions options = {}) : options_(options) {
    require<ValueError>(
        options.start > 0 && options.start < options.end && std::isfinite(options.end),
        "lr_find: want 0 < start < end, got ", options.start, " and ", options.end);
    require<ValueError>(options.steps >= 1, "lr_find: want at least one step, got ", options.steps);
    require<ValueError>(options.divergence > 1, "lr_find: want divergence > 1, got ",
                        options.divergence);
  }

  const LrFindOptions& options() const { return options_; }
  bool finished() const { return finished_; }
  /// The learning rate of the next step.
  double rate() const {
    return exponential_rate(options_.start, options_.end,
                            static_cast<double>(losses_.size()) / options_.steps);
  }
  /// Takes the loss of the step at rate(). A NaN ends the test, too: nothing after it is a number.
  void observe(double loss) {
    require<ValueError>(!finished_, "lr_find: the test has finished after ", losses_.size(),
                        " steps");
    rates_.push_back(rate());
    losses_.push_back(loss);
    smoothed_.push_back(smooth_.add(loss));
    const double now = smoothed_.back();
    best_ = std::fmin(best_, now);
    finished_ = now > options_.divergence * best_ || std::isnan(now) ||
                losses_.size() >= static_cast<std::size_t>(options_.steps);
  }

  std::span<const double> rates() const { return rates_; }
  std::span<const double> losses() const { return losses_; }
  std::span<const double> smoothed_losses() const { return smoothed_; }

  /// @throws ValueError  too few points.
  LrSuggestions suggestions() const {
    if (smoothed_.empty() || !std::isnan(smoothed_.back())) {
      return suggest_rates(rates_, smoothed_, options_.steps);
    }
    // As if the test had gone on with NaN to its end: the last five points are then NaNs.
    std::vector<double> rates = rates_, smoothed = smoothed_;
    rates.resize(static_cast<std::size_t>(options_.steps), options_.end);
    smoothed.resize(static_cast<std::size_t>(options_.steps), std::nan(""));
    return suggest_rates(rates, smoothed, options_.steps);
  }

 private:
  LrFindOptions options_;
  SmoothedLoss smooth_;
  double best_ = std::numeric_limits<double>::infinity();
  bool finished_ = false;
  std::vector<double> rates_, losses_, smoothed_;
};

}  // namespace mwalimu::optim
