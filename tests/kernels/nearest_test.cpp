// Nearest neighbours on a device, against the host's and by definition.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <vector>

#include "embedding/embedding_support.hpp"
#include "kernels/both_devices.hpp"
#include "mwalimu/embedding/neighbors.hpp"

namespace mwalimu::embedding {
namespace {

using mwalimu::test::expect_error, mwalimu::test::under_schedules;
using test::normal_points;

NeighborList on_device(const std::vector<float>& x, index_t n, index_t k) {
  return nearest_neighbors(Points(x, n, static_cast<index_t>(x.size()) / n), k, Metric::euclidean,
                           NeighborSearch::brute_force, Device::cuda());
}

void expect_nearest(const std::vector<float>& x, index_t n, index_t k) {
  const Points points(x, n, static_cast<index_t>(x.size()) / n);
  SCOPED_TRACE(::testing::Message() << n << " x " << points.d() << ", k = " << k);
  const NeighborList host =
      nearest_neighbors(points, k, Metric::euclidean, NeighborSearch::brute_force);
  std::optional<NeighborList> first;
  under_schedules(1, [&] {
    const NeighborList got = on_device(x, n, k);
    require_usable(got, "the device's");
    for (index_t e = 0; e < n * k; ++e) {
      ASSERT_NEAR(got.square_distance[e], host.square_distance[e],
                  1e-6 * host.square_distance[e]);  // sums in another order
      const double named = test::square_distance(points, e / k, got.index[e]);
      ASSERT_NEAR(got.square_distance[e], named, 1e-6 * named) << "row " << e / k;
    }
    if (!first) first = got;
    EXPECT_EQ(got.index, first->index);
    EXPECT_EQ(got.square_distance, first->square_distance);
  });
}

TEST(DeviceNeighbors, AreTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  // Around a tile of 64 rows and one of 32 columns.
  expect_nearest(normal_points(2, 1, 1), 2, 1);
  expect_nearest(normal_points(63, 31, 2), 63, 5);
  expect_nearest(normal_points(64, 32, 3), 64, 63);
  expect_nearest(normal_points(65, 33, 4), 65, 3);
  expect_nearest(normal_points(150, 70, 5), 150, 90);
}

TEST(DeviceNeighbors, FullBuffersAreCut) {
  MWALIMU_NEEDS_DEVICE();
  // 700 rows through buffers of 256, and each row nearer to the first than all before it.
  const index_t n = 700;
  std::vector<float> x(n);
  for (index_t i = 1; i < n; ++i) x[i] = static_cast<float>(2 * n - i);
  const NeighborList got = on_device(x, n, 20);
  for (index_t r = 0; r < 20; ++r) EXPECT_EQ(got.index[r], n - 1 - r);
  expect_nearest(normal_points(n, 3, 6), n, 20);
}

TEST(DeviceNeighbors, TiesGoToTheSmallerIndex) {
  MWALIMU_NEEDS_DEVICE();
  const index_t n = 400;
  const NeighborList got = on_device(std::vector<float>(n, 2.5f), n, 7);
  for (index_t i = 0; i < n; ++i) {
    for (index_t r = 0; r < 7; ++r) {
      ASSERT_EQ(got.index[i * 7 + r], r < i ? r : r + 1) << i;
      ASSERT_EQ(got.square_distance[i * 7 + r], 0);
    }
  }
}

TEST(DeviceNeighbors, WhatAutomaticTakes) {
  MWALIMU_NEEDS_DEVICE();
  using detail::chosen_search;
  const auto automatic = NeighborSearch::automatic;
  EXPECT_EQ(chosen_search(automatic, 1000000, 50, true), NeighborSearch::brute_force);
  EXPECT_EQ(chosen_search(automatic, 1000000, 3, true), NeighborSearch::tree);
  EXPECT_FALSE(detail::searches_on(Device::cuda(), kDeviceNeighborsLimit + 1));
  EXPECT_FALSE(detail::searches_on(Device::cpu(), 5));
  // More neighbours than the device keeps: the Cpu's, and no error.
  const std::vector<float> x = normal_points(970, 1, 7);
  EXPECT_EQ(
      on_device(x, 970, 965).index,
      nearest_neighbors(Points(x, 970, 1), 965, Metric::euclidean, NeighborSearch::brute_force)
          .index);
  expect_error<DeviceError>(
      [&] {
        nearest_neighbors(Points(x, 97, 10), 5, Metric::euclidean, NeighborSearch::brute_force,
                          Device::cuda(63));
      },
      "cuda:63");
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceNeighbors, TilesAreLoadedInWholeRows) {
  const std::uint64_t n = 128, d = 64, k = 5;
  const auto x = Tensor<float>::from(normal_points(128, 64, 8), {128, 64}).to(Device::cuda());
  auto index = Tensor<std::int32_t>::empty({128, 5}, Device::cuda());
  auto distance = Tensor<float>::empty({128, 5}, Device::cuda());
  const auto run = [&] {
    nearest_rows(gpu_place(x.device()), x.view<2>(), index.view<2>(), distance.view<2>());
  };
  if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const auto& moved = simt::traffic_of("nearest");
  const auto points = moved.of(x.data(), 4 * n * d);
  EXPECT_EQ(points.read_bytes, n * n * d / 32 * 4);
  EXPECT_EQ(points.distinct_read, 4 * n * d);
  for (const auto& line : moved.lines) {  // keys are of 8 bytes: what has 4 is a tile or its counts
    if (line.bytes_per_lane() != 4) continue;
    if (line.shared) {
      EXPECT_EQ(line.conflict_factor(), 1) << simt::describe(moved);
    } else if (!line.write) {
      EXPECT_EQ(line.sectors_per_request(), 4) << simt::describe(moved);
    }
  }
  for (const auto* out : {static_cast<const void*>(index.data()),
                          static_cast<const void*>(distance.data())}) {
    const auto written = moved.of(out, 4 * n * k);
    EXPECT_EQ(written.write_bytes, 4 * n * k);
    EXPECT_TRUE(written.each_byte_written_once());
    EXPECT_EQ(written.read_bytes, 0u);
  }
}
#endif

}  // namespace
}  // namespace mwalimu::embedding
