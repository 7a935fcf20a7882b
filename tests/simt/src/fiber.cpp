#include "fiber.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <utility>

#include "simt/options.hpp"

namespace mwalimu::simt::detail {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kStacksPerSlab = 64;
// A guard page splits a memory mapping in two; Linux allows a process 65530 of them.
constexpr std::size_t kGuardedStacks = 8192;
constexpr std::size_t kCanaryWords = 8;
constexpr std::uint64_t kCanary = 0x5AFE57AC5AFE57ACull;

}  // namespace

Fiber* FiberPool::make() {
  if (unused_stacks_ == 0) {
    const std::size_t bytes = kStacksPerSlab * stack_bytes_;
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    // A fiber may be asking: nothing can be thrown from here.
    if (memory == MAP_FAILED) std::terminate();
    slabs_.push_back({static_cast<char*>(memory), bytes});
    unused_stacks_ = kStacksPerSlab;
    char* const begin = slabs_.back().memory;
    low_ = low_ == nullptr ? begin : std::min(low_, begin);
    high_ = std::max(high_, begin + bytes);
  }
  auto fiber = std::make_unique<Fiber>();
  fiber->low = slabs_.back().memory + (kStacksPerSlab - unused_stacks_) * stack_bytes_;
  fiber->bytes = stack_bytes_;
  --unused_stacks_;
  if (fibers_.size() < kGuardedStacks) {
    mprotect(fiber->low, kPage, PROT_NONE);
    fiber->low += kPage;
    fiber->bytes -= kPage;
  }
  std::fill_n(reinterpret_cast<std::uint64_t*>(fiber->low), kCanaryWords, kCanary);
  reset(*fiber, fibers_.size());
  fibers_.push_back(std::move(fiber));
  return fibers_.back().get();
}

void FiberPool::reset(Fiber& fiber, std::size_t index) const {
  // Stacks lie a power of two apart: without an offset their hot ends would share cache sets.
  const std::size_t offset = index * 5 % 64 * 64;
  fiber.context = boost::context::detail::make_fcontext(fiber.low + fiber.bytes - offset,
                                                        fiber.bytes - offset, entry_);
  fiber.fake_stack = nullptr;
}

void FiberPool::abandon_all() {
  idle_.clear();
  for (std::size_t i = 0; i < fibers_.size(); ++i) {
    Fiber& fiber = *fibers_[i];
    if (__asan_unpoison_memory_region != nullptr) {
      __asan_unpoison_memory_region(fiber.low, fiber.bytes);
    }
    reset(fiber, i);
    idle_.push_back(&fiber);
  }
}

void FiberPool::set_stack_bytes(std::size_t bytes) {
  if (bytes == 0) bytes = (under_address_sanitizer() ? 256 : 64) << 10;
  bytes = (std::max(bytes, 4 * kPage) + kPage - 1) / kPage * kPage;
  if (bytes == stack_bytes_) return;
  release();
  stack_bytes_ = bytes;
}

void FiberPool::release() {
  if (__asan_unpoison_memory_region != nullptr) {
    for (const auto& fiber : fibers_) __asan_unpoison_memory_region(fiber->low, fiber->bytes);
  }
  for (const Slab& slab : slabs_) munmap(slab.memory, slab.bytes);
  slabs_.clear();
  fibers_.clear();
  idle_.clear();
  unused_stacks_ = 0;
  low_ = high_ = nullptr;
}

bool FiberPool::is_intact(const Fiber& fiber) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(fiber.low);
  return std::all_of(words, words + kCanaryWords, [](std::uint64_t w) { return w == kCanary; });
}

}  // namespace mwalimu::simt::detail
