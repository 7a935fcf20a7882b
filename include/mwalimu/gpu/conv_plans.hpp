// gpu/conv_plans: the plan for every convolution of a process, chosen once and kept.
#pragma once

#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mwalimu/gpu/cudnn_conv.hpp"
#include "mwalimu/gpu/plan_file.hpp"

namespace mwalimu::gpu::cudnn {

/// Milliseconds of one run of a plan, the median of some.
using Timer = std::function<double(const ConvPlan&)>;

/// The plans of one device.
///
/// heuristic: the first of cuDNN's suggestions (mode A, then B, then its fallbacks) that is permitted
/// and can be built. measured: the fastest of the first kMeasured such, or what the plan file has.
/// Thread-safe; a choice is made under the lock, so that no two threads time plans against each other.
class ConvPlans {
 public:
  /// Suggestions that are timed. The best by measurement is seldom far down cuDNN's list, and each
  /// costs some runs of the convolution.
  static constexpr std::size_t kMeasured = 12;

  /// @param name  of the device and the library: "NVIDIA H200, cuDNN 91900".
  /// @param file  outlives this object; null: nothing is kept between runs.
  ConvPlans(DeviceProperties device, std::string name, PlanFile* file)
      : device_(std::move(device)), name_(std::move(name)), file_(file) {}

  /// The plan for a problem.
  /// @param timer  times a plan for PlanChoice::measured; empty (always so while a graph is captured,
  ///               where nothing can be timed): a problem not met before gets the heuristic's plan,
  ///               and is measured when it is met again with a timer.
  /// @throws CudnnError  no engine takes the problem: its shapes, what was refused and why.
  std::shared_ptr<const ConvPlan> get(const ConvProblem& problem, PlanChoice how,
                                      const Timer& timer) {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[problem];
    if (how == PlanChoice::measured) {
      if (entry.measured == nullptr && timer) entry.measured = measured(problem, entry, timer);
      if (entry.measured != nullptr) return entry.measured;
    }
    if (entry.heuristic == nullptr) entry.heuristic = buildable(problem, entry, 1).at(0);
    return entry.heuristic;
  }

  /// Never hands out this plan again: it was built, but did not run. The next get() has another.
  void reject(const ConvPlan& plan) {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[plan.problem()];
    entry.rejected.push_back(plan.choice());
    for (auto* kept : {&entry.heuristic, &entry.measured}) {
      if (*kept != nullptr && (*kept)->choice() == plan.choice()) kept->reset();
    }
  }

 private:
  struct Hash {
    std::size_t operator()(const ConvProblem& problem) const { return problem.hash(); }
  };
  struct Entry {
    std::shared_ptr<const ConvPlan> heuristic, measured;
    std::vector<EngineChoice> rejected;
    bool rejects(const EngineChoice& choice) const {
      return std::find(rejected.begin(), rejected.end(), choice) != rejected.end();
    }
  };
  using Plans = std::vector<std::shared_ptr<const ConvPlan>>;

  /// Up to `most` plans, at least one.
  Plans buildable(const ConvProblem& problem, const Entry& entry, std::size_t most) const {
    const auto graph = std::make_shared<const ConvGraph>(problem);
    Plans plans;
    std::size_t suggested = 0, allowed = 0;
    std::string refusal;
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
      for (const Suggestion& suggestion : graph->suggestions(device_, mode)) {
        ++suggested;
        if (!permitted(suggestion, problem)) continue;
        ++allowed;
        const bool known = std::any_of(plans.begin(), plans.end(), [&](const auto& plan) {
          return plan->choice() == suggestion.choice;
        });
        if (known || entry.rejects(suggestion.choice)) continue;
        try {
          plans.push_back(std::make_shared<const ConvPlan>(graph, device_, suggestion.choice));
        } catch (const CudnnError& error) {
          if (refusal.empty()) refusal = std::string("; the first said: ") + error.what();
        }
        if (plans.size() == most) return plans;
      }
    }
    require<CudnnError>(!plans.empty(), "conv2d ", problem.key(), ": cuDNN has no engine on ", name_,
                        ": ", suggested, " suggested, ", allowed,
                        " with sums in float", problem.deterministic ? " and in a fixed order" : "",
                        ", none can be built and run", refusal,
                        "; try other channels, another precision or the cpu");
    return plans;
  }

  std::shared_ptr<const ConvPlan> measured(const ConvProblem& problem, const Entry& entry,
                                           const Timer& timer) {
    const std::string key = problem.key();
    if (file_ != nullptr) {
      const auto kept = file_->find(name_, key);
      if (kept && !entry.rejects(kept->choice)) {
        try {
          return std::make_shared<const ConvPlan>(std::make_shared<const ConvGraph>(problem),
                                                  device_, kept->choice);
        } catch (const CudnnError& error) {
          std::cerr << "mwalimu: the plan file's " << kept->choice << " for " << key
                    << " cannot be built: " << error.what() << "; it is measured anew\n";
        }
      }
    }
    std::shared_ptr<const ConvPlan> best;
    double best_time = 0;
    std::string refusal;
    for (const auto& plan : buildable(problem, entry, kMeasured)) {
      try {
        const double time = timer(*plan);
        if (best == nullptr || time < best_time) {
          best = plan;
          best_time = time;
        }
      } catch (const NotSupported& error) {  // built, but does not run: some other may
        if (refusal.empty()) refusal = error.what();
      }
    }
    require<CudnnError>(best != nullptr, "conv2d ", key, ": no plan runs on ", name_,
                        "; the first said: ", refusal);
    if (file_ != nullptr) file_->put(name_, key, {best->choice(), best_time});
    return best;
  }

  DeviceProperties device_;
  std::string name_;
  PlanFile* file_;
  std::mutex mutex_;
  std::unordered_map<ConvProblem, Entry, Hash> entries_;
};

}  // namespace mwalimu::gpu::cudnn
