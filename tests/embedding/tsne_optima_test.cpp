// How good the maps of whole runs are: beside the reference run, and beside what scikit-learn 1.2.1
// and openTSNE 1.0.4 reach on scikit-learn's digits. Which optimum a run finds hangs on the last
// bit, so medians over seeds are compared, by the exact KL.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "embedding/tsne_sets.hpp"
#include "mwalimu/embedding/quality.hpp"
#include "mwalimu/embedding/tsne.hpp"
#include "mwalimu/io/npy.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu::embedding {
namespace {

using test::Set;

struct Way {
  Schedule schedule;
  Repulsion repulsion;
  const char* name;
};
constexpr Way kWays[] = {{Schedule::classic, Repulsion::exact, "classic, exact"},
                         {Schedule::automatic, Repulsion::exact, "automatic, exact"},
                         {Schedule::automatic, Repulsion::fft, "automatic, fft"}};

TsneResult run(const Points& x, double perplexity, std::uint64_t seed, const Way& way) {
  return tsne(x, {.perplexity = perplexity,
                  .seed = seed,
                  .schedule = way.schedule,
                  .repulsion = way.repulsion});
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Root mean square distance from the mean, which is 0.
double deviation(const std::vector<float>& map) {
  double square = 0;
  for (const float v : map) square += double{v} * v;
  return std::sqrt(2 * square / static_cast<double>(map.size()));
}

/// Maps of every perplexity: spread, finite, and with a KL that falls from `falls_from` on.
void expect_no_collapse(const Points& x, double falls_from) {
  const std::vector<double> perplexities{2, 10, 30, 50, 100};
  // A set too small for 100 takes the largest that it can hold.
  const auto results = tsne_sweep(x, perplexities, {.perplexity_policy = PerplexityPolicy::clamp});
  ASSERT_EQ(results.size(), perplexities.size());
  double before = std::numeric_limits<double>::infinity();
  for (std::size_t s = 0; s < results.size(); ++s) {
    SCOPED_TRACE(perplexities[s]);
    const TsneResult& r = results[s];
    EXPECT_EQ(r.perplexity, std::min(perplexities[s], static_cast<double>(x.n() - 1) / 3));
    EXPECT_TRUE(std::all_of(r.map.begin(), r.map.end(), [](float v) { return std::isfinite(v); }));
    EXPECT_GT(deviation(r.map), 1);
    if (r.perplexity < falls_from) continue;
    EXPECT_LT(r.kl, before);
    before = r.kl;
  }
}

TEST(TsneOptima, MedianReachesTheReferenceRun) {
  FOR_EACH_SET(set) {
    const double want = set.json.at("kl_final_ref");
    // Optima of the digits differ by 0.7 %. Those of the 240 points differ by 8 %, the median of 60
    // runs is 1.022 of the reference and that of three anything up to 1.07: more runs make it.
    const int runs = set.n < 500 ? 31 : 3;
    for (const Way& way : kWays) {
      SCOPED_TRACE(way.name);
      std::vector<double> kl;
      for (int seed = 0; seed < runs; ++seed) {
        kl.push_back(run(set.points(), set.perplexity, static_cast<std::uint64_t>(seed), way).kl);
      }
      EXPECT_LE(median(kl), 1.03 * want);
      EXPECT_LE(*std::max_element(kl.begin(), kl.end()), 1.12 * want);
      // Lower than any optimum seen: P would be another.
      EXPECT_GE(*std::min_element(kl.begin(), kl.end()), 0.9 * want);
    }
  }
}

TEST(TsneOptima, NoSetCollapsesAtAnyPerplexity) {
  FOR_EACH_SET(set) {
    // The six neighbours of perplexity 2 make nearly a tree of three columns, which a plane holds
    // better than the thirty of 10.
    expect_no_collapse(set.points(), set.d == 3 ? 10 : 2);
  }
}

/// The 1,797 digits of scikit-learn, 8 x 8 pixels each.
class TsneDigits : public testing::Test {
 protected:
  void SetUp() override {
    // Debian's packages are those of /usr/bin/python3.
    const mwalimu::test::TempDir folder;
    const std::string command =
        "cd '" + folder.path().string() +
        "' && /usr/bin/python3 -c \"import numpy, sklearn.datasets as s; d = s.load_digits(); "
        "numpy.save('x.npy', d.data.astype('f4')); numpy.save('y.npy', d.target.astype('i4'))\" "
        "2> /dev/null";
    if (std::system(command.c_str()) != 0) GTEST_SKIP() << "no scikit-learn in /usr/bin/python3";
    const auto values = [&](const char* name) {
      return test::golden::to_array(io::NpyFile(folder.path() / name).array()).values;
    };
    const auto x = values("x.npy"), y = values("y.npy");
    x_.assign(x.begin(), x.end());
    labels_.assign(y.begin(), y.end());
    ASSERT_EQ(labels_.size(), 1797u);
    ASSERT_EQ(x_.size(), labels_.size() * 64);
  }
  Points points() const { return Points(x_, 1797, 64); }

  std::vector<float> x_;
  std::vector<int> labels_;
};

TEST_F(TsneDigits, AsGoodAsItsPeers) {
  // The best of openTSNE's two methods and scikit-learn's Barnes-Hut, each with its own schedule
  // (250 + 500 and 1,000 iterations); the exact sum has scikit-learn's exact method to reach where
  // that was run.
  struct Peers {
    double perplexity, kl, exact_kl, trustworthiness, accuracy;
  };
  for (const Peers& peer :
       {Peers{30, 0.7572, 0.7401, 0.9917, 0.9872}, Peers{50, 0.6844, 0.6844, 0.9911, 0.9855}}) {
    for (const Way& way : kWays) {
      SCOPED_TRACE(testing::Message() << "perplexity " << peer.perplexity << ", " << way.name);
      std::vector<double> kl, trust, accuracy;
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const TsneResult r = run(points(), peer.perplexity, seed, way);
        const Points map(r.map, r.n, 2);
        ASSERT_TRUE(r.kl_is_exact);
        kl.push_back(r.kl);
        trust.push_back(trustworthiness(points(), map, 12));
        accuracy.push_back(knn_accuracy(map, labels_, 10));
      }
      const bool exact = way.repulsion == Repulsion::exact;
      EXPECT_LE(median(kl), 1.01 * (exact ? peer.exact_kl : peer.kl));
      EXPECT_GE(median(trust), peer.trustworthiness - 0.003);
      EXPECT_GE(median(accuracy), peer.accuracy - 0.005);
    }
  }
}

TEST_F(TsneDigits, DoNotCollapseAtAnyPerplexity) { expect_no_collapse(points(), 2); }

}  // namespace
}  // namespace mwalimu::embedding
