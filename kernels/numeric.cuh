// kernels/numeric: element types in registers. half and bfloat16 are storage; arithmetic is in float
// (double for double). Memory is read and written in packs of 16 bytes, one instruction a lane.
#pragma once

#include "mwalimu/core/types.hpp"
#include "simt.cuh"

namespace mwalimu::kernels {

/// A value of T as the type that sums over T are kept in.
template <class T>
__device__ __forceinline__ accumulate_t<T> widen(T value) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, half>) {
    return __half2float(__ushort_as_half(value.bits));
  }
#endif
  return static_cast<accumulate_t<T>>(value);
}

/// The nearest T, ties to even; a float beyond half's range becomes infinite.
template <class T>
__device__ __forceinline__ T narrow(accumulate_t<T> value) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, half>) {
    half result;
    result.bits = __half_as_ushort(__float2half_rn(value));
    return result;
  }
  if constexpr (std::is_same_v<T, bfloat16>) {
    bfloat16 result;
    result.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
    return result;
  }
#endif
  return static_cast<T>(value);
}

/// N elements that move as one; N * sizeof(T) is a power of two up to 16 bytes.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T values[N];
  __device__ __forceinline__ T& operator[](int i) { return values[i]; }
  __device__ __forceinline__ const T& operator[](int i) const { return values[i]; }
};

/// Elements of T in 16 bytes.
template <class T>
inline constexpr int kPack = static_cast<int>(16 / sizeof(T));

/// The pack at p, which is aligned to it.
template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <int N, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(p) = pack;
}

/// Whether packs of 16 bytes may be read at p and at every `stride`-th element from it.
template <class T>
inline bool packs_fit(const T* p, index_t stride) {
  return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && stride % kPack<T> == 0;
}

/// Calls f(std::integral_constant<int, N>) with the elements a thread moves at once. Double, which
/// only gradient checks use, goes one at a time.
template <class T, class F>
void with_pack(bool packs, F&& f) {
  constexpr int N = sizeof(T) == 8 ? 1 : kPack<T>;
  packs ? f(std::integral_constant<int, N>{}) : f(std::integral_constant<int, 1>{});
}

}  // namespace mwalimu::kernels
