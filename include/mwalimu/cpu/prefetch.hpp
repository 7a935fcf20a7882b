// cpu/prefetch: asks for memory before a loop reads it, where its order hides the stream.
#pragma once

#include "mwalimu/core/types.hpp"

namespace mwalimu::ops::detail {

/// Fetches the lines of `count` elements, which may lie outside of any tensor.
template <class T>
void prefetch(const T* from, index_t count) {
  constexpr index_t kLine = 64 / sizeof(T);
  for (index_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i);
}

/// The same of lines that will be written.
template <class T>
void prefetch_to_write(T* to, index_t count) {
  constexpr index_t kLine = 64 / sizeof(T);
  for (index_t i = 0; i < count; i += kLine) __builtin_prefetch(to + i, 1);
}

}  // namespace mwalimu::ops::detail
