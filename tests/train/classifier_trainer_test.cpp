#include "mwalimu/train/classifier_trainer.hpp"

#include <gtest/gtest.h>

#include "mwalimu/models/architecture.hpp"
#include "support/compare.hpp"
#include "support/temp_dir.hpp"
#include "train/small_classifier.hpp"

namespace mwalimu::train {
namespace {

using test::parameters_of;
using test::small_options;

models::Classifier model_without_dropout() {
  models::Classifier model(models::XResNet({.blocks = {1, 1, 1, 1}, .width = 8}), 2, 0.0f);
  model.encoder.initialize(1);
  model.head.initialize(1);
  return model;
}

// The twelve training images in the sampler's order, as the first step sees them without MixUp.
struct FirstBatch {
  Tensor<float> images = Tensor<float>::empty({12, 16, 16, 3});
  Tensor<std::int64_t> labels = Tensor<std::int64_t>::empty({12});

  FirstBatch(const test::SmallImages& of, const ClassifierOptions& options) {
    const auto rows = data::BatchSampler(12, 12, options.seed).indices(0);
    data::AugmentScratch scratch;
    for (std::size_t r = 0; r < 12; ++r) {
      const data::ByteImage pixels{of.store.image(rows[r]).data(), of.kSide, of.kSide};
      data::apply_augment(
          pixels, data::draw_augment(options.augment, options.seed, 0, r, of.kSide, of.kSide), 16,
          options.augment.normalisation, images.data() + r * 16 * 16 * 3, scratch);
      labels.span()[r] = of.dataset[rows[r]].label;
    }
  }
};

// -log softmax, with label smoothing, in double.
double loss_of_row(const float* logits, std::int64_t label, double smoothing) {
  const double sum = std::exp(double{logits[0]}) + std::exp(double{logits[1]});
  const auto minus_log_p = [&](std::int64_t c) { return std::log(sum) - double{logits[c]}; };
  return (1 - smoothing) * minus_log_p(label) + smoothing / 2 * (minus_log_p(0) + minus_log_p(1));
}

ClassifierOptions one_step() {
  auto options = small_options();
  options.batch = 12;
  options.epochs = 1;
  return options;
}
double first_loss(const test::SmallImages& images, const ClassifierOptions& options) {
  auto model = model_without_dropout();
  ClassifierTrainer trainer(model, images.data(), options);
  return trainer.run_epoch().train_loss;
}

// mean_b [lambda l(out_b, y_b) + (1 - lambda) l(out_b, y_pi(b))] on lambda x + (1 - lambda) x_pi,
// mixed after augmentation and normalisation.
TEST(ClassifierTrainer, MixUpIsTheLossOnBlendsOfTheBatch) {
  const test::SmallImages images;
  auto options = one_step();
  options.mixup = 0.4;
  const FirstBatch batch(images, options);
  std::vector<float> lambda(12);
  std::vector<index_t> partner(12);
  auto partner_labels = std::vector<std::int64_t>(12);
  data::draw_mixup(Cpu{}, 0.4, options.seed, 0.0, 0, batch.labels.view<1>(),
                   View<float, 1>(lambda.data(), {12}, {1}),
                   View<index_t, 1>(partner.data(), {12}, {1}),
                   View<std::int64_t, 1>(partner_labels.data(), {12}, {1}));
  auto mixed = Tensor<float>::empty({12, 16, 16, 3});
  const std::size_t values = 16 * 16 * 3;
  for (std::size_t b = 0; b < 12; ++b) {
    for (std::size_t i = 0; i < values; ++i) {
      mixed.span()[b * values + i] =
          lambda[b] * batch.images.span()[b * values + i] +
          (1 - lambda[b]) *
              batch.images.span()[static_cast<std::size_t>(partner[b]) * values + i];
    }
  }
  auto model = model_without_dropout();
  nn::set_training(model, true);
  const auto logits = model(Variable<float>(mixed)).value();
  double want = 0;
  for (std::size_t b = 0; b < 12; ++b) {
    const float* row = logits.data() + 2 * b;
    const double share = double{lambda[b]};
    want += (share * loss_of_row(row, batch.labels.span()[b], 0.1) +
             (1 - share) * loss_of_row(row, partner_labels[b], 0.1)) /
            12;
  }
  EXPECT_NEAR(first_loss(images, options), want, 1e-5);  // float logits
  EXPECT_GT(std::abs(first_loss(images, one_step()) - want), 1e-3) << "and another one without";
}

TEST(ClassifierTrainer, ClassWeightsWeighTheMean) {
  const test::SmallImages images;
  auto options = one_step();
  options.class_weights.values = {1, 3};
  const FirstBatch batch(images, options);
  auto model = model_without_dropout();
  nn::set_training(model, true);
  const auto logits = model(Variable<float>(batch.images)).value();
  // With smoothing the weight of a class goes with its own share of -log p.
  double want = 0, weights = 0;
  for (std::size_t b = 0; b < 12; ++b) {
    const float* row = logits.data() + 2 * b;
    const auto label = batch.labels.span()[b];
    const double log_sum = std::log(std::exp(double{row[0]}) + std::exp(double{row[1]}));
    for (const std::int64_t c : {0, 1}) {
      const double target = (c == label ? 0.9 : 0.0) + 0.05;
      want += (c == 1 ? 3 : 1) * target * (log_sum - double{row[c]});
    }
    weights += label == 1 ? 3 : 1;
  }
  EXPECT_NEAR(first_loss(images, options), want / weights, 1e-5);
  options.class_weights.values = {1, 1};
  EXPECT_NEAR(first_loss(images, options), first_loss(images, one_step()), 1e-12);
  options.class_weights = {.balanced = true, .values = {}};  // there are six of each
  EXPECT_NEAR(first_loss(images, options), first_loss(images, one_step()), 1e-12);
  options.class_weights.balanced = false;
  options.class_weights.values = {1, 2, 3};
  EXPECT_THROW(first_loss(images, options), ValueError);
}

TEST(ClassWeights, AreReadAndBalanced) {
  EXPECT_TRUE(class_weights_of("none").none());
  EXPECT_TRUE(class_weights_of("balanced").balanced);
  EXPECT_EQ(class_weights_of("1,2.5,0").values, (std::vector<double>{1, 2.5, 0}));
  for (const char* wrong : {"", "balance", "1,", ",1", "1;2", "-1,2", "nan,1", "inf", "0,0", "1 2"}) {
    EXPECT_THROW(class_weights_of(wrong), ValueError) << wrong;
  }
  for (const char* text : {"none", "balanced", "1,2.5,0"}) {
    EXPECT_EQ(text_of(class_weights_of(text)), text);
  }
  // Eight rows: six, two and none of three classes.
  const std::vector<int> labels{0, 0, 0, 0, 0, 0, 1, 1};
  const auto weights = weights_for({.balanced = true, .values = {}}, labels, 3);
  EXPECT_NEAR(weights[0], 8 / (2 * 6.0), 1e-15);
  EXPECT_NEAR(weights[1], 8 / (2 * 2.0), 1e-15);
  EXPECT_EQ(weights[2], 1);
  EXPECT_TRUE(weights_for({}, labels, 3).empty());
  const std::vector<std::string> classes{"a", "b"};
  EXPECT_NO_THROW(check({.balanced = false, .values = {1, 2}}, classes));
  EXPECT_THROW(check({.balanced = false, .values = {1}}, classes), ValueError);
}

TEST(ClassifierTrainer, BalancedSamplingSeesARareClassOften) {
  test::SmallImages images;
  // One of class 1 among twelve: unbalanced it is every twelfth image, balanced every second.
  auto data = images.data();
  for (index_t i = 2; i < 12; ++i) images.dataset[i].label = 0;
  auto options = small_options();
  options.epochs = 4;
  const auto recall = [&](bool balanced) {
    options.balanced = balanced;
    auto model = test::small_model();
    ClassifierTrainer trainer(model, data, options);
    EpochRecord record;
    while (!trainer.finished()) record = trainer.run_epoch();
    return record.train_loss;
  };
  EXPECT_NE(recall(true), recall(false));
}

TEST(ProgressiveSizes, AreReadAndCounted) {
  const auto schedule = size_schedule_of("16@2,24@1,32");
  EXPECT_EQ(schedule.last, 32);
  const auto& sizes = schedule.progressive;
  EXPECT_EQ(sizes.epochs(), 3);
  std::vector<int> seen;
  for (std::int64_t epoch = 0; epoch < 5; ++epoch) seen.push_back(sizes.size(epoch, 32));
  EXPECT_EQ(seen, (std::vector<int>{16, 16, 24, 32, 32}));
  EXPECT_EQ(sizes.phase(1), 0);
  EXPECT_EQ(sizes.phase(3), 2);
  EXPECT_EQ(text_of(sizes), "16@2,24@1");
  EXPECT_TRUE(size_schedule_of("32").progressive.before.empty());
  for (const char* wrong :
       {"", "16@2", "16,32", "16@2,", "16@0,32", "0@2,32", "5000", "16@2,32@3", "16@@2,32", "a"}) {
    EXPECT_THROW(size_schedule_of(wrong), ValueError) << wrong;
  }
}

TEST(ClassifierTrainer, ImagesGrowFromPhaseToPhaseAndOnlyTheLastCanEndTheRun) {
  const test::SmallImages images;
  auto options = small_options();
  options.epochs = 5;
  options.sizes = size_schedule_of("8@2,12@1,16").progressive;
  options.patience = 1;  // whoever does not improve stops
  options.schedule = optim::Constant{.lr = 0};
  auto model = test::small_model();
  ClassifierTrainer trainer(model, images.data(), options);
  std::vector<int> sizes;
  std::vector<bool> improved;
  while (!trainer.finished()) {
    const EpochRecord record = trainer.run_epoch();
    sizes.push_back(record.size);
    improved.push_back(record.improved);
  }
  EXPECT_EQ(sizes, (std::vector<int>{8, 8, 12, 16, 16}));
  // The first epoch of a phase is compared with nothing. Batch norm's statistics move on, so what
  // happens in the second one is theirs to say.
  EXPECT_TRUE(improved[0] && improved[2] && improved[3]);
  EXPECT_GE(trainer.best_epoch(), 4) << "the last phase's";

  auto too_long = options;
  too_long.epochs = 3;
  EXPECT_THROW(ClassifierTrainer(model, images.data(), too_long), ValueError);
}

TEST(ClassifierTrainer, EmaKeepsTheAverageOfTheWeights) {
  const test::SmallImages images;
  auto options = small_options();
  options.batch = 12;  // an epoch is a step
  options.epochs = 8;
  options.ema = 0.6;
  auto data = images.data();
  data.valid.clear();
  auto model = test::small_model();
  std::vector<float> average = parameters_of(model);
  const auto mean_of = [](models::Classifier& of) {
    std::vector<float> all;
    nn::for_each_buffer(of, [&](const std::string&, auto& buffer) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(buffer)>, Tensor<float>>) {
        const auto values = buffer.to_vector();
        all.insert(all.end(), values.begin(), values.end());
      }
    });
    return all;
  };
  std::vector<float> buffers = mean_of(model);
  ClassifierTrainer trainer(model, data, options);
  const auto blend = [](std::vector<float>& to, const std::vector<float>& from, double decay) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      to[i] = static_cast<float>(decay * double{to[i]} + (1 - decay) * double{from[i]});
    }
  };
  for (int t = 1; !trainer.finished(); ++t) {
    (void)trainer.run_epoch();
    const double decay = std::min(0.6, (1.0 + t) / (10.0 + t));
    blend(average, parameters_of(model), decay);
    blend(buffers, mean_of(model), decay);
  }
  const auto last = parameters_of(model);
  trainer.load_best();
  // Eight roundings of float a number.
  EXPECT_LT(test::distance(parameters_of(model), average), 1e-6);
  EXPECT_LT(test::distance(mean_of(model), buffers), 1e-6);
  EXPECT_GT(test::distance(last, average), 1e-4);
  options.ema = 1;
  EXPECT_THROW(ClassifierTrainer(model, data, options), ValueError);
}

TEST(ClassifierTrainer, EmaDoesNotChangeWhatTrains) {
  auto options = small_options();
  const auto plain = test::trained_with(options);
  options.ema = 0.9;
  const auto averaged = test::trained_with(options);
  EXPECT_EQ(averaged.parameters, plain.parameters);
  EXPECT_EQ(averaged.epochs.back().train_loss, plain.epochs.back().train_loss);
  EXPECT_NE(averaged.epochs.back().valid_loss, plain.epochs.back().valid_loss);
}

// By name: what moved between two moments.
using Moved = std::map<std::string, bool>;
class Watch {
 public:
  explicit Watch(models::Classifier& model) : model_(model) {
    nn::for_each_parameter(model, [&](const std::string& path, nn::Parameter& p) {
      before_[path] = p.value().to_vector();
    });
  }
  Moved moved() {
    Moved result;
    nn::for_each_parameter(model_, [&](const std::string& path, nn::Parameter& p) {
      result[path] = p.value().to_vector() != before_[path];
      before_[path] = p.value().to_vector();
    });
    return result;
  }

 private:
  models::Classifier& model_;
  std::map<std::string, std::vector<float>> before_;
};

TEST(ClassifierTrainer, FineTuneFreezesTheEncoderFirstButNotItsBatchNorm) {
  const test::SmallImages images;
  auto options = small_options();
  options.epochs = 4;
  options.schedule = optim::FineTune{.lr = 1e-2, .frozen = 0.5};
  options.optimizer = optim::SgdOptions{.weight_decay = 0.1};
  auto model = test::small_model();
  ClassifierTrainer trainer(model, images.data(), options);
  Watch watch(model);
  for (int epoch = 0; epoch < 4; ++epoch) {
    (void)trainer.run_epoch();
    const Moved moved = watch.moved();
    EXPECT_EQ(moved.at("0.0.0.weight"), epoch >= 2) << "the stem's first convolution, " << epoch;
    EXPECT_EQ(moved.at("0.7.0.convpath.0.0.weight"), epoch >= 2) << epoch;
    EXPECT_TRUE(moved.at("0.0.1.bias")) << "the stem's batch norm, " << epoch;
    nn::for_each_parameter(model.head, [&](const std::string& path, nn::Parameter&) {
      EXPECT_TRUE(moved.at("1." + path)) << path;
    });
  }
  options.mode = FinetuneMode::mlp;
  EXPECT_THROW(ClassifierTrainer(model, images.data(), options), ValueError);
}

TEST(DepthGroups, EveryArchitectureHasAStemFourStagesAndAHead) {
  for (const auto& known : models::known_architectures()) {
    SCOPED_TRACE(known.name);
    models::Classifier model(models::Encoder(known.options), 3);
    std::vector<int> count(kDepthGroups, 0);
    int last = 0;
    nn::for_each_parameter(model, [&](const std::string& path, nn::Parameter&) {
      const int group = depth_group(path);
      ASSERT_GE(group, last) << path;
      ASSERT_LT(group, kDepthGroups) << path;
      ++count[static_cast<std::size_t>(last = group)];
    });
    for (const int parameters : count) EXPECT_GT(parameters, 0);
  }
}

TEST(LayerSchedule, FineTuneGoesFromTheHeadToFallingRates) {
  auto options = small_options();
  options.epochs = 4;
  options.schedule = optim::FineTune{.lr = 1e-2, .frozen = 0.5};
  auto model = test::small_model();
  LayerSchedule layers(model, options);
  optim::ParameterArena arena(model, Device::cpu(), ElementType::float32, layers.group_of());
  optim::Optimizer optimizer(options.optimizer, arena);
  const auto falling = optim::geometric_learning_rates(0.01, 1.0, kDepthGroups);
  const auto trainable = [&] {
    std::int64_t count = 0;
    for (const auto& segment : arena.segments()) count += segment.trainable;
    return count;
  };
  EXPECT_TRUE(layers.enter(0, optimizer));
  EXPECT_EQ(layers.group_scale(), optim::tenth_learning_rates(1.0, kDepthGroups));
  EXPECT_LT(trainable(), std::ssize(arena.segments()));
  EXPECT_FALSE(layers.enter(1, optimizer));
  EXPECT_TRUE(layers.enter(2, optimizer));
  EXPECT_EQ(layers.group_scale(), falling);
  EXPECT_EQ(trainable(), std::ssize(arena.segments()));
  EXPECT_FALSE(layers.enter(3, optimizer));

  options.schedule = optim::OneCycle{};
  for (const auto mode : {FinetuneMode::full, FinetuneMode::mlp, FinetuneMode::discriminative}) {
    options.mode = mode;
    LayerSchedule other(model, options);
    const bool by_depth = mode == FinetuneMode::discriminative;
    EXPECT_EQ(other.group_scale(), by_depth ? falling : std::vector<double>());
    EXPECT_EQ(other.group_of()("1.1.weight"), by_depth ? kDepthGroups - 1 : 0);
    EXPECT_FALSE(other.enter(0, optimizer));
    EXPECT_EQ(trainable() == std::ssize(arena.segments()), mode != FinetuneMode::mlp);
  }
}

TEST(BestEpoch, EachPhaseHasItsOwnAndOnlyTheLastEndsTheRun) {
  auto model = test::small_model();
  const auto first = parameters_of(model);
  BestEpoch best(1, 2);
  EXPECT_EQ(best.epoch(), 0);
  EXPECT_TRUE(best.observe(0.5, 1, 0, model));
  model.encoder.initialize(2);
  EXPECT_FALSE(best.observe(0.6, 2, 0, model));
  EXPECT_FALSE(best.stopped()) << "patience is over, but another phase follows";
  best.load(model);
  EXPECT_EQ(parameters_of(model), first);
  EXPECT_TRUE(best.observe(9, 3, 1, model)) << "compared with nothing";
  EXPECT_FALSE(best.stopped());
  EXPECT_FALSE(best.observe(9.5, 4, 1, model));
  EXPECT_TRUE(best.stopped());
  EXPECT_EQ(best.epoch(), 3);
  best.keep(5);  // no copy: what was kept is still the third epoch's
  EXPECT_EQ(best.epoch(), 5);
  model.encoder.initialize(3);
  best.load(model);
  EXPECT_EQ(parameters_of(model), first);
}

TEST(Freezing, ClearsTheOptimiserAndLeavesBatchNormTraining) {
  auto model = test::small_model();
  optim::ParameterArena arena(model);
  optim::Optimizer optimizer(optim::AdamOptions{}, arena);
  for (float& g : arena.gradients()) g = 1;
  optimizer.step(arena, {.lr = 1e-3});
  const auto steps = [&] {
    std::int64_t sum = 0;
    optimizer.for_each_counter([&](std::string_view, const Tensor<std::int64_t>& counts) {
      for (const std::int64_t count : counts.to_vector()) sum += count;
    });
    return sum;
  };
  const auto trainable = [&] {
    std::int64_t count = 0;
    for (const auto& segment : arena.segments()) count += segment.trainable;
    return count;
  };
  const auto all = std::ssize(arena.segments());
  EXPECT_EQ(steps(), all);
  const auto group_of = [](const std::string& path) { return path.starts_with("1.") ? 1 : 0; };
  freeze_to(model, group_of, 1, optimizer);
  EXPECT_EQ(steps(), 0);
  EXPECT_LT(trainable(), all);
  for (const auto& segment : arena.segments()) {
    EXPECT_EQ(segment.trainable, segment.name.starts_with("1.") || !segment.decay) << segment.name;
  }
  optimizer.step(arena, {.lr = 1e-3});
  unfreeze(model, optimizer);
  EXPECT_EQ(steps(), 0);
  EXPECT_EQ(trainable(), all);
}

TEST(ClassifierTrainer, AResumedRunGoesOnBitForBitInEveryPhase) {
  auto options = small_options();
  options.epochs = 4;
  options.schedule = optim::FineTune{.lr = 1e-2, .frozen = 0.5};
  options.mixup = 0.4;
  options.balanced = true;
  options.class_weights.values = {1, 2};
  options.sizes = size_schedule_of("12@1,16").progressive;
  options.ema = 0.8;
  options.patience = 2;
  const test::SmallImages images;
  const auto run_all = [&](ClassifierTrainer& trainer) {
    EpochRecord last;
    while (!trainer.finished()) last = trainer.run_epoch();
    trainer.load_best();
    return last;
  };
  auto whole = test::small_model();
  ClassifierTrainer unbroken(whole, images.data(), options);
  const EpochRecord want = run_all(unbroken);
  for (int stop = 1; stop <= 3; ++stop) {
    SCOPED_TRACE(stop);
    const test::TempDir folder;
    const CheckpointIdentity identity{"finetune", "small"};
    {
      auto model = test::small_model();
      ClassifierTrainer trainer(model, images.data(), options);
      for (int epoch = 0; epoch < stop; ++epoch) (void)trainer.run_epoch();
      CheckpointWriter checkpoint(identity);
      trainer.save(checkpoint);
      checkpoint.save(folder / "checkpoint.safetensors");
    }
    auto model = test::small_model();
    ClassifierTrainer trainer(model, images.data(), options);
    trainer.restore(CheckpointReader(folder / "checkpoint.safetensors", identity));
    const EpochRecord got = run_all(trainer);
    EXPECT_EQ(got.train_loss, want.train_loss);
    EXPECT_EQ(got.valid_loss, want.valid_loss);
    EXPECT_EQ(trainer.best_epoch(), unbroken.best_epoch());
    EXPECT_EQ(parameters_of(model), parameters_of(whole));
  }
}

}  // namespace
}  // namespace mwalimu::train
