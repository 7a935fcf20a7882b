// simt/blocks: a block's life, and the two ways to run a grid.
#pragma once

#include <cstdlib>
#include <utility>

#include "state.hpp"

namespace mwalimu::simt::detail {

/// Dynamic shared memory of one block: exactly its size, so that AddressSanitizer guards its end.
class DynamicShared {
 public:
  explicit DynamicShared(std::size_t bytes);
  DynamicShared(DynamicShared&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)) {}
  ~DynamicShared() { std::free(memory_); }
  unsigned char* get() const { return static_cast<unsigned char*>(memory_); }

 private:
  void* memory_ = nullptr;
};

/// Block number `linear` (x fastest) before its first thread runs; shared memory is poisoned.
void begin_block(Worker& worker, Block& block, Launch& launch, unsigned linear,
                 unsigned char* dynamic_shared);
void end_block(Block& block);

/// After an error: drops the stacks of all threads on this host thread.
void abandon(Worker& worker);

/// memcpy and memset for shared memory: AddressSanitizer takes the library's for the kernel's own.
void copy_shared(char* to, const char* from, std::size_t bytes);
void fill_shared(char* to, int byte, std::size_t bytes);

/// Runs blocks, one after another, until none is left to start. Several host threads may.
void run_blocks(Launch& launch);
/// Runs all blocks of a cooperative launch, from one grid barrier to the next, on this host thread.
void run_cooperative(Launch& launch);

/// Runs the launch on this host thread and `helpers` others.
/// @return  the work done.
Counters run_on_workers(Launch& launch, unsigned helpers);

}  // namespace mwalimu::simt::detail
