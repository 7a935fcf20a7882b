#include "mwalimu/data/sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <thread>

namespace mwalimu::data {
namespace {

std::vector<std::int64_t> epoch_of(const BatchSampler& sampler, std::int64_t epoch) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < sampler.steps_per_epoch(); ++i) {
    const auto batch = sampler.indices(epoch * sampler.steps_per_epoch() + i);
    all.insert(all.end(), batch.begin(), batch.end());
  }
  return all;
}

TEST(BatchSampler, AnEpochIsItsPermutationWithoutTheRest) {
  const BatchSampler sampler(103, 10, 7);
  EXPECT_EQ(sampler.steps_per_epoch(), 10);
  for (const std::int64_t epoch : {0, 1, 5}) {
    auto want = random_permutation(
        103, RandomStream(7, Purpose::shuffle, static_cast<std::uint64_t>(epoch)));
    want.resize(100);
    EXPECT_EQ(epoch_of(sampler, epoch), want);
  }
}

TEST(BatchSampler, KeepsAShorterLastBatchWhereAsked) {
  const BatchSampler sampler(103, 10, 7, {.drop_last = false});
  EXPECT_EQ(sampler.steps_per_epoch(), 11);
  EXPECT_EQ(sampler.indices(10).size(), 3u);
  EXPECT_EQ(sampler.indices(11).size(), 10u);
  auto all = epoch_of(sampler, 2);
  std::sort(all.begin(), all.end());
  for (std::int64_t i = 0; i < 103; ++i) ASSERT_EQ(all[static_cast<std::size_t>(i)], i);
  EXPECT_EQ(BatchSampler(3, 10, 7, {.drop_last = false}).indices(4).size(), 3u);
}

TEST(BatchSampler, WithoutShuffleCounts) {
  const BatchSampler sampler(7, 3, 0, {.shuffle = false, .drop_last = false});
  EXPECT_EQ(sampler.indices(0), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(sampler.indices(2), (std::vector<std::int64_t>{6}));
  EXPECT_EQ(sampler.indices(3), (std::vector<std::int64_t>{0, 1, 2}));
}

TEST(BatchSampler, AStepIsTheSameWhateverCameBefore) {
  const BatchSampler walked(50, 8, 3);
  std::vector<std::vector<std::int64_t>> batches;
  for (std::int64_t step = 0; step < 40; ++step) batches.push_back(walked.indices(step));
  for (std::int64_t step = 39; step >= 0; --step) {
    EXPECT_EQ(BatchSampler(50, 8, 3).indices(step), batches[static_cast<std::size_t>(step)]);
    EXPECT_EQ(walked.indices(step), batches[static_cast<std::size_t>(step)]);
  }
  EXPECT_EQ(walked.epoch(5), 0);
  EXPECT_EQ(walked.epoch(6), 1);
}

TEST(BatchSampler, ManyThreadsSeeTheSame) {
  const BatchSampler sampler(64, 4, 9);
  std::vector<std::vector<std::int64_t>> want(200);
  for (std::size_t i = 0; i < want.size(); ++i)
    want[i] = BatchSampler(64, 4, 9).indices(static_cast<std::int64_t>(i));
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < want.size(); ++i) {
        const std::size_t step = (i * 37 + t * 50) % want.size();
        wrong[t] += sampler.indices(static_cast<std::int64_t>(step)) != want[step];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

// 14, 4 and 2 samples of classes 0, 1 and 3; nobody is of class 2.
std::vector<int> unequal_classes() {
  std::vector<int> classes(14, 0);
  classes.insert(classes.end(), 4, 1);
  classes.insert(classes.end(), 2, 3);
  return classes;
}

TEST(BalancedOrder, GivesClassesEqualSharesOfEveryEpoch) {
  const auto classes = unequal_classes();
  std::set<std::int64_t> drawn_of_the_first;
  std::map<int, int> all;
  for (std::uint64_t epoch = 0; epoch < 30; ++epoch) {
    const auto order = balanced_order(classes, 7, epoch);
    ASSERT_EQ(order.size(), 20u);
    std::map<int, int> share;
    std::map<std::int64_t, int> times;
    for (const std::int64_t i : order) {
      ++share[classes[static_cast<std::size_t>(i)]];
      ++all[classes[static_cast<std::size_t>(i)]];
      ++times[i];
      if (i < 14) drawn_of_the_first.insert(i);
    }
    // 20 places for three classes: two have seven, one six.
    for (const int c : {0, 1, 3}) EXPECT_TRUE(share[c] == 6 || share[c] == 7) << c;
    for (std::int64_t i = 0; i < 14; ++i) EXPECT_LE(times[i], 1);
    for (std::int64_t i = 14; i < 18; ++i) EXPECT_TRUE(times[i] == 1 || times[i] == 2) << times[i];
    for (std::int64_t i = 18; i < 20; ++i) EXPECT_TRUE(times[i] == 3 || times[i] == 4) << times[i];
  }
  EXPECT_EQ(drawn_of_the_first.size(), 14u) << "a new part of a large class every epoch";
  for (const int c : {0, 1, 3}) EXPECT_EQ(all[c], 200) << "the remainder takes turns";
}

TEST(BalancedOrder, IsAFunctionOfSeedAndEpochInRandomOrder) {
  const auto classes = unequal_classes();
  const auto order = balanced_order(classes, 7, 3);
  EXPECT_EQ(order, balanced_order(classes, 7, 3));
  EXPECT_NE(order, balanced_order(classes, 7, 4));
  EXPECT_NE(order, balanced_order(classes, 8, 3));
  // Classes mix: were they in blocks, there would be two changes.
  int changes = 0;
  for (std::size_t i = 1; i < order.size(); ++i) {
    changes += classes[static_cast<std::size_t>(order[i])] !=
               classes[static_cast<std::size_t>(order[i - 1])];
  }
  EXPECT_GT(changes, 5);
  const BatchSampler sampler(20, 5, 7, {.classes = classes});
  std::vector<std::int64_t> epoch;
  for (std::int64_t step = 12; step < 16; ++step) {
    for (const std::int64_t i : sampler.indices(step)) epoch.push_back(i);
  }
  EXPECT_EQ(epoch, order);
}

TEST(BatchSampler, RefusesNonsense) {
  EXPECT_THROW(BatchSampler(3, 1, 0, {.classes = {0, 1}}), ValueError);
  EXPECT_THROW(BatchSampler(2, 1, 0, {.classes = {0, -1}}), ValueError);
  EXPECT_THROW(BatchSampler(2, 1, 0, {.shuffle = false, .classes = {0, 1}}), ValueError);
  EXPECT_THROW(BatchSampler(0, 1, 0), ValueError);
  EXPECT_THROW(BatchSampler(5, 0, 0), ValueError);
  EXPECT_THROW(BatchSampler(5, 5, 0).indices(-1), ValueError);
  try {
    BatchSampler(12, 32, 0);
    FAIL();
  } catch (const ValueError& error) {
    EXPECT_STREQ(
        error.what(),
        "sampler: a batch of 32 is larger than the data (12 samples): use a batch of at most 12");
  }
}

}  // namespace
}  // namespace mwalimu::data
