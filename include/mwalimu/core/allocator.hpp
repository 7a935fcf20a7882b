// core/allocator: host memory for tensors, reused between steps.
//
// A training step asks for the same sizes again and again. Fresh pages from the system cost a page
// fault per 4 KiB (about 0.25 us, more than reading the page), so freed blocks are kept by size and
// handed out again. Sizes are rounded up to one of eight steps per power of two: at most 12.5 % is
// lost, and close sizes share blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <bit>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include <sys/mman.h>

#include "mwalimu/core/check.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define MWALIMU_ADDRESS_SANITIZER 1
#endif

namespace mwalimu {

/// Thread-safe pool of 64-byte aligned host blocks.
class CachingAllocator {
 public:
  static constexpr std::size_t kAlignment = 64;  // a cache line, and one AVX-512 register

  struct Statistics {
    std::size_t in_use = 0;    ///< bytes handed out now
    std::size_t peak = 0;      ///< largest in_use since reset_peak
    std::size_t cached = 0;    ///< bytes kept for reuse
    std::uint64_t requests = 0;  ///< allocate calls
    std::uint64_t misses = 0;  ///< requests that went to the system
  };

  /// The allocator of every Cpu tensor. Never destroyed: tensors of static duration may outlive it.
  static CachingAllocator& instance() {
    static auto* allocator = new CachingAllocator;
    return *allocator;
  }

  /// A block of at least `bytes` bytes, uninitialised, that returns to the pool with its last owner.
  /// @throws std::bad_alloc
  std::shared_ptr<std::byte> allocate(std::size_t bytes) {
    const std::size_t size = rounded(bytes);
    std::byte* block = take(size);
    return {block, [this, size](std::byte* freed) { give_back(freed, size); }};
  }

  Statistics statistics() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    statistics_.peak = statistics_.in_use;
  }
  /// Returns all unused blocks to the system.
  void release_cached() {
    const std::lock_guard lock(mutex_);
    for (auto& [size, blocks] : free_) {
      for (std::byte* block : blocks) std::free(block);
    }
    free_.clear();
    statistics_.cached = 0;
  }

  /// The size class of a request: the next multiple of an eighth of its power of two, at least 64.
  static constexpr std::size_t rounded(std::size_t bytes) {
    if (bytes <= kAlignment) return kAlignment;
    const std::size_t step = std::max(std::bit_floor(bytes) / 8, kAlignment);
    return (bytes + step - 1) / step * step;
  }

 private:
  std::byte* take(std::size_t size) {
    const std::lock_guard lock(mutex_);
    ++statistics_.requests;
    std::byte* block = nullptr;
    if (auto found = free_.find(size); found != free_.end() && !found->second.empty()) {
      block = found->second.back();
      found->second.pop_back();
      statistics_.cached -= size;
    } else {
      ++statistics_.misses;
      block = from_system(size);
    }
    statistics_.in_use += size;
    statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
    return block;
  }

  static std::byte* from_system(std::size_t size) {
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    const bool large = size >= kHugePage;
    const std::size_t alignment = large ? kHugePage : kAlignment;
    // aligned_alloc wants a multiple of the alignment.
    void* block = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    if (block == nullptr) throw std::bad_alloc();
    // One TLB entry for 2 MiB instead of 512; a hint, so its failure is no error.
    if (large) (void)madvise(block, size, MADV_HUGEPAGE);
    return static_cast<std::byte*>(block);
  }

  void give_back(std::byte* block, std::size_t size) {
#ifdef MWALIMU_ADDRESS_SANITIZER
    // Reuse would hide reads of freed tensors from the sanitizer.
    std::free(block);
    const std::lock_guard lock(mutex_);
    statistics_.in_use -= size;
#else
    const std::lock_guard lock(mutex_);
    statistics_.in_use -= size;
    statistics_.cached += size;
    free_[size].push_back(block);
#endif
  }

  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<std::byte*>> free_;
  Statistics statistics_;
};

}  // namespace mwalimu
