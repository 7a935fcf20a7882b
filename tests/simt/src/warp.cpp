// Collectives of a warp: the last lane to come computes for all.
#include <bit>
#include <cmath>
#include <cstdlib>

#include "report.hpp"
#include "scheduler.hpp"

namespace mwalimu::simt::detail {
namespace {

// The sum with every term cut to the 24 bits of the largest, cut to 24 bits itself.
template <std::size_t N>
float truncated_sum(const double (&terms)[N]) {
  double plain = 0, largest = 0;
  for (const double t : terms) {
    plain += t;
    largest = std::fmax(largest, std::abs(t));
  }
  if (!std::isfinite(plain) || largest == 0) return static_cast<float>(plain);
  const int unit = std::ilogb(largest) - 23;
  const double scale = std::ldexp(1.0, -unit);
  long long sum = 0;
  for (const double t : terms) sum += static_cast<long long>(t * scale);
  const int excess = std::bit_width(static_cast<unsigned long long>(std::llabs(sum))) - 24;
  if (excess > 0) sum = sum / (1ll << excess) * (1ll << excess);
  return static_cast<float>(std::ldexp(static_cast<double>(sum), unit));
}

// Two numbers of bfloat16, the first in the lower half.
float half_of(std::uint32_t word, int which) {
  return std::bit_cast<float>(which == 0 ? word << 16 : word & 0xFFFF0000u);
}

}  // namespace

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
void complete_mma(LaneOperand* const* lanes, unsigned mask) {
  float a[16][16], b[8][16];  // b by columns
  each_lane(lanes, mask, [&](int lane, LaneOperand& o) {
    const TileOperand& tile = *from_bits<const TileOperand*>(o.in);
    const int group = lane / 4, k = lane % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      for (int r = 0; r < 4; ++r) {
        a[group + r % 2 * 8][k + r / 2 * 8 + half] = half_of(tile.a[r], half);
      }
      for (int r = 0; r < 2; ++r) b[group][k + r * 8 + half] = half_of(tile.b[r], half);
    }
  });
  each_lane(lanes, mask, [&](int lane, LaneOperand& o) {
    float* const c = from_bits<const TileOperand*>(o.in)->c;
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      double terms[17];
      for (int k = 0; k < 16; ++k) terms[k] = double{a[row][k]} * b[column][k];
      terms[16] = c[i];
      c[i] = truncated_sum(terms);
    }
  });
}

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
