#include "blocks.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "scheduler.hpp"

namespace mwalimu::simt::detail {

DynamicShared::DynamicShared(std::size_t bytes) {
  if (bytes != 0 && posix_memalign(&memory_, 128, bytes) != 0) throw std::bad_alloc();
}

void copy_shared(char* to, const char* from, std::size_t bytes) {
  if (!under_address_sanitizer()) {
    std::memcpy(to, from, bytes);
    return;
  }
  for (std::size_t i = 0; i < bytes; ++i) {
    to[i] = from[i];
    __asm__ volatile("" ::: "memory");  // or the compiler makes it a call of memcpy
  }
}

void fill_shared(char* to, int byte, std::size_t bytes) {
  if (!under_address_sanitizer()) {
    std::memset(to, byte, bytes);
    return;
  }
  for (std::size_t i = 0; i < bytes; ++i) {
    to[i] = static_cast<char>(byte);
    __asm__ volatile("" ::: "memory");
  }
}

void begin_block(Worker& worker, Block& block, Launch& launch, unsigned linear,
                 unsigned char* dynamic_shared) {
  const dim3 grid = launch.request.grid;
  block.launch = &launch;
  block.index = {linear % grid.x, linear / grid.x % grid.y, linear / grid.x / grid.y};
  block.serial = launch.first_serial + linear;
  block.count = block.live = launch.threads;
  block.shuffler =
      Shuffler(launch.options.seed * 0x9E3779B97F4A7C15ull ^ (linear + 1) * 0xD1B54A32D192ED03ull);
  block.threads.resize(block.count);
  block.ring.resize(std::bit_ceil(std::max(block.count, 2u)));
  block.head = block.ready = 0;
  block.picked = false;
  block.arrived = block.arrived_at_grid = 0;
  block.votes = 0;
  block.done = false;
  block.waiting.assign((block.count + 31) / 32, 0);
  block.dynamic_shared = dynamic_shared;
  for (unsigned i = 0; i < block.count; ++i) {
    Thread& thread = block.threads[i];
    thread.fiber = nullptr;
    thread.rank = i;
    thread.index = launch.indices[i];
    thread.mask = 0;
    thread.complete = nullptr;
    thread.state = ThreadState::ready;
    thread.copies.clear();
  }
  wake_all(block, ThreadState::ready);
  if (launch.options.poison >= 0) {
    for (const SharedVariable* v : launch.shared) {
      fill_shared(address_of(*v), launch.options.poison, v->bytes);
    }
    if (dynamic_shared != nullptr) {
      fill_shared(reinterpret_cast<char*>(dynamic_shared), launch.options.poison,
                  launch.request.shared_bytes);
    }
  }
  if (check_hooks != nullptr) check_hooks->block_begins(block);
  ++worker.counters.blocks;
}

void end_block(Block& block) {
  if (check_hooks != nullptr) check_hooks->block_ends(block);
}

void abandon(Worker& worker) {
  worker.fibers.abandon_all();
  worker.fiber = &worker.host;
}

void run_blocks(Launch& launch) {
  Worker& worker = this_worker();
  worker.fibers.set_stack_bytes(launch.options.stack_bytes);
  static thread_local Block block;  // keeps its vectors from launch to launch
  const DynamicShared dynamic_shared(launch.request.shared_bytes);
  while (!launch.failed) {
    const unsigned i = launch.next.fetch_add(1);
    if (i >= launch.blocks) break;
    begin_block(worker, block, launch, launch.order.empty() ? i : launch.order[i],
                dynamic_shared.get());
    run_ready_threads(worker, block);
    end_block(block);
  }
  if (launch.failed) abandon(worker);
  worker.block = nullptr;
}

}  // namespace mwalimu::simt::detail
