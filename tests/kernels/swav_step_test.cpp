// SwAV's training step on a device: against the Cpu, as a graph against kernel by kernel, resumed.
#include <gtest/gtest.h>

#include <cmath>
#include <variant>
#include <vector>

#include "kernels/device.hpp"
#include "mwalimu/data/image_store.hpp"
#include "mwalimu/train/pretrain.hpp"
#include "support/temp_dir.hpp"
#if defined(MWALIMU_EMULATED)
#include "emulated/stream.hpp"
#endif

namespace mwalimu::train {
namespace {

constexpr index_t kBatch = 4;
constexpr int kSteps = 6;

// Pairs of images that are not alike: blobs of colour.
data::ImageStore images(index_t count, int side, int channels) {
  std::vector<std::uint8_t> pixels;
  for (index_t i = 0; i < count; ++i) {
    RandomStream random(5, Purpose::test, 0, static_cast<std::uint64_t>(i));
    const int red = static_cast<int>(random.below(200)), green = static_cast<int>(random.below(200));
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x) {
        pixels.push_back(static_cast<std::uint8_t>((red + 3 * x) % 256));
        pixels.push_back(static_cast<std::uint8_t>((green + 5 * y) % 256));
        for (int c = 2; c < channels; ++c) {
          pixels.push_back(static_cast<std::uint8_t>(random.below(256)));
        }
      }
    }
  }
  return data::ImageStore::from_pixels(std::move(pixels), side, side, channels);
}
// Those that the options' encoder takes.
data::ImageStore images(const SwavTrainerOptions& options) {
  const auto& encoder = std::get<models::XResNetOptions>(options.encoder);
  return images(16, 20, static_cast<int>(encoder.in_channels));
}

SwavTrainerOptions small_options(Device device, Precision precision = Precision::float32) {
  SwavTrainerOptions options;
  options.encoder = models::XResNetOptions{.blocks = {1, 1, 1, 1}, .width = 8};
  options.head = {.hidden = 16, .embedding = 8, .prototypes = 6};
  options.loss.epsilon = 0.05;
  options.batch = kBatch;
  options.steps = kSteps;
  options.queue.length = 8;
  options.queue.start = 0.5;  // joins in the middle: the graph must not notice
  options.optimizer = optim::LambOptions{.weight_decay = 1e-4};
  options.schedule = optim::OneCycle{.lr = 1e-3};
  options.precision = precision;
  options.device = device;
  options.read_interval = 2;
  options.seed = 3;
  options.crops.groups = {{.count = 2, .size = 16, .scale = {0.3f, 1.0f}},
                          {.count = 2, .size = 8, .scale = {0.1f, 0.3f}}};
  return options;
}

std::vector<ViewPair> pairs(index_t count) {
  std::vector<ViewPair> samples;
  for (index_t i = 0; i < count; ++i) samples.push_back({2 * i, 2 * i + 1});
  return samples;
}

struct Trained {
  std::vector<SwavTrainer::StepRecord> records;
  std::vector<float> parameters;
};

std::vector<float> parameters_of(SwavTrainer& trainer) {
  std::vector<float> all;
  nn::for_each_parameter(trainer.network(), [&](const std::string&, nn::Parameter& p) {
    const auto values = p.value().to_vector();  // in logical order on every device
    all.insert(all.end(), values.begin(), values.end());
  });
  return all;
}

// Two steps of each size, where crops grow.
const ProgressiveSizes kOneSize{}, kGrowing{{{8, 2}, {12, 2}}};

Trained run_on_host(const SwavTrainerOptions& options, const ProgressiveSizes& sizes = kOneSize) {
  const auto store = images(options);
  const auto samples = pairs(8);
  const data::BatchSampler sampler(8, kBatch, options.seed);
  SwavTrainer trainer(options);
  Trained run;
  std::int64_t micro = 0;
  CropBatch batch;
  while (trainer.step() < kSteps) {
    run.records.push_back(trainer.step([&]() -> const CropBatch& {
      make_crops(crops_of_epoch(sizes, micro / options.accumulate, options.crops), options.seed,
                 micro, store, samples, sampler.indices(micro), batch);
      ++micro;
      return batch;
    }));
  }
  run.parameters = parameters_of(trainer);
  return run;
}

void take_steps(SwavTrainer& trainer, const SwavTrainerOptions& options, std::int64_t last,
                Trained& run, const ProgressiveSizes& sizes = kOneSize) {
  const auto samples = pairs(8);
  const data::BatchSampler sampler(8, kBatch, options.seed);
  gpu::BatchFeed feed(
      gpu::DeviceStore(images(options), options.device), 2 * kBatch,
      trainer.step() * options.accumulate, last * options.accumulate,
      [&](std::int64_t micro, gpu::BatchRequest& want) {
        for (const index_t row : sampler.indices(micro)) {
          const ViewPair pair = samples[static_cast<std::size_t>(row)];
          want.images.insert(want.images.end(), {pair.first, pair.second});
        }
      });
  while (trainer.step() < last) {
    trainer.set_crops(crops_of_epoch(sizes, trainer.step(), options.crops));
    trainer.queue_step(feed);
    if (trainer.unread_steps() == options.read_interval || trainer.step() == last) {
      for (const auto& record : trainer.read_steps()) run.records.push_back(record);
    }
  }
}

Trained run_on_device(const SwavTrainerOptions& options, const ProgressiveSizes& sizes = kOneSize) {
  SwavTrainer trainer(options);
  Trained run;
  take_steps(trainer, options, kSteps, run, sizes);
  run.parameters = parameters_of(trainer);
  return run;
}

double distance(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double{got[i]} - double{want[i]}, 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / size);
}

void expect_same_training(const SwavTrainerOptions& on_host, const SwavTrainerOptions& on_device,
                          double losses, double parameters,
                          const ProgressiveSizes& sizes = kOneSize) {
  const Trained want = run_on_host(on_host, sizes), got = run_on_device(on_device, sizes);
  ASSERT_EQ(got.records.size(), want.records.size());
  for (std::size_t i = 0; i < want.records.size(); ++i) {
    SCOPED_TRACE(i);
    const auto &g = got.records[i], &w = want.records[i];
    EXPECT_NEAR(g.codes.loss, w.codes.loss, losses * w.codes.loss);
    EXPECT_NEAR(g.codes.loss_without_queue, w.codes.loss_without_queue,
                losses * w.codes.loss_without_queue);
    EXPECT_NEAR(g.codes.code_entropy, w.codes.code_entropy, losses * 4);
    EXPECT_NEAR(g.codes.mean_code_entropy, w.codes.mean_code_entropy, losses * 4);
    ASSERT_EQ(g.codes.crop_loss.size(), w.codes.crop_loss.size());
    for (std::size_t v = 0; v < w.codes.crop_loss.size(); ++v) {
      EXPECT_NEAR(g.codes.crop_loss[v], w.codes.crop_loss[v], losses * w.codes.loss) << "crop " << v;
    }
    EXPECT_NEAR(g.gradient_norm, w.gradient_norm, 20 * losses * w.gradient_norm);
    EXPECT_EQ(g.queue_on, w.queue_on);
    EXPECT_EQ(g.lr, w.lr);
  }
  EXPECT_LT(distance(got.parameters, want.parameters), parameters);
}

void expect_graph_changes_nothing(SwavTrainerOptions options,
                                  const ProgressiveSizes& sizes = kOneSize) {
  SCOPED_TRACE(name_of(options.precision));
  options.graph = false;
  const Trained eager = run_on_device(options, sizes);
  options.graph = true;
  const Trained replayed = run_on_device(options, sizes);
  ASSERT_EQ(replayed.records.size(), eager.records.size());
  const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  for (std::size_t i = 0; i < eager.records.size(); ++i) {
    const auto &r = replayed.records[i], &e = eager.records[i];
    EXPECT_EQ(r.codes.loss, e.codes.loss) << i;
    EXPECT_EQ(r.codes.loss_without_queue, e.codes.loss_without_queue) << i;
    // Not a number where half overflowed: that step was skipped.
    EXPECT_PRED2(same, r.gradient_norm, e.gradient_norm) << i;
    EXPECT_EQ(r.skipped, e.skipped) << i;
  }
  EXPECT_EQ(replayed.parameters, eager.parameters);
  EXPECT_TRUE(std::isfinite(eager.records.back().codes.loss));
}

TEST(DeviceSwavStep, Float32TrainsAsTheHostDoes) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_training(small_options(Device::cpu()), small_options(Device::cuda()), 1e-4, 1e-3);
}

TEST(DeviceSwavStep, StackedPairsTrainAsOnTheHost) {
  MWALIMU_NEEDS_DEVICE();
  const auto stacked = [](Device device) {
    auto options = small_options(device);
    options.encoder =
        models::XResNetOptions{.blocks = {1, 1, 1, 1}, .width = 8, .in_channels = 4};
    return options;
  };
  expect_same_training(stacked(Device::cpu()), stacked(Device::cuda()), 1e-4, 1e-3);
  expect_graph_changes_nothing(stacked(Device::cuda()));
}

// facebook's queues: they begin to fill at step 2 and join, full, at step 4.
SwavTrainerOptions with_queues_of_their_own(SwavTrainerOptions options) {
  options.queue = QueueOptions::facebook(8, 0.25);
  options.loss.code_crops = {1, 2};
  return options;
}

TEST(DeviceSwavStep, SeveralQueuesAndOtherCodeCropsTrainAsTheHostDoes) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_training(with_queues_of_their_own(small_options(Device::cpu())),
                       with_queues_of_their_own(small_options(Device::cuda())), 1e-4, 1e-3);
  // Three crops with codes, one queue, the batch entering after its codes.
  const auto single = [](Device device) {
    auto options = small_options(device);
    options.loss.code_crops = {3, 0, 1};
    options.queue.enqueue_first = false;
    return options;
  };
  expect_same_training(single(Device::cpu()), single(Device::cuda()), 1e-4, 1e-3);
}

TEST(DeviceSwavStep, AGraphOfSeveralQueuesChangesNoBit) {
  MWALIMU_NEEDS_DEVICE();
  expect_graph_changes_nothing(with_queues_of_their_own(small_options(Device::cuda())));
}

// A graph of the size before would make crops of that size: each size has its own.
TEST(DeviceSwavStep, CropsThatGrowTrainAsTheHostDoesAndNoGraphOutlivesItsSize) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_training(small_options(Device::cpu()), small_options(Device::cuda()), 1e-4, 1e-3,
                       kGrowing);
  expect_graph_changes_nothing(small_options(Device::cuda()), kGrowing);
}

TEST(DeviceSwavStep, AccumulatesBatchesAsTheHostDoes) {
  MWALIMU_NEEDS_DEVICE();
  auto on_host = small_options(Device::cpu()), on_device = small_options(Device::cuda());
  on_host.accumulate = on_device.accumulate = 2;
  expect_same_training(on_host, on_device, 1e-4, 1e-3);
}

// Activations of 8 bits: single losses are off by a percent, and what follows from them by more.
TEST(DeviceSwavStep, Bfloat16StaysNearTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_same_training(small_options(Device::cpu(), Precision::bfloat16),
                       small_options(Device::cuda(), Precision::bfloat16), 5e-2, 1e-1);
}

TEST(DeviceSwavStep, AGraphChangesNoBit) {
  MWALIMU_NEEDS_DEVICE();
  for (const auto precision : {Precision::float32, Precision::bfloat16, Precision::float16}) {
    expect_graph_changes_nothing(small_options(Device::cuda(), precision));
  }
}

TEST(DeviceSwavStep, AGraphChangesNoBitWhereBatchesAccumulateAndPrototypesThaw) {
  MWALIMU_NEEDS_DEVICE();
  auto options = small_options(Device::cuda());
  options.accumulate = 2;
  options.freeze_prototypes = 3;
  expect_graph_changes_nothing(options);
}

TEST(DeviceSwavStep, FloatHalfScalesItsLoss) {
  MWALIMU_NEEDS_DEVICE();
  auto options = small_options(Device::cuda(), Precision::float16);
  options.loss_scale = optim::GradScalerOptions{.initial = 0x1p30, .growth_interval = 2};
  const Trained run = run_on_device(options);
  EXPECT_EQ(run.records[0].loss_scale, 0x1p30);
  EXPECT_TRUE(run.records[0].skipped);
  EXPECT_EQ(run.records[1].loss_scale, 0x1p29);
  for (const auto& record : run.records) EXPECT_TRUE(std::isfinite(record.codes.loss));
}

void expect_resumed_run_goes_on(const SwavTrainerOptions& options) {
  const Trained whole = run_on_device(options);
  const test::TempDir folder;
  const CheckpointIdentity identity{"pretrain", "small"};
  {
    SwavTrainer trainer(options);
    Trained run;
    take_steps(trainer, options, 3, run);
    CheckpointWriter checkpoint(identity);
    trainer.save(checkpoint);
    checkpoint.save(folder / "checkpoint.safetensors");
  }
  SwavTrainer trainer(options);
  trainer.restore(CheckpointReader(folder / "checkpoint.safetensors", identity));
  EXPECT_EQ(trainer.step(), 3);
  Trained rest;
  take_steps(trainer, options, kSteps, rest);
  ASSERT_EQ(rest.records.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(rest.records[i].codes.loss, whole.records[3 + i].codes.loss) << i;
  }
  EXPECT_EQ(parameters_of(trainer), whole.parameters);
}

TEST(DeviceSwavStep, AResumedRunGoesOnBitForBit) {
  MWALIMU_NEEDS_DEVICE();
  expect_resumed_run_goes_on(small_options(Device::cuda()));
  expect_resumed_run_goes_on(with_queues_of_their_own(small_options(Device::cuda())));
}

// Saved on one device, continued on the other.
TEST(DeviceSwavStep, ACheckpointChangesDevices) {
  MWALIMU_NEEDS_DEVICE();
  const test::TempDir folder;
  const CheckpointIdentity identity{"pretrain", "small"};
  const auto options = small_options(Device::cuda());
  SwavTrainer on_device(options);
  Trained run;
  take_steps(on_device, options, 2, run);
  CheckpointWriter checkpoint(identity);
  on_device.save(checkpoint);
  checkpoint.save(folder / "checkpoint.safetensors");
  SwavTrainer on_host(small_options(Device::cpu()));
  on_host.restore(CheckpointReader(folder / "checkpoint.safetensors", identity));
  EXPECT_EQ(parameters_of(on_host), parameters_of(on_device));
  EXPECT_EQ(on_host.queues()[0].rows().to_vector(), on_device.queues()[0].rows().to_vector());
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceSwavStep, AStepWaitsForNobody) {
  auto options = small_options(Device::cuda());
  options.read_interval = kSteps;
  SwavTrainer trainer(options);
  const auto samples = pairs(8);
  const data::BatchSampler sampler(8, kBatch, options.seed);
  gpu::BatchFeed feed(gpu::DeviceStore(images(options), options.device), 2 * kBatch, 0, kSteps,
                      [&](std::int64_t micro, gpu::BatchRequest& want) {
                        for (const index_t row : sampler.indices(micro)) {
                          want.images.insert(want.images.end(), {2 * row, 2 * row + 1});
                        }
                      });
  trainer.queue_step(feed);  // run by itself
  trainer.queue_step(feed);  // recorded
  const auto before = emulated::counters();
  trainer.queue_step(feed);
  trainer.queue_step(feed);
  const auto after = emulated::counters();
  EXPECT_EQ(after.device_to_host, before.device_to_host);
  EXPECT_GT(after.works, before.works);
  (void)trainer.read_steps();
  EXPECT_GT(emulated::counters().device_to_host, after.device_to_host);
}
#endif

}  // namespace
}  // namespace mwalimu::train
