// kernels/rows: what kernels over the rows of a matrix share: pieces of a row, and the softmax of a
// row as a pair (peak, sum).
//
// Rows mix T with float statistics (double's for double), so a thread takes as many elements at a
// time as fill 16 bytes of the wider type: kRowPack.
#pragma once

#include <limits>
#include <type_traits>

#include "launch.cuh"
#include "mwalimu/core/tensor.hpp"
#include "numeric.cuh"
#include "reduce.cuh"

namespace mwalimu::kernels {

template <class T>
inline constexpr int kRowPack = static_cast<int>(16 / sizeof(accumulate_t<T>));

/// A matrix whose rows are dense, in a kernel's parameters.
template <class T>
struct Rows {
  T* data = nullptr;
  index_t stride = 0;  ///< between rows, in elements

  Rows() = default;
  Rows(const View<T, 2>& view) : data(view.data()), stride(view.stride(0)) {}  // NOLINT
  Rows(T* first, index_t step) : data(first), stride(step) {}
  __device__ __forceinline__ T* operator[](index_t row) const { return data + row * stride; }

  /// Whether every row may be read and written in packs of N elements.
  bool fit(int N) const {
    return reinterpret_cast<std::uintptr_t>(data) % (static_cast<std::size_t>(N) * sizeof(T)) ==
               0 &&
           stride % N == 0;
  }
};

/// body(at, width) for the pieces [at, at + width) of [begin, end) that fall to `thread` of
/// `threads`; width is a compile-time N, or 1 behind the last whole pack. begin is a multiple of N.
template <int N, class Body>
__device__ __forceinline__ void for_each_piece(index_t begin, index_t end, int thread, int threads,
                                               Body&& body) {
  const index_t whole = begin + (end - begin) / N * N;
  const index_t step = static_cast<index_t>(threads) * N;
  for (index_t at = begin + static_cast<index_t>(thread) * N; at < whole; at += step) {
    body(at, std::integral_constant<int, N>{});
  }
  if constexpr (N > 1) {
    for (index_t at = whole + thread; at < end; at += threads) {
      body(at, std::integral_constant<int, 1>{});
    }
  }
}

__device__ __forceinline__ float exponential(float x) { return expf(x); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float logarithm(float x) { return logf(x); }
__device__ __forceinline__ double logarithm(double x) { return log(x); }
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }

/// sum_k exp(f (x[k] - peak)) of some x, and peak, the largest of them. A NaN among them makes the
/// sum NaN. Trivial, so that it may lie in shared memory.
template <class A>
struct SoftmaxSum {
  A peak;
  double sum;

  /// Of nothing. lowest(), not -infinity: two of them merge, and (-inf) - (-inf) is NaN.
  __device__ __forceinline__ static SoftmaxSum none() {
    return {std::numeric_limits<A>::lowest(), 0.0};
  }
  template <int N>
  __device__ __forceinline__ void add(const A (&x)[N], A f) {
    A top = peak;
#pragma unroll
    for (int i = 0; i < N; ++i) top = larger(top, x[i]);
    A part = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) part += exponential((x[i] - top) * f);
    sum = sum * static_cast<double>(exponential((peak - top) * f)) + static_cast<double>(part);
    peak = top;
  }
  /// The probability of a score under the whole row's pair.
  __device__ __forceinline__ A probability(A x, A f) const {
    return exponential((x - peak) * f) * static_cast<A>(1.0 / sum);
  }
};

template <class A>
struct MergeSoftmaxSums {
  A f;
  __device__ __forceinline__ SoftmaxSum<A> operator()(const SoftmaxSum<A>& a,
                                                      const SoftmaxSum<A>& b) const {
    const A top = larger(a.peak, b.peak);
    return {top, a.sum * static_cast<double>(exponential((a.peak - top) * f)) +
                     b.sum * static_cast<double>(exponential((b.peak - top) * f))};
  }
};

/// Blocks that cover `count` rows, `per_block` each.
inline unsigned row_blocks(index_t count, index_t per_block = 1) {
  const index_t blocks = (count + per_block - 1) / per_block;
  require<ShapeError>(blocks < index_t{1} << 31, "kernel: ", count, " rows are too many");
  return static_cast<unsigned>(blocks);
}

}  // namespace mwalimu::kernels
