// examples/common/training: options that every training program has, and what they build.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "common/options.hpp"
#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/schedule.hpp"
#include "mwalimu/train/progress.hpp"
#include "mwalimu/train/study_data.hpp"

namespace mwalimu::programs {

/// --optimizer, --schedule, --lr, --weight-decay, --epochs, --batch, --accumulate, --workers, and how a
/// device works: --graph, --store; --profile.
struct TrainingOptions {
  std::string optimizer = "lamb", schedule = "one-cycle";
  double lr = 1e-4, weight_decay = 1e-6;
  int epochs = 100;
  index_t batch = 32;
  int accumulate = 1, workers = 1;
  std::string graph = "on", store = "auto";
  bool profile = false;

  optim::OptimizerOptions make_optimizer() const {
    return optim::optimizer_options(optimizer, weight_decay);
  }
  optim::Schedule make_schedule() const { return optim::make_schedule(schedule, lr); }
};

/// Those that one step depends on, and how it is run.
inline void add_step_options(CLI::App& app, TrainingOptions& o) {
  app.add_option("--batch", o.batch, "samples in a batch");
  app.add_option("--accumulate", o.accumulate, "batches whose gradients make one step");
  app.add_option("--optimizer", o.optimizer, "lars: as SwAV's authors; larc: fastai's")
      ->check(CLI::IsMember(std::vector<std::string>(optim::kOptimizerNames.begin(),
                                                     optim::kOptimizerNames.end())));
  app.add_option("--weight-decay", o.weight_decay, "decoupled; not on biases and batch norm");
  app.add_option("--workers", o.workers, "threads that prepare batches ahead")
      ->check(CLI::Range(0, 64));
  app.add_option("--graph", o.graph,
                 "on a GPU: on replays a step as one CUDA graph, off launches every kernel by itself")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--store", o.store,
                 "on a GPU, where the images lie: device, host, or auto: on the device if they fit")
      ->check(CLI::IsMember({"auto", "device", "host"}));
}

/// @param more_schedules  that the program has beside those of optim::make_schedule.
inline void add_training_options(CLI::App& app, TrainingOptions& o,
                                 const std::vector<std::string>& more_schedules = {}) {
  std::vector<std::string> schedules(optim::kScheduleNames.begin(), optim::kScheduleNames.end());
  schedules.insert(schedules.end(), more_schedules.begin(), more_schedules.end());
  app.add_option("--epochs", o.epochs, "passes over the images");
  app.add_option("--schedule", o.schedule, "of the learning rate")
      ->check(CLI::IsMember(schedules));
  app.add_option("--lr", o.lr, "highest learning rate; find_lr suggests one");
  add_step_options(app, o);
  app.add_flag("--profile", o.profile,
               "record some steps: profile.txt, the time by operation, and profile.json, a trace")
      ->configurable(false);
}

/// --input.
/// @param otherwise  what auto means; empty: there is no auto.
inline void add_input_option(CLI::App& app, std::string& input, const std::string& otherwise = {}) {
  std::vector<std::string> names{"images", "stacked"};
  if (!otherwise.empty()) names.push_back("auto");
  app.add_option("--input", input,
                 "images: each photograph by itself; stacked: a pair X.jpg, X_rgn.jpg as one image "
                 "of R, G, B and near infra-red" +
                     (otherwise.empty() ? otherwise : "; " + otherwise))
      ->check(CLI::IsMember(names));
}

/// --pool.
/// @param otherwise  what auto means; empty: there is no auto.
inline void add_pool_option(CLI::App& app, std::string& pool, const std::string& otherwise = {}) {
  std::vector<std::string> names{"concat", "average", "avg", "max"};
  if (!otherwise.empty()) names.push_back("auto");
  app.add_option("--pool", pool,
                 "what an encoder's features are of its last map: concat, maximum and mean; average "
                 "or max, one of them" +
                     (otherwise.empty() ? otherwise : "; " + otherwise))
      ->check(CLI::IsMember(names));
}

/// Reads and decodes the data set in --data with a progress line, and says what it holds.
inline train::StudyData load_data(const CommonOptions& common, int store_size,
                                  train::Input input = train::Input::images) {
  train::Progress* bar = nullptr;
  std::unique_ptr<train::Progress> progress;
  auto data = train::load_study_data(
      common.data, {.size = store_size, .skip_bad = common.skip_bad},
      [&](index_t done, index_t total) {
        if (bar == nullptr) {
          progress = std::make_unique<train::Progress>("decode", total,
                                                       train::ProgressOptions{.unit = "images"});
          bar = progress.get();
        }
        bar->update(done);
      },
      input);
  if (bar != nullptr) bar->finish();
  if (!data.dataset.skipped.empty()) {
    std::cout << "left out " << data.dataset.skipped.summary() << std::endl;
  }
  std::cout << "data: " << data.train_count << " training and " << data.test_count()
            << " test images of " << data.dataset.classes.size() << " classes"
            << (input == train::Input::stacked ? ", each of a pair: R, G, B, near infra-red" : "")
            << std::endl;
  return data;
}

}  // namespace mwalimu::programs
