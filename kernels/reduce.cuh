// kernels/reduce: reductions over a warp and over a block, for any type and operation.
//
// The order of combination depends on nothing but the lane and the warp: the same input gives the
// same bits on every run. `op` need not commute (lower lanes stand on its left) but must be
// associative up to rounding.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "simt.cuh"

namespace mwalimu::kernels {

inline constexpr unsigned kFullWarp = 0xFFFFFFFFu;
inline constexpr int kWarp = 32;

struct Sum {
  template <class T>
  __host__ __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
/// The larger; where one is NaN the other.
struct Maximum {
  template <class T>
  __host__ __device__ __forceinline__ T operator()(T a, T b) const {
    return max(a, b);
  }
};
/// The smaller; where one is NaN the other.
struct Minimum {
  template <class T>
  __host__ __device__ __forceinline__ T operator()(T a, T b) const {
    return min(a, b);
  }
};

/// `value` of the lane whose number is the caller's XOR `flip`. Any trivially copyable T whose size
/// is a multiple of 4 bytes, or 1 or 2 bytes.
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int flip) {
  static_assert(std::is_trivially_copyable_v<T>);
  if constexpr (std::is_arithmetic_v<T> && sizeof(T) >= 4) {
    return __shfl_xor_sync(kFullWarp, value, flip);
  } else {
    static_assert(sizeof(T) % 4 == 0 || sizeof(T) < 4, "shuffle_xor: pad T to 4-byte words");
    std::uint32_t words[(sizeof(T) + 3) / 4] = {};
    memcpy(words, &value, sizeof(T));
#pragma unroll
    for (std::uint32_t& word : words) word = __shfl_xor_sync(kFullWarp, word, flip);
    memcpy(&value, words, sizeof(T));
    return value;
  }
}

/// op over the values of neighbouring groups of kLanes lanes; every lane gets its group's result.
/// All 32 lanes of the warp call it.
template <int kLanes = kWarp, class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
  static_assert(kLanes >= 1 && kLanes <= kWarp && (kLanes & (kLanes - 1)) == 0);
  const int lane = static_cast<int>(threadIdx.x) & (kWarp - 1);
#pragma unroll
  for (int flip = 1; flip < kLanes; flip *= 2) {
    const T other = shuffle_xor(value, flip);
    value = (lane & flip) == 0 ? op(value, other) : op(other, value);
  }
  return value;
}

/// op over the values of the block's kThreads threads; every thread gets the result. All threads of
/// a one-dimensional block call it.
/// @param scratch  kThreads / 32 elements of shared memory, declared in the kernel. Nobody may be
///                 reading it: between two calls with the same scratch there is a __syncthreads().
template <int kThreads, class T, class Op>
__device__ __forceinline__ T block_reduce(T value, Op op, T* scratch) {
  static_assert(kThreads % kWarp == 0 && kThreads <= 1024, "block_reduce: want whole warps");
  constexpr int kWarps = kThreads / kWarp;
  value = warp_reduce(value, op);
  if constexpr (kWarps == 1) return value;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (lane == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  if constexpr ((kWarps & (kWarps - 1)) == 0) {
    // Every group of kWarps lanes holds all partial results, so every lane computes the whole.
    return warp_reduce<kWarps>(scratch[lane % kWarps], op);
  } else {
    value = scratch[0];
#pragma unroll 4
    for (int warp = 1; warp < kWarps; ++warp) value = op(value, scratch[warp]);
    return value;
  }
}

}  // namespace mwalimu::kernels
