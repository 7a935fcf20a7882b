// Collectives of a warp: the last lane to come computes for all.
#include <bit>

#include "report.hpp"
#include "scheduler.hpp"

namespace mwalimu::simt::detail {

unsigned lane() { return current_worker->thread->rank & 31u; }
unsigned thread_rank() { return current_worker->thread->rank; }

void warp_collective(CompleteFunction complete, const char* what, unsigned mask,
                     LaneOperand& operand, bool orders_memory, const char* file, int line) {
  Worker& worker = *current_worker;
  worker.in_kernel = false;
  Block& block = *worker.block;
  Thread& thread = *worker.thread;
  const unsigned warp = thread.rank / 32, lane = thread.rank % 32;
  const unsigned in_warp = block.count - warp * 32;
  const unsigned exist = in_warp >= 32 ? ~0u : (1u << in_warp) - 1;
  if ((mask >> lane & 1u) == 0) {
    fail(format("%s: mask 0x%08x leaves out the calling lane %u", what, mask, lane), file, line);
  }
  if ((mask & ~exist) != 0) {
    fail(format("%s: mask 0x%08x names lanes that this block of %u threads does not have", what,
                mask, block.count),
         file, line);
  }
  thread.what = what;
  thread.file = file;
  thread.line = line;
  thread.mask = mask;
  thread.complete = complete;
  thread.operand = &operand;
  thread.state = ThreadState::in_warp;

  unsigned& waiting = block.waiting[warp];
  waiting |= 1u << lane;
  Thread* const lanes = &block.threads[warp * 32];
  bool complete_now = (waiting & mask) == mask;
  for (unsigned rest = mask; complete_now && rest != 0; rest &= rest - 1) {
    const Thread& other = lanes[std::countr_zero(rest)];
    complete_now = other.mask == mask && other.complete == complete;
  }
  if (complete_now) {
    LaneOperand* operands[32] = {};
    for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
      const int i = std::countr_zero(rest);
      operands[i] = lanes[i].operand;
    }
    complete(operands, mask);
    ++worker.counters.warp_operations;
    if (orders_memory && check_hooks != nullptr) check_hooks->warp_barrier(block, warp, mask);
    waiting &= ~mask;
    if (block.launch->options.order == Schedule::reverse) {
      for (int i = 31; i >= 0; --i) {
        if ((mask >> i & 1u) != 0) make_ready(block, lanes[i]);
      }
    } else {
      for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
        make_ready(block, lanes[std::countr_zero(rest)]);
      }
    }
  }
  wait(worker);
}

}  // namespace mwalimu::simt::detail
