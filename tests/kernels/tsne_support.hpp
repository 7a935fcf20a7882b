// kernels/tsne_support: maps, affinities and forces that the tests of t-SNE on a device share.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "embedding/embedding_support.hpp"
#include "kernels/both_devices.hpp"
#include "mwalimu/embedding/tsne.hpp"

namespace mwalimu::embedding::test {

inline Affinities some_affinities(index_t n, std::uint64_t seed) {
  const std::vector<float> x = normal_points(n, 4, seed);
  const index_t k = std::min<index_t>(n - 1, 12);
  return affinities(nearest_neighbors(Points(x, n, 4), k), static_cast<double>(k) / 3);
}

struct Forces {
  double z = 0, stretch = 0;
  std::vector<double> repulsion, attraction;  // (n, dimensions)
};

/// By the definitions, in double.
inline Forces reference(const Affinities& p, const std::vector<float>& map, int dimensions) {
  const Points y(map, p.n, dimensions);
  Forces out;
  out.repulsion.assign(map.size(), 0.0);
  out.attraction.assign(map.size(), 0.0);
  const auto add = [&](std::vector<double>& to, index_t i, index_t j, double weight) {
    for (int c = 0; c < dimensions; ++c) {
      to[i * dimensions + c] += weight * (double{y.row(i)[c]} - y.row(j)[c]);
    }
  };
  for (index_t i = 0; i < p.n; ++i) {
    for (index_t j = 0; j < p.n; ++j) {
      if (i == j) continue;
      const double w = 1 / (1 + square_distance(y, i, j));
      out.z += w;
      add(out.repulsion, i, j, w * w);
    }
    for (index_t e = p.row_begin[i]; e < p.row_begin[i + 1]; ++e) {
      const double square = square_distance(y, i, p.column[e]);
      add(out.attraction, i, p.column[e], p.value[e] / (1 + square));
      out.stretch += p.value[e] * std::log1p(square);
    }
  }
  return out;
}

/// A map on a device as doubles, without what pads its points.
inline std::vector<double> rows(const Tensor<float>& map, int dimensions) {
  return mwalimu::test::to_double(detail::from_device_map(map, dimensions));
}

inline Tensor<float> poisoned(const Tensor<float>& like) {
  auto tensor = Tensor<float>::empty_like(like);
  tensor.fill(std::numeric_limits<float>::quiet_NaN());
  return tensor;
}

/// What the iterations know of themselves, in a device's memory; at first zeros.
class DeviceProgress {
 public:
  DescentProgress* get() { return reinterpret_cast<DescentProgress*>(numbers_.data()); }
  DescentProgress read() const {
    const std::vector<double> values = numbers_.to_vector();
    DescentProgress now;
    std::memcpy(&now, values.data(), sizeof now);
    return now;
  }
  void write(const DescentProgress& now) {
    std::vector<double> values(kDescentProgress);
    std::memcpy(values.data(), &now, sizeof now);
    numbers_.copy_from(Tensor<double>::from(values, {kDescentProgress}).to(numbers_.device()));
  }

 private:
  Tensor<double> numbers_ = Tensor<double>::zeros({kDescentProgress}, Device::cuda());
};

inline TsneOptions few_steps(int dimensions, int early, int main) {
  return {.components = dimensions,
          .early_iterations = early,
          .main_iterations = main,
          .repulsion = Repulsion::exact};
}

}  // namespace mwalimu::embedding::test
