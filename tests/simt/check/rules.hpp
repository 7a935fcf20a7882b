// check/rules: CUDA's rules of order between accesses, applied to every load and store of a kernel.
//
//   __syncthreads orders the block; __syncwarp(mask) the lanes of its mask; shuffles and votes
//   order nothing. A grid barrier orders the grid. Blocks are otherwise unordered, except through
//   __threadfence and then an atomic on an address that the other block's atomic reads.
//   Two atomics never race; `volatile` counts as atomic.
// One schedule suffices: a race is found whether or not it changed the result.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "../src/state.hpp"
#include "findings.hpp"
#include "requests.hpp"
#include "shadow.hpp"
#include "shared_map.hpp"

namespace mwalimu::simt::detail {

/// What another block has made visible: its accesses before `epoch`, and this thread's of that
/// epoch.
struct Release {
  std::uint32_t epoch = 0;
  std::uint16_t thread = 0;
};

/// The clocks and the shared memory of one block.
struct BlockShadow {
  std::uint32_t epoch = 0;
  std::vector<std::array<std::uint16_t, 32>>
      clocks;  ///< per thread: what it saw of its warp's lanes
  bool clocks_high = false;
  std::vector<bool> fenced;                   ///< per thread: since the block began
  std::map<std::uint32_t, Release> acquired;  ///< by block
  std::vector<Cell> shared;                   ///< as SharedMap lays them out
  BlockRequests requests;
};

struct Access {
  Address address;
  unsigned bytes;
  bool write, atomic;
  std::uint32_t pc;
};

/// The checker's state: one launch runs at a time, on one host thread.
class Checker {
 public:
  void begin_launch(Launch& launch);
  std::string end_launch(Launch& launch);
  void begin_block(Block& block);
  void end_block(Block& block);
  void barrier(Block& block);
  void warp_barrier(Block& block, unsigned warp, unsigned mask);
  void grid_barrier();
  void fence(Block& block, unsigned thread);
  void access(Block& block, unsigned thread, const Access& access);

 private:
  struct Context;
  bool in_order(const Record& earlier, const Context& context) const;
  void touch(Cell& cell, Context& context);
  void conflict(const char* kind, const Record& earlier, const Context& context,
                bool earlier_wrote);
  void report(const char* kind, const Context& context, const Record* earlier, bool earlier_wrote);
  std::string name_of(Address address, const Block& block) const;
  void synchronise(Context& context);

  BlockShadow single_;                                  // of ordinary launches, block after block
  std::vector<std::unique_ptr<BlockShadow>> resident_;  // of cooperative launches
  GlobalShadow global_;
  std::unordered_map<Address, std::map<std::uint32_t, Release>> released_;  // by atomics, by block
  std::uint32_t epoch_ = 1, grid_epoch_ = 0, first_ = 0;
  bool cooperative_ = false, traffic_ = false;
  SharedMap shared_map_;
  Findings findings_;
  TrafficRecorder recorder_;
};

Checker& checker();

}  // namespace mwalimu::simt::detail
