// simt/atomics: CUDA's atomic functions, for the types that CUDA has them for. Blocks may run at
// the same time on several host threads, so they are real.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include "simt/warp.hpp"

namespace mwalimu::simt::detail {

template <class T, class... Choices>
concept OneOf = (std::same_as<T, Choices> || ...);
template <class T>
concept AtomicInteger = OneOf<T, int, unsigned, unsigned long long>;
template <class T>
concept AtomicFloat = OneOf<T, float, double>;

/// *p <- f(*p) as one step; the value before.
template <class T, class F>
__forceinline__ T atomic_update(T* p, F f) {
  using Word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  static_assert(sizeof(T) == sizeof(Word));
  Word* const word = reinterpret_cast<Word*>(p);
  Word old = __atomic_load_n(word, __ATOMIC_RELAXED), wanted;
  do {
    wanted = static_cast<Word>(to_bits(f(from_bits<T>(old))));
  } while (
      !__atomic_compare_exchange_n(word, &old, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
  return from_bits<T>(old);
}

}  // namespace mwalimu::simt::detail

template <::mwalimu::simt::detail::AtomicInteger T>
__forceinline__ T atomicAdd(T* p, std::type_identity_t<T> value) {
  return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);
}
template <::mwalimu::simt::detail::AtomicFloat T>
__forceinline__ T atomicAdd(T* p, std::type_identity_t<T> value) {
  return ::mwalimu::simt::detail::atomic_update(p, [value](T old) { return old + value; });
}
template <::mwalimu::simt::detail::OneOf<int, unsigned> T>
__forceinline__ T atomicSub(T* p, std::type_identity_t<T> value) {
  return __atomic_fetch_sub(p, value, __ATOMIC_SEQ_CST);
}
template <::mwalimu::simt::detail::OneOf<int, unsigned, long long, unsigned long long> T>
__forceinline__ T atomicMax(T* p, std::type_identity_t<T> value) {
  return ::mwalimu::simt::detail::atomic_update(
      p, [value](T old) { return old < value ? value : old; });
}
template <::mwalimu::simt::detail::OneOf<int, unsigned, long long, unsigned long long> T>
__forceinline__ T atomicMin(T* p, std::type_identity_t<T> value) {
  return ::mwalimu::simt::detail::atomic_update(
      p, [value](T old) { return value < old ? value : old; });
}
template <::mwalimu::simt::detail::AtomicInteger T>
__forceinline__ T atomicAnd(T* p, std::type_identity_t<T> value) {
  return __atomic_fetch_and(p, value, __ATOMIC_SEQ_CST);
}
template <::mwalimu::simt::detail::AtomicInteger T>
__forceinline__ T atomicOr(T* p, std::type_identity_t<T> value) {
  return __atomic_fetch_or(p, value, __ATOMIC_SEQ_CST);
}
template <::mwalimu::simt::detail::AtomicInteger T>
__forceinline__ T atomicXor(T* p, std::type_identity_t<T> value) {
  return __atomic_fetch_xor(p, value, __ATOMIC_SEQ_CST);
}
template <::mwalimu::simt::detail::OneOf<int, unsigned, unsigned long long, float> T>
__forceinline__ T atomicExch(T* p, std::type_identity_t<T> value) {
  return ::mwalimu::simt::detail::atomic_update(p, [value](T) { return value; });
}
template <::mwalimu::simt::detail::OneOf<unsigned short, int, unsigned, unsigned long long> T>
__forceinline__ T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  __atomic_compare_exchange_n(p, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return expected;
}
__forceinline__ unsigned atomicInc(unsigned* p, unsigned last) {
  return ::mwalimu::simt::detail::atomic_update(
      p, [last](unsigned old) { return old >= last ? 0u : old + 1; });
}
__forceinline__ unsigned atomicDec(unsigned* p, unsigned last) {
  return ::mwalimu::simt::detail::atomic_update(
      p, [last](unsigned old) { return old == 0 || old > last ? last : old - 1; });
}
