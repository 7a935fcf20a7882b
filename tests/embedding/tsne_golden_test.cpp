// Every step of t-SNE against reference numbers made in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "embedding/tsne_sets.hpp"
#include "mwalimu/embedding/quality.hpp"
#include "mwalimu/embedding/tsne.hpp"
#include "mwalimu/embedding/tsne_transform.hpp"
#include "support/compare.hpp"

namespace mwalimu::embedding {
namespace {

using mwalimu::test::max_abs_err;
using mwalimu::test::near_l2;
using mwalimu::test::to_double;
using test::Set;

NeighborList neighbors_of(const Set& set) {
  return nearest_neighbors(set.points(), neighbors_for(set.perplexity, set.n));
}

TEST(TsneGolden, Neighbors) {
  FOR_EACH_SET(set) {
    const NeighborList list = neighbors_of(set);
    EXPECT_EQ(list.k, set.json.at("k").get<index_t>());
    const auto distance = set.array("knn_sqdist"), index = set.array("knn_idx");
    ASSERT_EQ(distance.size(), list.square_distance.size());
    index_t other = 0;
    for (std::size_t e = 0; e < distance.size(); ++e) {
      // Zero distances are exact, the others within float rounding.
      ASSERT_NEAR(list.square_distance[e], distance[e], 1e-6 * distance[e]);
      other += list.index[e] != static_cast<std::int32_t>(index[e]);
    }
    EXPECT_LE(other, 4);  // of float and double only near-ties may change places
  }
}

TEST(TsneGolden, BetaAndP) {
  FOR_EACH_SET(set) {
    const Affinities p = affinities(neighbors_of(set), set.perplexity);
    const auto beta = set.array("beta_knn");
    for (index_t i = 0; i < set.n; ++i) ASSERT_NEAR(p.beta[i], beta[i], 1e-4 * beta[i]);
    EXPECT_EQ(to_double(p.row_begin), set.array("P_knn_indptr"));
    EXPECT_EQ(to_double(p.column), set.array("P_knn_indices"));
    EXPECT_EQ(static_cast<index_t>(p.column.size()), set.json.at("nnz_knn").get<index_t>());
    const auto value = set.array("P_knn_data");
    const double largest = *std::max_element(value.begin(), value.end());
    EXPECT_LE(max_abs_err(to_double(p.value), value), 1e-5 * largest);
  }
}

TEST(TsneGolden, DensePWithAllNeighbors) {
  FOR_EACH_SET(set) {
    const Affinities p = affinities(nearest_neighbors(set.points(), set.n - 1), set.perplexity);
    const auto beta = set.array("beta_dense");
    for (index_t i = 0; i < set.n; ++i) ASSERT_NEAR(p.beta[i], beta[i], 1e-4 * beta[i]);
  }
}

TEST(TsneGolden, PcaStart) {
  FOR_EACH_SET(set) {
    const Pca p = pca(set.points(), 2);
    const auto variance = set.json.at("pca_variance").get<std::vector<double>>();
    // The reference divides by n - 1 or by n; the first component decides which for both.
    const double factor = variance[0] / p.variance[0];
    EXPECT_NEAR(factor, 1, 1.5 / static_cast<double>(set.n));
    EXPECT_NEAR(p.variance[1] * factor, variance[1], 1e-6 * variance[1]);
    EXPECT_TRUE(near_l2(to_double(pca_start(p)), set.array("pca_init"), 1e-5));
  }
}

TEST(TsneGolden, ForcesNormaliserAndKl) {
  FOR_EACH_SET(set) {
    const Affinities p = affinities(neighbors_of(set), set.perplexity);
    const Coordinates y(Set::floats(set.array("Y_fixed")), set.n, 2);
    Coordinates r(set.n, 2), a(set.n, 2);
    const double z = exact_repulsion(y, r);
    attraction(p, y, a);
    const double want_z = set.json.at("Z");
    EXPECT_NEAR(z, want_z, 1e-5 * want_z);
    const auto want_a = set.array("attr_knn"), want_r = set.array("rep");
    const auto got_a = to_double(a.rows());
    std::vector<double> got_r = to_double(r.rows());
    for (double& v : got_r) v /= z;
    EXPECT_TRUE(near_l2(got_a, want_a, 1e-5));
    EXPECT_TRUE(near_l2(got_r, want_r, 1e-5));
    // Near equilibrium the gradient is a small difference: its error is measured against |A|.
    double norm_a = 0;
    for (const double v : want_a) norm_a += v * v;
    norm_a = std::sqrt(norm_a);
    for (const double exaggeration : {1.0, 12.0}) {
      const auto want = set.array(exaggeration == 1 ? "grad_knn" : "grad_knn_exag12");
      double error = 0;
      for (std::size_t i = 0; i < want.size(); ++i) {
        const double difference = exaggeration * got_a[i] - got_r[i] - want[i] / 4;
        error += difference * difference;
      }
      EXPECT_LE(std::sqrt(error), 1e-5 * exaggeration * norm_a);
    }
    const double kl = set.json.at("kl_knn");
    EXPECT_NEAR(kl_divergence(p, y, z), kl, 1e-5 * kl);
    EXPECT_NEAR(exact_kl(p, y), kl, 1e-6 * kl);
    EXPECT_NEAR(exact_normaliser(y), want_z, 1e-7 * want_z);  // Y_fixed is rounded to float here
  }
}

TEST(TsneGolden, FieldGridForcesAndNormaliser) {
  FOR_EACH_SET(set) {
    const Coordinates y(Set::floats(set.array("Y_fixed")), set.n, 2);
    const double want_z = set.json.at("Z");
    struct Bound {
      double spacing, force, normaliser;
    };
    for (const Bound& bound : {Bound{0.4, 2e-2, 5e-4}, {1.0 / 3, 8e-3, 3e-4}}) {
      Coordinates r(set.n, 2);
      const double z = FieldGrid(bound.spacing).repulsion(y, r);
      EXPECT_NEAR(z, want_z, bound.normaliser * want_z);
      std::vector<double> got = to_double(r.rows());
      for (double& v : got) v /= z;
      EXPECT_TRUE(near_l2(got, set.array("rep"), bound.force));
    }
  }
}

TEST(TsneGolden, FirstAndTenthStep) {
  FOR_EACH_SET(set) {
    const Affinities p = affinities(neighbors_of(set), set.perplexity);
    const auto start = Set::floats(set.array("pca_init"));
    for (const int steps : {1, 10}) {
      TsneOptions o{.schedule = Schedule::classic, .callback_every = steps};
      o.callback = [](const TsneProgress&) { return false; };
      const TsneResult result = optimise(p, initial_state(start), o);
      ASSERT_EQ(result.iterations, steps);
      const std::string prefix = "step" + std::to_string(steps) + "_";
      const double tolerance = steps == 1 ? 1e-5 : 1e-3;  // float; trajectories drift apart
      EXPECT_TRUE(near_l2(to_double(result.state.map), set.array(prefix + "Y"), tolerance));
      EXPECT_TRUE(near_l2(to_double(result.state.update), set.array(prefix + "update"), tolerance));
      EXPECT_TRUE(near_l2(to_double(result.state.gain), set.array(prefix + "gains"), tolerance));
    }
  }
}

/// F = exaggeration A - R / Z of every point in double precision, term by term.
void forces_in_double(const Set& set, const std::vector<double>& y, std::vector<double>& force,
                      double exaggeration) {
  const auto begin = set.array("P_knn_indptr"), column = set.array("P_knn_indices"),
             p = set.array("P_knn_data");
  const auto weight = [&](index_t i, index_t j) {
    return 1 / (1 + std::pow(y[2 * i] - y[2 * j], 2) + std::pow(y[2 * i + 1] - y[2 * j + 1], 2));
  };
  double z = 0;
  for (index_t i = 0; i < set.n; ++i) {
    for (index_t j = 0; j < set.n; ++j) z += i == j ? 0 : weight(i, j);
  }
  for (index_t i = 0; i < set.n; ++i) {
    double pull[2] = {}, push[2] = {};
    for (auto e = static_cast<index_t>(begin[i]); e < static_cast<index_t>(begin[i + 1]); ++e) {
      const auto j = static_cast<index_t>(column[e]);
      for (const int c : {0, 1}) pull[c] += p[e] * weight(i, j) * (y[2 * i + c] - y[2 * j + c]);
    }
    for (index_t j = 0; j < set.n; ++j) {
      const double square = std::pow(weight(i, j), 2);
      for (const int c : {0, 1}) push[c] += square * (y[2 * i + c] - y[2 * j + c]);
    }
    for (const int c : {0, 1}) force[2 * i + c] = exaggeration * pull[c] - push[c] / z;
  }
}

TEST(TsneGolden, FiftiethStepByTheRuleInDouble) {
  // From the tenth step to the fiftieth a rounding of float grows to 6 to 55 %: only double
  // precision follows the reference that far. Forces are float by design and have their own tests;
  // the schedule and the rule of the steps are those of the optimiser.
  FOR_EACH_SET(set) {
    std::vector<double> y = set.array("pca_init"), update(y.size()), force(y.size());
    std::vector<double> gain(y.size(), 1.0);
    const TsneOptions options{.schedule = Schedule::classic};
    const detail::Plan plan = detail::plan(options, set.n);
    const auto compare = [&](const std::string& prefix, double tolerance) {
      EXPECT_TRUE(near_l2(y, set.array(prefix + "_Y"), tolerance));
      EXPECT_TRUE(near_l2(update, set.array(prefix + "_update"), tolerance));
      EXPECT_TRUE(near_l2(gain, set.array(prefix + "_gains"), tolerance));
    };
    for (int iteration = 0; iteration < 50; ++iteration) {
      const auto step = plan.step(iteration);
      const detail::StepRule<double> rule{step.momentum, step.rate, options.max_step_norm};
      forces_in_double(set, y, force, step.exaggeration);
      double mean[2] = {};
      for (index_t i = 0; i < set.n; ++i) {
        double* u = &update[2 * i];
        for (const int c : {0, 1}) rule.advance(u[c], gain[2 * i + c], force[2 * i + c]);
        const double scale = rule.scale(u[0] * u[0] + u[1] * u[1]);
        for (const int c : {0, 1}) {
          u[c] *= scale;
          y[2 * i + c] += u[c];
          mean[c] += y[2 * i + c] / static_cast<double>(set.n);
        }
      }
      for (std::size_t v = 0; v < y.size(); ++v) y[v] -= mean[v % 2];
      if (iteration + 1 == 10) compare("step10", 1e-10);
    }
    // The order in which a sum is taken moves the digits by 2e-7 here, the smaller set by 3 to 28 %
    // even in double: nothing follows that one so far.
    if (set.n >= 500) compare("step50", 1e-6);
  }
}

TEST(TsneGolden, MultiscaleP) {
  FOR_EACH_SET(set) {
    if (!std::filesystem::exists(set.file("P_multiscale_rows0_8"))) continue;
    const NeighborList list = nearest_neighbors(set.points(), 150);
    for (const Multiscale kind : {Multiscale::mean, Multiscale::mixture}) {
      const auto want = set.array(kind == Multiscale::mean ? "P_multiscale_rows0_8"
                                                           : "P_multiscale_mixture_rows0_8");
      for (const auto& scales : {std::vector<double>{10, 50}, {50, 10}}) {
        const Affinities p = multiscale_affinities(list, scales, kind);
        std::vector<double> rows(want.size(), 0.0);
        for (index_t i = 0; i < 8; ++i) {
          for (index_t e = p.row_begin[i]; e < p.row_begin[i + 1]; ++e) {
            rows[i * set.n + p.column[e]] = p.value[e];
          }
        }
        EXPECT_LE(max_abs_err(rows, want), 1e-5 * *std::max_element(want.begin(), want.end()));
      }
    }
  }
}

TEST(TsneGolden, NewPointsNeighborsAndStart) {
  FOR_EACH_SET(set) {
    if (!std::filesystem::exists(set.file("new_X"))) continue;
    const auto x = Set::floats(set.array("new_X"));
    const index_t m = static_cast<index_t>(x.size()) / set.d;
    const auto r = tsne_transform(set.points(), Set::floats(set.array("Y_fixed")), 2,
                                  Points(x, m, set.d), {.perplexity = 5, .iterations = 0});
    EXPECT_EQ(r.neighbors.k, 15);
    EXPECT_TRUE(near_l2(to_double(r.neighbors.square_distance), set.array("new_knn_sqdist"), 1e-6));
    EXPECT_LE(max_abs_err(to_double(r.conditional), set.array("new_P")), 1e-5);
    // Ties at the fifteenth place may exchange neighbours, which moves a median.
    const auto start = to_double(r.start), want = set.array("new_init_median");
    index_t other = 0;
    for (std::size_t v = 0; v < want.size(); ++v) other += std::abs(start[v] - want[v]) > 1e-4;
    EXPECT_LE(other, 2);
  }
}

TEST(TsneGolden, TrustworthinessAndLabelAccuracy) {
  FOR_EACH_SET(set) {
    const auto map = Set::floats(set.array("Y_fixed"));
    for (const auto& [k, want] : set.json.at("trustworthiness").items()) {
      // The map is rounded to float here, which decides ties of its decimals anew: in the second
      // set the double-precision formula moves by 5e-5 itself when the map is rounded.
      EXPECT_NEAR(trustworthiness(set.points(), Points(map, set.n, 2), std::stoi(k)),
                  want.get<double>(), 1e-4);
    }
    const auto values = set.array("y");
    const std::vector<int> labels(values.begin(), values.end());
    for (const auto& [k, want] : set.json.at("loo_knn_acc").items()) {
      EXPECT_NEAR(knn_accuracy(Points(map, set.n, 2), labels, std::stoi(k)), want.get<double>(),
                  1e-12);
    }
  }
}

}  // namespace
}  // namespace mwalimu::embedding
