#include "mwalimu/embedding/forces.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "embedding/embedding_support.hpp"
#include "mwalimu/core/parallel.hpp"

namespace mwalimu::embedding {
namespace {

using test::normal_points;

struct Reference {
  double z = 0;
  std::vector<double> repulsion, attraction;
};

Reference reference(const Affinities& p, const std::vector<float>& map, index_t n, int dimensions) {
  const Points y(map, n, dimensions);
  Reference out;
  out.repulsion.assign(n * dimensions, 0.0);
  out.attraction.assign(n * dimensions, 0.0);
  const auto add = [&](std::vector<double>& to, index_t i, index_t j, double weight) {
    for (int c = 0; c < dimensions; ++c) {
      to[i * dimensions + c] += weight * (double{y.row(i)[c]} - y.row(j)[c]);
    }
  };
  for (index_t i = 0; i < n; ++i) {
    for (index_t j = 0; j < n; ++j) {
      if (i == j) continue;
      const double w = 1 / (1 + test::square_distance(y, i, j));
      out.z += w;
      add(out.repulsion, i, j, w * w);
    }
    for (index_t e = p.row_begin[i]; e < p.row_begin[i + 1]; ++e) {
      const double w = 1 / (1 + test::square_distance(y, i, p.column[e]));
      add(out.attraction, i, p.column[e], p.value[e] * w);
    }
  }
  return out;
}

double relative_l2(const std::vector<float>& got, const std::vector<double>& want) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(error / norm);
}

Affinities some_affinities(index_t n, std::uint64_t seed) {
  const std::vector<float> x = normal_points(n, 4, seed);
  const index_t k = std::min<index_t>(n - 1, 12);
  return affinities(nearest_neighbors(Points(x, n, 4), k), static_cast<double>(k) / 3);
}

TEST(Forces, MatchFp64Reference) {
  // Every extent around the four rows, sixteen lanes and 2048 points that the kernel works in.
  for (const index_t n : {4, 5, 15, 16, 17, 63, 64, 65, 500, 2047, 2049, 2100}) {
    for (const int dimensions : {1, 2, 3}) {
      for (const float spread : {1e-4f, 1.0f, 50.0f, 3000.0f}) {
        std::vector<float> map = normal_points(n, dimensions, 30);
        for (float& v : map) v *= spread;
        const Affinities p = some_affinities(n, 31);
        const Coordinates y(map, n, dimensions);
        Coordinates r(n, dimensions), a(n, dimensions);
        for (int c = 0; c < dimensions; ++c) {
          std::fill_n(r.axis(c), n, std::nanf(""));
          std::fill_n(a.axis(c), n, std::nanf(""));
        }
        const double z = exact_repulsion(y, r);
        attraction(p, y, a);
        const Reference want = reference(p, map, n, dimensions);
        // Float sums of at most 128 terms a lane: 1e-5 leaves a factor of five.
        EXPECT_NEAR(z, want.z, 1e-5 * want.z) << n << " " << dimensions << " " << spread;
        EXPECT_LT(relative_l2(r.rows(), want.repulsion), 1e-5)
            << n << " " << dimensions << " " << spread;
        EXPECT_LT(relative_l2(a.rows(), want.attraction), 1e-5)
            << n << " " << dimensions << " " << spread;
        EXPECT_NEAR(exact_normaliser(y), want.z, 1e-11 * want.z);
        if (n > 500) break;  // one spread of the large extents: the reference is slow
      }
    }
  }
}

TEST(Forces, GradientMatchesDifferences) {
  const index_t n = 30;
  const Affinities p = some_affinities(n, 32);
  std::vector<float> map = normal_points(n, 2, 33);
  const Coordinates y(map, n, 2);
  Coordinates r(n, 2), a(n, 2);
  const double z = exact_repulsion(y, r);
  attraction(p, y, a);
  const float step = 0x1p-7f;
  for (index_t i = 0; i < n; i += 7) {
    for (int c = 0; c < 2; ++c) {
      const auto kl = [&](float offset) {
        std::vector<float> moved = map;
        moved[i * 2 + c] += offset;
        return exact_kl(p, Coordinates(moved, n, 2));
      };
      const double want = (kl(step) - kl(-step)) / (2 * step);
      const double got = 4 * (a.axis(c)[i] - r.axis(c)[i] / z);
      EXPECT_NEAR(got, want, 1e-4 * std::abs(want) + 1e-6);
    }
  }
}

TEST(Forces, CoincidentPointsFeelNothingFromEachOther) {
  const index_t n = 20;
  const std::vector<float> map(n * 2, 0.25f);
  const Coordinates y(map, n, 2);
  Coordinates r(n, 2);
  EXPECT_EQ(exact_repulsion(y, r), n * (n - 1));
  for (const float v : r.rows()) EXPECT_EQ(v, 0);
}

TEST(Forces, SameBitsForAnyNumberOfThreads) {
  const index_t n = 1203;  // large enough that rows are shared out
  const std::vector<float> x = normal_points(n, 4, 34);
  const Affinities p = affinities(nearest_neighbors(Points(x, n, 4), 400), 130);
  const Coordinates y(normal_points(n, 2, 35), n, 2);
  const int before = num_threads();
  std::vector<std::vector<float>> rows;
  std::vector<double> sums;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Coordinates r(n, 2), a(n, 2);
    sums.push_back(exact_repulsion(y, r));
    attraction(p, y, a);
    rows.push_back(r.rows());
    rows.push_back(a.rows());
    sums.push_back(exact_kl(p, y));
  }
  set_num_threads(before);
  EXPECT_EQ(rows[0], rows[2]);
  EXPECT_EQ(rows[0], rows[4]);
  EXPECT_EQ(rows[1], rows[3]);
  EXPECT_EQ(rows[1], rows[5]);
  EXPECT_EQ(sums[0], sums[4]);
  EXPECT_EQ(sums[1], sums[5]);
}

TEST(Forces, StretchIsTheMapsPartOfTheKl) {
  for (const int dimensions : {1, 2, 3}) {
    const index_t n = 300;
    const std::vector<float> x = test::normal_points(n, 4, 50);
    const Affinities p = affinities(nearest_neighbors(Points(x, n, 4), 30), 10);
    std::vector<float> map = test::normal_points(n, dimensions, 51);
    for (const float scale : {1e-4f, 0.5f, 20.0f, 1e4f}) {
      std::vector<float> scaled = map;
      for (float& v : scaled) v *= scale;
      const Coordinates y(scaled, n, dimensions);
      double want = kl_divergence(p, y, 1);
      for (const float v : p.value) {
        if (v > 0) want -= v * std::log(double{v});
      }
      EXPECT_NEAR(stretch(p, y), want, 1e-6 * want + 1e-7) << scale << " " << dimensions;
    }
  }
}

TEST(Forces, NormaliserOfManyPointsIsThatOfDouble) {
  const index_t n = 4200;  // above the limit up to which doubles are summed
  std::vector<float> map = test::normal_points(n, 2, 52);
  for (float& v : map) v *= 20;
  const Coordinates y(map, n, 2);
  double want = 0;
  for (index_t i = 0; i < n; ++i) {
    for (index_t j = 0; j < i; ++j) {
      want += 2 / (1 + test::square_distance(Points(map, n, 2), i, j));
    }
  }
  EXPECT_NEAR(exact_normaliser(y), want, 1e-7 * want);
}

}  // namespace
}  // namespace mwalimu::embedding
