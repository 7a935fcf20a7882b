// simt/memory: loads and stores with cache hints, and asynchronous copies into shared memory.
#pragma once

#include <cstddef>
#include <type_traits>

#include "simt/specifiers.hpp"

namespace mwalimu::simt::detail {
void async_copy(void* to, const void* from, std::size_t bytes, std::size_t zeros, const char* file,
                int line);
void async_commit();
void async_wait(unsigned prior);
}  // namespace mwalimu::simt::detail

template <class T>
__forceinline__ T __ldg(const T* p) {
  return *p;
}
template <class T>
__forceinline__ T __ldcs(const T* p) {
  return *p;
}
template <class T>
__forceinline__ T __ldca(const T* p) {
  return *p;
}
template <class T>
__forceinline__ T __ldcg(const T* p) {
  return *p;
}
template <class T>
__forceinline__ T __ldcv(const T* p) {
  return *p;
}
template <class T>
__forceinline__ T __ldlu(const T* p) {
  return *p;
}
template <class T>
__forceinline__ void __stcs(T* p, std::type_identity_t<T> value) {
  *p = value;
}
template <class T>
__forceinline__ void __stcg(T* p, std::type_identity_t<T> value) {
  *p = value;
}
template <class T>
__forceinline__ void __stwb(T* p, std::type_identity_t<T> value) {
  *p = value;
}
template <class T>
__forceinline__ void __stwt(T* p, std::type_identity_t<T> value) {
  *p = value;
}

/// cp.async: copies bytes - zeros bytes and writes zeros after them, 4, 8 or 16 bytes in all. Done
/// no earlier than it is waited for, so that a missing wait shows.
inline void __pipeline_memcpy_async(void* to, const void* from, std::size_t bytes,
                                    std::size_t zeros = 0, MWALIMU_SIMT_HERE) {
  ::mwalimu::simt::detail::async_copy(to, from, bytes, zeros, file_, line_);
}
inline void __pipeline_commit() { ::mwalimu::simt::detail::async_commit(); }
inline void __pipeline_wait_prior(unsigned groups) { ::mwalimu::simt::detail::async_wait(groups); }
