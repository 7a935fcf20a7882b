// optim/schedule: learning rate and momentum as functions of how much of the training is done.
//
// The position of step i of all n is i / n: it starts at 0 and never reaches 1. Schedules know no
// steps and keep no state, so a resumed run needs nothing but its position.
#pragma once

#include <array>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "mwalimu/core/check.hpp"

namespace mwalimu::optim {

/// What a schedule says at a position.
struct SchedulePoint {
  double lr = 0;
  std::optional<double> momentum = {};  ///< empty: the optimiser's own
};

namespace detail {

/// Half a cosine wave from `from` (x = 0) to `to` (x = 1).
inline double cosine_between(double from, double to, double x) {
  return from + (1 + std::cos(std::numbers::pi * (1 - x))) * (to - from) / 2;
}

inline void check_position(double position) {
  require<ValueError>(position >= 0 && position <= 1, "schedule: want a position from 0 to 1, got ",
                      position);
}

inline void check_rate(std::string_view what, double rate) {
  require<ValueError>(rate >= 0 && std::isfinite(rate), "schedule: want ", what, " >= 0, got ",
                      rate);
}

inline void check_fraction(std::string_view what, double fraction) {
  require<ValueError>(fraction >= 0 && fraction <= 1, "schedule: want ", what, " from 0 to 1, got ",
                      fraction);
}

inline void check_divisor(std::string_view what, double divisor) {
  require<ValueError>(divisor > 0 && std::isfinite(divisor), "schedule: want ", what, " > 0, got ",
                      divisor);
}

}  // namespace detail

// Every struct below: operator()(position) gives the point at a position from 0 to 1 (ValueError
// elsewhere), check() throws ValueError for settings outside their range.

/// The same learning rate throughout.
struct Constant {
  double lr = 1e-3;

  SchedulePoint operator()(double position) const {
    detail::check_position(position);
    return {lr};
  }
  void check() const { detail::check_rate("lr", lr); }
};

/// Up from lr / div to lr in the first pct_start, down to lr / div_final in the rest, each by half
/// a cosine, and the momentum the other way round. Source: Smith 2018, arXiv:1803.09820; fastai,
/// fit_one_cycle.
struct OneCycle {
  double lr = 1e-3;  ///< the highest
  double div = 25;
  double div_final = 1e5;
  double pct_start = 0.25;
  std::array<double, 3> momentum = {0.95, 0.85, 0.95};  ///< at the start, the top and the end

  SchedulePoint operator()(double position) const {
    detail::check_position(position);
    if (position < pct_start) {
      const double x = position / pct_start;
      return {detail::cosine_between(lr / div, lr, x),
              detail::cosine_between(momentum[0], momentum[1], x)};
    }
    const double x = pct_start < 1 ? (position - pct_start) / (1 - pct_start) : 0;
    return {detail::cosine_between(lr, lr / div_final, x),
            detail::cosine_between(momentum[1], momentum[2], x)};
  }
  void check() const {
    detail::check_rate("lr", lr);
    detail::check_divisor("div", div);
    detail::check_divisor("div_final", div_final);
    detail::check_fraction("pct_start", pct_start);
    for (const double each : momentum) {
      require<ValueError>(each >= 0 && each < 1, "schedule: want momentum in [0, 1), got ", each);
    }
  }
};

/// lr for the first pct_start, then half a cosine down to lr / div_final.
/// Source: fastai, fit_flat_cos.
struct FlatCosine {
  double lr = 1e-3;
  double pct_start = 0.75;
  double div_final = 1e5;

  SchedulePoint operator()(double position) const {
    detail::check_position(position);
    if (position < pct_start || pct_start >= 1) return {lr};
    return {detail::cosine_between(lr, lr / div_final, (position - pct_start) / (1 - pct_start))};
  }
  void check() const {
    detail::check_rate("lr", lr);
    detail::check_fraction("pct_start", pct_start);
    detail::check_divisor("div_final", div_final);
  }
};

/// Linear from lr_start to lr over the first `warmup` of the training, then half a cosine down to
/// lr_final.
/// Source: Caron et al. 2020, arXiv:2006.09882, and its code, whose warm-up of W steps ends on lr
/// at step W - 1; here step W is the first at lr, so that the rate is continuous.
struct CosineWarmup {
  double lr = 1e-3;
  double warmup = 0.025;  ///< fraction of the training; SwAV: 10 of 400 epochs
  double lr_start = 0;
  double lr_final = 0;

  SchedulePoint operator()(double position) const {
    detail::check_position(position);
    if (position < warmup) return {lr_start + (lr - lr_start) * position / warmup};
    const double x = warmup < 1 ? (position - warmup) / (1 - warmup) : 0;
    return {detail::cosine_between(lr, lr_final, x)};
  }
  void check() const {
    detail::check_rate("lr", lr);
    detail::check_rate("lr_start", lr_start);
    detail::check_rate("lr_final", lr_final);
    detail::check_fraction("warmup", warmup);
  }
};

/// `cycles` half cosines from lr to 0, each cycle_mult times as long as the one before.
/// Source: Loshchilov and Hutter 2017, arXiv:1608.03983; fastai, fit_sgdr, which divides by zero at
/// cycle_mult = 1. There, the first
/// cycle has cycle_len epochs, and the training cycle_len * units().
struct Sgdr {
  double lr = 1e-3;
  int cycles = 3;
  double cycle_mult = 2;

  SchedulePoint operator()(double position) const {
    detail::check_position(position);
    // In units of the first cycle.
    double left = position * units();
    double length = 1;
    for (int cycle = 1; cycle < cycles && left >= length; ++cycle) {
      left -= length;
      length *= cycle_mult;
    }
    return {detail::cosine_between(lr, 0, std::fmin(left / length, 1.0))};
  }
  /// The whole training in units of the first cycle: 1 + mult + mult^2 + ...
  double units() const {
    double sum = 0, length = 1;
    for (int cycle = 0; cycle < cycles; ++cycle, length *= cycle_mult) sum += length;
    return sum;
  }
  void check() const {
    detail::check_rate("lr", lr);
    require<ValueError>(cycles >= 1 && cycles <= 64, "schedule: want 1 to 64 cycles, got ", cycles);
    require<ValueError>(cycle_mult > 0 && std::isfinite(cycle_mult),
                        "schedule: want cycle_mult > 0, got ", cycle_mult);
  }
};

/// start (end / start)^position, position from 0 to 1.
inline double exponential_rate(double start, double end, double position) {
  return start * std::pow(end / start, position);
}

/// From `start` to lr, by the same factor every step: the sweep of the learning-rate range test
/// (optim/lr_find.hpp). Source: Smith 2017, arXiv:1506.01186; fastai, SchedExp.
struct Exponential {
  double lr = 10;  ///< the last, the highest
  double start = 1e-7;

  SchedulePoint operator()(double position) const {
    detail::check_position(position);
    return {exponential_rate(start, lr, position)};
  }
  void check() const {
    require<ValueError>(start > 0 && lr > start && std::isfinite(lr),
                        "schedule: want 0 < start < lr, got ", start, " and ", lr);
  }
};

/// Two one-cycles: one with lr for the first `frozen` of the training, in which the trainer keeps the
/// encoder still but for its batch norm, then a shorter rise to half of it for the whole network.
/// Source: fastai, fine_tune; there `frozen` is freeze_epochs / (freeze_epochs + epochs).
struct FineTune {
  double lr = 2e-3;
  double frozen = 0.1;

  SchedulePoint operator()(double position) const {
    detail::check_position(position);
    if (position < frozen) return OneCycle{.lr = lr, .pct_start = 0.99}(position / frozen);
    const double rest = (position - frozen) / (1 - frozen);
    return OneCycle{.lr = lr / 2, .div = 5, .pct_start = 0.3}(rest);
  }
  void check() const {
    detail::check_rate("lr", lr);
    require<ValueError>(frozen >= 0 && frozen < 1,
                        "schedule: want frozen of at least 0 and below 1, got ", frozen);
  }
};

using Schedule =
    std::variant<Constant, OneCycle, FlatCosine, CosineWarmup, Sgdr, Exponential, FineTune>;

/// The point of any schedule. @throws ValueError  position outside [0, 1].
inline SchedulePoint at(const Schedule& schedule, double position) {
  return std::visit([&](const auto& chosen) { return chosen(position); }, schedule);
}

/// @throws ValueError  a setting outside its range.
inline void check(const Schedule& schedule) {
  std::visit([](const auto& chosen) { chosen.check(); }, schedule);
}

/// The names that make_schedule knows.
inline constexpr std::array<std::string_view, 5> kScheduleNames = {"one-cycle", "flat-cos",
                                                                   "cosine", "sgdr", "constant"};

/// A schedule by name, with the highest learning rate `lr` and the defaults of its struct.
/// @throws ValueError  an unknown name (the text lists the known ones), or lr < 0.
inline Schedule make_schedule(std::string_view name, double lr) {
  Schedule schedule;
  if (name == "one-cycle") {
    schedule = OneCycle{.lr = lr};
  } else if (name == "flat-cos") {
    schedule = FlatCosine{.lr = lr};
  } else if (name == "cosine") {
    schedule = CosineWarmup{.lr = lr};
  } else if (name == "sgdr") {
    schedule = Sgdr{.lr = lr};
  } else if (name == "constant") {
    schedule = Constant{.lr = lr};
  } else {
    std::string known;
    for (std::string_view each : kScheduleNames) {
      known.append(known.empty() ? "" : ", ").append(each);
    }
    require<ValueError>(false, "unknown schedule '", name, "'; want one of ", known);
  }
  check(schedule);
  return schedule;
}

}  // namespace mwalimu::optim
