// Nearest neighbours on a device, against the host's and by definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
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
    // Sums in another order; of tiny numbers each loses half of the smallest step.
    const double step = static_cast<double>(points.d()) * std::numeric_limits<float>::denorm_min();
    for (index_t e = 0; e < n * k; ++e) {
      const double want = host.square_distance[e];
      ASSERT_NEAR(got.square_distance[e], want, 1e-6 * want + step) << "row " << e / k;
      const double named = test::square_distance(points, e / k, got.index[e]);
      ASSERT_NEAR(got.square_distance[e], named, 1e-6 * named + step) << "row " << e / k;
    }
    if (!first) first = got;
    EXPECT_EQ(got.index, first->index);
    EXPECT_EQ(got.square_distance, first->square_distance);
  });
}

TEST(DeviceNeighbors, AreTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  // Around a tile of 128 rows and one of 32 columns.
  expect_nearest(normal_points(2, 1, 1), 2, 1);
  expect_nearest(normal_points(127, 31, 2), 127, 5);
  expect_nearest(normal_points(128, 32, 3), 128, 127);
  expect_nearest(normal_points(129, 33, 4), 129, 3);
  expect_nearest(normal_points(150, 70, 5), 150, 90);
}

TEST(DeviceNeighbors, FullBuffersAreCut) {
  MWALIMU_NEEDS_DEVICE();
  // 700 rows through buffers of 256, and each row nearer to the first than all before it: products
  // part only some of them.
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

/// Points 1e3 from their mean, in clusters of width 1e-2.
std::vector<float> far_clusters(index_t n, index_t d, int clusters, std::uint64_t seed) {
  std::vector<float> x = normal_points(n, d, seed);
  for (index_t i = 0; i < n; ++i) {
    for (index_t c = 0; c < d; ++c) {
      x[i * d + c] = 1e-2f * x[i * d + c] + (i % clusters == c ? 1e3f : 0.0f);
    }
  }
  return x;
}

TEST(DeviceNeighbors, ClustersFarFromTheMeanAreToldApart) {
  MWALIMU_NEEDS_DEVICE();
  // Within a cluster products say nothing: all its points are measured, in some cut before the
  // last.
  expect_nearest(far_clusters(400, 20, 2, 9), 400, 10);
  // The bound on their error is what parts a few of these.
  const index_t n = 300, d = 24;
  std::vector<float> x = normal_points(n, d, 10);
  for (index_t i = 0; i < n; ++i) x[i * d] += i % 2 == 0 ? 60.0f : -60.0f;
  expect_nearest(x, n, 12);
}

TEST(DeviceNeighbors, TinyAndLargeNumbersAreRight) {
  MWALIMU_NEEDS_DEVICE();
  const index_t n = 140, d = 11;
  const std::vector<float> normal = normal_points(n, d, 11);
  const auto scaled = [&](float scale) {
    std::vector<float> x = normal;
    for (float& v : x) v *= scale;
    return x;
  };
  expect_nearest(scaled(1e-20f), n, 6);  // squares that are hardly numbers
  expect_nearest(scaled(1e-12f), n, 6);
  expect_nearest(scaled(1e15f), n, 6);
  expect_nearest(scaled(4e17f), n, 6);  // squared distances up to 1e37
  // Both: some near each other, far from the mean of others.
  std::vector<float> x = scaled(1e15f);
  std::copy_n(scaled(1e-3f).begin(), n / 2 * d, x.begin());
  expect_nearest(x, n, 6);
}

TEST(DeviceNeighbors, DuplicatesAndTiesBetweenThem) {
  MWALIMU_NEEDS_DEVICE();
  // Three places; the 140th neighbour lies in a crowd at one distance.
  const index_t n = 330, d = 3, k = 140;
  std::vector<float> x(n * d);
  for (index_t i = 0; i < n; ++i) x[i * d + i % 3] = static_cast<float>(i % 3 + 1);
  const Points points(x, n, d);
  const NeighborList got = on_device(x, n, k);
  for (index_t i = 0; i < n; ++i) {
    std::vector<std::pair<double, index_t>> want;
    for (index_t j = 0; j < n; ++j) {
      if (j != i) want.emplace_back(test::square_distance(points, i, j), j);
    }
    std::sort(want.begin(), want.end());
    for (index_t r = 0; r < k; ++r) {
      ASSERT_EQ(got.index[i * k + r], want[r].second) << "row " << i << ", rank " << r;
      ASSERT_EQ(got.square_distance[i * k + r], want[r].first);
    }
  }
}

TEST(DeviceNeighbors, ManyAreKept) {
  MWALIMU_NEEDS_DEVICE();
  expect_nearest(normal_points(300, 12, 12), 300, 250);
#if defined(MWALIMU_EMULATED)
  if (simt::checks_accesses()) return;  // half a minute, for the same code
#endif
  const index_t n = 970, k = kDeviceNeighborsLimit;
  const std::vector<float> x = normal_points(n, 2, 13);
  const Points points(x, n, 2);
  const NeighborList got = on_device(x, n, k);
  EXPECT_EQ(got.index,
            nearest_neighbors(points, k, Metric::euclidean, NeighborSearch::brute_force).index);
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
TEST(DeviceNeighbors, MovesWhatItsHeadSays) {
  const std::uint64_t n = 256, d = 64, k = 5;
  const auto x = Tensor<float>::from(normal_points(256, 64, 8), {256, 64}).to(Device::cuda());
  auto index = Tensor<std::int32_t>::empty({256, 5}, Device::cuda());
  auto distance = Tensor<float>::empty({256, 5}, Device::cuda());
  const auto run = [&] {
    nearest_rows(gpu_place(x.device()), x.view<2>(), index.view<2>(), distance.view<2>());
  };
  if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const auto& moved = simt::traffic_of("nearest");
  std::uint64_t tiles = 0, fragments = 0;
  for (const auto& line : moved.lines) {
    if (line.bytes_per_lane() != 16) continue;  // what has 16 is split rows
    if (line.shared) {
      EXPECT_EQ(line.conflict_factor(), 1) << simt::describe(moved);
      fragments += line.write ? 0 : line.bytes;
    } else {
      EXPECT_EQ(line.efficiency(), 1) << simt::describe(moved);
      tiles += line.bytes;
    }
  }
  EXPECT_EQ(tiles, n * n / 64 * d * 4) << simt::describe(moved);
  // Of a tile's 8 warps each reads its 32 queries and 64 rows.
  EXPECT_EQ(fragments, n / 128 * n / 128 * 8 * (32 + 64) * d * 4) << simt::describe(moved);
  // Pairs are measured once: k a query and few more; two rows each, of which lanes may share one.
  const auto points = moved.of(x.data(), 4 * n * d);
  EXPECT_LE(points.read_bytes, 1.1 * n * k * 8 * d);
  EXPECT_GE(points.read_bytes, 1.0 * n * k * 4 * d);
  for (const auto* out :
       {static_cast<const void*>(index.data()), static_cast<const void*>(distance.data())}) {
    const auto written = moved.of(out, 4 * n * k);
    EXPECT_EQ(written.write_bytes, 4 * n * k);
    EXPECT_TRUE(written.each_byte_written_once());
    EXPECT_EQ(written.read_bytes, 0u);
  }
  const auto& before = simt::traffic_of("split_rows");
  EXPECT_EQ(before.of(x.data(), 4 * n * d).read_bytes, 2 * 4 * n * d);
  EXPECT_EQ(before.write_bytes, 4 * n * d + 4 * n);
}
#endif

}  // namespace
}  // namespace mwalimu::embedding
