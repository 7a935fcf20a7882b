// optim/options: the settings of every optimiser, by name and as plain structs.
//
// In all formulas: g gradient, p parameter, t the step of this parameter from 1, lr the learning
// rate, wd the weight decay, beta1 = momentum, beta2 = squared_momentum, d1 = 1 - beta1^t,
// d2 = 1 - beta2^t. Decoupled weight decay is p <- (1 - lr wd) p before the update; it leaves
// segments with decay = false alone, and so does the L2 form.
#pragma once

#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "mwalimu/core/check.hpp"

namespace mwalimu::optim {

enum class WeightDecay {
  decoupled,  ///< p <- (1 - lr wd) p
  l2,         ///< g <- g + wd p
};

/// m <- momentum m + g;  p <- p - lr m. No dampening; the first step has m = g.
struct SgdOptions {
  double momentum = 0.9;
  double weight_decay = 0;
  WeightDecay decay_rule = WeightDecay::decoupled;  ///< fastai's; PyTorch's SGD is l2
};

/// m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
/// p <- p - lr / d1 * m / (sqrt(v / d2) + epsilon), with decoupled weight decay: AdamW.
/// The defaults are fastai's; PyTorch's are in pytorch().
/// Source: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101.
struct AdamOptions {
  double momentum = 0.9;
  double squared_momentum = 0.99;
  double epsilon = 1e-5;
  double weight_decay = 0.01;
  static constexpr AdamOptions pytorch() { return {0.9, 0.999, 1e-8, 0.01}; }
};

/// Adam's u = m / d1 / (sqrt(v / d2) + epsilon), then p <- p - lr q u with the trust ratio
/// q = min(rms(p) / rms(u), max_ratio), or 1 where either is 0; p is taken after the decay.
/// Source: You et al. 2020, arXiv:1904.00962, in the form of fastai: weight decay is not inside u,
/// and every tensor has its ratio, batch norm and biases too.
struct LambOptions {
  double momentum = 0.9;
  double squared_momentum = 0.99;
  double epsilon = 1e-5;
  double weight_decay = 0;
  double max_ratio = 10;
};

/// m <- momentum m + g;  local = lr trust |p| / (|g| + wd |p| + epsilon), at most lr with clip;
/// p <- p - local m, after decoupled decay. wd in `local` is the option's value for every segment,
/// also for those that do not decay.   Source: fastai, Larc.
struct LarcOptions {
  double momentum = 0.9;
  double weight_decay = 0;
  double trust = 0.02;
  double epsilon = 1e-8;
  bool clip = true;
};

/// a = trust |p| / (|g| + wd |p| + epsilon);  g <- a (g + wd p);  then SGD without weight decay.
/// A segment whose |p| or |g| is 0 takes its gradient as it is.
/// Source: You et al. 2017, arXiv:1708.03888. With clip (a <- min(a / lr, 1)) it is apex's LARC,
/// without it what facebook's SwAV trains with; scale_undecayed = false is lightly's LARS.
struct LarsOptions {
  double momentum = 0.9;
  double weight_decay = 1e-6;
  double trust = 0.001;
  double epsilon = 1e-8;
  bool clip = false;
  bool scale_undecayed = true;  ///< false: segments without weight decay keep a = 1
};

/// Adam whose denominator is used only once the variance of its estimate is known well enough:
/// r_inf = 2 / (1 - beta2) - 1, r = r_inf - 2 t beta2^t / d2; while r <= 5: p <- p - lr / d1 m;
/// after that p <- p - lr rho / d1 * m / (sqrt(v / d2) + epsilon), rho = sqrt((r - 4)(r - 2) r_inf
/// / ((r_inf - 4)(r_inf - 2) r)). softplus_beta > 0 replaces the denominator x by log(1 + exp(beta
/// x)) / beta. Source: Liu et al. 2020, arXiv:1908.03265; fastai, RAdam.
struct RadamOptions {
  double momentum = 0.9;
  double squared_momentum = 0.99;
  double epsilon = 1e-5;
  double weight_decay = 0;
  double softplus_beta = 0;
};

/// Lookahead(RAdam): every `period` steps slow <- slow + blend (p - slow), p <- slow; slow is a
/// copy of p before the segment's first step. Source: Zhang et al. 2019, arXiv:1907.08610; fastai,
/// ranger.
struct RangerOptions {
  double momentum = 0.95;
  double squared_momentum = 0.99;
  double epsilon = 1e-6;
  double weight_decay = 0.01;
  double softplus_beta = 0;
  int period = 6;
  double blend = 0.5;
};

using OptimizerOptions = std::variant<SgdOptions, AdamOptions, LambOptions, LarcOptions,
                                      LarsOptions, RadamOptions, RangerOptions>;

/// The momentum of an optimiser where no schedule names another one.
inline double momentum_of(const OptimizerOptions& options) {
  return std::visit([](const auto& chosen) { return chosen.momentum; }, options);
}

/// What may change from step to step.
struct HyperParameters {
  double lr = 0;                             ///< learning rate, >= 0
  std::span<const double> group_scale = {};  ///< factor on lr by group; empty: 1 for every group
  std::optional<double> momentum = {};       ///< in [0, 1); empty: the option's value
  /// Factor on every gradient before anything else sees it: 1 / loss scale, 1 / accumulated
  /// batches, or the coefficient of gradient clipping.
  double gradient_scale = 1;
};

namespace detail {

template <class Options>
concept HasSquaredMomentum = requires(const Options& options) {
  options.squared_momentum;
};

/// @throws ValueError  an option outside its range.
template <class Options>
void check_options(const Options& options) {
  require<ValueError>(options.momentum >= 0 && options.momentum < 1,
                      "optimizer: want momentum in [0, 1), got ", options.momentum);
  require<ValueError>(options.weight_decay >= 0 && std::isfinite(options.weight_decay),
                      "optimizer: want a weight decay >= 0, got ", options.weight_decay);
  if constexpr (HasSquaredMomentum<Options>) {
    require<ValueError>(options.squared_momentum >= 0 && options.squared_momentum < 1,
                        "optimizer: want squared_momentum in [0, 1), got ",
                        options.squared_momentum);
  }
  if constexpr (requires { options.epsilon; }) {
    require<ValueError>(options.epsilon > 0 && std::isfinite(options.epsilon),
                        "optimizer: want epsilon > 0, got ", options.epsilon);
  }
  if constexpr (requires { options.trust; }) {
    require<ValueError>(options.trust > 0 && std::isfinite(options.trust),
                        "optimizer: want a trust coefficient > 0, got ", options.trust);
  }
  if constexpr (requires { options.max_ratio; }) {
    require<ValueError>(options.max_ratio > 0, "optimizer: want max_ratio > 0, got ",
                        options.max_ratio);
  }
  if constexpr (requires { options.softplus_beta; }) {
    require<ValueError>(options.softplus_beta >= 0 && std::isfinite(options.softplus_beta),
                        "optimizer: want softplus_beta >= 0, got ", options.softplus_beta);
  }
  if constexpr (std::is_same_v<Options, RangerOptions>) {
    require<ValueError>(options.period >= 1 && options.blend >= 0 && options.blend <= 1,
                        "optimizer: want period >= 1 and blend in [0, 1], got ", options.period,
                        " and ", options.blend);
  }
}

}  // namespace detail

/// The names that optimizer_options knows.
inline constexpr std::array<std::string_view, 9> kOptimizerNames = {
    "lamb", "lars", "larc", "larc-apex", "sgd", "adam", "adamw", "radam", "ranger"};

/// Default options by name: lamb; lars (facebook's SwAV: apex's rule without clip); larc
/// (fastai's); larc-apex (apex's, with clip); sgd (decoupled decay); adam and adamw (one rule, fastai's and PyTorch's defaults);
/// radam; ranger.
/// @param weight_decay  replaces the default where given.
/// @throws ValueError  an unknown name; the text lists the known ones.
inline OptimizerOptions optimizer_options(std::string_view name,
                                          std::optional<double> weight_decay = {}) {
  OptimizerOptions options;
  if (name == "lamb") {
    options = LambOptions{};
  } else if (name == "lars") {
    options = LarsOptions{};
  } else if (name == "larc") {
    options = LarcOptions{};
  } else if (name == "larc-apex") {
    options = LarsOptions{.clip = true};
  } else if (name == "sgd") {
    options = SgdOptions{};
  } else if (name == "adam") {
    options = AdamOptions{};
  } else if (name == "adamw") {
    options = AdamOptions::pytorch();
  } else if (name == "radam") {
    options = RadamOptions{};
  } else if (name == "ranger") {
    options = RangerOptions{};
  } else {
    std::string known;
    for (std::string_view each : kOptimizerNames)
      known.append(known.empty() ? "" : ", ").append(each);
    require<ValueError>(false, "unknown optimizer '", name, "'; want one of ", known);
  }
  if (weight_decay) {
    std::visit([&](auto& chosen) { chosen.weight_decay = *weight_decay; }, options);
  }
  return options;
}

}  // namespace mwalimu::optim
