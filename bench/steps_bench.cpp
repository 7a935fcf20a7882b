// steps_bench: whole steps on the host, as the programs run them.
//
//   swav/step       crops in, codes, loss, backward, optimiser
//   swav/loader     the same, its crops made by a loader's thread meanwhile: `ratio` is the time of
//                   such a step over that of one whose crops are ready; rounds of both in turn
//   finetune/step   augmentation by a loader's thread, forward, backward, optimiser
//   finetune/loader the same over a step on one ready batch, as swav/loader
//   inference       images in, logits out
//
// Counters beside those of bench::count: images_per_second (crops for SwAV) and peak_bytes, the most
// memory that tensors held at once. flop are the products' of the convolutions, at 2 a multiply-add,
// taps that fall into the padding included.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "flop.hpp"
#include "mwalimu/core/allocator.hpp"
#include "mwalimu/data/augment.hpp"
#include "mwalimu/data/loader.hpp"
#include "mwalimu/models/architecture.hpp"
#include "mwalimu/ops/cast.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/train/classifier_trainer.hpp"
#include "mwalimu/train/swav_trainer.hpp"
#include "support.hpp"

namespace mwalimu::bench {
namespace {

struct Run {
  std::string arch, crops;
  index_t width = 64, batch = 32, prototypes = 3000, side = 128;
  train::Precision precision = train::Precision::float32;

  models::EncoderOptions encoder() const {
    return models::Architecture{.arch = arch, .width = width}.options();
  }
  std::string type() const { return precision == train::Precision::float32 ? "f32" : "bf16"; }
};

data::ImageStore random_images(index_t count, index_t side) {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count * side * side * 3));
  RandomStream random(0, Purpose::test);
  for (std::uint8_t& value : pixels) value = static_cast<std::uint8_t>(random.below(256));
  return data::ImageStore::from_pixels(std::move(pixels), static_cast<int>(side),
                                       static_cast<int>(side));
}

// A trainer and the crops that it is fed with.
class Swav {
 public:
  explicit Swav(const Run& run) : crops_(data::MultiCropOptions::study(run.crops)) {
    train::SwavTrainerOptions options;
    options.encoder = run.encoder();
    options.head.prototypes = run.prototypes;
    options.batch = run.batch;
    options.steps = 1000000;
    options.queue.length = 0;
    options.crops = crops_;
    options.optimizer = optim::SgdOptions{.momentum = 0.9};
    options.schedule = optim::Constant{.lr = 1e-3};
    options.precision = run.precision;
    store_ = random_images(2 * run.batch, run.side);
    for (index_t i = 0; i < run.batch; ++i) {
      samples_.push_back({2 * i, 2 * i + 1});
      rows_.push_back(i);
    }
    trainer_ = std::make_unique<train::SwavTrainer>(options);
    make(0, ready_);
  }
  void make(std::int64_t step, train::CropBatch& batch) const {
    train::make_crops(crops_, 0, step, store_, samples_, rows_, batch);
  }
  double step() { return step(ready_); }
  double step(const train::CropBatch& batch) {
    return trainer_->step([&]() -> const train::CropBatch& { return batch; }).codes.loss;
  }
  double crops_a_step() const {
    return static_cast<double>(crops_.views()) * static_cast<double>(rows_.size());
  }
  double flop() {
    double sum = 0;
    for (const auto& group : crops_.groups) {
      sum += training_flop(trainer_->network().encoder, group.count * index_t(rows_.size()),
                           group.size);
    }
    return sum;
  }

 private:
  data::MultiCropOptions crops_;
  data::ImageStore store_;
  std::vector<train::ViewPair> samples_;
  std::vector<index_t> rows_;
  std::unique_ptr<train::SwavTrainer> trainer_;
  train::CropBatch ready_;
};

template <class F>
void time_step(benchmark::State& state, const Run& run, double images, double flop, F&& step) {
  auto& pool = CachingAllocator::instance();
  pool.reset_peak();
  Best best;
  for (auto _ : state) {
    const Seconds one = seconds_of(step);
    best.add(one);
    state.SetIterationTime(one.wall);
  }
  const Cost cost{.bytes = 0, .flop = flop};
  if (run.precision == train::Precision::float32) {
    count<float>(state, cost, best.seconds);
  } else {
    count<bfloat16>(state, cost, best.seconds);
  }
  state.counters["images_per_second"] = images / best.seconds.wall;
  state.counters["peak_bytes"] = static_cast<double>(pool.statistics().peak);
  pool.release_cached();
}

// A new trainer's loss is about ln K, and one step does not make it infinite.
bool sane(benchmark::State& state, double loss) {
  if (std::isfinite(loss) && loss > 0) return true;
  state.SkipWithError("the loss is not a positive number");
  return false;
}

void swav_step(benchmark::State& state, const Run& run) {
  Swav swav(run);
  swav.step();
  if (!sane(state, swav.step())) return;
  time_step(state, run, swav.crops_a_step(), swav.flop(), [&] { swav.step(); });
}

/// Counters of a loader's row. `step(batch)` trains on what `make(step, batch)` has made; rounds on a
/// ready batch and on batches made meanwhile take turns. There is always one more batch to make, so
/// that each timed step has the making of one beside it.
template <class Batch, class Step, class Make>
void time_loader(benchmark::State& state, Step&& step, Make&& make) {
  constexpr int kTurns = 2, kRound = 2;
  Batch ready_batch;
  make(0, ready_batch);
  step(ready_batch);
  if (!sane(state, step(ready_batch))) return;
  std::vector<double> ready, made;
  double waited = 0, spent = 0;
  for (auto _ : state) {
    double all = 0;
    for (int turn = 0; turn < kTurns; ++turn) {
      for (int i = 0; i < kRound; ++i) ready.push_back(seconds_of([&] { step(ready_batch); }).wall);
      constexpr data::PrefetcherOptions kOptions;
      data::Prefetcher<Batch> loader(0, 1 + kRound + kOptions.depth, make, kOptions);
      step(*loader.next());  // the first batch has nothing to hide behind
      const double before = loader.total_wait_seconds();
      for (int i = 0; i < kRound; ++i) {
        made.push_back(seconds_of([&] { step(*loader.next()); }).wall);
        all += made.back();
      }
      waited += loader.total_wait_seconds() - before;
    }
    spent += all;
    state.SetIterationTime(all / (kTurns * kRound));
  }
  const auto median = [](std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  state.counters["best_ms"] = 1e3 * *std::min_element(made.begin(), made.end());
  state.counters["ratio"] = median(made) / median(ready);
  state.counters["best_ratio"] = *std::min_element(made.begin(), made.end()) /
                                 *std::min_element(ready.begin(), ready.end());
  state.counters["wait_share"] = waited / spent;
}

void swav_loader(benchmark::State& state, const Run& run) {
  Swav swav(run);
  time_loader<train::CropBatch>(
      state, [&](const train::CropBatch& batch) { return swav.step(batch); },
      [&](std::int64_t step, train::CropBatch& batch) { swav.make(step, batch); });
}

// Images of a step of finetuning, as ClassifierTrainer makes them.
struct AugmentedBatch {
  Tensor<float> images;
  data::AugmentScratch scratch;
};

template <nn::ComputeType T>
void finetune_loader_in(benchmark::State& state, const Run& run) {
  const auto store = random_images(run.batch, run.side);
  data::AugmentOptions augment;
  augment.size = static_cast<int>(run.side);
  models::Classifier model(models::Encoder(run.encoder()), 3);
  model.encoder.initialize(0);
  model.head.initialize(0);
  nn::set_training(model, true);
  optim::ParameterArena arena(model);
  optim::Optimizer optimizer(optim::AdamOptions::pytorch(), arena.segments(), arena.size());
  auto labels = Tensor<std::int64_t>::empty({run.batch});
  for (index_t i = 0; i < run.batch; ++i) labels.data()[i] = i % 3;
  time_loader<AugmentedBatch>(
      state,
      [&](const AugmentedBatch& batch) {
        arena.zero_gradients();
        const auto input = ops::cast<T>(Variable<float>(batch.images));
        const auto loss = ops::cross_entropy(model(input), labels);
        loss.backward();
        optimizer.step(arena.values(), arena.gradients(), arena.segments(), {.lr = 1e-4});
        return static_cast<double>(loss.value().item());
      },
      [&](std::int64_t step, AugmentedBatch& batch) {
        const Shape shape{run.batch, run.side, run.side, 3};
        if (!(batch.images.shape() == shape)) batch.images = Tensor<float>::empty(shape);
        for (index_t r = 0; r < run.batch; ++r) {
          const data::ByteImage pixels{store.image(r).data(), store.height(), store.width()};
          const auto drawn = data::draw_augment(augment, 0, static_cast<std::uint64_t>(step),
                                                static_cast<std::uint64_t>(r), pixels.height,
                                                pixels.width);
          data::apply_augment(pixels, drawn, augment.size, augment.normalisation,
                              batch.images.data() + r * run.side * run.side * 3, batch.scratch);
        }
      });
}

void finetune_loader(benchmark::State& state, const Run& run) {
  run.precision == train::Precision::float32 ? finetune_loader_in<float>(state, run)
                                             : finetune_loader_in<bfloat16>(state, run);
}

void finetune_step(benchmark::State& state, const Run& run) {
  constexpr index_t kSteps = 4;
  const index_t images = run.batch * kSteps;
  data::Dataset dataset;
  dataset.classes = {"a", "b", "c"};
  train::ClassifierData data{.dataset = dataset, .store = random_images(images, run.side),
                             .train = {}, .valid = {}};
  for (index_t i = 0; i < images; ++i) {
    data::Sample sample;
    sample.label = static_cast<int>(i % 3);
    dataset.samples.push_back(sample);
    data.train.push_back(i);
  }
  models::Classifier model(models::Encoder(run.encoder()), 3);
  model.encoder.initialize(0);
  model.head.initialize(0);
  train::ClassifierOptions options;
  options.epochs = 1000000;
  options.batch = run.batch;
  options.augment.size = static_cast<int>(run.side);
  options.precision = run.precision;
  train::ClassifierTrainer trainer(model, data, options);
  if (!sane(state, trainer.run_epoch().train_loss)) return;
  time_step(state, run, static_cast<double>(images),
            kSteps * training_flop(model.encoder, run.batch, run.side),
            [&] { trainer.run_epoch(); });
  state.SetLabel(std::to_string(kSteps) + " steps");
}

void inference(benchmark::State& state, const Run& run) {
  const index_t images = 2 * run.batch;
  const auto store = random_images(images, run.side);
  models::Classifier model(models::Encoder(run.encoder()), 3);
  model.encoder.initialize(0);
  model.head.initialize(0);
  train::InferenceOptions options;
  options.size = static_cast<int>(run.side);
  options.batch = run.batch;
  options.precision = run.precision;
  const auto logits = train::infer(model, store, {}, options);
  for (const float value : logits.span()) {
    if (!std::isfinite(value)) return state.SkipWithError("a logit is not a number");
  }
  time_step(state, run, static_cast<double>(images),
            forward_flop(model.encoder, images, run.side),
            [&] { benchmark::DoNotOptimize(train::infer(model, store, {}, options).data()); });
}

void add(const std::string& name, void (*function)(benchmark::State&, const Run&), const Run& run,
         const std::string& shape) {
  on_host(benchmark::RegisterBenchmark(
      (name + "/cpu/" + run.type() + "/" + run.arch + "/" + shape + "/B:" +
       std::to_string(run.batch)).c_str(),
      function, run));
}

const bool registered = [] {
  using train::Precision;
  for (const std::string arch : {"xresnet34", "res2next50"}) {
    for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
      // The study's crops; those of the smaller runs; and what a smoke test can afford.
      for (const char* crops : {"2x128,6x96", "2x64,4x48"}) {
        const Run run{.arch = arch, .crops = crops, .precision = precision};
        add("swav/step", swav_step, run, std::string(crops) + "/K:3000");
      }
      for (const index_t side : {index_t{64}, index_t{128}}) {
        const Run run{.arch = arch, .crops = {}, .side = side, .precision = precision};
        add("finetune/step", finetune_step, run, "px:" + std::to_string(side));
        add("inference", inference, run, "px:" + std::to_string(side));
      }
    }
    const Run run{.arch = arch, .crops = "2x128,6x96"};
    add("swav/loader", swav_loader, run, "2x128,6x96/K:3000");
    add("finetune/loader", finetune_loader, run, "px:128");
  }
  // Narrow networks and small crops: where a loader is the bottleneck first.
  const Run small{.arch = "xresnet18", .crops = "2x48,4x32", .width = 16, .batch = 32,
                  .prototypes = 24, .side = 64};
  add("swav/step", swav_step, small, "w:16/2x48,4x32/K:24");
  add("swav/loader", swav_loader, small, "w:16/2x48,4x32/K:24");
  add("finetune/step", finetune_step, small, "w:16/px:64");
  add("finetune/loader", finetune_loader, small, "w:16/px:64");
  add("inference", inference, small, "w:16/px:64");
  return true;
}();

}  // namespace
}  // namespace mwalimu::bench
