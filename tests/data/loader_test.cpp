#include "mwalimu/data/loader.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/data/multi_crop.hpp"
#include "mwalimu/data/sampler.hpp"
#include "planes.hpp"

namespace mwalimu::data {
namespace {

using std::chrono::milliseconds;

struct Number {
  std::int64_t value = -1;
};

// Later steps are quicker than earlier ones, so that they are ready out of order.
void uneven(std::int64_t step, Number& batch) {
  std::this_thread::sleep_for(std::chrono::microseconds(step % 4 == 0 ? 3000 : 100));
  batch.value = step * step;
}

TEST(Prefetcher, DeliversEveryStepInOrder) {
  for (const int workers : {0, 1, 2, 3, 8}) {
    for (const int depth : {1, 2, 7}) {
      Prefetcher<Number> loader(5, 45, uneven, {.workers = workers, .depth = depth});
      for (std::int64_t step = 5; step < 45; ++step) {
        ASSERT_EQ(loader.step(), step);
        const Number* batch = loader.next();
        ASSERT_NE(batch, nullptr);
        ASSERT_EQ(batch->value, step * step) << workers << " workers, depth " << depth;
      }
      EXPECT_EQ(loader.next(), nullptr);
      EXPECT_EQ(loader.next(), nullptr);
    }
  }
}

TEST(Prefetcher, ABatchIsTheCallersUntilTheNextCall) {
  Prefetcher<Number> loader(0, 50, [](std::int64_t step, Number& batch) { batch.value = step; },
                            {.workers = 3, .depth = 2});
  for (std::int64_t step = 0; step < 50; ++step) {
    const Number* batch = loader.next();
    std::this_thread::sleep_for(milliseconds(1));  // a slow consumer: the workers fill the ring
    ASSERT_EQ(batch->value, step);
  }
}

TEST(Prefetcher, RunsAheadByItsDepthAndReusesMemory) {
  std::mutex mutex;
  std::set<const Number*> memory;
  std::int64_t furthest = -1;
  Prefetcher<Number> loader(0, 100,
                            [&](std::int64_t step, Number& batch) {
                              const std::lock_guard lock(mutex);
                              memory.insert(&batch);
                              furthest = std::max(furthest, step);
                              batch.value = step;
                            },
                            {.workers = 2, .depth = 3});
  for (std::int64_t step = 0; step < 100; ++step) {
    ASSERT_EQ(loader.next()->value, step);
    const std::lock_guard lock(mutex);
    ASSERT_LE(furthest, step + 3);
  }
  EXPECT_EQ(memory.size(), 4u);
}

TEST(Prefetcher, RethrowsAtTheFailingStepAndAfterwards) {
  for (const int workers : {0, 1, 3}) {
    Prefetcher<Number> loader(0, 100,
                              [](std::int64_t step, Number& batch) {
                                if (step >= 7)
                                  throw std::runtime_error("step " + std::to_string(step));
                                uneven(step, batch);
                              },
                              {.workers = workers, .depth = 4});
    for (std::int64_t step = 0; step < 7; ++step) ASSERT_EQ(loader.next()->value, step * step);
    for (int i = 0; i < 3; ++i) {
      try {
        loader.next();
        FAIL();
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "step 7");
      }
    }
  }
}

TEST(Prefetcher, CanBeLeftAtAnyTime) {
  for (const int taken : {0, 1, 5}) {
    std::atomic<int> made = 0;
    {
      Prefetcher<Number> loader(0, 1000000,
                                [&](std::int64_t step, Number& batch) {
                                  ++made;
                                  batch.value = step;
                                },
                                {.workers = 3, .depth = 4});
      for (int i = 0; i < taken; ++i) loader.next();
    }
    EXPECT_LE(made, std::max(taken, 1) + 4);  // the ring and nothing more
  }
}

TEST(Prefetcher, CountsTheTimeItsConsumerWaits) {
  const auto slow = [](std::int64_t, Number&) { std::this_thread::sleep_for(milliseconds(20)); };
  Prefetcher<Number> loader(0, 3, slow, {.workers = 0});
  double sum = 0;
  while (loader.next() != nullptr) {
    // Batches are made while the consumer waits, and a sleep is never shorter than asked.
    EXPECT_GE(loader.last_wait_seconds(), 0.020);
    sum += loader.last_wait_seconds();
  }
  sum += loader.last_wait_seconds();
  EXPECT_DOUBLE_EQ(loader.total_wait_seconds(), sum);
}

TEST(Prefetcher, ParallelLoopsInsideAreSerial) {
  std::atomic<int> most = 0;
  Prefetcher<Number> loader(0, 4,
                            [&](std::int64_t, Number&) {
                              std::atomic<int> ranges = 0;
                              parallel_for(1000, 1, [&](std::int64_t, std::int64_t) { ++ranges; });
                              most = std::max(most.load(), ranges.load());
                            },
                            {.workers = 1, .depth = 1});
  const int before = num_threads();
  while (loader.next() != nullptr) {
  }
  EXPECT_EQ(most, 1);
  EXPECT_EQ(num_threads(), before);
}

TEST(Prefetcher, RefusesNonsense) {
  EXPECT_THROW(Prefetcher<Number>(0, 1, uneven, {.workers = -1}), ValueError);
  EXPECT_THROW(Prefetcher<Number>(0, 1, uneven, {.depth = 0}), ValueError);
  EXPECT_THROW(Prefetcher<Number>(2, 1, uneven), ValueError);
  EXPECT_THROW(Prefetcher<Number>(-1, 1, uneven), ValueError);
  Prefetcher<Number> empty(3, 3, uneven);
  EXPECT_EQ(empty.next(), nullptr);
}

// The whole way to a SwAV batch: sampler, pairs, crops, threads.
struct CropBatch {
  std::vector<float> large, small;
  bool operator==(const CropBatch&) const = default;
};

std::map<std::int64_t, CropBatch> crop_batches(int workers, std::int64_t first, std::int64_t last) {
  const MultiCropOptions options = MultiCropOptions::strong("2x24,4x16");
  const BatchSampler sampler(11, 4, 42);
  std::vector<test::RandomImage> rgb, rgn;
  for (std::uint64_t i = 0; i < 11; ++i) {
    rgb.emplace_back(40, 30, 2 * i);
    rgn.emplace_back(40, 30, 2 * i + 1);
  }
  const auto make = [&](std::int64_t step, CropBatch& batch) {
    static thread_local CropScratch scratch;
    const auto samples = sampler.indices(step);
    const auto B = static_cast<std::int64_t>(samples.size());
    batch.large.resize(samples.size() * 2 * 24 * 24 * 3);
    batch.small.resize(samples.size() * 4 * 16 * 16 * 3);
    float* const groups[] = {batch.large.data(), batch.small.data()};
    for (std::int64_t b = 0; b < B; ++b) {
      const auto i = static_cast<std::size_t>(samples[static_cast<std::size_t>(b)]);
      multi_crop(options, 42, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(b),
                 ByteImage(rgb[i]), rgn[i], b, B, groups, scratch);
    }
  };
  std::map<std::int64_t, CropBatch> all;
  Prefetcher<CropBatch> loader(first, last, make, {.workers = workers, .depth = 3});
  for (std::int64_t step = first; step < last; ++step) all[step] = *loader.next();
  return all;
}

TEST(Prefetcher, CropsAreTheSameBitsForAnyWorkersAndAnyStart) {
  const auto want = crop_batches(0, 0, 9);
  EXPECT_NE(want.at(0), want.at(1));
  for (const int workers : {1, 2, 3}) EXPECT_EQ(crop_batches(workers, 0, 9), want);
  for (const auto& [step, batch] : crop_batches(2, 5, 9)) EXPECT_EQ(batch, want.at(step));
}

}  // namespace
}  // namespace mwalimu::data
