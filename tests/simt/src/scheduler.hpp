// simt/scheduler: which thread of a block goes on. Fibers jump to each other; the host's stack is
// returned to when no thread of the block is ready.
#pragma once

#include <utility>

#include "state.hpp"

namespace mwalimu::simt::detail {

inline __attribute__((always_inline)) void switch_to(Worker& worker, Fiber& to) {
  Fiber& from = *worker.fiber;
  worker.fiber = &to;
  ++worker.counters.switches;
  jump(from, to, worker.host);
}

inline unsigned ring_mask(const Block& block) {
  return static_cast<unsigned>(block.ring.size()) - 1;
}

inline void make_ready(Block& block, Thread& thread) {
  thread.state = ThreadState::ready;
  block.ring[(block.head + block.ready++) & ring_mask(block)] = &thread;
}

/// Makes every thread in `state` ready, in the order that the schedule wants.
inline void wake_all(Block& block, ThreadState state) {
  if (block.launch->options.order == Schedule::reverse) {
    for (unsigned i = block.count; i-- > 0;) {
      if (block.threads[i].state == state) make_ready(block, block.threads[i]);
    }
  } else {
    for (Thread& thread : block.threads) {
      if (thread.state == state) make_ready(block, thread);
    }
  }
}

inline void pick(Block& block) {
  const unsigned mask = ring_mask(block);
  const unsigned chosen = block.head + block.shuffler.below(block.ready);
  std::swap(block.ring[block.head & mask], block.ring[chosen & mask]);
}

/// The next thread to run, or null. Random order chooses one step ahead, so that the next thread's
/// stack is on its way into the cache.
inline Thread* take_ready(Block& block) {
  if (block.ready == 0) return nullptr;
  const unsigned mask = ring_mask(block);
  const bool random = block.launch->options.order == Schedule::random;
  if (random && !block.picked) pick(block);
  Thread* const thread = block.ring[block.head++ & mask];
  block.picked = --block.ready != 0;
  if (block.picked) {
    if (random) pick(block);
    if (const Fiber* fiber = block.ring[block.head & mask]->fiber) {
      const char* top = static_cast<const char*>(fiber->context);
      for (int line = 0; line < 4; ++line) __builtin_prefetch(top + 64 * line);
    }
  }
  return thread;
}

/// Goes on with a thread that waits, or starts one.
inline __attribute__((always_inline)) void dispatch(Worker& worker, Thread& thread) {
  if (thread.fiber != nullptr) return switch_to(worker, *thread.fiber);
  worker.first = &thread;
  switch_to(worker, *worker.fibers.take());
}

inline void enter_kernel(Worker& worker, Thread& thread) {
  worker.thread = &thread;
  thread.state = ThreadState::running;
  threadIdx = thread.index;
  worker.in_kernel = true;
}

/// The current thread, whose state says what it waits for, waits.
inline __attribute__((always_inline)) void wait(Worker& worker) {
  Thread& self = *worker.thread;
  Thread* const next = take_ready(*worker.block);
  if (next != &self) {
    if (next != nullptr) {
      dispatch(worker, *next);
    } else {
      switch_to(worker, worker.host);
    }
  }
  enter_kernel(worker, self);
}

/// Leaves the current thread's stack for good, after an error.
[[noreturn]] void drop_thread(Worker& worker);

/// If all threads of the block that live have arrived, lets them go on.
void release_barrier(Worker& worker);

/// Runs threads of the block until none is ready: it is done, has failed, or waits for the grid.
void run_ready_threads(Worker& worker, Block& block);

}  // namespace mwalimu::simt::detail
