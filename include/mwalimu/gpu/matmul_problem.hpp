// gpu/matmul_problem: one product of matrices as BLAS sees it: column-major operands, which of them are
// transposed, leading dimensions, types.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string_view>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/gpu/conv_problem.hpp"
#include "mwalimu/gpu/math_options.hpp"

namespace mwalimu::gpu {

/// d (m, n) <- op(a) (m, k) op(b) (k, n), + d if `accumulate`, + bias[i] in row i if `bias`. All
/// column-major: element (i, j) of a matrix lies at i + j ld; op transposes where a letter is 'T'.
struct MatmulProblem {
  index_t m = 0, n = 0, k = 0;
  char op_a = 'N', op_b = 'N';
  index_t lda = 0, ldb = 0, ldd = 0;
  std::string_view type = "float32";  ///< of a and b
  std::string_view out = "float32";   ///< of d and bias: that of a and b, or float32
  bool accumulate = false, bias = false;
  Float32Math float32 = Float32Math::ieee;
  int alignment = 16;  ///< bytes that all addresses are multiples of

  bool operator==(const MatmulProblem&) const = default;

  std::size_t hash() const {
    std::uint64_t hash = 0xcbf29ce484222325u;
    const auto mix = [&](auto value) {
      hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001b3u;
    };
    for (const index_t value : {m, n, k, lda, ldb, ldd}) mix(value);
    mix(op_a);
    mix(op_b);
    for (const char c : type) mix(c);
    for (const char c : out) mix(c);
    mix(accumulate * 2 + bias);
    mix(alignment);
    return static_cast<std::size_t>(hash ^ hash >> 32);
  }
  /// "bfloat16 512x192x2048 TN into float32, added, with bias": for errors.
  friend std::ostream& operator<<(std::ostream& text, const MatmulProblem& p) {
    return text << p.type << ' ' << p.m << 'x' << p.n << 'x' << p.k << ' ' << p.op_a << p.op_b
                << " into " << p.out << (p.accumulate ? ", added" : "")
                << (p.bias ? ", with bias" : "");
  }
};

/// A matrix in memory as BLAS may take it: dense along one dimension, a leading dimension apart along
/// the other.
struct BlasMatrix {
  bool row_major = true;
  index_t leading = 0;
};
/// How BLAS may take the view; nothing where both strides exceed 1 or rows overlap.
template <class T>
std::optional<BlasMatrix> blas_matrix(View<T, 2> a) {
  const auto dense_along = [&](int inner) {
    const int outer = 1 - inner;
    return (a.dim(inner) == 1 || a.stride(inner) == 1) &&
           (a.dim(outer) == 1 || a.stride(outer) >= a.dim(inner));
  };
  // The distance between single rows may be anything; BLAS wants at least a row's length.
  const auto leading = [&](int inner) {
    const int outer = 1 - inner;
    return a.dim(outer) == 1 ? a.dim(inner) : a.stride(outer);
  };
  if (dense_along(1)) return BlasMatrix{true, leading(1)};
  if (dense_along(0)) return BlasMatrix{false, leading(0)};
  return std::nullopt;
}

/// The problem that leaves c (M, N) = a (M, K) b (K, N) in a row-major c: in BLAS's words, whose memory
/// holds transposes of row-major matrices, c' = b' a'. So its first operand is our b.
template <class T, class C>
MatmulProblem row_major_product(View<const T, 2> a, BlasMatrix a_in_memory, View<const T, 2> b,
                                BlasMatrix b_in_memory, View<C, 2> c, BlasMatrix c_in_memory) {
  return {.m = c.dim(1),
          .n = c.dim(0),
          .k = a.dim(1),
          .op_a = b_in_memory.row_major ? 'N' : 'T',
          .op_b = a_in_memory.row_major ? 'N' : 'T',
          .lda = b_in_memory.leading,
          .ldb = a_in_memory.leading,
          .ldd = c_in_memory.leading,
          .type = type_name<T>(),
          .out = type_name<C>(),
          .float32 = math_options().float32,
          .alignment = common_alignment({a.data(), b.data(), c.data()})};
}

/// The library that multiplies: cuBLASLt (gpu/cublaslt.hpp, in kernels/cublaslt.cpp), or plain loops
/// where tests emulate a device.
template <class = void>
struct BasicMultiplication {
  /// Queues the product on the place's stream. `bias` is null unless problem.bias.
  /// @return  false, and nothing is done, where the library has no algorithm for the problem.
  /// @throws CublasError  the library refused what it had offered.
  static bool run(Gpu on, const MatmulProblem& problem, const void* a, const void* b,
                  const void* bias, void* d);
};
using Multiplication = BasicMultiplication<>;

}  // namespace mwalimu::gpu
