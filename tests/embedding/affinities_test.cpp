#include "mwalimu/embedding/affinities.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "embedding/embedding_support.hpp"

namespace mwalimu::embedding {
namespace {

using test::normal_points;

double entropy(const std::vector<float>& p) {
  double h = 0;
  for (const double v : p) h -= v > 0 ? v * std::log(v) : 0;
  return h;
}

TEST(CalibrateRow, EntropyReachesItsTargetAtEveryScale) {
  for (const double scale : {1e-12, 1.0, 1e20}) {
    for (const double perplexity : {1.5, 5.0, 30.0, 59.0}) {
      std::vector<float> distance, p(60);
      for (int j = 0; j < 60; ++j)
        distance.push_back(static_cast<float>(scale * (3 + 0.1 * j * j)));
      const double beta = calibrate_row(distance, perplexity, p);
      EXPECT_GT(beta, 0);
      EXPECT_NEAR(entropy(p), std::log(perplexity), 1e-5) << scale << " " << perplexity;
    }
  }
}

TEST(CalibrateRow, AFarAwayRowDoesNotUnderflow) {
  const std::vector<float> distance{1e8f, 1.0001e8f, 1.0002e8f, 1.0004e8f, 1.0008e8f, 1.002e8f};
  std::vector<float> p(6);
  calibrate_row(distance, 3, p);
  EXPECT_NEAR(entropy(p), std::log(3), 1e-5);
}

TEST(CalibrateRow, MoreTiesThanPerplexityTakeTheLimit) {
  const std::vector<float> distance{2, 2, 2, 2, 7, 8, 9, 10};
  std::vector<float> p(8, -1.0f);
  EXPECT_TRUE(std::isinf(calibrate_row(distance, 3, p)));
  // As one constant, of which g++ 12.2 makes eight quarters unless told otherwise (CMakeLists.txt).
  EXPECT_EQ(p, (std::vector<float>{0.25f, 0.25f, 0.25f, 0.25f, 0, 0, 0, 0}));
  // Just reachable: five effective neighbours of which four are tied.
  EXPECT_TRUE(std::isfinite(calibrate_row(distance, 5, p)));
  EXPECT_NEAR(entropy(p), std::log(5), 1e-5);
}

TEST(CalibrateRow, AllEqualIsUniform) {
  const std::vector<float> distance(6, 0.0f);
  std::vector<float> p(6);
  calibrate_row(distance, 2, p);
  for (const float v : p) EXPECT_FLOAT_EQ(v, 1.0f / 6);
}

struct Case {
  index_t n, d, k;
  double perplexity;
};

class AffinitiesOf : public testing::TestWithParam<Case> {};

TEST_P(AffinitiesOf, SumToOneAreSymmetricAndCoverTheUnion) {
  const auto [n, d, k, perplexity] = GetParam();
  const std::vector<float> x = normal_points(n, d, 20);
  const NeighborList list = nearest_neighbors(Points(x, n, d), k);
  const Affinities p = affinities(list, perplexity);
  std::map<std::pair<index_t, index_t>, float> entry;
  double sum = 0;
  for (index_t i = 0; i < n; ++i) {
    for (index_t e = p.row_begin[i]; e < p.row_begin[i + 1]; ++e) {
      if (e > p.row_begin[i]) {
        EXPECT_LT(p.column[e - 1], p.column[e]);
      }
      EXPECT_NE(p.column[e], i);
      entry[{i, p.column[e]}] = p.value[e];
      sum += p.value[e];
    }
  }
  EXPECT_NEAR(sum, 1, 1e-6);
  for (const auto& [at, value] : entry) {
    ASSERT_TRUE(entry.count({at.second, at.first}));
    EXPECT_EQ((entry[{at.second, at.first}]), value);  // bit for bit
  }
  std::size_t edges = 0;
  for (index_t i = 0; i < n; ++i) {
    for (index_t r = 0; r < k; ++r) {
      const index_t j = list.index[i * k + r];
      EXPECT_TRUE(entry.count({i, j}) && entry.count({j, i}));
      bool mutual = false;
      for (index_t s = 0; s < k; ++s) mutual |= list.index[j * k + s] == i;
      edges += mutual ? 1 : 2;  // an edge seen from one end only stands for both directions
    }
  }
  EXPECT_EQ(entry.size(), edges);
}

INSTANTIATE_TEST_SUITE_P(Sizes, AffinitiesOf,
                         testing::Values(Case{4, 1, 3, 1}, Case{40, 3, 9, 3}, Case{300, 5, 30, 10},
                                         Case{257, 2, 60, 20}));

TEST(Affinities, Errors) {
  const std::vector<float> x = normal_points(10, 2, 21);
  const NeighborList list = nearest_neighbors(Points(x, 10, 2), 3);
  EXPECT_THROW(affinities(list, 0), ValueError);
  EXPECT_THROW(affinities(list, std::nan("")), ValueError);
  try {
    affinities(list, 4);
    FAIL() << "perplexity above k passed";
  } catch (const ValueError& e) {
    EXPECT_NE(std::string(e.what()).find("k = 3 neighbours"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace mwalimu::embedding
