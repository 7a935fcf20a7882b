#include "mwalimu/embedding/field_grid.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/embedding/forces.hpp"

namespace mwalimu::embedding {
namespace {

/// n points in ten blobs on a circle that is `range` wide, off centre.
Coordinates blobs(index_t n, double range, std::uint64_t seed = 1) {
  Coordinates y(n, 2);
  RandomStream random(seed, Purpose::test);
  for (index_t i = 0; i < n; ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i % 10) / 10;
    for (int c = 0; c < 2; ++c) {
      const double centre = 0.4 * (c == 0 ? std::cos(angle) : 0.6 * std::sin(angle)) + 0.2;
      y.axis(c)[i] = static_cast<float>(range * (centre + 0.03 * random.normal()));
    }
  }
  return y;
}

struct Errors {
  double force, normaliser;  // relative L2 of R, signed relative error of Z
};

Errors errors(const Coordinates& y, double spacing) {
  Coordinates want(y.n(), 2), got(y.n(), 2);
  for (int c = 0; c < 2; ++c) {
    std::fill_n(got.axis(c), y.n(), std::numeric_limits<float>::quiet_NaN());
  }
  const double want_z = exact_repulsion(y, want);
  const double z = FieldGrid(spacing).repulsion(y, got);
  double difference = 0, norm = 0;
  for (int c = 0; c < 2; ++c) {
    for (index_t i = 0; i < y.n(); ++i) {
      difference += std::pow(double{got.axis(c)[i]} - want.axis(c)[i], 2);
      norm += std::pow(double{want.axis(c)[i]}, 2);
    }
  }
  return {std::sqrt(difference / norm), z / want_z - 1};
}

TEST(FieldGrid, MatchesExactSumsAtEveryScale) {
  for (const double range : {1e-4, 1e-3, 0.1, 1.0, 3.0, 5.0, 12.0, 100.0, 1000.0}) {
    for (const index_t n : {index_t{100}, index_t{10000}}) {
      const Errors e = errors(blobs(n, range), 1.0 / 3);
      EXPECT_LT(e.force, 8e-3) << "range " << range << ", n " << n;
      EXPECT_LT(std::abs(e.normaliser), 3e-4) << "range " << range << ", n " << n;
    }
  }
}

TEST(FieldGrid, ErrorFallsWithTheSpacing) {
  // Fourth order: a fifth less spacing, at least half the error less a margin for chance.
  const Coordinates y = blobs(3000, 120);
  const double coarse = errors(y, 0.5).force, middle = errors(y, 0.4).force;
  const double fine = errors(y, 0.25).force;
  EXPECT_LT(coarse, 4e-2);
  EXPECT_LT(middle, 0.6 * coarse);
  EXPECT_LT(middle, 2e-2);
  EXPECT_LT(fine, 0.2 * middle);
}

TEST(FieldGrid, FewPointsFarApartOrCoincident) {
  for (const double range : {1e-3, 1.0, 100.0}) {
    const Coordinates y = blobs(4, range);
    const Errors e = errors(y, 1.0 / 3);
    EXPECT_LT(e.force, 2e-2) << range;  // four points: no errors that average out
    EXPECT_LT(std::abs(e.normaliser), 1e-3) << range;
  }
  // All points at one place: no force, every weight 1.
  Coordinates y(50, 2), r(50, 2);
  for (int c = 0; c < 2; ++c) std::fill_n(y.axis(c), 50, 7.25f);
  EXPECT_NEAR(FieldGrid().repulsion(y, r), 50 * 49, 1e-3);
  for (index_t i = 0; i < 50; ++i) EXPECT_NEAR(r.axis(0)[i], 0, 1e-3);
}

TEST(FieldGrid, AMillionPoints) {
  // A hundred copies of ten thousand: R is a hundred times that of one copy, and
  // Z + n = 100^2 (Z_1 + n_1).
  const index_t one = 10000, copies = 100;
  const Coordinates y = blobs(one, 150);
  Coordinates many(one * copies, 2), want(one, 2), got(one * copies, 2);
  for (int c = 0; c < 2; ++c) {
    for (index_t i = 0; i < one * copies; ++i) many.axis(c)[i] = y.axis(c)[i / copies];
  }
  const double want_z = 1e4 * (exact_repulsion(y, want) + one) - 1e6;
  FieldGrid grid;
  EXPECT_NEAR(grid.repulsion(many, got), want_z, 3e-4 * want_z);
  double difference = 0, norm = 0;
  for (index_t i = 0; i < one * copies; ++i) {
    difference += std::pow(got.axis(0)[i] - 100.0 * want.axis(0)[i / copies], 2);
    norm += std::pow(100.0 * want.axis(0)[i / copies], 2);
  }
  EXPECT_LT(std::sqrt(difference / norm), 8e-3);
}

TEST(FieldGrid, ForceIsTheDerivativeOfTheNormaliser) {
  // Z(y) and R = -1/4 dZ/dy_i belong together: moving one point by d changes Z by -4 R d.
  Coordinates y = blobs(300, 30), r(300, 2), unused(300, 2);
  FieldGrid grid;
  grid.repulsion(y, r);
  const double step = 2e-2;
  for (const index_t i : {17, 105, 240}) {
    Coordinates ahead = y, back = y;
    ahead.axis(0)[i] += static_cast<float>(step);
    back.axis(0)[i] -= static_cast<float>(step);
    const double slope =
        (grid.repulsion(ahead, unused) - grid.repulsion(back, unused)) / (2 * step);
    // Z is a float potential's sum, about 1e-5 off: 5e-4 in the quotient.
    EXPECT_NEAR(slope, -4 * r.axis(0)[i], 2e-3 * std::abs(slope) + 4e-3);
  }
  EXPECT_EQ(grid.rebuilds(), 1);
}

TEST(FieldGrid, ForcesSumToZero) {
  const Coordinates y = blobs(5000, 80);
  Coordinates r(5000, 2);
  FieldGrid().repulsion(y, r);
  double sum = 0, magnitude = 0;
  for (index_t i = 0; i < 5000; ++i) sum += r.axis(0)[i], magnitude += std::abs(r.axis(0)[i]);
  EXPECT_LT(std::abs(sum), 1e-3 * magnitude);
}

TEST(FieldGrid, SameBitsForAnyNumberOfThreads) {
  const Coordinates y = blobs(40000, 150);
  const int before = num_threads();
  std::vector<std::vector<float>> forces;
  std::vector<double> z;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Coordinates r(y.n(), 2);
    z.push_back(FieldGrid().repulsion(y, r));
    forces.push_back(r.rows());
  }
  set_num_threads(before);
  EXPECT_EQ(z[0], z[1]);
  EXPECT_EQ(z[0], z[2]);
  EXPECT_EQ(forces[0], forces[1]);
  EXPECT_EQ(forces[0], forces[2]);
}

TEST(FieldGrid, KeepsItsKernelWhileTheMapFits) {
  FieldGrid grid;
  Coordinates r(1000, 2);
  for (int step = 0; step < 20; ++step) grid.repulsion(blobs(1000, 100 + 0.1 * step), r);
  EXPECT_LE(grid.rebuilds(), 2);
  grid.repulsion(blobs(1000, 140), r);  // outgrown
  grid.repulsion(blobs(1000, 60), r);   // far too large
  EXPECT_GE(grid.rebuilds(), 3);
  EXPECT_EQ(grid.spacing(), 1.0 / 3);
  EXPECT_FALSE(grid.coarse());
  grid.repulsion(blobs(1000, 5), r);
  EXPECT_LT(grid.spacing(), 1.0 / 3);
}

TEST(FieldGrid, AWideMapTakesAWiderSpacing) {
  FieldGrid grid;
  Coordinates y(60, 2), r(60, 2);  // along a line, so that only one axis is long
  for (index_t i = 0; i < 60; ++i) y.axis(0)[i] = static_cast<float>(40 * i);
  grid.repulsion(y, r);
  EXPECT_TRUE(grid.coarse());
  EXPECT_EQ(grid.spacing(), 2.0 / 3);
}

TEST(FieldGrid, ReadsTheFieldOfOthers) {
  const Coordinates y = blobs(2000, 60);
  FieldGrid grid;
  grid.build(y, 5);
  for (const auto& [px, py] : {std::pair{3.0f, 4.0f}, {20.0f, -3.0f}, {40.5f, 12.0f}}) {
    double s = 0, rx = 0, ry = 0;
    for (index_t j = 0; j < y.n(); ++j) {
      const double dx = double{px} - y.axis(0)[j], dy = double{py} - y.axis(1)[j];
      const double w = 1 / (1 + dx * dx + dy * dy);
      s += w, rx += w * w * dx, ry += w * w * dy;
    }
    float got_s, got_x, got_y;
    grid.at(px, py, got_s, got_x, got_y);
    EXPECT_NEAR(got_s, s, 2e-3 * s);
    EXPECT_NEAR(got_x, rx, 1e-2 * std::hypot(rx, ry));
    EXPECT_NEAR(got_y, ry, 1e-2 * std::hypot(rx, ry));
  }
}

TEST(FieldGrid, ReadsASmallMapToo) {
  const Coordinates y = blobs(500, 0.01);
  FieldGrid grid;
  grid.build(y, 0.001f);
  float s, rx, ry;
  grid.at(0.002f, 0.003f, s, rx, ry);
  EXPECT_NEAR(s, 500, 0.1);
}

TEST(FieldGrid, Errors) {
  EXPECT_THROW(FieldGrid(0), ValueError);
  EXPECT_THROW(FieldGrid(1.5), ValueError);
  Coordinates line(10, 1), r(10, 1);
  EXPECT_THROW(FieldGrid().repulsion(line, r), ValueError);
}

}  // namespace
}  // namespace mwalimu::embedding
