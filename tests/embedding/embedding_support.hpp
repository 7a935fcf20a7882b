// What the embedding tests share: seeded points, and double-precision references.
#pragma once

#include <cmath>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/points.hpp"

namespace mwalimu::embedding::test {

/// (n, d) standard normal values.
inline std::vector<float> normal_points(index_t n, index_t d, std::uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  std::vector<float> x(n * d);
  for (float& v : x) v = random.normal();
  return x;
}

/// (n, d) points around `clusters` centres that lie `gap` apart along different axes; point i
/// belongs to cluster i % clusters.
inline std::vector<float> clustered_points(index_t n, index_t d, int clusters, float gap,
                                           std::uint64_t seed) {
  std::vector<float> x = normal_points(n, d, seed);
  for (index_t i = 0; i < n; ++i) {
    const index_t cluster = i % clusters;
    x[i * d + cluster % d] += gap * static_cast<float>(1 + cluster / d);
  }
  return x;
}

inline double square_distance(const Points& x, index_t i, index_t j) {
  double total = 0;
  for (index_t c = 0; c < x.d(); ++c) {
    const double difference = double{x.row(i)[c]} - x.row(j)[c];
    total += difference * difference;
  }
  return total;
}

}  // namespace mwalimu::embedding::test
