// train/study_results: what the models of a study reached, side by side.
#pragma once

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/eval/statistics.hpp"
#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/train/study.hpp"

namespace mwalimu::train {

namespace detail {

inline std::string rounded(double value, int digits = 3) {
  if (!std::isfinite(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}
inline std::string signed_rounded(double value) {
  if (!std::isfinite(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%+.3f", value);
  return text;
}

/// "0.912 ± 0.004" over the seeds; the deviation is left out for one seed.
inline std::string mean_text(const std::vector<double>& values) {
  const std::string centre = rounded(eval::mean(values));
  return values.size() < 2 ? centre
                           : centre + " \xC2\xB1 " + rounded(eval::standard_deviation(values));
}

}  // namespace detail

/// One way to a classifier, and its evaluation on the test part for every seed.
struct Arm {
  std::string name;
  std::vector<const eval::Evaluation*> evaluations;

  template <class F>
  std::vector<double> each(F&& f) const {
    std::vector<double> values;
    for (const auto* evaluation : evaluations) values.push_back(f(*evaluation));
    return values;
  }
};

/// The arms of a study, all from the same labels. It points into the study, which must outlive it.
struct StudyResults {
  Arm linear_random{"random features, linear", {}};
  Arm linear_pretrained{"SwAV features, linear", {}};
  Arm scratch{"from random weights", {}};
  Arm finetuned{"SwAV, then finetuned", {}};
  std::vector<Arm> rounds;  ///< of distillation

  explicit StudyResults(const StudyResult& study) {
    const auto add = [](Arm& arm, const std::optional<eval::Evaluation>& test) {
      if (test) arm.evaluations.push_back(&*test);
    };
    for (const StudyRun& run : study.runs) {
      add(linear_random, run.linear_random.test);
      add(linear_pretrained, run.linear_pretrained.test);
      add(scratch, run.scratch.test);
      add(finetuned, run.pretrained.test);
      for (std::size_t round = 0; round < run.rounds.size(); ++round) {
        if (!run.rounds[round].result.test) continue;
        while (rounds.size() <= round) {
          rounds.push_back({"+ distillation, round " + std::to_string(rounds.size() + 1), {}});
        }
        add(rounds[round], run.rounds[round].result.test);
      }
    }
  }

  /// Those that were evaluated, simplest first.
  std::vector<const Arm*> all() const {
    std::vector<const Arm*> arms;
    for (const Arm* arm : {&linear_random, &linear_pretrained, &scratch, &finetuned}) {
      if (!arm->evaluations.empty()) arms.push_back(arm);
    }
    for (const Arm& round : rounds) arms.push_back(&round);
    return arms;
  }
};

/// A line a model: accuracy, macro F1 and log loss, mean and standard deviation over the seeds.
inline void print_results(const StudyResults& results, std::ostream& console) {
  const auto row = [&](const std::string& name, const std::string& accuracy, const std::string& f1,
                       const std::string& loss) {
    // "±" is one column and two bytes.
    const auto cell = [&](const std::string& text) {
      const std::size_t columns = text.size() - (text.find('\xB1') != std::string::npos ? 1 : 0);
      console << "  " << text << std::string(columns < 15 ? 15 - columns : 0, ' ');
    };
    console << name << std::string(name.size() < 26 ? 26 - name.size() : 0, ' ');
    cell(accuracy), cell(f1), cell(loss);
    console << "\n";
  };
  row("test part", "accuracy", "macro F1", "log loss");
  for (const Arm* arm : results.all()) {
    row(arm->name, detail::mean_text(arm->each([](const auto& e) { return e.together.accuracy; })),
        detail::mean_text(arm->each([](const auto& e) { return e.together.macro_f1; })),
        detail::mean_text(arm->each([](const auto& e) { return e.together.log_loss; })));
  }
  const auto all = results.all();
  if (all.empty()) return;
  const auto& baseline = all.front()->evaluations.front()->together.baseline;
  row("majority class, prior", detail::rounded(baseline.majority_accuracy), "-",
      detail::rounded(baseline.prior_log_loss));
  console << std::flush;
}

/// results.csv: model, seeds, and the mean and standard deviation of each metric, of all test images
/// and of each sensor's.
/// @throws FileError  cannot write.
inline void write_results(const std::filesystem::path& path, const StudyResults& results) {
  const std::vector<std::pair<const char*, double eval::Metrics::*>> metrics{
      {"accuracy", &eval::Metrics::accuracy},
      {"macro_f1", &eval::Metrics::macro_f1},
      {"log_loss", &eval::Metrics::log_loss},
      {"roc_auc", &eval::Metrics::roc_auc}};
  std::string text = "model,images,seeds";
  for (const auto& [name, field] : metrics) text += std::string(",") + name + "," + name + "_sd";
  text += "\n";
  const auto line = [&](const Arm& arm, const char* images, auto&& metrics_of) {
    for (const auto* evaluation : arm.evaluations) {
      if (metrics_of(*evaluation) == nullptr) return;
    }
    io::detail::append_csv(text, arm.name);
    text += std::string(",") + images + "," + std::to_string(arm.evaluations.size());
    for (const auto& [name, field] : metrics) {
      const auto values = arm.each([&, f = field](const auto& e) { return metrics_of(e)->*f; });
      text += "," + detail::rounded(eval::mean(values), 5);
      text += "," + detail::rounded(eval::standard_deviation(values), 5);
    }
    text += "\n";
  };
  using eval::Evaluation;
  for (const Arm* arm : results.all()) {
    line(*arm, "all", [](const Evaluation& e) { return &e.together; });
    line(*arm, "rgb", [](const Evaluation& e) { return e.rgb ? &*e.rgb : nullptr; });
    line(*arm, "rgn", [](const Evaluation& e) { return e.rgn ? &*e.rgn : nullptr; });
  }
  io::write_file(path, text);
}

}  // namespace mwalimu::train
