// Barriers of a block and of the grid, fences, and threads that step aside.
#include <atomic>
#include <cstring>

#include "report.hpp"
#include "scheduler.hpp"

namespace mwalimu::simt::detail {

void release_barrier(Worker& worker) {
  Block& block = *worker.block;
  Launch& launch = *block.launch;
  if (block.live < block.count && !launch.options.allow_early_return) {
    launch.fail(describe_launch(launch, &block) + "\n  " + block.barrier_what + " at " +
                format("%s:%d", block.barrier_file, block.barrier_line) +
                " is reached by only part of the block:" + describe_threads(block));
    block.arrived = 0;
    if (worker.fiber != &worker.host) drop_thread(worker);
    return;
  }
  switch (block.vote) {
    case Vote::all:
      block.result = block.votes == static_cast<int>(block.arrived);
      break;
    case Vote::any:
      block.result = block.votes > 0;
      break;
    default:
      block.result = block.votes;
      break;
  }
  block.arrived = 0;
  block.votes = 0;
  ++worker.counters.barriers;
  if (check_hooks != nullptr) check_hooks->barrier(block);
  wake_all(block, ThreadState::at_barrier);
}

int block_barrier(Vote vote, int predicate, const char* file, int line) {
  static constexpr const char* kNames[] = {"__syncthreads()", "__syncthreads_count()",
                                           "__syncthreads_and()", "__syncthreads_or()"};
  Worker& worker = *current_worker;
  worker.in_kernel = false;
  Block& block = *worker.block;
  Thread& thread = *worker.thread;
  thread.what = kNames[static_cast<int>(vote)];
  thread.file = file;
  thread.line = line;
  thread.state = ThreadState::at_barrier;
  if (block.arrived == 0) {
    block.vote = vote;
    block.barrier_what = thread.what;
    block.barrier_file = file;
    block.barrier_line = line;
  } else if (line != block.barrier_line || vote != block.vote ||
             (file != block.barrier_file && std::strcmp(file, block.barrier_file) != 0)) {
    block.launch->fail(
        describe_launch(*block.launch, &block) +
        "\n  threads of one block meet at different barriers:" + describe_threads(block));
    drop_thread(worker);
  }
  block.votes += predicate != 0;
  if (++block.arrived == block.live) release_barrier(worker);
  wait(worker);
  return block.result;
}

void grid_barrier(const char* file, int line) {
  Worker& worker = *current_worker;
  worker.in_kernel = false;
  if (!worker.block->launch->request.cooperative) {
    fail("a grid barrier in a kernel not started by simt::launch_cooperative", file, line);
  }
  Thread& thread = *worker.thread;
  thread.what = "the grid barrier";
  thread.file = file;
  thread.line = line;
  thread.state = ThreadState::at_grid;
  ++worker.block->arrived_at_grid;
  wait(worker);
}

void yield() {
  Worker* const worker = current_worker;
  if (worker == nullptr || worker->thread == nullptr) return;
  worker->in_kernel = false;
  make_ready(*worker->block, *worker->thread);
  wait(*worker);
}

void fence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  Worker* const worker = current_worker;
  if (check_hooks == nullptr || worker == nullptr || worker->thread == nullptr) return;
  worker->in_kernel = false;
  check_hooks->fence(*worker->block);
  worker->in_kernel = true;
}

}  // namespace mwalimu::simt::detail
