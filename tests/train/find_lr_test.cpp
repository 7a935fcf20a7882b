#include "mwalimu/train/find_lr.hpp"

#include <gtest/gtest.h>

#include "mwalimu/io/file.hpp"
#include "support/temp_dir.hpp"
#include "train/small_classifier.hpp"

namespace mwalimu::train {
namespace {

TEST(FindLr, ModelOptimiserAndTrainerStandAsBefore) {
  const test::SmallImages images;
  const auto options = test::small_options();
  const test::Trained undisturbed = test::trained_with(options);
  auto model = test::small_model();
  ClassifierTrainer trainer(model, images.data(), options);
  (void)trainer.run_epoch();  // the optimiser has averages to lose
  const auto before = test::parameters_of(model);
  optim::LrFinder finder({.start = 1e-4, .end = 1e-1, .steps = 12});
  std::vector<std::int64_t> told;
  trainer.find_lr(finder, [&](std::int64_t done) { told.push_back(done); });
  EXPECT_GE(finder.rates().size(), 8u);
  EXPECT_EQ(told.back(), static_cast<std::int64_t>(finder.rates().size()));
  EXPECT_EQ(test::parameters_of(model), before);
  const EpochRecord last = trainer.run_epoch();
  EXPECT_EQ(last.train_loss, undisturbed.epochs.back().train_loss);
  EXPECT_EQ(last.valid_loss, undisturbed.epochs.back().valid_loss) << "batch norm's statistics";
  EXPECT_EQ(test::parameters_of(model), undisturbed.parameters);
}

// A step of the test is a training step at its rate: with an epoch of one step, each epoch's loss.
TEST(FindLr, EveryStepIsATrainingStepAtItsRate) {
  const test::SmallImages images;
  auto options = test::small_options();
  options.batch = 12;
  options.epochs = 6;
  options.schedule = optim::Exponential{.lr = 1e-1, .start = 1e-4};
  const test::Trained trained = test::trained_with(options);
  auto model = test::small_model();
  ClassifierTrainer trainer(model, images.data(), options);
  optim::LrFinder finder({.start = 1e-4, .end = 1e-1, .steps = 6, .divergence = 1e9});
  trainer.find_lr(finder);
  ASSERT_EQ(finder.losses().size(), 6u);
  for (std::size_t e = 0; e < 6; ++e) {
    EXPECT_EQ(finder.losses()[e], trained.epochs[e].train_loss) << e;
    EXPECT_EQ(finder.rates()[e], trained.epochs[e].lr) << e;
  }
}

TEST(FindLr, ALossThatIsNoNumberEndsTheTestAndIsNoError) {
  const test::SmallImages images;
  auto options = test::small_options();
  options.optimizer = optim::SgdOptions{};
  auto model = test::small_model();
  const auto before = test::parameters_of(model);
  ClassifierTrainer trainer(model, images.data(), options);
  optim::LrFinder finder({.start = 1e18, .end = 1e38, .steps = 40, .divergence = 1e300});
  trainer.find_lr(finder);
  EXPECT_TRUE(finder.finished());
  EXPECT_LT(finder.losses().size(), 40u);
  EXPECT_TRUE(std::isnan(finder.smoothed_losses().back()));
  EXPECT_EQ(test::parameters_of(model), before);
}

PretrainOptions small_swav() {
  PretrainOptions options;
  options.architecture = {.arch = "xresnet18", .width = 8};
  options.crops = data::MultiCropOptions::study("2x16,2x16");
  options.crops.pairs = false;
  options.trainer.head = {.hidden = 16, .embedding = 8, .prototypes = 6};
  options.trainer.batch = 4;
  options.trainer.optimizer = optim::AdamOptions{};
  options.trainer.seed = 3;
  return options;
}

TEST(FindLr, SwavTrainsAtRisingRatesUntilItDiverges) {
  const test::SmallImages images;
  const auto samples = view_pairs(images.dataset, false);
  const optim::LrFindOptions sweep{.start = 1e-5, .end = 1, .steps = 8};
  std::int64_t told = 0;
  const auto finder = find_swav_lr(small_swav(), images.store, samples, sweep,
                                   [&](std::int64_t done) { told = done; });
  ASSERT_EQ(finder.losses().size(), 8u);
  EXPECT_EQ(told, 8);
  for (const double loss : finder.losses()) EXPECT_TRUE(std::isfinite(loss));
  // The first loss has seen no step; what comes after has seen the rates.
  const auto faster = find_swav_lr(small_swav(), images.store, samples,
                                   {.start = 1e-3, .end = 1, .steps = 8});
  EXPECT_EQ(faster.losses()[0], finder.losses()[0]);
  EXPECT_NE(faster.losses()[1], finder.losses()[1]);

  auto wild = small_swav();
  wild.trainer.optimizer = optim::SgdOptions{};
  const auto diverged = find_swav_lr(wild, images.store, samples,
                                     {.start = 1e25, .end = 1e38, .steps = 60, .divergence = 1e300});
  EXPECT_LT(diverged.losses().size(), 60u);
  EXPECT_TRUE(std::isnan(diverged.losses().back()));
}

TEST(FindLr, WritesATableAndAPlotWithTheFourSuggestions) {
  const test::TempDir folder;
  optim::LrFinder finder({.steps = 60});
  for (int i = 0; !finder.finished(); ++i) {
    finder.observe(i < 20 ? 1 : i < 40 ? 1 - 0.04 * (i - 20) : 0.2 + 0.1 * (i - 40));
  }
  const auto found = write_lr_test(folder.path(), finder, "A & B");
  const auto table = io::read_csv(folder / "lr.csv");
  EXPECT_EQ(table.header, (std::vector<std::string>{"step", "lr", "loss", "smoothed_loss"}));
  ASSERT_EQ(table.rows.size(), finder.losses().size());
  EXPECT_EQ(table.number(3, 1), finder.rates()[3]);
  EXPECT_EQ(table.number(3, 2), finder.losses()[3]);
  EXPECT_EQ(table.number(3, 3), finder.smoothed_losses()[3]);
  const std::string svg = io::read_file(folder / "lr.svg");
  for (const std::string& label :
       {"valley " + format_rate(found.valley), "steep " + format_rate(found.steep),
        "minimum " + format_rate(found.minimum), "slide " + format_rate(found.slide),
        std::string("A &amp; B")}) {
    EXPECT_NE(svg.find(label), std::string::npos) << label;
  }
  EXPECT_NE(summary(found).find("valley   " + format_rate(found.valley)), std::string::npos);

  const test::TempDir empty;
  optim::LrFinder early({.steps = 60});
  for (const double loss : {1.0, 1.0, 900.0}) early.observe(loss);
  EXPECT_THROW(write_lr_test(empty.path(), early, ""), ValueError);
  EXPECT_TRUE(std::filesystem::is_empty(empty.path()));
}

}  // namespace
}  // namespace mwalimu::train
