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

}  // namespace
}  // namespace mwalimu::embedding
