#include "mwalimu/embedding/tsne_transform.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stop_token>
#include <vector>

#include "embedding/embedding_support.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/embedding/tsne.hpp"

namespace mwalimu::embedding {
namespace {

using test::clustered_points;

/// 400 points in four clusters, the last 80 of them held back.
struct Problem {
  static constexpr index_t n = 320, m = 80, d = 12;
  std::vector<float> all = clustered_points(n + m, d, 4, 10, 1);
  Points mapped{{all.data(), n* d}, n, d};
  Points added{{all.data() + n * d, m* d}, m, d};
  std::vector<float> map = tsne(mapped, {.perplexity = 20}).map;
};

const Problem& problem() {
  static const Problem p;
  return p;
}

/// Share of new points whose nearest mapped one belongs to their own cluster.
double right_cluster(const std::vector<float>& places) {
  const Problem& p = problem();
  const NeighborList list = nearest_to(Points(p.map, p.n, 2), Points(places, p.m, 2), 1);
  index_t right = 0;
  for (index_t i = 0; i < p.m; ++i) right += list.index[i] % 4 == (p.n + i) % 4;
  return static_cast<double>(right) / static_cast<double>(p.m);
}

TEST(TsneTransform, NewPointsLandInTheirClusters) {
  const Problem& p = problem();
  for (const Repulsion repulsion : {Repulsion::exact, Repulsion::fft}) {
    const auto r = tsne_transform(p.mapped, p.map, 2, p.added, {.repulsion = repulsion});
    EXPECT_EQ(right_cluster(r.map), 1);
    EXPECT_EQ(r.iterations, 250);
    EXPECT_NE(r.map, r.start);
  }
}

TEST(TsneTransform, OneAtATimeEqualsAllAtOnceForAnyThreads) {
  const Problem& p = problem();
  const int before = num_threads();
  for (const Repulsion repulsion : {Repulsion::exact, Repulsion::fft}) {
    const TransformOptions o{.iterations = 60, .repulsion = repulsion};
    set_num_threads(1);
    const auto all = tsne_transform(p.mapped, p.map, 2, p.added, o);
    set_num_threads(3);
    EXPECT_EQ(tsne_transform(p.mapped, p.map, 2, p.added, o).map, all.map);
    for (const index_t i : {0, 33, 79}) {
      const Points one({p.added.row(i), p.d}, 1, p.d);
      const auto alone = tsne_transform(p.mapped, p.map, 2, one, o);
      EXPECT_EQ(alone.map[0], all.map[2 * i]);
      EXPECT_EQ(alone.map[1], all.map[2 * i + 1]);
    }
  }
  set_num_threads(before);
}

TEST(TsneTransform, GridAndExactFieldsAgree) {
  const Problem& p = problem();
  TransformOptions o{.repulsion = Repulsion::exact};
  const auto exact = tsne_transform(p.mapped, p.map, 2, p.added, o);
  o.repulsion = Repulsion::fft;
  const auto fft = tsne_transform(p.mapped, p.map, 2, p.added, o);
  double difference = 0, width = 0;
  for (std::size_t v = 0; v < fft.map.size(); ++v) {
    difference += std::pow(fft.map[v] - exact.map[v], 2);
    width += std::pow(exact.map[v], 2);
  }
  EXPECT_LT(std::sqrt(difference / width), 0.01);
}

TEST(TsneTransform, EveryOptionCounts) {
  const Problem& p = problem();
  const auto run = [&](const TransformOptions& o) {
    return tsne_transform(p.mapped, p.map, 2, p.added, o).map;
  };
  const auto usual = run({});
  EXPECT_NE(run({.perplexity = 10}), usual);
  EXPECT_NE(run({.start_neighbors = 1}), usual);
  EXPECT_NE(run({.iterations = 100}), usual);
  EXPECT_NE(run({.exaggeration = 1}), usual);
  EXPECT_NE(run({.learning_rate = 0.2}), usual);
  EXPECT_NE(run({.momentum = 0.5}), usual);
  EXPECT_NE(run({.max_force_norm = 0.001}), usual);
  EXPECT_NE(run({.metric = Metric::cosine}), usual);
  EXPECT_NE(run({.repulsion = Repulsion::fft}), usual);
  EXPECT_NE(run({.repulsion = Repulsion::fft, .grid_spacing = 1}),
            run({.repulsion = Repulsion::fft}));
  std::stop_source source;
  source.request_stop();
  TransformOptions stopped;
  stopped.stop = source.get_token();
  const auto r = tsne_transform(p.mapped, p.map, 2, p.added, stopped);
  EXPECT_EQ(r.iterations, 0);
  EXPECT_EQ(r.map, r.start);
}

TEST(TsneTransform, OneAndThreeComponentsAndAnOutlier) {
  const Problem& p = problem();
  for (const int components : {1, 3}) {
    const auto map = tsne(p.mapped, {.components = components, .perplexity = 20}).map;
    const auto r = tsne_transform(p.mapped, map, components, p.added);
    EXPECT_EQ(static_cast<index_t>(r.map.size()), p.m * components);
    for (const float v : r.map) ASSERT_TRUE(std::isfinite(v));
  }
  // A point far from all others stays within reach of the map.
  const std::vector<float> far(p.d, 1e6f);
  const auto r =
      tsne_transform(p.mapped, p.map, 2, Points(far, 1, p.d), {.repulsion = Repulsion::fft});
  float widest = 0;
  for (const float v : p.map) widest = std::max(widest, std::abs(v));
  for (const float v : r.map) EXPECT_LE(std::abs(v), 1.5f * widest);
  EXPECT_TRUE(tsne_transform(p.mapped, p.map, 2, Points({}, 0, p.d)).map.empty());
}

TEST(TsneTransform, Errors) {
  const Problem& p = problem();
  EXPECT_THROW(tsne_transform(p.mapped, p.map, 3, p.added), ShapeError);
  EXPECT_THROW(tsne_transform(p.mapped, p.map, 4, p.added), ValueError);
  EXPECT_THROW(tsne_transform(p.mapped, p.map, 2, Points({p.all.data(), 8}, 4, 2)), ShapeError);
  EXPECT_THROW(tsne_transform(p.mapped, p.map, 2, p.added, {.perplexity = 107}), ValueError);
  EXPECT_THROW(tsne_transform(p.mapped, p.map, 2, p.added, {.perplexity = 0}), ValueError);
  EXPECT_THROW(tsne_transform(p.mapped, p.map, 2, p.added, {.learning_rate = 0}), ValueError);
  std::vector<float> bad(p.d, 0.0f);
  bad[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(tsne_transform(p.mapped, p.map, 2, Points(bad, 1, p.d)), ValueError);
}

}  // namespace
}  // namespace mwalimu::embedding
