#include "mwalimu/embedding/tsne.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "embedding/embedding_support.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/embedding/quality.hpp"

namespace mwalimu::embedding {
namespace {

using test::clustered_points;
using test::normal_points;

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

double deviation(const std::vector<float>& map, int components) {
  double square = 0;  // the mean is 0
  for (const float v : map) square += double{v} * v;
  return std::sqrt(square / static_cast<double>(map.size()) * components);
}

/// The text of the error that body throws, "" for none.
template <class E>
std::string error_text(const std::function<void()>& body) {
  try {
    body();
  } catch (const E& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// --- What it must find ---------------------------------------------------------------------------

TEST(Tsne, SeparatesClusters) {
  const index_t n = 240, d = 10;
  const std::vector<float> x = clustered_points(n, d, 4, 12, 1);
  std::vector<int> labels;
  for (index_t i = 0; i < n; ++i) labels.push_back(static_cast<int>(i % 4));
  for (const Schedule schedule : {Schedule::automatic, Schedule::classic}) {
    const TsneResult r = tsne(Points(x, n, d), {.perplexity = 15, .schedule = schedule});
    EXPECT_EQ(knn_accuracy(Points(r.map, n, 2), labels, 5), 1);
    EXPECT_GT(trustworthiness(Points(x, n, d), Points(r.map, n, 2), 10), 0.9);
    EXPECT_EQ(r.iterations, schedule == Schedule::classic ? 1000 : 750);
    EXPECT_EQ(r.reason, StopReason::finished);
    EXPECT_TRUE(r.warnings.empty());
    ASSERT_EQ(r.trace.size(), schedule == Schedule::classic ? 20u : 15u);
    EXPECT_NEAR(r.trace.back().second, r.kl, 1e-5 * r.kl);  // float Z against double Z
    EXPECT_LT(r.kl, r.trace.front().second);
  }
}

TEST(Tsne, NothingCollapsesAtAnyPerplexityAndKlFalls) {
  // Without structure, and with clusters: small sets are where early exaggeration may collapse.
  const index_t n = 400, d = 8;
  for (const float gap : {0.0f, 6.0f}) {
    const std::vector<float> x = clustered_points(n, d, 5, gap, 2);
    const std::vector<double> perplexities{100, 2, 10, 30, 50};  // in any order
    const auto results = tsne_sweep(Points(x, n, d), perplexities);
    ASSERT_EQ(results.size(), 5u);
    std::vector<std::pair<double, double>> kl;
    for (std::size_t s = 0; s < results.size(); ++s) {
      EXPECT_EQ(results[s].perplexity, perplexities[s]);
      EXPECT_EQ(results[s].neighbors, static_cast<index_t>(3 * perplexities[s]));
      EXPECT_TRUE(all_finite(results[s].map));
      EXPECT_GT(deviation(results[s].map, 2), 1);
      // Six neighbours of noise are nearly a tree, which a plane holds well: 2 is not compared.
      if (perplexities[s] > 2) kl.emplace_back(perplexities[s], results[s].kl);
    }
    std::sort(kl.begin(), kl.end());
    for (std::size_t s = 1; s < kl.size(); ++s) EXPECT_LT(kl[s].second, kl[s - 1].second);
  }
}

TEST(Tsne, StructurelessSetsSpreadByEveryRepulsion) {
  // Small sets without clusters are where other programs' grids and trees let a map collapse.
  for (const index_t n : {200, 1000}) {
    const index_t d = 10;
    const std::vector<float> x = normal_points(n, d, 45);
    for (const Repulsion repulsion : {Repulsion::exact, Repulsion::fft}) {
      TsneOptions o{.perplexity = 30, .early_iterations = 10, .main_iterations = 0};
      o.repulsion = repulsion;
      EXPECT_LT(deviation(tsne(Points(x, n, d), o).map, 2), 1);  // not spread yet
      o.early_iterations = 250;
      o.main_iterations = 250;
      const TsneResult r = tsne(Points(x, n, d), o);
      EXPECT_TRUE(all_finite(r.map));
      EXPECT_GT(deviation(r.map, 2), 1) << n;
      EXPECT_GT(trustworthiness(Points(x, n, d), Points(r.map, n, 2), 10), 0.7) << n;
    }
  }
}

TEST(Tsne, EverySizeAroundALimitIsFinite) {
  // Vector widths, blocks of four rows, the thousand from which products search, the switch to the
  // grid, and blocks of 256 points beyond it.
  for (const index_t n :
       {4, 5, 7, 15, 16, 17, 31, 33, 63, 65, 255, 257, 999, 1000, 1025, 2500, 2501, 2561}) {
    const index_t d = 12;
    const std::vector<float> x = normal_points(n, d, static_cast<std::uint64_t>(n));
    const TsneResult r =
        tsne(Points(x, n, d), {.perplexity = std::min(10.0, static_cast<double>(n - 1) / 3),
                               .early_iterations = 20,
                               .main_iterations = 20});
    EXPECT_TRUE(all_finite(r.map)) << n;
    EXPECT_TRUE(std::isfinite(r.kl) && r.kl > -1e-5) << n;
    EXPECT_EQ(r.repulsion, n > kExactRepulsionLimit ? Repulsion::fft : Repulsion::exact);
  }
}

TEST(Tsne, SchedulesAreThoseOfTheirSources) {
  const auto expect = [](const detail::Plan::Step& step, double exaggeration, double rate,
                         double momentum) {
    EXPECT_EQ(step.exaggeration, exaggeration);
    EXPECT_EQ(step.rate, rate);
    EXPECT_EQ(step.momentum, momentum);
  };
  const detail::Plan automatic = detail::plan({}, 600);
  EXPECT_EQ(automatic.early, 250);
  EXPECT_EQ(automatic.total, 750);
  expect(automatic.early_step, 12, 50, 0.8);  // n / exaggeration
  expect(automatic.main_step, 1, 600, 0.8);
  const detail::Plan classic = detail::plan({.schedule = Schedule::classic}, 600);
  EXPECT_EQ(classic.total, 1000);
  expect(classic.early_step, 12, 200, 0.5);
  expect(classic.main_step, 1, 200, 0.8);
  expect(detail::plan({.schedule = Schedule::classic}, 12000).main_step, 1, 1000, 0.8);
  const detail::Plan late = detail::plan({.late_exaggeration = 20}, 600);
  expect(late.early_step, 20, 30, 0.8);
  expect(late.main_step, 20, 30, 0.8);
  expect(detail::plan({.learning_rate = 7.0}, 600).main_step, 1, 7, 0.8);
}

TEST(Tsne, MapIsCentredAndStepsAreLimited) {
  const index_t n = 50, d = 3;
  std::vector<float> x = normal_points(n, d, 25);
  const TsneResult r = tsne(Points(x, n, d), {.perplexity = 8, .main_iterations = 50});
  for (const int c : {0, 1}) {
    double sum = 0;
    for (index_t i = 0; i < n; ++i) sum += r.map[i * 2 + c];
    EXPECT_NEAR(sum / static_cast<double>(n), 0, 1e-5);
  }
  // A start off centre is brought back too; a huge rate makes every step as long as it may be.
  std::vector<float> start = normal_points(n, 2, 26);
  for (float& v : start) v += 3;
  TsneOptions o{.perplexity = 8, .start = Start::given, .learning_rate = 1e6, .callback_every = 1};
  o.given_start = start;
  o.callback = [](const TsneProgress&) { return false; };
  const TsneResult one = tsne(Points(x, n, d), o);
  double sum = 0;
  for (index_t i = 0; i < n; ++i) {
    sum += one.map[i * 2];
    EXPECT_NEAR(std::hypot(one.state.update[i * 2], one.state.update[i * 2 + 1]), 5, 1e-5);
  }
  EXPECT_NEAR(sum / static_cast<double>(n), 0, 1e-5);
}

TEST(Tsne, SweepEqualsSingleRuns) {
  const index_t n = 90, d = 6;
  const std::vector<float> x = normal_points(n, d, 3);
  const std::vector<double> perplexities{4, 20};
  const auto results = tsne_sweep(Points(x, n, d), perplexities, {.main_iterations = 60});
  for (std::size_t s = 0; s < 2; ++s) {
    const TsneResult alone =
        tsne(Points(x, n, d), {.perplexity = perplexities[s], .main_iterations = 60});
    EXPECT_EQ(results[s].map, alone.map);
    EXPECT_EQ(results[s].kl, alone.kl);
  }
}

TEST(Tsne, PreparedInputServesEveryPerplexityAndStart) {
  const index_t n = 90, d = 6;
  const std::vector<float> x = normal_points(n, d, 3);
  TsneOptions o{.perplexity = 20, .seed = 4, .main_iterations = 60};
  const TsneInput input = prepare_tsne(Points(x, n, d), o);
  EXPECT_EQ(input.neighbors.k, 60);
  for (const double perplexity : {20.0, 4.0}) {
    o.perplexity = perplexity;
    const TsneResult r = tsne(input, o), alone = tsne(Points(x, n, d), o);
    EXPECT_EQ(r.map, alone.map);
    EXPECT_EQ(r.neighbors, alone.neighbors);
  }
  // From the other map: like it, and unlike the map from the principal components.
  const TsneResult first = tsne(input, o);
  const std::vector<float> start = rescaled_start(first.map, n, 2);
  o.start = Start::given;
  o.given_start = start;
  o.perplexity = 8;
  const TsneResult aligned = tsne(input, o);
  EXPECT_TRUE(aligned.warnings.empty());
  o.start = Start::pca;
  EXPECT_NE(tsne(input, o).map, aligned.map);

  o.perplexity = 21;
  EXPECT_TRUE(contains(error_text<ValueError>([&] { tsne(input, o); }),
                       "takes 63 neighbours, the input has 60"));
  o.perplexity = 4;
  o.components = 3;
  EXPECT_TRUE(contains(error_text<ValueError>([&] { tsne(input, o); }), "want 2 components"));
}

TEST(Tsne, RescaledStartIsCentredAndNarrow) {
  const index_t n = 50;
  std::vector<float> map = normal_points(n, 2, 30);
  for (index_t i = 0; i < n; ++i) map[2 * i] = 100 + 30 * map[2 * i];
  const std::vector<float> start = rescaled_start(map, n, 2);
  double mean = 0, square = 0;
  for (index_t i = 0; i < n; ++i) mean += start[2 * i] / 50.0;
  for (index_t i = 0; i < n; ++i) square += std::pow(start[2 * i] - mean, 2) / 50;
  EXPECT_NEAR(mean, 0, 1e-9);
  EXPECT_NEAR(std::sqrt(square), 1e-4, 1e-9);
  // One factor for both columns: the shape stays.
  EXPECT_NEAR((start[3] - start[1]) / (start[2] - start[0]), (map[3] - map[1]) / (map[2] - map[0]),
              1e-3);
  EXPECT_EQ(rescaled_start(std::vector<float>(8, 3.0f), 4, 2), std::vector<float>(8, 3.0f));
  EXPECT_THROW(rescaled_start(map, n, 3), ShapeError);
}

TEST(Tsne, PrecomputedNeighboursAndDistances) {
  const index_t n = 60, d = 4;
  const std::vector<float> x = normal_points(n, d, 31);
  std::vector<float> distance(n * n);
  for (index_t i = 0; i < n; ++i) {
    for (index_t j = 0; j < n; ++j) {
      distance[i * n + j] = static_cast<float>(test::square_distance(Points(x, n, d), i, j));
    }
  }
  const NeighborList list = neighbors_of_distances(distance, n, 24);
  EXPECT_EQ(list.index, nearest_neighbors(Points(x, n, d), 24).index);
  TsneOptions o{.perplexity = 8, .start = Start::random, .seed = 5, .main_iterations = 50};
  const TsneResult r = tsne(prepare_tsne(list, o), o), direct = tsne(Points(x, n, d), o);
  EXPECT_NEAR(r.kl, direct.kl, 1e-2 * direct.kl);  // distances differ in their last bits

  o.start = Start::pca;
  EXPECT_TRUE(contains(error_text<ValueError>([&] { prepare_tsne(list, o); }), "without points"));
  o.start = Start::random;
  NeighborList bad = list;
  bad.index[5 * 24 + 3] = 5;
  EXPECT_TRUE(contains(error_text<ValueError>([&] { prepare_tsne(bad, o); }),
                       "neighbour 3 of point 5 is 5"));
  bad.index[5 * 24 + 3] = -1;
  EXPECT_TRUE(contains(error_text<ValueError>([&] { prepare_tsne(bad, o); }), "is -1"));
  bad = list;
  bad.square_distance[7] = 0;
  EXPECT_TRUE(contains(error_text<ValueError>([&] { prepare_tsne(bad, o); }), "ascending"));
  bad = list;
  bad.index.pop_back();
  EXPECT_THROW(prepare_tsne(bad, o), ShapeError);
  distance[3] = -1;
  EXPECT_TRUE(contains(error_text<ValueError>([&] { neighbors_of_distances(distance, n, 5); }),
                       "row 0, column 3 is -1"));
}

TEST(Tsne, ProbabilitiesOfTheCallers) {
  // A P that no search and no perplexity made: two rings of six, each point with its two neighbours.
  const index_t n = 12;
  Affinities p;
  p.n = n;
  p.row_begin = {0};
  for (index_t i = 0; i < n; ++i) {
    const index_t ring = i / 6 * 6;
    std::vector<index_t> next{ring + (i + 1) % 6, ring + (i + 5) % 6};
    std::sort(next.begin(), next.end());
    for (const index_t j : next) {
      p.column.push_back(static_cast<std::int32_t>(j));
      p.value.push_back(1.0f / 24);
    }
    p.row_begin.push_back(static_cast<index_t>(p.column.size()));
  }
  std::vector<float> start = normal_points(n, 2, 46);
  for (float& v : start) v *= 1e-4f;
  const TsneResult r = optimise(p, initial_state(start), {.early_iterations = 100});
  EXPECT_NEAR(r.kl, exact_kl(p, Coordinates(r.map, n, 2)), 1e-6 * r.kl);
  EXPECT_LT(r.kl, std::log(132.0 / 24));  // less than a map in one point has, where all q are equal
  double within = 0, between = 0;
  for (index_t i = 0; i < n; ++i) {
    for (index_t j = 0; j < n; ++j) {
      (i / 6 == j / 6 ? within : between) += test::square_distance(Points(r.map, n, 2), i, j);
    }
  }
  EXPECT_LT(within / 60, 0.5 * between / 72);
}

TEST(Tsne, SweepTellsItsCallbackWhichMap) {
  const index_t n = 40, d = 3;
  const std::vector<float> x = normal_points(n, d, 32);
  std::vector<std::pair<std::size_t, double>> seen;
  TsneOptions o{.early_iterations = 10, .main_iterations = 0, .callback_every = 10};
  o.callback = [&](const TsneProgress& at) {
    seen.emplace_back(at.run, at.perplexity);
    return true;
  };
  tsne_sweep(Points(x, n, d), std::vector<double>{6, 3}, o);
  EXPECT_EQ(seen, (std::vector<std::pair<std::size_t, double>>{{0, 6}, {1, 3}}));
}

TEST(Tsne, LateIterationsExaggerateTheEndOnly) {
  const detail::Plan plan =
      detail::plan({.main_iterations = 500, .late_exaggeration = 4, .late_iterations = 100}, 600);
  EXPECT_EQ(plan.step(249).exaggeration, 12);
  EXPECT_EQ(plan.step(250).exaggeration, 1);
  EXPECT_EQ(plan.step(649).exaggeration, 1);
  EXPECT_EQ(plan.step(650).exaggeration, 4);
  EXPECT_EQ(plan.step(650).rate, 150);  // n / exaggeration
  EXPECT_EQ(plan.total, 750);
  // More of them than main iterations: all are late.
  EXPECT_EQ(detail::plan({.main_iterations = 50, .late_iterations = 100}, 600).late_begin, 250);
  const index_t n = 60, d = 4;
  const std::vector<float> x = normal_points(n, d, 33);
  TsneOptions o{.perplexity = 10};
  const double loose = deviation(tsne(Points(x, n, d), o).map, 2);
  o.late_exaggeration = 4;
  o.late_iterations = 150;
  EXPECT_LT(deviation(tsne(Points(x, n, d), o).map, 2), 0.8 * loose) << loose;
}

TEST(Tsne, MultiscaleTakesSeveralPerplexitiesAtOnce) {
  const index_t n = 120, d = 6;
  const std::vector<float> x = normal_points(n, d, 34);
  TsneOptions o{.perplexity = 7, .multiscale = {5, 25}, .main_iterations = 50};
  const TsneResult mean = tsne(Points(x, n, d), o);
  EXPECT_EQ(mean.neighbors, 75);
  EXPECT_EQ(mean.perplexity, 25);
  o.multiscale_kind = Multiscale::mixture;
  EXPECT_NE(tsne(Points(x, n, d), o).map, mean.map);
  o.multiscale = {25};  // one scale is the ordinary P
  EXPECT_EQ(tsne(Points(x, n, d), o).map,
            tsne(Points(x, n, d), {.perplexity = 25, .main_iterations = 50}).map);
  o.multiscale = {5, 60};
  EXPECT_TRUE(contains(error_text<ValueError>([&] { tsne(Points(x, n, d), o); }),
                       "largest allowed (n-1)/3"));
  o.multiscale = {5, -1};
  EXPECT_THROW(tsne(Points(x, n, d), o), ValueError);
  o.multiscale = {5, 25};
  EXPECT_TRUE(contains(
      error_text<ValueError>([&] { tsne_sweep(Points(x, n, d), std::vector<double>{5}, o); }),
      "one of the two"));
}

TEST(Tsne, NeighborSearchIsAnOption) {
  const index_t n = 200, d = 4;
  const std::vector<float> x = normal_points(n, d, 35);
  TsneOptions o{.perplexity = 10, .main_iterations = 20};
  o.neighbor_search = NeighborSearch::tree;
  const TsneResult tree = tsne(Points(x, n, d), o);
  o.neighbor_search = NeighborSearch::brute_force;
  EXPECT_EQ(tsne(Points(x, n, d), o).map, tree.map);  // both exact
  o.neighbor_search = NeighborSearch::hnsw;
  if (kHasHnsw) {
    const TsneResult graph = tsne(Points(x, n, d), o);
    EXPECT_GT(graph.neighbor_recall, 0.99);
    EXPECT_LT(graph.neighbor_recall, 1.0001);
  } else {
    EXPECT_TRUE(contains(error_text<ValueError>([&] { tsne(Points(x, n, d), o); }), "hnswlib"));
  }
}

TEST(Tsne, SelectPerplexityTakesTheSmallestCriterion) {
  std::vector<TsneResult> results(3);
  const double perplexity[] = {5, 30, 100}, kl[] = {1.0, 0.5, 0.45};
  for (int s = 0; s < 3; ++s) {
    results[s].n = 300;
    results[s].perplexity = perplexity[s];
    results[s].kl = kl[s];
  }
  const PerplexityChoice choice = select_perplexity(results);
  EXPECT_EQ(choice.best, 1u);
  ASSERT_EQ(choice.criterion.size(), 3u);
  EXPECT_NEAR(choice.criterion[1], 2 * 0.5 + std::log(300.0) * 30 / 300, 1e-12);
  EXPECT_THROW(select_perplexity({}), ValueError);
}

TEST(Tsne, OneAndThreeComponents) {
  const index_t n = 60, d = 5;
  const std::vector<float> x = clustered_points(n, d, 3, 15, 4);
  std::vector<int> labels;
  for (index_t i = 0; i < n; ++i) labels.push_back(static_cast<int>(i % 3));
  for (const int components : {1, 3}) {
    const TsneResult r = tsne(Points(x, n, d), {.components = components, .perplexity = 8});
    ASSERT_EQ(static_cast<index_t>(r.map.size()), n * components);
    EXPECT_GT(knn_accuracy(Points(r.map, n, components), labels, 3), 0.95);
  }
}

TEST(Tsne, CosineMetricAndPcaDims) {
  const index_t n = 100, d = 40;
  std::vector<float> x = clustered_points(n, d, 2, 20, 5);
  for (index_t i = 0; i < n; ++i) {
    for (index_t c = 0; c < d; ++c) x[i * d + c] *= static_cast<float>(1 + i % 7);
  }
  std::vector<int> labels;
  for (index_t i = 0; i < n; ++i) labels.push_back(static_cast<int>(i % 2));
  const TsneResult r =
      tsne(Points(x, n, d), {.perplexity = 10, .metric = Metric::cosine, .main_iterations = 200});
  EXPECT_EQ(knn_accuracy(Points(r.map, n, 2), labels, 3), 1);
  const TsneResult reduced =
      tsne(Points(x, n, d), {.perplexity = 10, .pca_dims = 6, .main_iterations = 100});
  EXPECT_EQ(reduced.pca_dims, 6);
  EXPECT_TRUE(all_finite(reduced.map));
}

// --- Determinism, stopping, resuming
// ---------------------------------------------------------------

TEST(Tsne, SameBitsForAnyNumberOfThreads) {
  const index_t n = 1203, d = 7;  // large enough that the forces are shared out
  const std::vector<float> x = normal_points(n, d, 6);
  const int before = num_threads();
  std::vector<TsneResult> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    results.push_back(
        tsne(Points(x, n, d),
             {.perplexity = 100, .seed = 9, .early_iterations = 25, .main_iterations = 25}));
  }
  set_num_threads(before);
  EXPECT_EQ(results[0].map, results[1].map);
  EXPECT_EQ(results[0].map, results[2].map);
  EXPECT_EQ(results[0].kl, results[2].kl);
}

TEST(Tsne, SameBitsForAnyNumberOfThreadsOnTheGrid) {
  const index_t n = 4001, d = 5;
  const std::vector<float> x = clustered_points(n, d, 5, 5, 41);
  const int before = num_threads();
  std::vector<TsneResult> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    results.push_back(tsne(Points(x, n, d), {.early_iterations = 40, .main_iterations = 40}));
  }
  set_num_threads(before);
  EXPECT_EQ(results[0].repulsion, Repulsion::fft);
  EXPECT_EQ(results[0].map, results[1].map);
  EXPECT_EQ(results[0].map, results[2].map);
  EXPECT_EQ(results[0].kl, results[2].kl);
}

TEST(Tsne, SeedMovesTheJitterAndTheRandomStart) {
  const index_t n = 40, d = 3;
  const std::vector<float> x = normal_points(n, d, 7);
  for (const Start start : {Start::pca, Start::random}) {
    TsneOptions o{.perplexity = 5, .start = start, .seed = 1, .main_iterations = 10};
    const auto first = tsne(Points(x, n, d), o).map;
    EXPECT_EQ(tsne(Points(x, n, d), o).map, first);
    o.seed = 2;
    EXPECT_NE(tsne(Points(x, n, d), o).map, first);
  }
}

TEST(Tsne, OrderOfTheMapChangesNothingButRounding) {
  for (const index_t n : {600, 3000}) {  // all pairs, and the grid
    const index_t d = 5;
    const std::vector<float> x = clustered_points(n, d, 5, 6, 43);
    std::vector<float> seen;
    // Three steps: rounding grows with every one of them.
    TsneOptions o{.early_iterations = 50, .main_iterations = 3, .callback_every = 53};
    o.callback = [&](const TsneProgress& at) {
      seen.assign(at.map.begin(), at.map.end());
      return true;
    };
    const TsneResult given = tsne(Points(x, n, d), o);
    EXPECT_TRUE(given.state.order.empty());
    o.map_order_above = n - 1;
    const TsneResult along = tsne(Points(x, n, d), o);
    EXPECT_TRUE(detail::is_order(along.state.order, n));
    EXPECT_EQ(along.map, seen);
    EXPECT_EQ(along.map, along.state.map);
    EXPECT_EQ(along.trace, given.trace);  // of iteration 50, before it
    EXPECT_NEAR(along.kl, given.kl, 1e-5 * given.kl);
    EXPECT_NEAR(along.gradient_norm, given.gradient_norm, 1e-3 * given.gradient_norm);
    const auto apart = [](const std::vector<float>& a, const std::vector<float>& b) {
      double difference = 0, square = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        difference += std::pow(double{a[i]} - b[i], 2);
        square += double{b[i]} * b[i];
      }
      return std::sqrt(difference / square);
    };
    EXPECT_LT(apart(along.map, given.map), 1e-3) << n;
    EXPECT_LT(apart(along.state.update, given.state.update), 1e-2) << n;
    EXPECT_LT(apart(along.state.gain, given.state.gain), 1e-2) << n;
    o.map_order_above = n;  // not above it
    EXPECT_EQ(tsne(Points(x, n, d), o).map, given.map);
    o.map_order_above = 0;
    o.main_iterations = 0;  // it is the main phase's
    EXPECT_TRUE(tsne(Points(x, n, d), o).state.order.empty());
  }
}

TEST(Tsne, OrderOfTheMapGivesSameBitsForAnyNumberOfThreads) {
  const index_t n = 4001, d = 5;
  const std::vector<float> x = clustered_points(n, d, 5, 5, 44);
  const int before = num_threads();
  std::vector<TsneResult> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    results.push_back(tsne(
        Points(x, n, d), {.early_iterations = 30, .main_iterations = 40, .map_order_above = 0}));
  }
  set_num_threads(before);
  for (const int other : {1, 2}) {
    EXPECT_EQ(results[0].map, results[other].map);
    EXPECT_EQ(results[0].state.order, results[other].state.order);
    EXPECT_EQ(results[0].kl, results[other].kl);
  }
}

TEST(Tsne, StateWithAnotherOrderIsRefused) {
  const index_t n = 20, d = 3;
  const std::vector<float> x = normal_points(n, d, 46);
  const Affinities p = affinities(nearest_neighbors(Points(x, n, d), 15), 5);
  TsneState state = initial_state(normal_points(n, 2, 47));
  for (const std::int32_t wrong : {0, -1, 20}) {  // 0 is there twice then
    state.order.resize(n);
    for (index_t i = 0; i < n; ++i) state.order[i] = static_cast<std::int32_t>(n - 1 - i);
    EXPECT_NO_THROW(optimise(p, state, {.early_iterations = 1, .main_iterations = 0}));
    state.order[3] = wrong;
    EXPECT_TRUE(contains(error_text<ValueError>([&] { optimise(p, state, {}); }),
                         "each of the 20 points once"));
  }
  state.order.resize(19);
  EXPECT_THROW(optimise(p, state, {}), ValueError);
}

TEST(MapOrder, FollowsTheCurve) {
  // A square of 4 x 4 in random order: quarters, and quarters of them.
  std::vector<float> rows;
  std::vector<int> cell;
  for (const std::int64_t i : random_permutation(16, RandomStream(1, Purpose::test))) {
    cell.push_back(static_cast<int>(i));
    rows.push_back(static_cast<float>(i % 4));
    rows.push_back(static_cast<float>(i / 4));
  }
  std::vector<int> along;
  for (const std::int32_t i : detail::map_order(Coordinates(rows, 16, 2))) along.push_back(cell[i]);
  EXPECT_EQ(along, (std::vector<int>{0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15}));
  // On a line the curve is the line; points in one place keep their order.
  EXPECT_EQ(detail::map_order(Coordinates(std::vector<float>{3, -1, 8, -1, 5}, 5, 1)),
            (std::vector<std::int32_t>{1, 3, 0, 4, 2}));
  EXPECT_EQ(detail::map_order(Coordinates(std::vector<float>(9, 2.0f), 3, 3)),
            (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(MapOrder, RenumberedProbabilitiesJoinTheSamePoints) {
  const index_t n = 300, d = 4;
  const std::vector<float> x = normal_points(n, d, 48);
  const Affinities p = affinities(nearest_neighbors(Points(x, n, d), 30), 10);
  const std::vector<float> map = normal_points(n, 2, 49);
  const Coordinates y(map, n, 2);
  const auto order = detail::map_order(y);
  const Affinities q = detail::renumbered(p, order);
  EXPECT_EQ(detail::scattered_rows(detail::gathered(y, order), order), map);
  ASSERT_EQ(q.row_begin[n], p.row_begin[n]);
  for (index_t r = 0; r < n; ++r) {
    ASSERT_EQ(q.row_begin[r + 1] - q.row_begin[r],
              p.row_begin[order[r] + 1] - p.row_begin[order[r]]);
    for (index_t e = q.row_begin[r]; e < q.row_begin[r + 1]; ++e) {
      ASSERT_TRUE(e == q.row_begin[r] || q.column[e - 1] < q.column[e]);
      const auto first = p.column.begin() + p.row_begin[order[r]];
      const auto last = p.column.begin() + p.row_begin[order[r] + 1];
      const auto found = std::lower_bound(first, last, order[q.column[e]]);
      ASSERT_TRUE(found != last && *found == order[q.column[e]]);
      ASSERT_EQ(q.value[e], p.value[found - p.column.begin()]);
    }
  }
}

TEST(Tsne, ResumedRunEqualsAnUninterruptedOne) {
  const index_t n = 170, d = 4;
  const std::vector<float> x = normal_points(n, d, 8);
  const Affinities p = affinities(nearest_neighbors(Points(x, n, d), 30), 10);
  std::vector<float> start(n * 2);
  for (index_t i = 0; i < n * 2; ++i) start[i] = 1e-4f * x[i];
  for (const Repulsion repulsion : {Repulsion::exact, Repulsion::fft}) {
    for (const bool ordered : {false, true}) {
      TsneOptions o{.early_iterations = 60, .main_iterations = 140, .repulsion = repulsion};
      if (ordered) o.map_order_above = 0;
      const TsneResult whole = optimise(p, initial_state(start), o);
      EXPECT_EQ(whole.repulsion, repulsion);
      for (const int stop : {7, 60, 61, 100, 130}) {
        o.callback_every = stop;
        o.callback = [&](const TsneProgress& at) { return at.iteration != stop; };
        const TsneResult half = optimise(p, initial_state(start), o);
        EXPECT_EQ(half.iterations, stop);
        EXPECT_EQ(half.reason, StopReason::callback);
        EXPECT_EQ(half.state.order.empty(), !ordered || stop <= 60);
        const TsneResult rest = optimise(p, half.state, o);
        EXPECT_EQ(rest.iterations, 200);
        EXPECT_EQ(rest.map, whole.map) << stop;
        EXPECT_EQ(rest.kl, whole.kl);
        for (const auto& [iteration, kl] : rest.trace) {  // what it saw itself, to the last bit
          EXPECT_EQ(kl, whole.trace[iteration / 50 - 1].second) << stop;
        }
        EXPECT_EQ(rest.state.order, whole.state.order);
      }
    }
  }
}

TEST(Tsne, RepulsionByTheGridFindsTheSameQuality) {
  const index_t n = 600, d = 8;
  const std::vector<float> x = clustered_points(n, d, 6, 8, 40);
  TsneOptions o{.perplexity = 20, .repulsion = Repulsion::exact};
  const TsneResult exact = tsne(Points(x, n, d), o);
  o.repulsion = Repulsion::fft;
  const TsneResult fft = tsne(Points(x, n, d), o);
  EXPECT_EQ(fft.repulsion, Repulsion::fft);
  EXPECT_NE(fft.map, exact.map);
  EXPECT_LT(fft.kl, 1.05 * exact.kl);  // few points: the error of each force weighs most
  EXPECT_NEAR(fft.trace.back().second, fft.kl, 1e-3 * fft.kl);
  // The spacing is what decides the error.
  o.grid_spacing = 1;
  EXPECT_GT(std::abs(tsne(Points(x, n, d), o).kl - exact.kl), std::abs(fft.kl - exact.kl));
  // By itself: exact where small.
  EXPECT_FALSE(detail::uses_fft({}, kExactRepulsionLimit));
  EXPECT_TRUE(detail::uses_fft({}, kExactRepulsionLimit + 1));
  EXPECT_FALSE(detail::uses_fft({.components = 3}, 1000000));
  o.components = 3;
  EXPECT_TRUE(contains(error_text<ValueError>([&] { tsne(Points(x, n, d), o); }),
                       "fft makes maps of 2 components, got 3"));
  o.components = 2;
  o.grid_spacing = 0;
  EXPECT_THROW(tsne(Points(x, n, d), o), ValueError);
}

TEST(Tsne, CallbackSeesPhasesKlAndTheMap) {
  const index_t n = 50, d = 3;
  const std::vector<float> x = normal_points(n, d, 9);
  std::vector<TsneProgress> seen;
  TsneOptions o{
      .perplexity = 8, .early_iterations = 40, .main_iterations = 40, .callback_every = 20};
  o.callback = [&](const TsneProgress& at) {
    EXPECT_EQ(static_cast<index_t>(at.map.size()), n * 2);
    EXPECT_TRUE(std::isfinite(at.kl) && at.gradient_norm > 0);
    seen.push_back(at);
    return true;
  };
  tsne(Points(x, n, d), o);
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[1].phase, Phase::early_exaggeration);
  EXPECT_EQ(seen[2].phase, Phase::main);
  EXPECT_EQ(seen[3].iteration, 80);
  EXPECT_EQ(seen[3].total, 80);
}

TEST(Tsne, StopsWhenCancelledConvergedOrWithoutProgress) {
  const index_t n = 30, d = 3;
  const std::vector<float> x = normal_points(n, d, 10);
  std::stop_source source;
  TsneOptions o{.perplexity = 5};
  o.stop = source.get_token();
  o.callback_every = 7;
  o.callback = [&](const TsneProgress&) {
    source.request_stop();
    return true;
  };
  const TsneResult cancelled = tsne(Points(x, n, d), o);
  EXPECT_EQ(cancelled.reason, StopReason::cancelled);
  EXPECT_EQ(cancelled.iterations, 7);

  const TsneResult converged = tsne(Points(x, n, d), {.perplexity = 5, .min_gradient_norm = 10});
  EXPECT_EQ(converged.reason, StopReason::converged);
  EXPECT_EQ(converged.iterations, 300);

  // Steps too small to move anything: the KL at 300, then no better one in 100 iterations.
  const TsneResult idle =
      tsne(Points(x, n, d),
           {.perplexity = 5, .learning_rate = 1e-30, .iterations_without_progress = 100});
  EXPECT_EQ(idle.reason, StopReason::no_progress);
  EXPECT_EQ(idle.iterations, 400);
}

TEST(Tsne, DivergenceNamesTheIterationAndKeepsTheLastMap) {
  const index_t n = 20, d = 3;
  const std::vector<float> x = normal_points(n, d, 11);
  const Affinities p = affinities(nearest_neighbors(Points(x, n, d), 15), 5);
  TsneState state = optimise(p, initial_state(normal_points(n, 2, 21)),
                             {.early_iterations = 10, .main_iterations = 0})
                        .state;
  state.update[7] = std::numeric_limits<float>::infinity();
  const std::vector<float> map = state.map;
  try {
    optimise(p, state, {});
    FAIL() << "an infinite step passed";
  } catch (const DivergenceError& e) {
    EXPECT_TRUE(contains(e.what(), "not finite at iteration 11")) << e.what();
    EXPECT_EQ(e.iteration, 11);
    EXPECT_EQ(e.last_map, map);
  }
}

// --- Every row of the table of inputs
// ----------------------------------------------------------------

TEST(TsneInput, NanAndInfinityNameRowColumnAndValue) {
  std::vector<float> x = normal_points(20, 3, 12);
  x[7 * 3 + 2] = std::nanf("");
  const auto run = [&] { tsne(Points(x, 20, 3), {.perplexity = 4}); };
  EXPECT_TRUE(contains(error_text<ValueError>(run), "row 7, column 2 is nan"));
  x[7 * 3 + 2] = -std::numeric_limits<float>::infinity();
  EXPECT_TRUE(contains(error_text<ValueError>(run), "row 7, column 2 is -inf"));
  x[7 * 3 + 2] = 1e19f;  // its square is not a float
  EXPECT_TRUE(contains(error_text<ValueError>(run), "overflow"));
}

TEST(TsneInput, GivenStartIsCheckedToo) {
  const std::vector<float> x = normal_points(20, 3, 13);
  std::vector<float> start = normal_points(20, 2, 14);
  for (float& v : start) v *= 1e-4f;
  TsneOptions o{.perplexity = 4, .start = Start::given, .main_iterations = 10};
  o.given_start = start;
  EXPECT_TRUE(tsne(Points(x, 20, 3), o).warnings.empty());
  start[5] = std::nanf("");
  EXPECT_TRUE(contains(error_text<ValueError>([&] { tsne(Points(x, 20, 3), o); }),
                       "given start: row 2, column 1 is nan"));
  start[5] = 100;
  const TsneResult wide = tsne(Points(x, 20, 3), o);
  ASSERT_EQ(wide.warnings.size(), 1u);
  EXPECT_TRUE(contains(wide.warnings[0], "column 1"));
  start.pop_back();
  o.given_start = start;
  EXPECT_TRUE(contains(error_text<ShapeError>([&] { tsne(Points(x, 20, 3), o); }), "20 x 2 = 40"));
}

TEST(TsneInput, TooFewPointsColumnsOrComponents) {
  const std::vector<float> x = normal_points(12, 1, 15);
  EXPECT_TRUE(contains(error_text<ValueError>([&] {
                         tsne(Points({x.data(), 3}, 3, 1));
                       }),
                       "at least 4 points, got 3"));
  EXPECT_TRUE(contains(error_text<ValueError>([&] {
                         tsne(Points({x.data(), 0}, 12, 0));
                       }),
                       "at least 1 column"));
  for (const int components : {0, 4, -1}) {
    EXPECT_TRUE(contains(error_text<ValueError>([&] {
                           tsne(Points(x, 12, 1), {.components = components, .perplexity = 2});
                         }),
                         "1, 2 or 3 components, got " + std::to_string(components)));
  }
}

TEST(TsneInput, PerplexityOutOfRange) {
  const std::vector<float> x = normal_points(50, 2, 16);
  const auto text = [&](double perplexity) {
    return error_text<ValueError>([&] { tsne(Points(x, 50, 2), {.perplexity = perplexity}); });
  };
  EXPECT_TRUE(contains(text(0), "perplexity > 0"));
  EXPECT_TRUE(contains(text(-3), "perplexity > 0"));
  EXPECT_TRUE(contains(text(std::nan("")), "perplexity > 0"));
  EXPECT_TRUE(contains(text(0.5), "fewer than two neighbours"));  // k = 1
  EXPECT_EQ(text(30),
            "tsne: perplexity 30 needs at least 3P+1 = 91 points, got 50; largest allowed "
            "(n-1)/3 = 16.3333");
  EXPECT_EQ(text(49.0 / 3), "");  // the largest allowed itself
  EXPECT_NO_THROW(require_perplexity(16, 50));
  EXPECT_THROW(require_perplexity(17, 50), ValueError);
}

TEST(TsneInput, ClampPolicyLowersThePerplexityAndWarns) {
  const std::vector<float> x = normal_points(50, 2, 17);
  const TsneResult r =
      tsne(Points(x, 50, 2),
           {.perplexity = 30, .perplexity_policy = PerplexityPolicy::clamp, .main_iterations = 10});
  EXPECT_NEAR(r.perplexity, 49.0 / 3, 1e-12);
  EXPECT_EQ(r.neighbors, 49);
  ASSERT_EQ(r.warnings.size(), 1u);
  EXPECT_TRUE(contains(r.warnings[0], "lowered to (n-1)/3 = 16.3333"));
}

TEST(TsneInput, DuplicateRowsCoincideWithoutJitterAndSeparateWithIt) {
  const index_t n = 60, d = 3;
  std::vector<float> x = normal_points(n, d, 18);
  for (index_t c = 0; c < d; ++c) x[d + c] = x[2 * d + c] = x[c];  // rows 0, 1 and 2 are equal
  // All others are neighbours, so that no tie is cut: equal rows feel the same force.
  TsneOptions o{.perplexity = 59.0 / 3, .jitter = 0};
  const TsneResult still = tsne(Points(x, n, d), o);
  EXPECT_TRUE(all_finite(still.map));
  for (const int c : {0, 1}) EXPECT_NEAR(still.map[c], still.map[2 + c], 1e-2);
  o.jitter = 0.01;
  const TsneResult moved = tsne(Points(x, n, d), o);
  EXPECT_TRUE(all_finite(moved.map));
  EXPECT_NE(moved.map[0], moved.map[2]);
}

TEST(TsneInput, ConstantDataStartAtRandomWithAWarning) {
  for (const float value : {0.0f, 0.1f, -1e6f}) {
    const std::vector<float> x(40 * 3, value);
    const TsneResult r = tsne(Points(x, 40, 3), {.perplexity = 5});
    EXPECT_TRUE(all_finite(r.map));
    ASSERT_EQ(r.warnings.size(), 1u);
    EXPECT_TRUE(contains(r.warnings[0], "constant"));
  }
}

TEST(TsneInput, OneConstantColumnOrOneColumnIsFinite) {
  std::vector<float> x = normal_points(40, 2, 19);
  for (index_t i = 0; i < 40; ++i) x[i * 2 + 1] = 5;
  for (const double jitter : {0.0, 0.01}) {
    EXPECT_TRUE(all_finite(tsne(Points(x, 40, 2), {.perplexity = 6, .jitter = jitter}).map));
    EXPECT_TRUE(all_finite(tsne(Points(x, 80, 1), {.perplexity = 6, .jitter = jitter}).map));
  }
}

TEST(TsneInput, FourPointsAreEnough) {
  const std::vector<float> x{0, 0, 1, 0, 10, 0, 11, 0};
  const TsneResult r = tsne(Points(x, 4, 2), {.perplexity = 1});
  EXPECT_TRUE(all_finite(r.map));
  const auto distance = [&](int i, int j) {
    return test::square_distance(Points(r.map, 4, 2), i, j);
  };
  EXPECT_LT(distance(0, 1), distance(0, 2));
  EXPECT_LT(distance(2, 3), distance(1, 2));
}

TEST(TsneInput, OptionsOutOfRangeAreErrors) {
  const std::vector<float> x = normal_points(30, 2, 20);
  const auto fails = [&](const TsneOptions& o) {
    return !error_text<ValueError>([&] { tsne(Points(x, 30, 2), o); }).empty();
  };
  EXPECT_TRUE(fails({.perplexity = 5, .early_iterations = -1}));
  EXPECT_TRUE(fails({.perplexity = 5, .learning_rate = 0.0}));
  EXPECT_TRUE(fails({.perplexity = 5, .learning_rate = 1e38}));
  EXPECT_TRUE(fails({.perplexity = 5, .early_exaggeration = 0.5}));
  EXPECT_TRUE(fails({.perplexity = 5, .max_step_norm = 0}));
  EXPECT_TRUE(fails({.perplexity = 5, .callback_every = 0}));
  EXPECT_THROW(tsne_sweep(Points(x, 30, 2), {}), ValueError);
}

TEST(TsneInput, ThousandSmallProblemsStayFinite) {
  for (std::uint64_t problem = 0; problem < 1000; ++problem) {
    RandomStream random(problem, Purpose::test, 1);
    const index_t n = 4 + static_cast<index_t>(random.below(57));
    const index_t d = 1 + static_cast<index_t>(random.below(8));
    std::vector<float> x = normal_points(n, d, problem);
    const float scale = std::pow(10.0f, random.uniform(-8, 8));
    for (float& v : x) v *= scale;
    if (random.chance(0.5f)) {  // duplicates
      for (index_t i = 1; i < n; ++i) {
        if (random.chance(0.4f)) std::copy_n(x.begin() + (i - 1) * d, d, x.begin() + i * d);
      }
    }
    if (random.chance(0.3f)) {  // a constant column
      const index_t column = static_cast<index_t>(random.below(d));
      for (index_t i = 0; i < n; ++i) x[i * d + column] = scale;
    }
    const double perplexity =
        0.7 + (static_cast<double>(n - 1) / 3 - 0.7) * static_cast<double>(random.uniform());
    TsneOptions o{.components = 1 + static_cast<int>(random.below(3)), .perplexity = perplexity};
    o.jitter = random.chance(0.5f) ? 0.01 : 0;
    o.early_iterations = 30;
    o.main_iterations = 30;
    const TsneResult r = tsne(Points(x, n, d), o);
    ASSERT_TRUE(all_finite(r.map)) << "problem " << problem;
    ASSERT_TRUE(std::isfinite(r.kl)) << "problem " << problem;
    ASSERT_GE(r.kl, -1e-5) << "problem " << problem;  // a divergence, up to rounding of P
  }
}

}  // namespace
}  // namespace mwalimu::embedding
