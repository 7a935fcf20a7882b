#include "mwalimu/embedding/workers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <numeric>
#include <thread>
#include <vector>

namespace mwalimu::embedding {
namespace {

class WorkersTest : public testing::Test {
 protected:
  void TearDown() override { set_num_threads(before_); }

 private:
  int before_ = num_threads();
};

TEST_F(WorkersTest, EachIndexIsVisitedOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    for (const index_t n : {1, 2, 5, 100, 10007}) {
      for (const index_t grain : {1, 7, 20000}) {
        std::vector<int> visits(n, 0);
        share_out(n, grain, [&](index_t begin, index_t end) {
          for (index_t i = begin; i < end; ++i) ++visits[i];
        });
        EXPECT_EQ(visits, std::vector<int>(n, 1)) << threads << " " << n << " " << grain;
      }
    }
  }
  share_out(0, 1, [](index_t, index_t) { FAIL(); });
}

TEST_F(WorkersTest, ThousandsOfShortLoops) {
  set_num_threads(3);
  std::atomic<index_t> sum = 0;
  for (int round = 0; round < 5000; ++round) {
    share_out(12, 1, [&](index_t begin, index_t end) { sum += end - begin; });
  }
  EXPECT_EQ(sum, 60000);
}

TEST_F(WorkersTest, HelpersHelp) {
  // Every part waits for a second one to have begun: one thread alone would wait for ever.
  set_num_threads(2);
  std::atomic<int> begun = 0;
  share_out(2, 1, [&](index_t, index_t) {
    ++begun;
    while (begun < 2) std::this_thread::yield();
  });
  EXPECT_EQ(begun, 2);
}

TEST_F(WorkersTest, LoopsInsideLoopsAndTwoCallers) {
  set_num_threads(3);
  const auto count = [] {
    std::atomic<index_t> sum = 0;
    for (int round = 0; round < 200; ++round) {
      share_out(10, 1, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
          share_out(10, 1, [&](index_t b, index_t e) { sum += e - b; });
        }
      });
    }
    return sum.load();
  };
  index_t other = 0;
  std::thread second([&] { other = count(); });
  EXPECT_EQ(count(), 20000);
  second.join();
  EXPECT_EQ(other, 20000);
}

TEST_F(WorkersTest, IdleHelpersTakeNoProcessorTime) {
  set_num_threads(3);
  share_out(100, 1, [](index_t, index_t) {});
  const std::clock_t before = std::clock();  // of all threads of the process
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.1);  // spinning: 0.4
}

}  // namespace
}  // namespace mwalimu::embedding
