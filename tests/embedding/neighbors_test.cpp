#include "mwalimu/embedding/neighbors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "embedding/embedding_support.hpp"
#include "mwalimu/core/parallel.hpp"

namespace mwalimu::embedding {
namespace {

using test::normal_points;

/// All others by (distance in double, index).
std::vector<std::pair<double, int>> sorted_others(const Points& x, index_t i) {
  std::vector<std::pair<double, int>> all;
  for (index_t j = 0; j < x.n(); ++j) {
    if (j != i) all.emplace_back(test::square_distance(x, i, j), static_cast<int>(j));
  }
  std::sort(all.begin(), all.end());
  return all;
}

TEST(Neighbors, MatchesFp64Reference) {
  // Whole-number coordinates: distances are exact, ties are many, and the order must agree too.
  for (const index_t n : {2, 5, 31, 32, 33, 130, 300}) {
    for (const index_t d : {1, 3, 64, 65, 150}) {
      std::vector<float> x = normal_points(n, d, static_cast<std::uint64_t>(n * 1000 + d));
      for (float& v : x) v = std::round(2 * v);
      const Points points(x, n, d);
      for (const index_t k : {index_t{1}, std::min<index_t>(n - 1, 40), n - 1}) {
        const NeighborList list = nearest_neighbors(points, k);
        for (index_t i = 0; i < n; ++i) {
          const auto want = sorted_others(points, i);
          for (index_t r = 0; r < k; ++r) {
            ASSERT_EQ(list.index[i * k + r], want[r].second) << n << " " << d << " " << k;
            ASSERT_EQ(list.square_distance[i * k + r], static_cast<float>(want[r].first));
          }
        }
      }
    }
  }
}

TEST(Neighbors, DistancesOfRealDataAreWithinRounding) {
  const index_t n = 90, d = 2048, k = 20;
  const std::vector<float> x = normal_points(n, d, 9);
  const Points points(x, n, d);
  const NeighborList list = nearest_neighbors(points, k);
  for (index_t i = 0; i < n * k; ++i) {
    const double want = test::square_distance(points, i / k, list.index[i]);
    EXPECT_NEAR(list.square_distance[i], want, 1e-6 * want);
  }
}

TEST(Neighbors, SameBitsForAnyNumberOfThreads) {
  const std::vector<float> x = normal_points(1500, 40, 10);
  const int before = num_threads();
  std::vector<NeighborList> lists;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    lists.push_back(nearest_neighbors(Points(x, 1500, 40), 30));
  }
  set_num_threads(before);
  EXPECT_EQ(lists[0].index, lists[1].index);
  EXPECT_EQ(lists[0].index, lists[2].index);
  EXPECT_EQ(lists[0].square_distance, lists[2].square_distance);
}

// --- By products of matrices: what they sort out must not be missed ------------------------------

struct Found {
  std::vector<std::int32_t> index;
  std::vector<float> distance;
};
Found by_products(const Points& x, index_t k) {
  Found out{std::vector<std::int32_t>(x.n() * k), std::vector<float>(x.n() * k)};
  detail::product_search(
      x, x, [](index_t i) { return i; }, k, out.index.data(), out.distance.data());
  return out;
}

TEST(Products, MatchFp64ReferenceWithTies) {
  // Around a block of 256 queries and one of 1,024 points; whole numbers: distances are exact.
  for (const index_t n : {40, 256, 1023, 1025, 1300}) {
    for (const index_t d : {1, 15, 33, 64}) {
      std::vector<float> x = normal_points(n, d, static_cast<std::uint64_t>(n * 100 + d));
      for (float& v : x) v = std::round(2 * v);
      const Points points(x, n, d);
      const index_t k = std::min<index_t>(n - 1, 50);
      const Found found = by_products(points, k);
      for (index_t i = 0; i < n; i += 7) {
        const auto want = sorted_others(points, i);
        for (index_t r = 0; r < k; ++r) {
          ASSERT_EQ(found.index[i * k + r], want[r].second) << n << " " << d << " " << i;
          ASSERT_EQ(found.distance[i * k + r], static_cast<float>(want[r].first));
        }
      }
    }
  }
}

TEST(Products, NoNeighbourIsLostWhereTheyHaveNoDigitsLeft) {
  // Two heaps a thousand apart: |c|^2 - 2 q.c is a million, the distances within a heap a
  // hundred-thousandth. And one point so far away that nothing can be sorted out at all.
  const index_t n = 700, d = 20, k = 30;
  for (const float outlier : {0.0f, 1e7f}) {
    std::vector<float> x = normal_points(n, d, 51);
    for (index_t i = 0; i < n; ++i) {
      for (index_t c = 0; c < d; ++c) x[i * d + c] = 1e-3f * x[i * d + c] + (i % 2 == 0 ? 0 : 1e3f);
    }
    x[5] += outlier;
    const Points points(x, n, d);
    const Found found = by_products(points, k);
    for (index_t i = 0; i < n; ++i) {
      const auto want = sorted_others(points, i);
      for (index_t r = 0; r < k; ++r) {
        ASSERT_NEAR(found.distance[i * k + r], want[r].first, 1e-5 * want[r].first) << i << " " << r;
      }
    }
  }
}

TEST(Products, ConstantAndTinyData) {
  const std::vector<float> same(600 * 12, -7.25f);
  const Found found = by_products(Points(same, 600, 12), 20);
  EXPECT_EQ(found.index[0], 1);  // ties by the smaller index, itself left out
  EXPECT_EQ(found.index[599 * 20 + 19], 19);
  EXPECT_EQ(found.distance[599 * 20 + 19], 0);
  std::vector<float> x = normal_points(600, 12, 52);
  for (float& v : x) v *= 1e-18f;  // squares near the smallest normal number
  const Points tiny(x, 600, 12);
  const Found near = by_products(tiny, 5);
  for (index_t i = 0; i < 600; i += 50) {
    const double want = sorted_others(tiny, i)[0].first;
    EXPECT_NEAR(near.distance[i * 5], want, 1e-5 * want);
  }
}

TEST(Products, TakeTheDirectSearchsPlaceFromAThousandPointsOn) {
  EXPECT_TRUE(detail::by_products(1000, 1000, 64, 90));
  EXPECT_FALSE(detail::by_products(999, 999, 64, 90));
  EXPECT_FALSE(detail::by_products(5000, 200, 64, 90));   // a sample of queries
  EXPECT_FALSE(detail::by_products(1000, 1000, 64, 400));  // nearly all are kept
  const index_t n = 1500, d = 40, k = 90;
  const std::vector<float> x = test::clustered_points(n, d, 6, 4, 53);
  const Points points(x, n, d);
  const NeighborList list =
      nearest_neighbors(points, k, Metric::euclidean, NeighborSearch::brute_force);
  EXPECT_EQ(list.index, by_products(points, k).index);
  std::vector<std::int32_t> index(n * k);
  std::vector<float> distance(n * k);
  detail::brute_force(
      points, points, [](index_t i) { return i; }, k, index.data(), distance.data());
  index_t other = 0;
  for (index_t e = 0; e < n * k; ++e) {
    ASSERT_NEAR(list.square_distance[e], distance[e], 2e-6f * distance[e]);
    other += list.index[e] != index[e];
  }
  EXPECT_LE(other, 60);  // of 135,000: ties within rounding change places
  // Queries that are not the points: the same search, nobody left out.
  const NeighborList own = nearest_to(points, points, 5);
  for (index_t i = 0; i < n; ++i) {
    ASSERT_EQ(own.index[i * 5], i);
    ASSERT_EQ(own.square_distance[i * 5], 0);
    ASSERT_EQ(own.square_distance[i * 5 + 1], list.square_distance[i * k]);
  }
}

TEST(Products, DistancesAreTheSameBothWays) {
  const index_t n = 1000, d = 77;
  const std::vector<float> x = normal_points(n, d, 54);
  for (index_t i = 1; i < n; ++i) {
    EXPECT_EQ(detail::row_distance(&x[0], &x[i * d], d), detail::row_distance(&x[i * d], &x[0], d));
  }
}

TEST(Neighbors, DuplicatesAreNeighboursAtDistanceZero) {
  const std::vector<float> x{1, 2, 5, 5, 1, 2, 1, 2};
  const NeighborList list = nearest_neighbors(Points(x, 4, 2), 2);
  EXPECT_EQ(list.index[0], 2);  // of point 0: itself is left out, ties by index
  EXPECT_EQ(list.index[1], 3);
  EXPECT_EQ(list.square_distance[0], 0);
  EXPECT_EQ(list.index[2], 0);  // of point 1
}

TEST(Neighbors, CosineIgnoresLength) {
  const std::vector<float> x{1, 0, 100, 1, 0, 3, 1, 1};
  const NeighborList list = nearest_neighbors(Points(x, 4, 2), 1, Metric::cosine);
  EXPECT_EQ(list.index[0], 1);
  EXPECT_EQ(list.index[2], 3);
}

TEST(Neighbors, TruncatedKeepsTheNearest) {
  const std::vector<float> x = normal_points(20, 3, 11);
  const Points points(x, 20, 3);
  const NeighborList few = truncated(nearest_neighbors(points, 12), 5);
  EXPECT_EQ(few.index, nearest_neighbors(points, 5).index);
  EXPECT_EQ(few.k, 5);
}

TEST(Neighbors, Errors) {
  const std::vector<float> x{1, 0, 0, 0, 2, 2};
  const Points points(x, 3, 2);
  EXPECT_THROW(nearest_neighbors(points, 0), ValueError);
  EXPECT_THROW(nearest_neighbors(points, 3), ValueError);
  EXPECT_THROW(truncated(nearest_neighbors(points, 1), 2), ValueError);
  EXPECT_THROW(Points(x, 4, 2), ShapeError);
  try {
    nearest_neighbors(points, 1, Metric::cosine);
    FAIL() << "a zero row passed";
  } catch (const ValueError& e) {
    EXPECT_NE(std::string(e.what()).find("row 1 is zero"), std::string::npos) << e.what();
  }
}

TEST(Neighbors, TreeEqualsBruteForce) {
  for (const index_t d : {1, 2, 3, 7, 12}) {
    for (const index_t n : {2, 15, 16, 17, 33, 500}) {
      std::vector<float> x = test::normal_points(n, d, static_cast<std::uint64_t>(n * d));
      for (index_t i = 0; i < n; i += 3) {  // duplicates, and ties: whole coordinates
        std::copy_n(x.begin() + (i / 2) * d, d, x.begin() + i * d);
      }
      for (float& v : x) v = std::round(4 * v);
      const Points points(x, n, d);
      for (const index_t k : {index_t{1}, std::min<index_t>(n - 1, 20), n - 1}) {
        const auto tree = nearest_neighbors(points, k, Metric::euclidean, NeighborSearch::tree);
        const auto all =
            nearest_neighbors(points, k, Metric::euclidean, NeighborSearch::brute_force);
        EXPECT_EQ(tree.index, all.index) << n << " " << d << " " << k;
        EXPECT_EQ(tree.square_distance, all.square_distance);
      }
    }
  }
}

TEST(Neighbors, TreeOfConstantAndOfFarPoints) {
  const std::vector<float> same(300, 2.5f);
  const auto list =
      nearest_neighbors(Points(same, 100, 3), 5, Metric::euclidean, NeighborSearch::tree);
  EXPECT_EQ(list.index[99 * 5], 0);  // ties by the smaller index
  EXPECT_EQ(list.index[0], 1);
  std::vector<float> x = test::normal_points(400, 3, 77);
  for (index_t i = 0; i < 400; ++i) x[i * 3] += 1e6f;  // few digits left
  const Points far(x, 400, 3);
  EXPECT_EQ(
      nearest_neighbors(far, 9, Metric::euclidean, NeighborSearch::tree).square_distance,
      nearest_neighbors(far, 9, Metric::euclidean, NeighborSearch::brute_force).square_distance);
}

TEST(Neighbors, SearchIsChosenByExtents) {
  using detail::chosen_search;
  EXPECT_EQ(chosen_search(NeighborSearch::automatic, 2000, 3), NeighborSearch::tree);
  EXPECT_EQ(chosen_search(NeighborSearch::automatic, 10000, 50), NeighborSearch::brute_force);
  EXPECT_EQ(chosen_search(NeighborSearch::automatic, 100000, 50), NeighborSearch::brute_force);
  EXPECT_EQ(chosen_search(NeighborSearch::automatic, 60000, 784), NeighborSearch::lists);
  EXPECT_EQ(chosen_search(NeighborSearch::automatic, 1000000, 50), NeighborSearch::lists);
  EXPECT_EQ(chosen_search(NeighborSearch::tree, 1000000, 50), NeighborSearch::tree);
}

/// Share of the true neighbours that a list has.
double true_recall(const Points& points, const NeighborList& list) {
  const auto exact =
      nearest_neighbors(points, list.k, Metric::euclidean, NeighborSearch::brute_force);
  index_t found = 0;
  for (index_t i = 0; i < list.n; ++i) {
    for (index_t r = 0; r < list.k; ++r) {
      const auto row = exact.index.begin() + i * list.k;
      found += std::find(row, row + list.k, list.index[i * list.k + r]) != row + list.k;
    }
  }
  return static_cast<double>(found) / static_cast<double>(list.n * list.k);
}

TEST(Neighbors, ListsFindNearlyAllAndAreTheSameForAnyThreads) {
  const index_t n = 20000, d = 16, k = 30;
  const std::vector<float> x = test::clustered_points(n, d, 10, 12, 79);
  const Points points(x, n, d);
  const int before = num_threads();
  std::vector<NeighborList> lists;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    lists.push_back(nearest_neighbors(points, k, Metric::euclidean, NeighborSearch::lists));
  }
  set_num_threads(before);
  EXPECT_EQ(lists[0].index, lists[1].index);
  EXPECT_EQ(lists[0].index, lists[2].index);
  EXPECT_EQ(lists[0].square_distance, lists[2].square_distance);
  EXPECT_NO_THROW(require_usable(lists[0], "lists"));
  const double recall = true_recall(points, lists[0]);
  EXPECT_GT(recall, 0.99);
  std::vector<std::int32_t> index(n * k);
  std::vector<float> distance(n * k);
  detail::SearchCount count({}, n);
  EXPECT_FALSE(detail::list_neighbors(points, k, index.data(), distance.data(), count));
  EXPECT_EQ(index, lists[0].index);
  EXPECT_NEAR(lists[0].recall, recall, 0.01);  // of 200 points, few of which miss any
  for (index_t i = 0; i < n; i += 100) {  // distances are those of the pairs named
    EXPECT_NEAR(lists[0].square_distance[i * k],
                test::square_distance(points, i, lists[0].index[i * k]),
                1e-5 * lists[0].square_distance[i * k]);
  }
}

TEST(Neighbors, ListsOfPointsWithoutStructureMeasureAllPairs) {
  // Noise in many dimensions has neighbours in every list; points in one place are one list; and
  // few points with many neighbours need more lists than one.
  const index_t n = 3000, d = 40;
  const std::vector<float> noise = normal_points(n, d, 80), same(n * d, 1.5f);
  for (const auto* x : {&noise, &same}) {
    const Points points(*x, n, d);
    const auto list = nearest_neighbors(points, 20, Metric::euclidean, NeighborSearch::lists);
    const auto exact =
        nearest_neighbors(points, 20, Metric::euclidean, NeighborSearch::brute_force);
    EXPECT_EQ(list.index, exact.index);
    EXPECT_EQ(list.recall, 1);
  }
  for (const index_t few : {5, 600}) {
    const Points points({noise.data(), static_cast<std::size_t>(few * d)}, few, d);
    const auto list = nearest_neighbors(points, few - 1, Metric::euclidean, NeighborSearch::lists);
    EXPECT_NO_THROW(require_usable(list, "lists"));
    EXPECT_EQ(true_recall(points, list), 1);
  }
}

TEST(PointLists, EveryPointIsInTheListOfItsNearestCentreOnce) {
  const index_t n = 5000, d = 6;
  const std::vector<float> x = test::clustered_points(n, d, 12, 20, 81);
  const Points points(x, n, d);
  const detail::PointLists lists(points, 100);
  EXPECT_EQ(lists.count(), 50);
  std::vector<int> seen(n, 0);
  for (index_t l = 0; l < lists.count(); ++l) {
    EXPECT_TRUE(std::is_sorted(lists.points(l).begin(), lists.points(l).end()));
    for (const std::int32_t i : lists.points(l)) {
      ++seen[i];
      EXPECT_EQ(lists.list_of(i), l);
      // Groups lie twenty apart, their points a few.
      EXPECT_LT(test::square_distance(points, i, lists.points(l)[0]), 200);
    }
    const auto order = lists.by_distance(l);
    EXPECT_EQ(order[0], l);
    EXPECT_EQ(std::set<std::int32_t>(order.begin(), order.end()).size(), 50u);
  }
  EXPECT_EQ(seen, std::vector<int>(n, 1));
  EXPECT_LE(detail::visits_needed(points, lists, 10, 0.9),
            detail::visits_needed(points, lists, 10, 1.0));
  EXPECT_EQ(detail::visits_needed(points, detail::PointLists(points, n), 10, 1.0), 1);
}

TEST(Neighbors, SearchesTellHowFarTheyAre) {
  const index_t n = 3000;
  for (const auto& [search, d] : {std::pair<NeighborSearch, index_t>{NeighborSearch::tree, 3},
                                  {NeighborSearch::brute_force, 5},
                                  {NeighborSearch::brute_force, 20},
                                  {NeighborSearch::lists, 20},
                                  {NeighborSearch::hnsw, 20}}) {
    if (search == NeighborSearch::hnsw && !kHasHnsw) continue;
    const std::vector<float> x = test::clustered_points(n, d, 3, 30, 82);
    std::vector<index_t> told;
    nearest_neighbors(Points(x, n, d), 10, Metric::cosine, search, Device::cpu(),
                      [&](index_t done, index_t total) {
                        EXPECT_EQ(total, n);
                        told.push_back(done);
                      });
    ASSERT_GE(told.size(), 2u);
    EXPECT_EQ(told.front(), 0);
    EXPECT_EQ(told.back(), n);
    EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  }
}

TEST(Neighbors, GraphFindsNearlyAllAndIsTheSameForAnyThreads) {
  const index_t n = 3000, d = 20, k = 30;
  const std::vector<float> x = test::clustered_points(n, d, 8, 3, 78);
  const Points points(x, n, d);
  if (!kHasHnsw) {
    EXPECT_THROW(nearest_neighbors(points, k, Metric::euclidean, NeighborSearch::hnsw), ValueError);
    GTEST_SKIP() << "built without hnswlib";
  }
  const int before = num_threads();
  std::vector<NeighborList> lists;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    lists.push_back(nearest_neighbors(points, k, Metric::euclidean, NeighborSearch::hnsw));
  }
  set_num_threads(before);
  EXPECT_EQ(lists[0].index, lists[1].index);
  EXPECT_EQ(lists[0].index, lists[2].index);
  const double recall = true_recall(points, lists[0]);
  EXPECT_GT(recall, 0.99);
  EXPECT_NEAR(lists[0].recall, recall, 0.005);  // 6,000 of 90,000 neighbours drawn
  EXPECT_NO_THROW(require_usable(lists[0], "graph"));
  // Distances are measured, not taken from the graph's own arithmetic.
  const double want = test::square_distance(points, 0, lists[0].index[0]);
  EXPECT_NEAR(lists[0].square_distance[0], want, 1e-6 * want);
}

TEST(Neighbors, RecallCountsWhatIsMissing) {
  const std::vector<float> x = test::normal_points(300, 4, 79);
  const Points points(x, 300, 4);
  NeighborList list = nearest_neighbors(points, 10);
  EXPECT_EQ(detail::measured_recall(points, list), 1);
  for (index_t i = 0; i < 300; ++i) {  // the furthest one of ten replaced by a stranger
    list.square_distance[i * 10 + 9] = 1e6f;
  }
  EXPECT_NEAR(detail::measured_recall(points, list), 0.9, 1e-9);
}

TEST(Neighbors, DuplicatesBeyondKAreFoundByTheGraph) {
  if (!kHasHnsw) GTEST_SKIP() << "built without hnswlib";
  std::vector<float> x = test::normal_points(400, 6, 80);
  for (index_t i = 0; i < 200; ++i) std::copy_n(x.begin(), 6, x.begin() + i * 6);
  const auto list =
      nearest_neighbors(Points(x, 400, 6), 20, Metric::euclidean, NeighborSearch::hnsw);
  EXPECT_NO_THROW(require_usable(list, "graph"));
  for (index_t i = 0; i < 200; ++i) EXPECT_EQ(list.square_distance[i * 20 + 19], 0);
}

TEST(Points, ViewsATensor) {
  const auto tensor = Tensor<float>::from({1, 2, 3, 4, 5, 6}, {2, 3});
  const Points points(tensor);
  EXPECT_EQ(points.n(), 2);
  EXPECT_EQ(points.d(), 3);
  EXPECT_EQ(points.row(1)[2], 6);
  EXPECT_THROW(Points(tensor.permute({1, 0})), ShapeError);
  EXPECT_THROW(Points(tensor.reshape({6})), ShapeError);
}

}  // namespace
}  // namespace mwalimu::embedding
