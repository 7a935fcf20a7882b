// What surrounds SwAV's steps in pretraining: alarm, probe and best encoder, log and its plot.
#include "mwalimu/train/pretrain.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

#include "mwalimu/train/encoder_probe.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::train {
namespace {

namespace fs = std::filesystem;

SwavStatistics codes(double loss, double entropy, double mean_entropy) {
  SwavStatistics step;
  step.loss = loss;
  step.code_entropy = entropy;
  step.mean_code_entropy = mean_entropy;
  return step;
}

// Steps after which the alarm speaks, 0 if it does not.
int steps_to_alarm(const SwavStatistics& step, const char* words = "") {
  CollapseAlarm alarm(24, 64);
  int spoken = 0, at = 0;
  for (int s = 1; s <= 1000; ++s) {
    if (const auto warning = alarm.observe(step)) {
      EXPECT_NE(warning->find(words), std::string::npos) << *warning;
      EXPECT_EQ(warning->find('\n'), std::string::npos);
      EXPECT_NE(warning->find("--lr"), std::string::npos);
      ++spoken;
      at = s;
    }
  }
  EXPECT_LE(spoken, 1);
  return at;
}

TEST(CollapseAlarm, SpeaksOnceOfEveryCollapse) {
  const double uniform = std::log(24.0);
  EXPECT_EQ(steps_to_alarm(codes(2.5, uniform, uniform), "same, uniform code"), 100);
  EXPECT_EQ(steps_to_alarm(codes(2.5, 0.1, 0.101), "same few prototypes"), 100);
  EXPECT_EQ(steps_to_alarm(codes(uniform + 0.005, 0.5, 3.0), "at ln(prototypes)"), 100);
  EXPECT_EQ(steps_to_alarm(codes(2.5, 0.5, 3.0)), 0) << "sharp codes, all prototypes used";
  EXPECT_EQ(steps_to_alarm(codes(2.9, 2.6, 3.1)), 0) << "soft codes that differ";
}

TEST(CollapseAlarm, WantsASteadyCollapse) {
  CollapseAlarm alarm(24, 64);
  const double uniform = std::log(24.0);
  const auto same = codes(2.5, uniform, uniform), sound = codes(2.5, 0.5, 3.0);
  for (int round = 0; round < 5; ++round) {
    for (int s = 0; s < 99; ++s) EXPECT_FALSE(alarm.observe(same));
    EXPECT_FALSE(alarm.observe(sound));
  }
}

TEST(CollapseAlarm, InformationIsAShareOfWhatABatchCanTell) {
  // Four codes of 3000 prototypes tell at most ln 4.
  EXPECT_NEAR(CollapseAlarm(3000, 4).information(codes(1, 0, std::log(4.0))), 1, 1e-12);
  EXPECT_NEAR(CollapseAlarm(4, 64).information(codes(1, std::log(2.0), std::log(4.0))), 0.5, 1e-12);
  EXPECT_EQ(CollapseAlarm(1, 64).information(codes(0, 0, 0)), 1);
}

TEST(SwavLog, LossesAreMeansOverCropsOfOneSize) {
  data::MultiCropOptions crops;
  crops.groups = {{2, 16, {0.3f, 1}}, {1, 8, {0.1f, 0.3f}}, {1, 16, {0.1f, 0.3f}}};
  const SwavLog log(crops, 4, false, true);
  EXPECT_EQ(log.columns(),
            (std::vector<std::string>{"loss_without_queue", "queue", "code_entropy", "code_max",
                                      "prototypes_used", "mean_code_entropy", "loss_16px",
                                      "loss_8px", "probe_accuracy"}));
  SwavTrainer::StepRecord record;
  record.codes.mean_code_entropy = std::log(2.0);
  record.codes.crop_loss = {1, 2, 10, 6};
  const auto values = log.values(record, 0.5);
  EXPECT_NEAR(values[5].second, 0.5, 1e-12);
  EXPECT_EQ(values[6], LogValue("loss_16px", 3));
  EXPECT_EQ(values[7], LogValue("loss_8px", 10));
  EXPECT_EQ(values[8], LogValue("probe_accuracy", 0.5));
  EXPECT_EQ(log.values(record, std::nullopt).size(), 8u) << "a row without a probe";
}

// Blobs of colour: every image differs, and class 1 is red.
data::ImageStore images(index_t count) {
  constexpr int kSide = 20;
  std::vector<std::uint8_t> pixels;
  for (index_t i = 0; i < count; ++i) {
    RandomStream random(5, Purpose::test, 0, static_cast<std::uint64_t>(i));
    const int shade = static_cast<int>(random.below(100));
    for (int p = 0; p < kSide * kSide; ++p) {
      pixels.push_back(static_cast<std::uint8_t>(i % 2 == 1 ? 250 : shade));
      pixels.push_back(static_cast<std::uint8_t>((shade + p) % 256));
      pixels.push_back(static_cast<std::uint8_t>(random.below(256)));
    }
  }
  return data::ImageStore::from_pixels(std::move(pixels), kSide, kSide);
}

std::vector<ViewPair> singles(index_t count) {
  std::vector<ViewPair> samples;
  for (index_t i = 0; i < count; ++i) samples.push_back({i, i});
  return samples;
}

PretrainOptions small() {
  PretrainOptions options;
  options.architecture.arch = "xresnet18";
  options.architecture.width = 8;
  options.crops.groups = {{2, 16, {0.3f, 1.0f}}, {2, 8, {0.1f, 0.3f}}};
  options.crops.pairs = false;
  options.trainer.head = {.hidden = 16, .embedding = 8, .prototypes = 6};
  options.trainer.batch = 4;
  options.trainer.queue = {.length = 8, .start = 0.5};
  options.trainer.optimizer = optim::AdamOptions{};
  options.trainer.schedule = optim::Constant{.lr = 1e-3};
  options.epochs = 6;
  return options;
}

PretrainResult run(const PretrainOptions& options, const fs::path& out, bool resume = false) {
  fs::create_directories(out);
  std::ostringstream console;
  return pretrain(options, images(8), singles(8), out, resume, console);
}

/// The log without what depends on the clock.
std::vector<std::vector<double>> numbers(const fs::path& file) {
  Log log = read_log(file);
  std::vector<std::vector<double>> columns;
  for (std::size_t c = 0; c < log.names.size(); ++c) {
    if (log.names[c] == "images_per_second" || log.names[c] == "seconds") continue;
    for (double& x : log.columns[c]) x = std::isnan(x) ? -1 : x;
    columns.push_back(log.columns[c]);
  }
  return columns;
}

/// Says `accuracies` one after another and keeps the encoder that it saw each time.
PretrainProbe scripted(std::vector<double> accuracies, const fs::path& folder, int epochs) {
  fs::create_directories(folder);
  return {.name = "knn",
          .accuracy =
              [accuracies, folder, next = std::size_t{0}](models::Encoder& encoder) mutable {
                nn::save_state_dict(folder / std::to_string(next), encoder,
                                    small().architecture.metadata());
                return accuracies.at(next++);
              },
          .epochs = epochs};
}

TEST(Pretrain, KeepsTheEncoderOfTheBestProbeSinceTheQueueJoined) {
  const test::TempDir folder;
  auto options = small();
  // Two steps an epoch: the queue joins in epoch 4. Epochs 2, 4 and 6 end with a probe.
  options.probe = scripted({0.9, 0.5, 0.4}, folder / "seen", 2);
  const auto result = run(options, folder / "out");
  EXPECT_EQ(result.probe, 0.4);
  EXPECT_EQ(io::read_file(folder / "out/best_encoder.safetensors"),
            io::read_file(folder / "seen/1"));
  EXPECT_EQ(io::read_file(folder / "out/encoder.safetensors"), io::read_file(folder / "seen/2"));
  const Log log = read_log(folder / "out/log.csv");
  for (std::size_t row = 0; row < 12; ++row) {
    const double accuracy = log.column("probe_accuracy")[row];
    EXPECT_EQ(std::isnan(accuracy), row % 4 != 3) << row;
  }
  EXPECT_FLOAT_EQ(static_cast<float>(log.column("probe_accuracy")[7]), 0.5f);
}

TEST(Pretrain, AProbeChangesNoWeight) {
  const test::TempDir folder;
  auto options = small();
  run(options, folder / "without");
  options.probe = scripted({0.1, 0.2, 0.3}, folder / "seen", 2);
  run(options, folder / "with");
  for (const char* file : {"encoder.safetensors", "swav.safetensors"}) {
    EXPECT_EQ(io::read_file(folder / "with" / file), io::read_file(folder / "without" / file));
  }
  EXPECT_FALSE(fs::exists(folder / "without/best_encoder.safetensors"));
}

// Killed in a probe after its checkpoint's epoch; queues per crop are filling at that time.
TEST(Pretrain, KilledAndResumedWithProbeAndQueuesItEndsTheSame) {
  const test::TempDir folder;
  auto options = small();
  options.trainer.queue = QueueOptions::facebook(8, 0.4);
  options.trainer.loss.code_crops = {1, 2};
  // The queue joins in epoch 4, whose encoder stays the best: the resumed run must know its accuracy.
  const std::vector<double> accuracies{0.3, 0.2, 0.25, 0.5, 0.2, 0.1};
  options.probe = scripted(accuracies, folder / "seen", 1);
  options.checkpoint_epochs = 2;
  run(options, folder / "unbroken");

  auto broken = options;
  int calls = 0;
  broken.probe.accuracy = [&](models::Encoder&) {
    if (calls == 4) throw std::runtime_error("killed");
    return accuracies.at(static_cast<std::size_t>(calls++));
  };
  EXPECT_THROW(run(broken, folder / "broken"), std::runtime_error);
  broken.probe.accuracy = [&](models::Encoder&) {
    return accuracies.at(static_cast<std::size_t>(calls++));
  };
  run(broken, folder / "broken", true);
  for (const char* file :
       {"encoder.safetensors", "swav.safetensors", "best_encoder.safetensors", "log.svg"}) {
    EXPECT_EQ(io::read_file(folder / "broken" / file), io::read_file(folder / "unbroken" / file))
        << file;
  }
  EXPECT_EQ(numbers(folder / "broken/log.csv"), numbers(folder / "unbroken/log.csv"));
  EXPECT_EQ(io::read_file(folder / "broken/checkpoint.safetensors"),
            io::read_file(folder / "unbroken/checkpoint.safetensors"));
}

TEST(ProgressiveSizes, ScaleAllGroupsOfCrops) {
  data::MultiCropOptions crops;
  crops.groups = {{2, 128, {0.3f, 1.0f}}, {6, 96, {0.1f, 0.3f}}, {1, 1, {0.1f, 0.3f}}};
  const auto sizes = size_schedule_of("32@2,100@1,128").progressive;
  const auto at = [&](std::int64_t epoch) {
    const auto of_epoch = crops_of_epoch(sizes, epoch, crops);
    std::vector<int> sides;
    for (const auto& group : of_epoch.groups) sides.push_back(group.size);
    EXPECT_EQ(of_epoch.views(), crops.views());
    EXPECT_EQ(of_epoch.groups[1].scale, crops.groups[1].scale);
    return sides;
  };
  EXPECT_EQ(at(0), (std::vector<int>{32, 24, 1}));
  EXPECT_EQ(at(1), at(0));
  EXPECT_EQ(at(2), (std::vector<int>{100, 75, 1}));
  EXPECT_EQ(at(3), (std::vector<int>{128, 96, 1}));
}

// Killed in each of the three phases: in the probe that ends its second epoch, which is lost.
TEST(Pretrain, CropsGrowAndARunKilledAtAnySizeEndsTheSame) {
  const test::TempDir folder;
  auto options = small();
  run(options, folder / "plain");
  options.sizes = size_schedule_of("8@2,12@2,16").progressive;
  options.probe = {.name = "knn", .accuracy = [](models::Encoder&) { return 0.5; }, .epochs = 1};
  run(options, folder / "unbroken");
  const Log log = read_log(folder / "unbroken/log.csv");
  EXPECT_EQ(log.column("size"),
            (std::vector<double>{8, 8, 8, 8, 12, 12, 12, 12, 16, 16, 16, 16}));
  EXPECT_NE(io::read_file(folder / "unbroken/encoder.safetensors"),
            io::read_file(folder / "plain/encoder.safetensors"));
  for (const int killed : {2, 4, 6}) {
    const auto out = folder / ("killed" + std::to_string(killed));
    auto broken = options;
    int epoch = 0;
    broken.probe.accuracy = [&](models::Encoder&) {
      if (++epoch == killed) throw std::runtime_error("killed");
      return 0.5;
    };
    EXPECT_THROW(run(broken, out), std::runtime_error);
    run(options, out, true);
    EXPECT_EQ(io::read_file(out / "checkpoint.safetensors"),
              io::read_file(folder / "unbroken/checkpoint.safetensors"));
    EXPECT_EQ(numbers(out / "log.csv"), numbers(folder / "unbroken/log.csv"));
  }
  options.sizes = size_schedule_of("8@1,12@3,16").progressive;
  EXPECT_THROW(run(options, folder / "unbroken", true), ValueError);
  options.sizes = size_schedule_of("8@6,16").progressive;
  EXPECT_THROW(run(options, folder / "never"), ValueError);
}

TEST(Pretrain, AResumedRunMustHaveTheSameOptimiserScheduleAndImages) {
  const test::TempDir folder;
  auto options = small();
  options.epochs = 1;
  options.trainer.optimizer = optim::optimizer_options("adam", 0.01);
  run(options, folder.path());
  run(options, folder.path(), true);
  auto other = options;
  other.trainer.optimizer = optim::optimizer_options("adamw", 0.01);
  EXPECT_THROW(run(other, folder.path(), true), ValueError);
  other = options;
  other.probe.held_out = 0.3;
  EXPECT_THROW(run(other, folder.path(), true), ValueError);
  std::ostringstream console;
  const auto larger = data::ImageStore::from_pixels(std::vector<std::uint8_t>(8 * 24 * 24 * 3), 24, 24);
  EXPECT_THROW(pretrain(options, larger, singles(8), folder.path(), true, console), ValueError);
}

TEST(OptimizerText, TellsApartWhatHasAName) {
  std::set<std::string> texts;
  for (const auto name : optim::kOptimizerNames) {
    Settings settings;
    const auto options = optim::optimizer_options(name, 0.01);
    settings.add("kind", options.index());
    add_optimizer(settings, options, optim::Constant{});
    texts.insert(settings.text());
  }
  EXPECT_EQ(texts.size(), optim::kOptimizerNames.size());
  const auto one = [](const optim::Schedule& schedule) { return text_of(schedule); };
  EXPECT_NE(one(optim::OneCycle{}), one(optim::OneCycle{.momentum = {0.95, 0.8, 0.95}}));
  EXPECT_NE(one(optim::Sgdr{}), one(optim::Sgdr{.cycles = 4}));
  // Of what is as usual nothing is said: checkpoints of earlier versions hold nothing either.
  Settings usual;
  add_optimizer(usual, optim::LambOptions{.weight_decay = 0.3}, optim::OneCycle{.lr = 2});
  EXPECT_EQ(usual.text(), "");
}

TEST(Pretrain, StackedImagesHaveFourChannelsFromCropsToEncoder) {
  const test::TempDir folder;
  auto options = small();
  options.epochs = 1;
  run(options, folder / "three");
  std::vector<std::uint8_t> pixels;
  const auto rgb = images(8);
  for (index_t i = 0; i < 8; ++i) {
    const auto of = rgb.image(i);
    for (std::size_t p = 0; p < of.size(); p += 3) {
      pixels.insert(pixels.end(), {of[p], of[p + 1], of[p + 2], static_cast<std::uint8_t>(p % 251)});
    }
  }
  const auto stacked = data::ImageStore::from_pixels(std::move(pixels), 20, 20, 4);
  fs::create_directories(folder / "four");
  std::ostringstream console;
  pretrain(options, stacked, singles(8), folder / "four", false, console);
  const auto path = folder / "four/encoder.safetensors";
  const auto architecture = models::architecture_of(io::SafetensorsFile(path));
  ASSERT_TRUE(architecture);
  EXPECT_EQ(architecture->channels, 4);
  auto encoder = architecture->encoder();
  nn::load_state_dict(encoder, path);
  EXPECT_EQ(encoder.input_weight().shape()[1], 4);
  EXPECT_EQ(infer(encoder, stacked, {}, {.size = 16}).dim(0), 8);
  EXPECT_THROW(infer(encoder, images(8), {}, {.size = 16}), ValueError);

  // From an encoder of three channels: its other weights as they are, its first ones spread.
  auto from_three = architecture->encoder();
  EXPECT_EQ(models::load_encoder(from_three, *architecture, folder / "three/encoder.safetensors"), 3);
  auto three = options.architecture.encoder();
  nn::load_state_dict(three, folder / "three/encoder.safetensors");
  EXPECT_EQ(from_three.input_weight().value().to_vector(),
            models::with_input_channels(three.input_weight().value(), 4).to_vector());
  std::map<std::string, std::vector<float>> weights;
  nn::for_each_parameter(three, [&](const std::string& name, nn::Parameter& p) {
    weights[name] = p.value().to_vector();
  });
  nn::for_each_parameter(from_three, [&](const std::string& name, nn::Parameter& p) {
    if (&p != &from_three.input_weight()) {
      EXPECT_EQ(p.value().to_vector(), weights.at(name)) << name;
    }
  });
  options.encoder = folder / "three/encoder.safetensors";
  fs::create_directories(folder / "spread");
  pretrain(options, stacked, singles(8), folder / "spread", false, console);
  EXPECT_NE(console.str().find("3 channels, are spread over 4"), std::string::npos) << console.str();
  EXPECT_NE(io::read_file(folder / "spread/encoder.safetensors"), io::read_file(path));
}

TEST(Pretrain, ImagesThatAreAllAlikeRaiseTheAlarmOnce) {
  const test::TempDir folder;
  auto options = small();
  options.crops.jitter = options.crops.gray = 0;
  options.epochs = 60;  // two steps each
  const auto gray = data::ImageStore::from_pixels(std::vector<std::uint8_t>(8 * 20 * 20 * 3, 128), 20, 20);
  std::ostringstream console, sound;
  pretrain(options, gray, singles(8), folder.path(), false, console);
  const std::string text = console.str(), words = "warning: the codes have collapsed";
  const auto at = text.find(words);
  ASSERT_NE(at, std::string::npos) << text;
  EXPECT_EQ(text.find(words, at + 1), std::string::npos) << text;
  const Log log = read_log(folder / "log.csv");
  EXPECT_NEAR(log.column("mean_code_entropy").back(), 1, 1e-4);
  EXPECT_NEAR(log.column("code_entropy").back(), std::log(6.0), 1e-4);

  fs::create_directories(folder / "sound");
  options.trainer.loss.epsilon = 0.02;
  pretrain(options, images(8), singles(8), folder / "sound", false, sound);
  EXPECT_EQ(sound.str().find("warning"), std::string::npos) << sound.str();
}

TEST(Pretrain, TheLogIsDrawn) {
  const test::TempDir folder;
  auto options = small();
  options.probe = scripted({0.5, 0.6, 0.7, 0.8, 0.9, 1.0}, folder / "seen", 1);
  run(options, folder / "out");
  const std::string svg = io::read_file(folder / "out/log.svg");
  for (const char* words : {"Loss", "queue on", "Learning rate", "entropy of the mean code",
                            "Probe: held-out labelled images"}) {
    EXPECT_NE(svg.find(words), std::string::npos) << words;
  }
  EXPECT_EQ(svg, pretraining_plot(read_log(folder / "out/log.csv"), 6));
}

// A data set of `count` images whose class is the parity of their number.
data::Dataset by_parity(index_t count) {
  data::Dataset dataset;
  dataset.classes = {"even", "odd"};
  for (index_t i = 0; i < count; ++i) {
    data::Sample sample;
    sample.path = std::to_string(i) + ".png";
    sample.label = static_cast<int>(i % 2);
    dataset.samples.push_back(sample);
  }
  return dataset;
}

TEST(EncoderProbe, TellsClassesOfDifferentColourApart) {
  const auto store = images(24);
  const auto dataset = by_parity(24);
  std::vector<index_t> all(24);
  std::iota(all.begin(), all.end(), 0);
  const auto split = labelled_split(dataset, all, 0.25, 0);
  EXPECT_EQ(split.valid.size(), 6u);
  auto encoder = small().architecture.encoder();
  encoder.initialize(1);
  for (const auto kind : {EncoderProbeOptions::Kind::knn, EncoderProbeOptions::Kind::linear}) {
    EncoderProbeOptions options{.kind = kind, .k = 3, .inference = {}};
    options.inference.size = 16;
    const EncoderProbe probe(dataset, store, split.train, split.valid, options);
    EXPECT_GE(probe(encoder), 5.0 / 6) << "red or not: even an untrained encoder sees it";
  }
  // Labels that say nothing: half of them are guessed at best by chance.
  auto shuffled = dataset;
  for (index_t i = 0; i < 24; ++i) shuffled.samples[static_cast<std::size_t>(i)].label = (i / 2) % 2;
  const EncoderProbe blind(shuffled, store, split.train, split.valid,
                           {.kind = EncoderProbeOptions::Kind::knn, .k = 3, .inference = {.size = 16}});
  EXPECT_LT(blind(encoder), 5.0 / 6);
}

TEST(EncoderProbe, WantsLabels) {
  auto dataset = by_parity(6);
  for (auto& sample : dataset.samples) sample.label = -1;
  EXPECT_THROW(labelled_split(dataset, {0, 1, 2, 3, 4, 5}, 0.2, 0), ValueError);
  for (auto& sample : dataset.samples) sample.label = 0;
  const auto split = labelled_split(dataset, {0, 1, 2, 3}, 0.25, 0);
  EXPECT_EQ(split.train.size() + split.valid.size(), 4u);
}

TEST(ViewPairs, OfTheQuirksAreRgbAlone) {
  auto dataset = by_parity(4);
  dataset.samples[0].pair = 1;
  dataset.samples[1].pair = 0;
  dataset.samples[1].sensor = data::Sensor::rgn;
  const auto samples = rgb_views(dataset);
  ASSERT_EQ(samples.size(), 3u);
  for (const ViewPair& sample : samples) {
    EXPECT_EQ(sample.first, sample.second);
    EXPECT_NE(sample.first, 1);
  }
}

}  // namespace
}  // namespace mwalimu::train
