// tests/kernels/images: pictures and comparisons for the kernels that make a network's inputs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::test {

/// (N, H, W, C): a flat half, another colour in each, and noise below it.
inline Tensor<std::uint8_t> some_images(index_t N, index_t H, index_t W, index_t C = 3) {
  auto images = Tensor<std::uint8_t>::empty({N, H, W, C});
  RandomStream random(7, Purpose::test, static_cast<std::uint64_t>(H),
                      static_cast<std::uint64_t>(W));
  for (auto& byte : images.span()) byte = static_cast<std::uint8_t>(random.bits() >> 24);
  const index_t values = H * W * C;
  for (index_t n = 0; n < N; ++n) {
    std::fill_n(images.data() + n * values, values / 2, static_cast<std::uint8_t>(40 * n));
  }
  return images;
}

/// Relative L2 of values against float ones; NaN if any value is.
template <class T>
double relative_difference(const Tensor<T>& got, const Tensor<float>& want) {
  const auto x = got.template to<float>().to_vector(), y = want.to_vector();
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    difference += d * d;
    norm += static_cast<double>(y[i]) * static_cast<double>(y[i]);
  }
  return std::sqrt(difference / norm);
}

/// What pixels may differ by between two orders of the same float arithmetic, and half an ulp of T.
template <class T>
constexpr double pixel_tolerance() {
  if constexpr (std::is_same_v<T, half>) return 5e-4;      // at most 2^-11
  if constexpr (std::is_same_v<T, bfloat16>) return 4e-3;  // at most 2^-8
  return 2e-6;
}

/// A tensor's bytes on the host: NaN equals itself.
template <class T>
std::vector<std::uint8_t> bits(const Tensor<T>& tensor) {
  const auto values = tensor.to_vector();
  std::vector<std::uint8_t> bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace mwalimu::test
