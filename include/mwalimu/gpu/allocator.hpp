// gpu/allocator: device memory for tensors, and pinned host memory for copies to and from it.
//
// Blocks come from CUDA once and are handed out again at once when a tensor dies: work queued
// earlier on the same stream has run by then, as far as later work on that stream can see
// (StreamScope says what two streams need). Asking CUDA would make the host wait for the device.
//
// A CUDA graph holds addresses. What is allocated while one is captured must not be handed to
// anybody else as long as the graph lives, so a graph owns a pool of its own (PoolScope).
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <utility>

#include "mwalimu/core/allocator.hpp"
#include "mwalimu/gpu/stream.hpp"

namespace mwalimu::gpu {

/// Memory of one device.
struct DeviceMemory {
  static constexpr std::size_t kAlignment = 256;  // cudaMalloc's own
  static constexpr bool kReuse = true;  // the addresses in a graph stay valid after a tensor's death
  int device = 0;

  std::byte* take(std::size_t size) const {
    return static_cast<std::byte*>(Driver::allocate(device, size));
  }
  void give_back(std::byte* block) const { Driver::free(device, block); }
  [[noreturn]] void out_of_memory(std::size_t size, std::size_t in_use) const {
    mwalimu::detail::fail<DeviceError>(
        "cuda:", device, ": no room for ", size >> 20, " MiB; this program's tensors hold ",
        in_use >> 20, " MiB, ", Driver::free_memory(device) >> 20,
        " MiB are free; lower --batch or the size of the crops");
  }
};
using DevicePool = CachingPool<DeviceMemory>;

/// Page-locked host memory.
struct PinnedMemory {
  static constexpr std::size_t kAlignment = 256;
  static constexpr bool kReuse = true;

  std::byte* take(std::size_t size) const {
    return static_cast<std::byte*>(Driver::allocate_pinned(size));
  }
  void give_back(std::byte* block) const { Driver::free_pinned(block); }
  [[noreturn]] void out_of_memory(std::size_t size, std::size_t in_use) const {
    mwalimu::detail::fail<DeviceError>("no room for ", size >> 20,
                                       " MiB of pinned host memory beside ", in_use >> 20, " MiB");
  }
};
using PinnedPool = CachingPool<PinnedMemory>;

/// The pool of the device's tensors outside of graphs. Never destroyed, as CachingAllocator.
/// @throws DeviceError  there is no such device.
inline DevicePool& device_pool(int device) {
  require_device(device);
  static auto* pools = [] {
    auto* all = new std::array<std::unique_ptr<DevicePool>, kMaxDevices>;
    for (int i = 0; i < kMaxDevices; ++i) {
      (*all)[static_cast<std::size_t>(i)] = std::make_unique<DevicePool>(DeviceMemory{i});
    }
    return all;
  }();
  return *(*pools)[static_cast<std::size_t>(device)];
}
inline PinnedPool& pinned_pool() {
  static auto* pool = new PinnedPool;
  return *pool;
}

namespace detail {
inline DevicePool*& chosen_pool() {
  thread_local DevicePool* chosen = nullptr;
  return chosen;
}
}  // namespace detail

/// While it lives, this thread's device tensors come from `pool`.
class PoolScope {
 public:
  explicit PoolScope(DevicePool& pool) : before_(std::exchange(detail::chosen_pool(), &pool)) {}
  ~PoolScope() { detail::chosen_pool() = before_; }
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  DevicePool* before_;
};

/// Device memory that returns to its pool with its last owner.
/// @throws DeviceError  no such device, or no room; the text says how much is in use and what to do.
inline std::shared_ptr<std::byte> allocate(int device, std::size_t bytes) {
  DevicePool* chosen = detail::chosen_pool();
  return (chosen != nullptr ? *chosen : device_pool(device)).allocate(bytes);
}

/// Pinned host memory that returns to its pool with its last owner. Who frees it while a copy is
/// under way waits for the copy first.
inline std::shared_ptr<std::byte> allocate_pinned(std::size_t bytes) {
  return pinned_pool().allocate(bytes);
}

}  // namespace mwalimu::gpu
