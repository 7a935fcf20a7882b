// Cooperative launches. Every block is resident, on one host thread: a block runs until all of its
// threads wait for the grid, then its shared variables are put aside and the next block's brought
// back.
#include <algorithm>
#include <numeric>
#include <vector>

#include "blocks.hpp"
#include "report.hpp"
#include "scheduler.hpp"

namespace mwalimu::simt::detail {
namespace {

void put_aside(Block& block) {
  char* to = block.saved.data();
  for (const SharedVariable* v : block.launch->shared) {
    copy_shared(to, address_of(*v), v->bytes);
    to += v->bytes;
  }
}

void bring_back(Block& block) {
  const char* from = block.saved.data();
  for (const SharedVariable* v : block.launch->shared) {
    copy_shared(address_of(*v), from, v->bytes);
    from += v->bytes;
  }
}

void report_missing_blocks(Launch& launch, const std::vector<Block>& blocks) {
  std::vector<unsigned> returned;
  const Block* waiting = nullptr;
  for (unsigned i = 0; i < blocks.size(); ++i) {
    if (blocks[i].done) {
      returned.push_back(i);
    } else {
      waiting = &blocks[i];
    }
  }
  launch.fail(describe_launch(launch, waiting) +
              "\n  deadlock: blocks wait at the grid barrier, but " +
              (returned.size() == 1 ? "block " : "blocks ") + ranges(returned) + " returned" +
              describe_threads(*waiting));
}

}  // namespace

void run_cooperative(Launch& launch) {
  Worker& worker = this_worker();
  worker.fibers.set_stack_bytes(launch.options.stack_bytes);
  std::size_t bytes = 0;
  for (const SharedVariable* v : launch.shared) bytes += v->bytes;

  std::vector<Block> blocks(launch.blocks);
  std::vector<DynamicShared> dynamic_shared;
  for (unsigned i = 0; i < launch.blocks; ++i) {
    dynamic_shared.emplace_back(launch.request.shared_bytes);
    begin_block(worker, blocks[i], launch, i, dynamic_shared.back().get());
    blocks[i].saved.resize(bytes);
    put_aside(blocks[i]);
  }

  std::vector<unsigned> order(launch.blocks);
  std::iota(order.begin(), order.end(), 0u);
  Shuffler shuffler(launch.options.seed * 0x9E3779B97F4A7C15ull | 1u);
  unsigned done = 0;
  while (!launch.failed) {
    if (launch.options.order == Schedule::reverse) std::reverse(order.begin(), order.end());
    if (launch.options.order == Schedule::random) {
      for (unsigned i = launch.blocks; i > 1; --i) {
        std::swap(order[i - 1], order[shuffler.below(i)]);
      }
    }
    for (const unsigned i : order) {
      bring_back(blocks[i]);
      run_ready_threads(worker, blocks[i]);
      put_aside(blocks[i]);
      if (launch.failed) break;
      if (blocks[i].done) ++done;
    }
    if (launch.failed || done == launch.blocks) break;
    if (done != 0) {
      report_missing_blocks(launch, blocks);
      break;
    }
    if (check_hooks != nullptr) check_hooks->grid_barrier(launch);
    for (Block& block : blocks) {
      block.arrived_at_grid = 0;
      wake_all(block, ThreadState::at_grid);
    }
  }
  for (Block& block : blocks) end_block(block);
  if (launch.failed) abandon(worker);
  worker.block = nullptr;
}

}  // namespace mwalimu::simt::detail
