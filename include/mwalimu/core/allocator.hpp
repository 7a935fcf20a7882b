// core/allocator: memory for tensors, reused between steps.
//
// A training step asks for the same sizes again and again. Fresh pages from the system cost a page
// fault per 4 KiB (about 0.25 us, more than reading the page), and a device's own allocator waits
// for the device, so freed blocks are kept by size and handed out again. Sizes are rounded up to one
// of eight steps per power of two: at most 12.5 % is lost, and close sizes share blocks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <bit>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include "mwalimu/core/check.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define MWALIMU_ADDRESS_SANITIZER 1
#endif

namespace mwalimu {

/// Host memory, 64-byte aligned: where the pool of Cpu tensors gets its blocks from.
struct HostMemory {
  static constexpr std::size_t kAlignment = 64;  // a cache line, and one AVX-512 register
  // Reuse would hide reads of freed tensors from the sanitizer.
#ifdef MWALIMU_ADDRESS_SANITIZER
  static constexpr bool kReuse = false;
#else
  static constexpr bool kReuse = true;
#endif

  /// Null where there is no room.
  std::byte* take(std::size_t size) const {
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    const bool large = size >= kHugePage;
    const std::size_t alignment = large ? kHugePage : kAlignment;
    // aligned_alloc wants a multiple of the alignment.
    void* block = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    // One TLB entry for 2 MiB instead of 512; a hint, so its failure is no error.
    if (large && block != nullptr) (void)madvise(block, size, MADV_HUGEPAGE);
    return static_cast<std::byte*>(block);
  }
  void give_back(std::byte* block) const { std::free(block); }
  [[noreturn]] void out_of_memory(std::size_t, std::size_t) const { throw std::bad_alloc(); }
};

/// Thread-safe pool of blocks from `Memory`, which says how to take and give back, the alignment, and
/// what to throw when there is no room even after all unused blocks were given back.
/// A block knows its pool's state, so it may outlive the pool.
template <class Memory>
class CachingPool {
 public:
  static constexpr std::size_t kAlignment = Memory::kAlignment;

  struct Statistics {
    std::size_t in_use = 0;    ///< bytes handed out now
    std::size_t peak = 0;      ///< largest in_use since reset_peak
    std::size_t cached = 0;    ///< bytes kept for reuse
    std::uint64_t requests = 0;  ///< allocate calls
    std::uint64_t misses = 0;  ///< requests that went to the system
  };

  explicit CachingPool(Memory memory = {}) : state_(std::make_shared<State>(std::move(memory))) {}

  /// A block of at least `bytes` bytes, uninitialised, that returns to the pool with its last owner.
  /// @throws what Memory throws when there is no room: std::bad_alloc for the host.
  std::shared_ptr<std::byte> allocate(std::size_t bytes) {
    const std::size_t size = rounded(bytes);
    std::byte* block = state_->take(size);
    return {block, [state = state_, size](std::byte* freed) { state->give_back(freed, size); }};
  }

  Statistics statistics() const {
    const std::lock_guard lock(state_->mutex);
    return state_->statistics;
  }
  void reset_peak() {
    const std::lock_guard lock(state_->mutex);
    state_->statistics.peak = state_->statistics.in_use;
  }
  /// Returns all unused blocks to the system.
  void release_cached() {
    const std::lock_guard lock(state_->mutex);
    state_->release_cached();
  }

  /// The size class of a request: the next multiple of an eighth of its power of two, at least
  /// kAlignment.
  static constexpr std::size_t rounded(std::size_t bytes) {
    if (bytes <= kAlignment) return kAlignment;
    const std::size_t step = std::max(std::bit_floor(bytes) / 8, kAlignment);
    return (bytes + step - 1) / step * step;
  }

 private:
  struct State {
    mutable std::mutex mutex;
    Memory memory;
    std::map<std::size_t, std::vector<std::byte*>> unused;
    Statistics statistics;

    explicit State(Memory source) : memory(std::move(source)) {}
    ~State() { release_cached(); }

    std::byte* take(std::size_t size) {
      const std::lock_guard lock(mutex);
      ++statistics.requests;
      std::byte* block = nullptr;
      if (auto found = unused.find(size); found != unused.end() && !found->second.empty()) {
        block = found->second.back();
        found->second.pop_back();
        statistics.cached -= size;
      } else {
        ++statistics.misses;
        block = memory.take(size);
        if (block == nullptr && statistics.cached > 0) {
          release_cached();
          block = memory.take(size);
        }
        if (block == nullptr) memory.out_of_memory(size, statistics.in_use);
      }
      statistics.in_use += size;
      statistics.peak = std::max(statistics.peak, statistics.in_use);
      return block;
    }
    void give_back(std::byte* block, std::size_t size) {
      const std::lock_guard lock(mutex);
      statistics.in_use -= size;
      if constexpr (Memory::kReuse) {
        statistics.cached += size;
        unused[size].push_back(block);
      } else {
        memory.give_back(block);
      }
    }
    void release_cached() {
      for (auto& [size, blocks] : unused) {
        for (std::byte* block : blocks) memory.give_back(block);
      }
      unused.clear();
      statistics.cached = 0;
    }
  };
  std::shared_ptr<State> state_;
};

/// The pool of every Cpu tensor.
class CachingAllocator : public CachingPool<HostMemory> {
 public:
  /// Never destroyed: tensors of static duration may outlive it.
  static CachingAllocator& instance() {
    static auto* allocator = new CachingAllocator;
    return *allocator;
  }
};

}  // namespace mwalimu
