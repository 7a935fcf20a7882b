#include "mwalimu/ops/queue.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/reference.hpp"

namespace mwalimu::ops {
namespace {

TEST(QueuePush, OverwritesTheOldestRowsAndGoesRoundTheEnd) {
  auto queue = Tensor<float>::zeros({5, 2});
  auto cursor = Tensor<std::int64_t>::full({}, 3);
  queue_push(Tensor<float>::from({1, 2, 3, 4, 5, 6}, {3, 2}), cursor, queue);
  EXPECT_EQ(queue.to_vector(), (std::vector<float>{5, 6, 0, 0, 0, 0, 1, 2, 3, 4}));
  EXPECT_EQ(cursor.item(), 1);
  queue_push(Tensor<float>::empty({0, 2}), cursor, queue);
  EXPECT_EQ(cursor.item(), 1);
}

TEST(QueuePush, TakesEveryElementTypeAndRowsWithGaps) {
  const auto batch = test::channels_of_wider(test::random_tensor<bfloat16>({2, 3}, 1));
  auto queue = Tensor<float>::zeros({2, 3});
  auto cursor = Tensor<std::int64_t>::zeros({});
  queue_push(batch, cursor, queue);
  EXPECT_EQ(test::values(queue), test::values(batch));
  EXPECT_EQ(cursor.item(), 0);
}

TEST(QueuePush, RejectsMoreRowsThanItHolds) {
  auto queue = Tensor<float>::zeros({2, 3});
  auto cursor = Tensor<std::int64_t>::zeros({});
  test::expect_error<ShapeError>([&] { queue_push(Tensor<float>::zeros({3, 3}), cursor, queue); },
                                 "want rows (B, D) for a queue (L, D) with B <= L");
}

}  // namespace
}  // namespace mwalimu::ops
