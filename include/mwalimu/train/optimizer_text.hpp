// train/optimizer_text: an optimiser or a schedule with every number of it, for a run's settings.
#pragma once

#include <sstream>
#include <string>
#include <variant>

#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/schedule.hpp"
#include "mwalimu/train/settings.hpp"

namespace mwalimu::train {

namespace detail {

// Every field that any of them has, by name.
template <class Options>
std::string fields_text(const Options& o) {
  std::ostringstream text;
  text.precision(17);
  const auto add = [&](const char* name, const auto& value) { text << ' ' << name << '=' << value; };
#define MWALIMU_FIELD(name) \
  if constexpr (requires { text << o.name; }) add(#name, o.name)
  MWALIMU_FIELD(momentum);
  MWALIMU_FIELD(squared_momentum);
  MWALIMU_FIELD(epsilon);
  MWALIMU_FIELD(weight_decay);
  MWALIMU_FIELD(max_ratio);
  MWALIMU_FIELD(trust);
  MWALIMU_FIELD(clip);
  MWALIMU_FIELD(scale_undecayed);
  MWALIMU_FIELD(softplus_beta);
  MWALIMU_FIELD(period);
  MWALIMU_FIELD(blend);
  MWALIMU_FIELD(lr);
  MWALIMU_FIELD(div);
  MWALIMU_FIELD(div_final);
  MWALIMU_FIELD(pct_start);
  MWALIMU_FIELD(warmup);
  MWALIMU_FIELD(lr_start);
  MWALIMU_FIELD(lr_final);
  MWALIMU_FIELD(cycles);
  MWALIMU_FIELD(cycle_mult);
  MWALIMU_FIELD(start);
  MWALIMU_FIELD(frozen);
#undef MWALIMU_FIELD
  if constexpr (requires { o.momentum[0]; }) {
    for (const double each : o.momentum) add("momentum", each);
  }
  if constexpr (requires { o.decay_rule; }) add("decay_rule", static_cast<int>(o.decay_rule));
  return std::move(text).str();
}

}  // namespace detail

/// Every number of it: adam and adamw, one rule with other defaults, have different texts.
inline std::string text_of(const optim::OptimizerOptions& optimizer) {
  return std::visit([](const auto& o) { return detail::fields_text(o); }, optimizer);
}
inline std::string text_of(const optim::Schedule& schedule) {
  return std::visit([](const auto& o) { return detail::fields_text(o); }, schedule);
}

/// What a run's settings did not hold from the beginning: the numbers in which its optimiser and its
/// schedule differ from the defaults of their kind, which the settings name.
inline void add_optimizer(Settings& settings, const optim::OptimizerOptions& optimizer,
                          const optim::Schedule& schedule) {
  const auto usual_optimizer = std::visit(
      []<class O>(const O& o) {
        O usual;
        usual.weight_decay = o.weight_decay;
        return optim::OptimizerOptions(usual);
      },
      optimizer);
  const auto usual_schedule = std::visit(
      []<class S>(const S& s) {
        S usual;
        usual.lr = s.lr;
        return optim::Schedule(usual);
      },
      schedule);
  settings.add_unless("optimizer numbers", text_of(optimizer), text_of(usual_optimizer));
  settings.add_unless("schedule numbers", text_of(schedule), text_of(usual_schedule));
}

}  // namespace mwalimu::train
