// The queue of embeddings on a device.
#include "mwalimu/ops/queue.hpp"

#include <gtest/gtest.h>

#include "kernels/both_devices.hpp"
#include "kernels/recording.hpp"
#include "mwalimu/train/embedding_queue.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;
using test::values;

template <class T>
void expect_the_hosts(index_t L, index_t B, index_t D) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << " " << L << " " << B << " " << D);
  test::under_schedules(1, [&] {
    train::EmbeddingQueue host(L, D, B, 5), device(L, D, B, 5, Device::cuda());
    EXPECT_EQ(values(device.rows()), values(host.rows()));  // the same start
    for (std::uint64_t step = 0; step < 4; ++step) {
      const auto batch = test::channels_of_wider(random_tensor<T>({B, D}, step));
      host.push(batch);
      device.push(test::placed(batch, Device::cuda()));
      ASSERT_EQ(values(device.rows()), values(host.rows())) << step;
      ASSERT_EQ(device.cursor(), host.cursor());
    }
  });
}

TEST(DeviceQueue, MatchesTheHostBitForBit) {
  MWALIMU_NEEDS_DEVICE();
  expect_the_hosts<float>(6, 2, 8);
  expect_the_hosts<float>(3, 3, 131);
  expect_the_hosts<double>(4, 2, 3);
  expect_the_hosts<half>(8, 4, 12);
  expect_the_hosts<bfloat16>(1, 1, 1);
}

TEST(DeviceQueue, ABatchGoesRoundTheEnd) {
  MWALIMU_NEEDS_DEVICE();
  for (const Device device : {Device::cpu(), Device::cuda()}) {
    auto queue = Tensor<float>::zeros({5, 1}, device);
    auto cursor = Tensor<std::int64_t>::full({}, 3, device);
    queue_push(Tensor<float>::from({1, 2, 3}, {3, 1}).to(device), cursor, queue);
    EXPECT_EQ(queue.to_vector(), (std::vector<float>{3, 0, 0, 1, 2}));
    EXPECT_EQ(cursor.item(), 1);
  }
}

TEST(DeviceQueue, AGraphGoesRoundTheRing) {
  MWALIMU_NEEDS_DEVICE();
  test::Recording graph;
  train::EmbeddingQueue queue(4, 1, 2, 0, Device::cuda());
  auto batch = Tensor<float>::empty({2, 1}, Device::cuda());
  graph.record([&] { queue.push(batch); });
  for (const float value : {1.0f, 2.0f, 3.0f}) {
    batch.fill(value);
    graph.launch();
  }
  EXPECT_EQ(queue.rows().to_vector(), (std::vector<float>{3, 3, 2, 2}));
  EXPECT_EQ(queue.cursor(), 2);
  queue.set_cursor(0);
  EXPECT_EQ(queue.cursor(), 0);
}

TEST(DeviceQueue, WantsOneDevice) {
  MWALIMU_NEEDS_DEVICE();
  train::EmbeddingQueue queue(4, 1, 2, 0, Device::cuda());
  test::expect_error<DeviceError>(
      [&] {
        queue.push(Tensor<float>::zeros({2, 1}));
      },
      "queue_push: the queue is on cuda:0");
  test::expect_error<ShapeError>(
      [&] {
        queue.push(Tensor<float>::zeros({5, 1}, Device::cuda()));
      },
      "with B <= L, got (5, 1) and (4, 1)");
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceQueue, MovesTheBatchOnceInPacks) {
  train::EmbeddingQueue queue(64, 128, 32, 0, Device::cuda());
  const auto batch = random_tensor<bfloat16>({32, 128}, 1).to(Device::cuda());
  if (!test::with_traffic([&] { queue.push(batch); })) {
    GTEST_SKIP() << "not a build that counts traffic";
  }
  const auto& push = simt::traffic_of("queue_push");
  EXPECT_TRUE(push.coalesced() && push.each_byte_written_once()) << simt::describe(push);
  EXPECT_EQ(push.distinct_read, 32 * 128 * 2 + 8u);  // and the cursor
  EXPECT_EQ(push.write_bytes, 32 * 128 * 4u);
  const auto& advance = simt::traffic_of("queue_advance");
  EXPECT_EQ(advance.read_bytes, 8u);
  EXPECT_EQ(advance.write_bytes, 8u);
}
#endif

}  // namespace
}  // namespace mwalimu::ops
