#include "mwalimu/eval/knn.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "mwalimu/core/random.hpp"

namespace mwalimu::eval {
namespace {

using Vote = KnnOptions::Vote;

std::vector<float> random_features(index_t N, index_t D, std::uint64_t sample) {
  RandomStream random(11, Purpose::test, 0, sample);
  std::vector<float> x(static_cast<std::size_t>(N * D));
  for (float& value : x) value = random.normal();
  return x;
}

// Sort everything, in double, and count.
int reference(const std::vector<float>& x, const std::vector<int>& labels, const float* query,
              index_t D, index_t C, const KnnOptions& options, index_t self) {
  std::vector<std::pair<double, index_t>> by_distance;
  for (index_t j = 0; j < static_cast<index_t>(labels.size()); ++j) {
    double dot = 0, aa = 0, bb = 0;
    for (index_t d = 0; d < D; ++d) {
      const double a = query[d], b = x[static_cast<std::size_t>(j * D + d)];
      dot += a * b;
      aa += a * a;
      bb += b * b;
    }
    if (j != self) by_distance.emplace_back(-dot / std::sqrt(aa * bb), j);
  }
  std::sort(by_distance.begin(), by_distance.end());
  std::vector<double> votes(static_cast<std::size_t>(C), 0.0);
  for (std::size_t i = 0;
       i < std::min<std::size_t>(by_distance.size(), static_cast<std::size_t>(options.k)); ++i) {
    const auto [distance, j] = by_distance[i];
    votes[static_cast<std::size_t>(labels[static_cast<std::size_t>(j)])] +=
        options.vote == Vote::majority ? 1 : std::exp(-distance / options.temperature);
  }
  return static_cast<int>(std::max_element(votes.begin(), votes.end()) - votes.begin());
}

TEST(Knn, MatchesFp64Reference) {
  for (const index_t N : {2, 5, 63, 64, 65, 131}) {
    for (const index_t D : {1, 7, 16, 33}) {
      const index_t C = 3;
      const auto x = random_features(N, D, 1), queries = random_features(37, D, 2);
      std::vector<int> labels;
      for (index_t i = 0; i < N; ++i) labels.push_back(static_cast<int>(i * i % C));
      for (const Vote vote : {Vote::majority, Vote::weighted}) {
        // With D = 1 every cosine is exactly 1 or -1: all order is by the row.
        const KnnOptions options{.k = 5, .vote = vote, .temperature = 0.1};
        SCOPED_TRACE(testing::Message() << "N " << N << " D " << D << " vote " << int(vote));
        const auto predicted = knn_predict({x, labels}, queries, D, C, options);
        const auto left_out = knn_leave_one_out({x, labels}, D, C, options);
        for (index_t i = 0; i < 37; ++i) {
          EXPECT_EQ(predicted[static_cast<std::size_t>(i)],
                    reference(x, labels, queries.data() + i * D, D, C, options, -1))
              << i;
        }
        for (index_t i = 0; i < N; ++i) {
          EXPECT_EQ(left_out[static_cast<std::size_t>(i)],
                    reference(x, labels, x.data() + i * D, D, C, options, i))
              << i;
        }
      }
    }
  }
}

TEST(Knn, AnImageDoesNotVoteForItselfNorItsGroupForIt) {
  // Two sensors of each plant are the same point; the nearest other plant has the other label.
  const std::vector<float> x{1, 0, 1, 0, 1, .1f, 1, .1f};
  const std::vector<int> labels{0, 0, 1, 1};
  const std::vector<index_t> plants{7, 7, 3, 3};
  const KnnOptions nearest{.k = 1};
  EXPECT_EQ(knn_leave_one_out({x, labels}, 2, 2, nearest), labels);
  EXPECT_EQ(knn_leave_one_out({x, labels, plants}, 2, 2, nearest), (std::vector<int>{1, 1, 0, 0}));
}

TEST(Knn, SimilarityIsTheAngleNotTheLength) {
  const std::vector<float> x{1, 0, 0, 1}, query{100, 1, 1e-3f, 1e-2f};
  EXPECT_EQ(knn_predict({x, std::vector<int>{0, 1}}, query, 2, 2, {.k = 1}),
            (std::vector<int>{0, 1}));
}

TEST(Knn, TiesGoToTheLowerRowAndTheLowerClass) {
  const std::vector<float> x{1, 0, 1, 0, 1, 0, 1, 0, 1, 0}, query{1, 0};
  const std::vector<int> labels{2, 1, 1, 0, 0};
  EXPECT_EQ(knn_predict({x, labels}, query, 2, 3, {.k = 1})[0], 2);
  EXPECT_EQ(knn_predict({x, labels}, query, 2, 3, {.k = 2, .vote = Vote::majority})[0], 1);
  EXPECT_EQ(knn_predict({x, labels}, query, 2, 3, {.k = 5, .vote = Vote::majority})[0], 0);
  EXPECT_EQ(knn_predict({x, labels}, query, 2, 3, {.k = 500, .vote = Vote::majority})[0], 0);
}

TEST(Knn, WeightedVoteHearsTheNearerLouder) {
  const std::vector<float> x{1, 0, 1, .5f, 1, .5f}, query{1, .05f};
  const std::vector<int> labels{0, 1, 1};
  EXPECT_EQ(knn_predict({x, labels}, query, 2, 2, {.k = 3, .vote = Vote::majority})[0], 1);
  EXPECT_EQ(knn_predict({x, labels}, query, 2, 2, {.k = 3, .temperature = .07})[0], 0);
  EXPECT_EQ(knn_predict({x, labels}, query, 2, 2, {.k = 3, .temperature = 1e-4})[0], 0);
}

TEST(Knn, IsTheSameForAnyNumberOfThreads) {
  const auto x = random_features(150, 9, 3);
  std::vector<int> labels;
  for (int i = 0; i < 150; ++i) labels.push_back(i % 4);
  const int threads = num_threads();
  set_num_threads(1);
  const auto one = knn_leave_one_out({x, labels}, 9, 4);
  set_num_threads(3);
  EXPECT_EQ(knn_leave_one_out({x, labels}, 9, 4), one);
  set_num_threads(threads);
}

TEST(Knn, SeparatesClustersAndNotNoise) {
  const index_t N = 200, D = 8;
  auto x = random_features(N, D, 4);
  std::vector<int> labels;
  for (index_t i = 0; i < N; ++i) labels.push_back(static_cast<int>(i % 2));
  EXPECT_NEAR(accuracy(knn_leave_one_out({x, labels}, D, 2), labels), 0.5, 0.15);  // 4 sigma
  for (index_t i = 0; i < N; ++i) x[static_cast<std::size_t>(i * D)] += i % 2 == 0 ? 6.0f : -6.0f;
  EXPECT_GT(accuracy(knn_leave_one_out({x, labels}, D, 2), labels), 0.99);
}

TEST(Knn, RefusesWhatCannotBeSearched) {
  const std::vector<float> x{1, 2, 3, 4};
  const std::vector<int> labels{0, 1};
  EXPECT_THROW(knn_predict({x, labels}, x, 2, 2, {.k = 0}), ValueError);
  EXPECT_THROW(knn_predict({x, labels}, x, 2, 2, {.temperature = 0}), ValueError);
  EXPECT_THROW(knn_predict({x, labels}, x, 3, 2), ShapeError);
  EXPECT_THROW(knn_predict({x, labels}, std::vector<float>{1, 2, 3}, 2, 2), ShapeError);
  EXPECT_THROW(knn_predict({x, std::vector<int>{0, 2}}, x, 2, 2), ValueError);
  EXPECT_THROW(knn_predict({x, labels}, std::vector<float>{1, NAN}, 2, 2), ValueError);
  EXPECT_THROW(knn_predict({x, labels, std::vector<index_t>{1}}, x, 2, 2), ShapeError);
  EXPECT_THROW(knn_leave_one_out({std::span(x).first(2), std::vector<int>{0}}, 2, 2), ValueError);
  EXPECT_THROW(accuracy(labels, std::vector<int>{0}), ShapeError);
}

}  // namespace
}  // namespace mwalimu::eval
