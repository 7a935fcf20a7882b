// train/find_lr: the learning-rate range test of both trainings, and what it leaves on disk.
//
// The test itself, its stop and its suggestions are optim/lr_find.hpp; the classifier's loop is
// ClassifierTrainer::find_lr.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mwalimu/io/atomic_file.hpp"
#include "mwalimu/io/csv.hpp"
#include "mwalimu/optim/lr_find.hpp"
#include "mwalimu/report/line_plot.hpp"
#include "mwalimu/train/pretrain.hpp"

namespace mwalimu::train {

/// Called after each step of a range test with the steps done.
using OnSweepStep = std::function<void(std::int64_t)>;

/// The range test of SwAV's pretraining, on a network of its own: nothing is kept of it but the
/// losses, and there is no queue, which would join in the middle of a run.
/// @param options  epochs, schedule, steps and queue are the test's own; encoder: the weights that
///                 pretraining would start from.
/// @param samples  as train::pretrain.
/// @throws ValueError  an option is out of range, or the batch is larger than the data.
inline optim::LrFinder find_swav_lr(PretrainOptions options, const data::ImageStore& store,
                                    const std::vector<ViewPair>& samples,
                                    const optim::LrFindOptions& sweep,
                                    const OnSweepStep& on_step = {}) {
  optim::LrFinder finder(sweep);
  auto& trainer_options = options.trainer;
  trainer_options.schedule = optim::Exponential{.lr = sweep.end, .start = sweep.start};
  trainer_options.queue.length = 0;
  trainer_options.crops = options.crops;
  options.epochs = 1;
  check(options, static_cast<index_t>(samples.size()));
  trainer_options.steps = sweep.steps;  // the schedule's position: step / steps, as the finder's
  trainer_options.encoder = options.architecture.options();
  // Divergence is what the test looks for: with a loss scale, be it 1, a step that is not finite is
  // skipped where the trainer would give up.
  if (!loss_scale_options(trainer_options.precision, trainer_options.loss_scale)) {
    trainer_options.loss_scale = optim::GradScalerOptions{.initial = 1};
  }
  SwavTrainer trainer(trainer_options);
  if (!options.encoder.empty()) {
    models::load_encoder(trainer.network().encoder, options.architecture, options.encoder);
  }

  const data::BatchSampler sampler(static_cast<index_t>(samples.size()), trainer_options.batch,
                                   trainer_options.seed);
  const std::int64_t batches = std::int64_t{sweep.steps} * trainer_options.accumulate;
  const auto observe = [&](const SwavTrainer::StepRecord& record) {
    finder.observe(record.codes.loss);
    if (on_step) on_step(static_cast<std::int64_t>(finder.losses().size()));
  };
  const auto on_host = [&] {
    data::Prefetcher<CropBatch> loader(
        0, batches,
        [&](std::int64_t batch, CropBatch& crops) {
          make_crops(options.crops, trainer_options.seed, batch, store, samples,
                     sampler.indices(batch), crops);
        },
        {.workers = options.workers});
    while (!finder.finished()) {
      observe(trainer.step([&]() -> const CropBatch& { return *loader.next(); }));
    }
  };
  const auto on_gpu = [&](auto device_store) {
    gpu::BatchFeed feed(
        device_store, 2 * trainer_options.batch, 0, batches,
        [&](std::int64_t batch, gpu::BatchRequest& want) {
          for (const index_t row : sampler.indices(batch)) {
            const ViewPair pair = samples[static_cast<std::size_t>(row)];
            want.images.insert(want.images.end(), {pair.first, pair.second});
          }
        },
        {.workers = std::max(options.workers, 1)});
    while (!finder.finished()) {
      trainer.queue_step(feed);
      observe(trainer.read_steps().back());
    }
  };
  on_device(trainer_options.device, [&](auto place) {
    if constexpr (std::is_same_v<decltype(place), Cpu>) {
      on_host();
    } else {
      on_gpu(gpu::DeviceStore(store, trainer_options.device, options.store));
    }
  });
  return finder;
}

/// A learning rate as it is shown: "2.75e-03".
inline std::string format_rate(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2e", rate);
  return text;
}

/// A line each: "valley   2.75e-03  in the longest ...".
inline std::string summary(const optim::LrSuggestions& found) {
  std::string text;
  text.append("valley   ").append(format_rate(found.valley));
  text.append("  in the longest descent of the loss: the one to start with\n");
  text.append("steep    ").append(format_rate(found.steep));
  text.append("  where the loss falls fastest\n");
  text.append("minimum  ").append(format_rate(found.minimum));
  text.append("  a tenth of the rate with the smallest loss\n");
  text.append("slide    ").append(format_rate(found.slide));
  text.append("  before the slope changes, seen from the right");
  return text;
}

/// The smoothed loss and the loss itself over the learning rate, the suggestions as vertical lines.
inline std::string lr_plot_svg(const optim::LrFinder& finder, const optim::LrSuggestions& found,
                               const std::string& title) {
  const auto copy = [](std::span<const double> values) {
    return std::vector<double>(values.begin(), values.end());
  };
  // Where the test ends the loss is many times what it was: shown up to there, the descent would look
  // flat. What is well above all losses before the smallest one is left out.
  const auto all = finder.smoothed_losses();
  const auto lowest = std::min_element(all.begin(), all.end());
  const double limit = 1.15 * *std::max_element(all.begin(), lowest + 1);
  const auto shown = [&](std::vector<double> losses) {
    for (double& loss : losses) {
      if (loss > limit) loss = std::nan("");
    }
    return losses;
  };
  report::LinePlot plot{.title = title, .x_label = "learning rate", .y_label = "loss",
                        .log_x = true};
  plot.series.push_back(
      {.name = "smoothed loss", .x = copy(finder.rates()), .y = shown(copy(all))});
  plot.series.push_back({.name = "loss of one step",
                         .x = copy(finder.rates()),
                         .y = shown(copy(finder.losses())),
                         .dashed = true,
                         .colour = 5});
  // A tenth of a rate may lie below all that were tried.
  const double first = finder.rates().front();
  const auto mark = [&](std::string label, double rate) {
    label.append(" ").append(format_rate(rate)).append(rate < first ? ", further left" : "");
    plot.events.push_back({std::max(rate, first), label});
  };
  mark("valley", found.valley);
  mark("steep", found.steep);
  mark("minimum", found.minimum);
  mark("slide", found.slide);
  return report::line_plot_svg(plot);
}

/// Writes lr.csv (step,lr,loss,smoothed_loss) and lr.svg.
/// @throws ValueError  the loss diverged too early to suggest anything; nothing is written.
/// @throws FileError   cannot write.
inline optim::LrSuggestions write_lr_test(const std::filesystem::path& out,
                                          const optim::LrFinder& finder,
                                          const std::string& title) {
  const auto found = finder.suggestions();
  io::CsvWriter table(out / "lr.csv", {"step", "lr", "loss", "smoothed_loss"});
  for (std::size_t i = 0; i < finder.rates().size(); ++i) {
    table.row(i, finder.rates()[i], finder.losses()[i], finder.smoothed_losses()[i]);
  }
  table.commit();
  io::write_file(out / "lr.svg", lr_plot_svg(finder, found, title));
  return found;
}

}  // namespace mwalimu::train
