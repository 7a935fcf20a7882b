// gpu/scratch: device memory for the length of one operation.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/gpu/allocator.hpp"

namespace mwalimu::gpu {

/// Uninitialised memory for `count` elements of T. It may be let go as soon as the work that uses it is
/// queued: who gets it next is queued behind, on the same stream.
template <class T>
std::shared_ptr<T> scratch(Gpu on, index_t count) {
  auto block = allocate(on.device, static_cast<std::size_t>(count) * sizeof(T));
  auto* data = reinterpret_cast<T*>(block.get());
  return {std::move(block), data};
}

}  // namespace mwalimu::gpu
