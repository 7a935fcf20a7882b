// train/pretrain: SwAV from images to an encoder on disk.
#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iostream>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "mwalimu/data/loader.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/data/sampler.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/models/load_encoder.hpp"
#include "mwalimu/train/collapse_alarm.hpp"
#include "mwalimu/train/log_plot.hpp"
#include "mwalimu/train/optimizer_text.hpp"
#include "mwalimu/train/progress.hpp"
#include "mwalimu/train/progressive_sizes.hpp"
#include "mwalimu/train/recorder.hpp"
#include "mwalimu/train/settings.hpp"
#include "mwalimu/train/step_profile.hpp"
#include "mwalimu/train/swav_log.hpp"
#include "mwalimu/train/swav_trainer.hpp"

namespace mwalimu::train {

/// What scores the encoder while it is trained; see EncoderProbe.
struct PretrainProbe {
  std::string name = "none";                         ///< for the checkpoint's settings
  std::function<double(models::Encoder&)> accuracy;  ///< 0 to 1; empty: no probe
  int epochs = 10;                                   ///< between two of them
  double held_out = 0;  ///< share of the labelled plants that it scores on; for the settings, too
};

struct PretrainOptions {
  models::Architecture architecture;
  data::MultiCropOptions crops;
  ProgressiveSizes sizes;      ///< of the largest crops in earlier epochs; see crops_of_epoch
  SwavTrainerOptions trainer;  ///< encoder and steps are filled in
  int epochs = 100;
  int workers = 1;             ///< loader threads
  int checkpoint_epochs = 1;   ///< epochs between two checkpoints
  std::filesystem::path encoder;  ///< weights to start from; empty: random ones
  PretrainProbe probe;
  gpu::StorePlacement store = gpu::StorePlacement::automatic;  ///< on a device: where images lie
  bool profile = false;           ///< record some steps: profile.txt and profile.json
};

struct PretrainResult {
  std::int64_t steps = 0;
  double seconds = 0;       ///< of the loop, over all resumes
  double last_loss = 0;
  double loader_wait = 0;   ///< seconds that steps of this call waited for crops
  std::optional<double> probe;  ///< accuracy at the end
};

/// A plant's RGB image for both sensors: what the study trained on, though it loaded pairs.
/// @throws ValueError  no plant has one.
inline std::vector<ViewPair> rgb_views(const data::Dataset& dataset) {
  std::vector<ViewPair> samples;
  for (const data::Plant& plant : data::plants(dataset)) {
    if (plant.rgb >= 0) samples.push_back({plant.rgb, plant.rgb});
  }
  require<ValueError>(!samples.empty(), "--reference-quirks: no plant has an RGB image");
  return samples;
}

/// What each SwAV sample is: with pairs a plant with both its images, otherwise one image.
/// @throws ValueError  pairs are wanted and there are none.
inline std::vector<ViewPair> view_pairs(const data::Dataset& dataset, bool pairs) {
  std::vector<ViewPair> samples;
  if (!pairs) {
    for (index_t i = 0; i < dataset.size(); ++i) samples.push_back({i, i});
    return samples;
  }
  for (const data::Plant& plant : data::plants(dataset)) {
    if (plant.rgb >= 0 && plant.rgn >= 0) samples.push_back({plant.rgb, plant.rgn});
  }
  require<ValueError>(!samples.empty(),
                      "--pairs on: no image has a partner of the other sensor; use --pairs off");
  return samples;
}

/// What pretrain() checks before it writes anything.
/// @param samples  pairs, or single images.
/// @throws ValueError  an option is out of range, or the batch is larger than the data; the text
///                     names the option as users type it.
inline void check(const PretrainOptions& options, index_t samples) {
  require<ValueError>(options.epochs >= 1, "--epochs: want at least 1, got ", options.epochs);
  require<ValueError>(options.checkpoint_epochs >= 1, "--checkpoint-epochs: want at least 1, got ",
                      options.checkpoint_epochs);
  require<ValueError>(options.probe.epochs >= 1, "--probe-epochs: want at least 1, got ",
                      options.probe.epochs);
  data::validate(options.crops);
  require<ValueError>(options.sizes.epochs() < options.epochs, "--sizes: ", options.sizes.epochs(),
                      " epochs before the last size, but --epochs are ", options.epochs);
  SwavTrainerOptions trainer = options.trainer;
  trainer.crops = options.crops;
  check(trainer);
  const index_t batches =
      data::BatchSampler(samples, options.trainer.batch, 0).steps_per_epoch();
  require<ValueError>(options.trainer.accumulate <= batches, "--accumulate: want 1 to ", batches,
                      " (the batches of an epoch), got ", options.trainer.accumulate);
  (void)options.architecture.encoder();  // it can be built
}

namespace detail {

inline Settings settings_of(const PretrainOptions& o, const data::ImageStore& store,
                            std::size_t samples) {
  Settings s;
  s.add("arch", o.architecture.arch);
  s.add("width", o.architecture.width);
  const auto range = [&](const char* name, data::Range r) {
    s.add(name + std::string(" low"), r.low);
    s.add(name + std::string(" high"), r.high);
  };
  for (const auto& g : o.crops.groups) {
    s.add("crops", std::to_string(g.count) + "x" + std::to_string(g.size));
    range("scale", g.scale);
  }
  range("aspect", o.crops.aspect);
  s.add("pairs", o.crops.pairs);
  s.add("flip", o.crops.flip);
  s.add("jitter", o.crops.jitter);
  s.add("brightness", o.crops.jitter_range.brightness);
  s.add("contrast", o.crops.jitter_range.contrast);
  s.add("saturation", o.crops.jitter_range.saturation);
  s.add("hue", o.crops.jitter_range.hue);
  s.add("gray", o.crops.gray);
  s.add("blur", o.crops.blur);
  range("blur sigma", o.crops.blur_sigma);
  s.add("rotate", o.crops.rotate);
  s.add("degrees", o.crops.rotate_degrees);
  s.add("samples", samples);
  s.add("epochs", o.epochs);
  s.add("batch", o.trainer.batch);
  s.add("accumulate", o.trainer.accumulate);
  s.add("hidden", o.trainer.head.hidden);
  s.add("embedding", o.trainer.head.embedding);
  s.add("prototypes", o.trainer.head.prototypes);
  s.add("freeze-prototypes", o.trainer.freeze_prototypes);
  s.add("epsilon", o.trainer.loss.epsilon);
  s.add("temperature", o.trainer.loss.temperature);
  s.add("sinkhorn-iterations", o.trainer.loss.sinkhorn_iterations);
  s.add("queue-length", o.trainer.queue.length);
  s.add("queue-start", o.trainer.queue.start);
  s.add("optimizer", o.trainer.optimizer.index());
  s.add("weight-decay", std::visit([](const auto& x) { return x.weight_decay; }, o.trainer.optimizer));
  s.add("schedule", o.trainer.schedule.index());
  s.add("lr", std::visit([](const auto& x) { return x.lr; }, o.trainer.schedule));
  s.add("seed", o.trainer.seed);
  s.add_unless("precision", name_of(o.trainer.precision), name_of(Precision::float32));
  std::string coded;
  for (const index_t crop : o.trainer.loss.code_crops) {
    coded.append(coded.empty() ? "" : ",").append(std::to_string(crop));
  }
  s.add_unless("code-crops", coded, std::string("0,1"));
  s.add_unless("queue per crop", o.trainer.queue.per_crop, false);
  s.add_unless("queue empty at first", o.trainer.queue.empty_at_first, false);
  s.add_unless("enqueue first", o.trainer.queue.enqueue_first, true);
  if (const auto* cosine = std::get_if<optim::CosineWarmup>(&o.trainer.schedule)) {
    s.add_unless("warmup", cosine->warmup, optim::CosineWarmup{}.warmup);
    s.add_unless("lr-final", cosine->lr_final, optim::CosineWarmup{}.lr_final);
  }
  s.add_unless("shared box", o.crops.shared_box, false);
  s.add_unless("normalise first", o.crops.normalise_first, false);
  s.add_unless("probe", o.probe.name, std::string("none"));
  if (o.probe.accuracy) s.add("probe-epochs", o.probe.epochs);
  s.add_unless("channels", o.architecture.channels, index_t{3});
  s.add_unless("pool", models::name_of(o.architecture.pooling),
               models::name_of(models::Pooling::concat));
  s.add_unless("sizes", text_of(o.sizes), std::string());
  s.add_unless("stored size", store.height(), largest_crop(o.crops));
  s.add_unless("probe-held-out", o.probe.held_out, 0.0);
  add_optimizer(s, o.trainer.optimizer, o.trainer.schedule);
  return s;
}

}  // namespace detail

/// Trains the network of `options` on `samples` and writes, under `out`: log.csv (a row a step),
/// checkpoint.safetensors (every checkpoint_epochs epochs), and at the end encoder.safetensors,
/// swav.safetensors (whole network) and log.svg. With a probe also best_encoder.safetensors, the
/// encoder of the best probe since the queue joined: before, codes were another target. A probe sees
/// images of its own size, whatever that of the crops is, so that those of different epochs compare;
/// losses at different sizes do not. Killed at any moment and called again with `resume`, it ends
/// with the same files bit for bit, on the same machine and number of threads; but for times, log.csv
/// too.
///
/// @param console  where progress goes.
/// @return         what the run took.
/// @throws ValueError  an option is out of range, the batch is larger than the data, or a resumed
///                     run had other options.
/// @throws Error       the loss is not a number any more.
inline PretrainResult pretrain(PretrainOptions options, const data::ImageStore& store,
                               const std::vector<ViewPair>& samples,
                               const std::filesystem::path& out, bool resume,
                               std::ostream& console = std::cout) {
  check(options, static_cast<index_t>(samples.size()));
  options.architecture.channels = store.channels();
  const index_t B = options.trainer.batch;
  const data::BatchSampler sampler(static_cast<index_t>(samples.size()), B, options.trainer.seed);
  const std::int64_t accumulate = options.trainer.accumulate;
  const std::int64_t epoch_steps = sampler.steps_per_epoch() / accumulate;
  options.trainer.steps = epoch_steps * options.epochs;
  options.trainer.encoder = options.architecture.options();
  options.trainer.crops = options.crops;
  const std::int64_t steps = options.trainer.steps;

  struct {
    double accuracy = -1;  // of the encoder that was kept
    bool queue_on = false;
  } best;
  SwavTrainer trainer(options.trainer);
  const CheckpointIdentity identity{"pretrain", options.architecture.arch};
  const Settings settings = detail::settings_of(options, store, samples.size());
  if (resume) {
    const CheckpointReader checkpoint(out / "checkpoint.safetensors", identity);
    settings.require_same_as(checkpoint.text("settings"));
    trainer.restore(checkpoint);
    if (options.probe.accuracy) {
      best = {checkpoint.value<double>("probe.best"),
              checkpoint.value<std::int64_t>("probe.best_queue_on") != 0};
    }
    console << "resuming after step " << trainer.step() << " of " << steps << std::endl;
  } else if (!options.encoder.empty()) {
    const index_t channels = models::load_encoder(trainer.network().encoder, options.architecture,
                                                  options.encoder);
    if (channels != store.channels()) {
      console << options.encoder.string() << ": its first weights, of " << channels
              << " channels, are spread over " << store.channels() << std::endl;
    }
  }
  const bool scaled =
      loss_scale_options(options.trainer.precision, options.trainer.loss_scale).has_value();
  const index_t K = options.trainer.head.prototypes;
  const bool probed = static_cast<bool>(options.probe.accuracy);
  const bool resized = !options.sizes.before.empty();
  const SwavLog swav_log(options.crops, K, scaled, probed, resized);
  Recorder recorder(out / "log.csv", swav_log.columns(),
                    resume ? std::optional<index_t>(trainer.step()) : std::nullopt);
  Progress progress("pretrain", steps,
                    {.start = trainer.step(), .items_per_step = static_cast<double>(B * accumulate),
                     .unit = "images", .stream = &console});

  // Batches are numbered over the whole run; the rest of an epoch that makes no step is left out.
  const auto batch_of = [&](std::int64_t micro) {
    const std::int64_t step = micro / accumulate;
    return (step / epoch_steps) * sampler.steps_per_epoch() + (step % epoch_steps) * accumulate +
           micro % accumulate;
  };
  const auto crops_of_step = [&](std::int64_t step) {
    return crops_of_epoch(options.sizes, step / epoch_steps, options.crops);
  };

  PretrainResult result;
  CollapseAlarm alarm(K, B * static_cast<index_t>(options.trainer.loss.code_crops.size()));
  StepProfile profile({.on = options.profile}, out, options.trainer.device);
  const auto tell = [&](const std::string& text) {
    if (!text.empty()) progress.message(text);
  };
  const auto log = [&](const SwavTrainer::StepRecord& record, std::int64_t step,
                       std::optional<double> seconds, std::optional<double> accuracy) {
    const auto& codes = record.codes;
    auto values = swav_log.values(record, accuracy);
    if (resized) {
      values.emplace_back("size", static_cast<double>(largest_crop(crops_of_step(step - 1))));
    }
    recorder.record({.step = step,
                     .epoch = static_cast<double>(step) / static_cast<double>(epoch_steps),
                     .loss = codes.loss,
                     .lr = record.lr,
                     .momentum = record.momentum,
                     .gradient_norm = record.gradient_norm,
                     .images = B * accumulate,
                     .seconds = seconds},
                    values);
    char note[64];
    std::snprintf(note, sizeof note, "loss %.4f, epoch %lld/%d", codes.loss,
                  static_cast<long long>((step + epoch_steps - 1) / epoch_steps), options.epochs);
    progress.update(step, note);
    result.last_loss = codes.loss;
    if (const auto warning = alarm.observe(codes)) tell(*warning);
  };
  const auto checkpoint_due = [&] {
    return trainer.step() % (epoch_steps * options.checkpoint_epochs) == 0 ||
           trainer.step() == steps;
  };
  const auto probe_due = [&] {
    return probed && (trainer.step() % (epoch_steps * options.probe.epochs) == 0 ||
                      trainer.step() == steps);
  };
  // After the step of `last`.
  const auto probe = [&](const SwavTrainer::StepRecord& last) -> std::optional<double> {
    if (!probe_due()) return std::nullopt;
    models::Encoder& encoder = trainer.network().encoder;
    const double accuracy = options.probe.accuracy(encoder);
    if (last.queue_on != best.queue_on || accuracy > best.accuracy) {
      nn::save_state_dict(out / "best_encoder.safetensors", encoder,
                          options.architecture.metadata());
      best = {accuracy, last.queue_on};
    }
    result.probe = accuracy;
    char text[80];
    std::snprintf(text, sizeof text, "%s probe: accuracy %.3f", options.probe.name.c_str(), accuracy);
    tell(text);
    return accuracy;
  };
  const auto save = [&] {
    recorder.flush();  // the log must not be behind the checkpoint
    CheckpointWriter checkpoint(identity);
    checkpoint.put_text("settings", settings.text());
    trainer.save(checkpoint);
    if (probed) {
      checkpoint.put("probe.best", best.accuracy);
      checkpoint.put("probe.best_queue_on", std::int64_t{best.queue_on});
    }
    checkpoint.save(out / "checkpoint.safetensors");
  };
  const std::int64_t first = trainer.step() * accumulate, last = steps * accumulate;

  const auto run_on_host = [&] {
    data::Prefetcher<CropBatch> loader(
        first, last,
        [&](std::int64_t micro, CropBatch& batch) {
          make_crops(crops_of_step(micro / accumulate), options.trainer.seed, micro, store, samples,
                     sampler.indices(batch_of(micro)), batch);
        },
        {.workers = options.workers});
    while (trainer.step() < steps) {
      profile.before_step();
      const auto record = trainer.step([&]() -> const CropBatch& { return *loader.next(); });
      tell(profile.after_step());
      log(record, trainer.step(), std::nullopt, probe(record));
      if (checkpoint_due()) save();
    }
    result.loader_wait = loader.total_wait_seconds();
  };
  // Crops are made on the device, and the log is read every so many steps.
  const auto run_on_gpu = [&](auto device_store) {
    gpu::BatchFeed feed(
        device_store, 2 * B, first, last,
        [&](std::int64_t micro, gpu::BatchRequest& want) {
          for (const index_t row : sampler.indices(batch_of(micro))) {
            const ViewPair pair = samples[static_cast<std::size_t>(row)];
            want.images.insert(want.images.end(), {pair.first, pair.second});
          }
        },
        {.workers = std::max(options.workers, 1)});
    auto since = std::chrono::steady_clock::now();
    while (trainer.step() < steps) {
      profile.before_step();
      trainer.set_crops(crops_of_step(trainer.step()));
      trainer.queue_step(feed);
      tell(profile.after_step());
      const bool due = checkpoint_due() || probe_due();
      if (!due && trainer.unread_steps() < options.trainer.read_interval) continue;
      const auto records = trainer.read_steps();
      const auto now = std::chrono::steady_clock::now();
      const double each = std::chrono::duration<double>(now - since).count() /
                          static_cast<double>(records.size());
      since = now;
      std::int64_t step = trainer.step() - static_cast<std::int64_t>(records.size());
      for (const auto& record : records) {
        const bool last_one = ++step == trainer.step();
        log(record, step, each, last_one ? probe(record) : std::nullopt);
      }
      if (checkpoint_due()) save();
    }
    result.loader_wait = feed.total_wait_seconds();
  };
  if (options.trainer.device.is_cpu()) {
    run_on_host();
  } else {
    on_device(options.trainer.device, [&](auto place) {
      if constexpr (!std::is_same_v<decltype(place), Cpu>) {
        run_on_gpu(gpu::DeviceStore(store, options.trainer.device, options.store));
      }
    });
  }
  tell(profile.finish());
  progress.finish();
  result.steps = steps;
  result.seconds = recorder.seconds();
  const io::Metadata metadata = options.architecture.metadata();
  recorder.flush();
  io::write_file(out / "log.svg", pretraining_plot(read_log(out / "log.csv"), K));
  nn::save_state_dict(out / "swav.safetensors", trainer.network(), metadata);
  nn::save_state_dict(out / "encoder.safetensors", trainer.network().encoder, metadata);
  return result;
}

}  // namespace mwalimu::train
