// cpu/prefetch: asks for memory before a loop reads it, where its order hides the stream.
#pragma once

#include <cstdint>

#include "mwalimu/core/types.hpp"

namespace mwalimu::ops::detail {

/// Address of base[first], which may lie outside of any tensor: reckoned in integers.
template <class T>
const void* line_at(const T* base, index_t first) {
  const auto bytes = static_cast<std::uintptr_t>(first) * sizeof(T);
  return reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(base) + bytes);
}

/// Fetches the lines of base[first, first + count), of which there need be none.
template <class T>
void prefetch(const T* base, index_t first, index_t count) {
  constexpr index_t kLine = 64 / sizeof(T);
  for (index_t i = 0; i < count; i += kLine) __builtin_prefetch(line_at(base, first + i));
}

/// The same of lines that will be written.
template <class T>
void prefetch_to_write(const T* base, index_t first, index_t count) {
  constexpr index_t kLine = 64 / sizeof(T);
  for (index_t i = 0; i < count; i += kLine) __builtin_prefetch(line_at(base, first + i), 1);
}

}  // namespace mwalimu::ops::detail
