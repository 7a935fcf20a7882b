// bench/tsne_mixture: points for the benches of t-SNE.
#pragma once

#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::bench {

/// (n, d) points of fifty Gaussian clusters; point i belongs to cluster i % 50.
inline std::vector<float> mixture(index_t n, index_t d) {
  RandomStream random(1, Purpose::test, 0);
  std::vector<float> centres(50 * d), x(n * d);
  for (float& v : centres) v = 6 * random.normal();
  for (index_t i = 0; i < n * d; ++i) x[i] = centres[i / d % 50 * d + i % d] + random.normal();
  return x;
}

}  // namespace mwalimu::bench
