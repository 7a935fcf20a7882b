// optim/gradients: what is asked of all gradients at once: their norm, clipping, overflow.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/optim/chunks.hpp"

namespace mwalimu::optim {
namespace detail {

// Squares of floats neither overflow nor vanish in double, so the sum is finite exactly where all
// elements are. The lanes of the vector loop are a property of the build, not of the threads.
inline double sum_of_squares(const float* __restrict x, index_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (index_t i = 0; i < n; ++i) {
    const double value = x[i];
    sum += value * value;
  }
  return sum;
}

}  // namespace detail

/// Sum of the squares of all gradients, in double. Finite exactly where every element is finite. The
/// same bits for any number of threads.   Moves: one read of the gradients.
inline double sum_of_squares(std::span<const float> gradients) {
  const index_t n = static_cast<index_t>(gradients.size()), chunks = (n + kChunk - 1) / kChunk;
  std::vector<double> sums(static_cast<std::size_t>(chunks));
  parallel_for(chunks, 1, [&](index_t begin, index_t end) {
    for (index_t c = begin; c < end; ++c) {
      sums[static_cast<std::size_t>(c)] =
          detail::sum_of_squares(gradients.data() + c * kChunk, std::min(kChunk, n - c * kChunk));
    }
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

/// Euclidean norm of all gradients, in double: the root of sum_of_squares, so it also answers
/// has_nonfinite. Gradients of frozen parameters and padding count, too: they are 0 in an arena that
/// was zeroed.
inline double gradient_norm(std::span<const float> gradients) {
  return std::sqrt(sum_of_squares(gradients));
}

/// The factor that brings gradients of this norm to at most max_norm:
/// min(1, max_norm / (norm + 1e-6)). Passed as HyperParameters::gradient_scale, clipping costs no
/// pass of its own. @throws ValueError  max_norm is not positive.
/// Source: PyTorch, clip_grad_norm_.
inline double clip_coefficient(double norm, double max_norm) {
  require<ValueError>(max_norm > 0, "clip_coefficient: want max_norm > 0, got ", max_norm);
  return std::min(1.0, max_norm / (norm + 1e-6));
}

/// Scales all gradients so that their norm is at most max_norm. Where the norm is not finite they
/// stay as they are: the step is to be skipped.
/// @return the norm before.   @throws ValueError  max_norm is not positive.
inline double clip_gradient_norm(std::span<float> gradients, double max_norm) {
  const double norm = gradient_norm(gradients);
  const float factor = static_cast<float>(clip_coefficient(norm, max_norm));
  if (!std::isfinite(norm) || factor == 1.0f) return norm;
  float* g = gradients.data();
  parallel_for(static_cast<index_t>(gradients.size()), kChunk, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) g[i] *= factor;
  });
  return norm;
}

/// True where any gradient is infinite or NaN. Looks at the bits, so no compiler option that
/// assumes finite arithmetic can remove it.
inline bool has_nonfinite(std::span<const float> gradients) {
  const index_t n = static_cast<index_t>(gradients.size()), chunks = (n + kChunk - 1) / kChunk;
  std::vector<std::uint32_t> found(static_cast<std::size_t>(chunks));
  parallel_for(chunks, 1, [&](index_t begin, index_t end) {
    for (index_t c = begin; c < end; ++c) {
      const float* g = gradients.data() + c * kChunk;
      const index_t count = std::min(kChunk, n - c * kChunk);
      std::uint32_t largest = 0;  // of |g| as integers: infinity and NaN are above all numbers
#pragma omp simd reduction(max : largest)
      for (index_t i = 0; i < count; ++i) {
        largest = std::max(largest, std::bit_cast<std::uint32_t>(g[i]) & 0x7FFFFFFFu);
      }
      found[static_cast<std::size_t>(c)] = largest;
    }
  });
  return std::any_of(found.begin(), found.end(), [](std::uint32_t x) { return x >= 0x7F800000u; });
}

}  // namespace mwalimu::optim
