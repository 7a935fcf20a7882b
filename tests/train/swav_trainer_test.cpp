#include "mwalimu/train/swav_trainer.hpp"

#include <gtest/gtest.h>

#include "mwalimu/train/pretrain.hpp"
#include "support/compare.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

SwavTrainerOptions small(std::int64_t steps) {
  SwavTrainerOptions options;
  options.encoder = models::XResNetOptions{.blocks = {1, 1, 1, 1}, .width = 8};
  options.head = {.hidden = 16, .embedding = 8, .prototypes = 12};
  options.batch = 4;
  options.steps = steps;
  options.queue.length = 16;
  options.crops.groups = {{.count = 2, .size = 24, .scale = {0.3f, 1.0f}},
                          {.count = 2, .size = 16, .scale = {0.1f, 0.3f}}};
  options.optimizer = optim::AdamOptions{};
  options.schedule = optim::OneCycle{.lr = 1e-3};
  return options;
}

/// Random crops as a function of the step.
CropBatch crops(std::int64_t step) {
  CropBatch batch;
  batch.groups = {Tensor<float>::empty({8, 24, 24, 3}), Tensor<float>::empty({8, 16, 16, 3})};
  RandomStream random(5, Purpose::test, static_cast<std::uint64_t>(step));
  for (auto& group : batch.groups) {
    for (float& x : group.span()) x = random.normal();
  }
  return batch;
}

SwavTrainer::StepRecord take_step(SwavTrainer& trainer) {
  const CropBatch batch = crops(trainer.step());
  return trainer.step([&]() -> const CropBatch& { return batch; });
}

std::vector<float> parameters(SwavTrainer& trainer) {
  const auto values = std::as_const(trainer.arena()).values();
  return {values.begin(), values.end()};
}

/// How far each parameter is from where it started.
std::vector<float> moved(const std::vector<float>& start, SwavTrainer& trainer) {
  auto distance = parameters(trainer);
  for (std::size_t i = 0; i < start.size(); ++i) distance[i] -= start[i];
  return distance;
}

TEST(SwavTrainer, TheQueueJoinsAfterMoreThanItsFraction) {
  // Of n steps counted from 0 the first with the queue is floor(n / 2) + 1: at exactly half it is
  // still off. Then the target changes, the network does not.
  for (const std::int64_t steps : {7, 8}) {
    SwavTrainer trainer(small(steps));
    for (std::int64_t s = 0; s < steps; ++s) {
      const auto record = take_step(trainer);
      EXPECT_EQ(record.queue_on, s >= steps / 2 + 1) << s << " of " << steps;
      EXPECT_EQ(record.queue_on, record.codes.loss != record.codes.loss_without_queue);
    }
  }
}

TEST(SwavTrainer, AnEmptyQueueJoinsOnceItIsFull) {
  // Filled from step 3 on, four rows a step; with two batches a step in half the time.
  for (const int accumulate : {1, 2}) {
    auto options = small(12);
    options.queue = QueueOptions::facebook(16, 0.25);
    options.accumulate = accumulate;
    SwavTrainer trainer(options);
    for (std::int64_t s = 0; s < 12; ++s) {
      const auto record = take_step(trainer);
      EXPECT_EQ(record.queue_on, s >= 3 + 4 / accumulate) << s;
      EXPECT_EQ(record.queue_on, record.codes.loss != record.codes.loss_without_queue) << s;
    }
  }
}

TEST(SwavTrainer, WithoutAQueueNothingSwitches) {
  auto options = small(6);
  options.queue.length = 0;
  SwavTrainer trainer(options);
  for (int s = 0; s < 6; ++s) {
    const auto record = take_step(trainer);
    EXPECT_FALSE(record.queue_on);
    EXPECT_EQ(record.codes.loss, record.codes.loss_without_queue);
  }
}

TEST(SwavTrainer, FrozenPrototypesStandStill) {
  auto options = small(4);
  options.freeze_prototypes = 2;
  SwavTrainer trainer(options);
  const auto prototypes = [&] { return trainer.network().prototypes.weight.value().to_vector(); };
  const auto distance = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += std::abs(double{a[i]} - b[i]);
    return sum;
  };
  const auto before = prototypes();
  take_step(trainer);
  take_step(trainer);
  EXPECT_LT(distance(before, prototypes()), 1e-4);  // scaled to unit length each step: rounding
  take_step(trainer);
  EXPECT_GT(distance(before, prototypes()), 1e-3);
}

TEST(SwavTrainer, PrototypesKeepUnitLength) {
  SwavTrainer trainer(small(3));
  for (int s = 0; s < 3; ++s) take_step(trainer);
  const auto& rows = trainer.network().prototypes.weight.value();
  for (index_t k = 0; k < rows.dim(0); ++k) {
    double squares = 0;
    for (const float x : rows.slice(0, k, k + 1).to_vector()) squares += double{x} * x;
    EXPECT_NEAR(squares, 1.0, 1e-6);
  }
}

void expect_restored_run_goes_on(const SwavTrainerOptions& options) {
  test::TempDir folder;
  const CheckpointIdentity identity{"test", "small"};
  SwavTrainer unbroken(options);
  for (int s = 0; s < 5; ++s) take_step(unbroken);
  CheckpointWriter writer(identity);
  unbroken.save(writer);
  writer.save(folder.path() / "checkpoint.safetensors");
  for (int s = 5; s < 8; ++s) take_step(unbroken);

  SwavTrainer restored(options);
  restored.restore(CheckpointReader(folder.path() / "checkpoint.safetensors", identity));
  EXPECT_EQ(restored.step(), 5);
  for (int s = 5; s < 8; ++s) take_step(restored);
  EXPECT_EQ(parameters(unbroken), parameters(restored));
  for (index_t q = 0; q < unbroken.queues().count(); ++q) {
    EXPECT_EQ(unbroken.queues()[q].rows().to_vector(), restored.queues()[q].rows().to_vector());
    EXPECT_EQ(unbroken.queues()[q].cursor(), restored.queues()[q].cursor());
  }
}

TEST(SwavTrainer, ARestoredRunGoesOnBitForBit) {
  expect_restored_run_goes_on(small(8));
  auto options = small(8);  // the queues fill from step 1 on and join, full, at step 5
  options.queue = QueueOptions::facebook(16, 0.125);
  options.loss.code_crops = {1, 2};
  expect_restored_run_goes_on(options);
}

TEST(SwavTrainer, AccumulatedBatchesAverageTheirGradients) {
  // Two times the same batch gives the gradient of one; batch statistics do not couple them.
  auto once = small(2), twice = small(2);
  once.queue.length = twice.queue.length = 0;
  twice.accumulate = 2;
  SwavTrainer a(once), b(twice);
  const CropBatch batch = crops(0);
  const auto same = [&]() -> const CropBatch& { return batch; };
  const auto first = a.step(same), second = b.step(same);
  EXPECT_NEAR(first.gradient_norm, second.gradient_norm, 1e-5 * first.gradient_norm);
  EXPECT_NEAR(first.codes.loss, second.codes.loss, 1e-6);
}

TEST(SwavTrainer, Bfloat16TakesNearlyTheSameSteps) {
  auto options = small(6);
  SwavTrainer wide(options);
  options.precision = Precision::bfloat16;
  SwavTrainer narrow(options), again(options);
  const auto start = parameters(wide);
  for (int s = 0; s < 6; ++s) {
    const auto want = take_step(wide), got = take_step(narrow);
    // Some twenty roundings of 2^-8 on the way to a cosine make it 0.005 wrong, and the temperature
    // of 0.1 makes that ten times as much: measured 1 % of the loss.
    EXPECT_NEAR(got.codes.loss, want.codes.loss, 0.03 * want.codes.loss) << s;
    EXPECT_FALSE(got.skipped);
    EXPECT_EQ(got.loss_scale, 1);
    take_step(again);
  }
  // Parameters are float and moved together; the same run gives the same bits.
  EXPECT_NE(parameters(wide), start);
  EXPECT_NE(parameters(narrow), parameters(wide));
  EXPECT_GT(test::cosine(test::to_double(moved(start, narrow)), test::to_double(moved(start, wide))),
            0.8);
  EXPECT_EQ(parameters(narrow), parameters(again));
}

// The 16-bit copies of weights follow the optimiser and the scaling of the prototypes.
TEST(SwavTrainer, Bfloat16ComputesWithTheWeightsOfTheLastStep) {
  auto options = small(3);
  options.precision = Precision::bfloat16;
  SwavTrainer trainer(options);
  for (int s = 0; s < 3; ++s) take_step(trainer);
  test::TempDir folder;
  nn::save_state_dict(folder.path() / "swav.safetensors", trainer.network());
  models::SwavNetwork fresh(models::Encoder(options.encoder), options.head);
  nn::load_state_dict(fresh, folder.path() / "swav.safetensors");
  const NoGrad no_grad;
  const nn::EvaluationMode a(fresh), b(trainer.network());
  const auto crops_of_step = crops(9);
  std::vector<Variable<bfloat16>> groups;
  for (const auto& group : crops_of_step.groups) {
    groups.push_back(ops::cast<bfloat16>(Variable<float>(group)));
  }
  EXPECT_EQ(trainer.network()(groups).scores.value().to_vector(),
            fresh(groups).scores.value().to_vector());
}

TEST(SwavTrainer, AScaledLossGivesTheSameStepsBitForBit) {
  // A power of two changes exponents only, and the optimiser takes it out again.
  auto options = small(6);
  options.accumulate = 2;
  SwavTrainer plain(options);
  options.loss_scale = optim::GradScalerOptions{.initial = 4096, .growth_interval = 3};
  SwavTrainer scaled(options);
  for (int s = 0; s < 6; ++s) {
    const auto want = take_step(plain), got = take_step(scaled);
    EXPECT_EQ(got.loss_scale, s < 3 ? 4096 : 8192);
    EXPECT_EQ(got.gradient_norm, want.gradient_norm);
    EXPECT_EQ(got.codes.loss, want.codes.loss);
  }
  EXPECT_EQ(parameters(scaled), parameters(plain));
}

TEST(SwavTrainer, AStepThatOverflowsIsSkipped) {
  auto options = small(30);
  options.loss_scale = optim::GradScalerOptions{.initial = 0x1p127, .backoff = 0x1p-8};
  SwavTrainer trainer(options);
  const auto before = parameters(trainer);
  const auto first = take_step(trainer);
  EXPECT_TRUE(first.skipped);
  EXPECT_EQ(first.loss_scale, 0x1p127);
  EXPECT_FALSE(std::isfinite(first.gradient_norm));
  EXPECT_EQ(parameters(trainer), before);
  EXPECT_EQ(trainer.step(), 1) << "schedules advance on skipped steps, too";
  auto next = take_step(trainer);
  EXPECT_EQ(next.loss_scale, 0x1p119);
  while (next.skipped) next = take_step(trainer);
  EXPECT_TRUE(std::isfinite(next.gradient_norm));
  EXPECT_NE(parameters(trainer), before);
}

TEST(SwavTrainer, TheLossScaleIsPartOfTheCheckpoint) {
  test::TempDir folder;
  const CheckpointIdentity identity{"test", "small"};
  auto options = small(8);
  options.loss_scale = optim::GradScalerOptions{.initial = 1024, .growth_interval = 3};
  SwavTrainer unbroken(options), restored(options);
  for (int s = 0; s < 5; ++s) take_step(unbroken);
  CheckpointWriter writer(identity);
  unbroken.save(writer);
  writer.save(folder.path() / "checkpoint.safetensors");
  restored.restore(CheckpointReader(folder.path() / "checkpoint.safetensors", identity));
  for (int s = 5; s < 8; ++s) EXPECT_EQ(take_step(restored).loss_scale, s < 6 ? 2048 : 4096) << s;
}

TEST(Precision, NamesAreThoseOfTheTypes) {
  for (const auto precision : {Precision::float32, Precision::float16, Precision::bfloat16}) {
    EXPECT_EQ(precision_of(name_of(precision)), precision);
  }
  EXPECT_THROW(precision_of("double"), ValueError);
  EXPECT_EQ(with_precision(Precision::bfloat16, [](auto zero) { return sizeof zero; }), 2u);
  if (!kCuda) {
    EXPECT_THROW(with_precision(Precision::float16, [](auto zero) { return sizeof zero; }),
                 ValueError);
  }
}

TEST(SwavTrainer, ErrorsNameTheOption) {
  auto options = small(4);
  options.queue.length = 6;
  EXPECT_THROW(SwavTrainer{options}, ValueError);
  options = small(4);
  options.loss.code_crops = {0, 4};
  EXPECT_THROW(SwavTrainer{options}, ValueError);
  options = small(4);
  options.loss.epsilon = 0;
  EXPECT_THROW(SwavTrainer{options}, ValueError);
  options = small(4);
  options.accumulate = 0;
  EXPECT_THROW(SwavTrainer{options}, ValueError);
}

TEST(EmbeddingQueue, OverwritesTheOldestRows) {
  EmbeddingQueue queue(4, 2, 2, 0);
  for (index_t i = 0; i < 4; ++i) {
    const auto row = queue.rows().slice(0, i, i + 1).to_vector();
    EXPECT_NEAR(row[0] * row[0] + row[1] * row[1], 1.0f, 1e-6f);
  }
  for (const float value : {1.0f, 2.0f, 3.0f}) queue.push(Tensor<float>::full({2, 2}, value));
  EXPECT_EQ(queue.rows().to_vector(), (std::vector<float>{3, 3, 3, 3, 2, 2, 2, 2}));
  EXPECT_EQ(queue.cursor(), 2);
  EXPECT_THROW(queue.set_cursor(4), ValueError);
}

TEST(Settings, TheFirstDifferenceIsNamed) {
  Settings before, now;
  before.add("lr", 0.001);
  before.add("batch", 32);
  now.add("lr", 0.001);
  now.add("batch", 64);
  EXPECT_NO_THROW(before.require_same_as(before.text()));
  try {
    now.require_same_as(before.text());
    FAIL() << "want a ValueError";
  } catch (const ValueError& error) {
    EXPECT_NE(std::string(error.what()).find("batch = 64, but the one it continues had batch = 32"),
              std::string::npos)
        << error.what();
  }
}

TEST(Settings, AnOptionWithADefaultIsLeftOutAndStillCompared) {
  Settings standard, other;
  for (Settings* settings : {&standard, &other}) settings->add("lr", 0.001);
  standard.add_unless("precision", std::string("float32"), std::string("float32"));
  other.add_unless("precision", std::string("bfloat16"), std::string("float32"));
  EXPECT_EQ(standard.text(), "lr = 0.001\n") << "as runs of earlier versions";
  EXPECT_NO_THROW(other.require_same_as(other.text()));
  EXPECT_THROW(other.require_same_as(standard.text()), ValueError);
  EXPECT_THROW(standard.require_same_as(other.text()), ValueError);
}

}  // namespace
}  // namespace mwalimu::train
