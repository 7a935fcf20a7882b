// nn/initialize: the values that parameters start with.
#pragma once

#include <cmath>
#include <cstdint>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/nn/parameter.hpp"

namespace mwalimu::nn {

/// Names the random numbers of one parameter: two parameters with different keys differ.
struct InitKey {
  std::uint64_t seed = 0;
  std::uint64_t parameter = 0;  ///< a number of the parameter within its model
};

/// One output's inputs: Cin / groups * kh * kw of a convolution, in_features of a linear layer.
inline index_t fan_in(const Shape& weight) { return weight.count() / weight[0]; }
/// Cout * kh * kw of a convolution, whatever its groups, as PyTorch counts it.
inline index_t fan_out(const Shape& weight) { return weight.count() / weight[1]; }

namespace detail {
// Values are a function of the logical index, so a weight's memory order does not matter.
template <class Draw>
void initialize(Parameter& parameter, InitKey key, Draw&& draw) {
  constexpr index_t kChunk = 4096;
  auto values = Tensor<float>::empty(parameter.shape());
  float* out = values.data();
  const index_t count = values.count();
  parallel_for((count + kChunk - 1) / kChunk, 4, [&](index_t begin, index_t end) {
    for (index_t chunk = begin; chunk < end; ++chunk) {
      RandomStream random(key.seed, Purpose::initialisation,
                          static_cast<std::uint64_t>(key.parameter),
                          static_cast<std::uint64_t>(chunk));
      for (index_t i = chunk * kChunk; i < std::min(count, (chunk + 1) * kChunk); ++i) {
        out[i] = draw(random);
      }
    }
  });
  parameter.mutable_value().copy_from(values);
}
}  // namespace detail

/// N(0, 2 / fan): by fan_in activations keep their size through ReLUs, by fan_out gradients do.
/// Source: He et al. 2015, arXiv:1502.01852, eq. (10) and (14).
inline void kaiming_normal_by_fan(Parameter& weight, index_t fan, InitKey key) {
  const float deviation = std::sqrt(2.0f / static_cast<float>(fan));
  detail::initialize(weight, key, [=](RandomStream& r) { return deviation * r.normal(); });
}
/// N(0, 2 / fan_in).
inline void kaiming_normal(Parameter& weight, InitKey key) {
  kaiming_normal_by_fan(weight, fan_in(weight.shape()), key);
}

/// U(-1 / sqrt(fan), 1 / sqrt(fan)): PyTorch's default for linear weights and biases, fan being the
/// layer's fan_in for both.
inline void uniform_by_fan(Parameter& parameter, index_t fan, InitKey key) {
  const float bound = 1.0f / std::sqrt(static_cast<float>(fan));
  detail::initialize(parameter, key, [=](RandomStream& r) { return r.uniform(-bound, bound); });
}

inline void fill(Parameter& parameter, float value) { parameter.mutable_value().fill(value); }

}  // namespace mwalimu::nn
