#include "scheduler.hpp"

#include <cstdio>
#include <cstdlib>

#include "report.hpp"

namespace mwalimu::simt::detail {
namespace {

void thread_returned(Worker& worker, Thread& thread) {
  Block& block = *worker.block;
  thread.fiber = nullptr;
  thread.state = ThreadState::returned;
  thread.copies.clear();
  --block.live;
  ++worker.counters.threads;
  if (!FiberPool::is_intact(*worker.fiber)) {
    std::fprintf(stderr, "simt: a thread's stack overflowed in %s; raise Options::stack_bytes\n",
                 describe_launch(*block.launch, &block).c_str());
    std::abort();
  }
  if (block.arrived != 0 && block.arrived == block.live) release_barrier(worker);
}

// The loop of every fiber: one thread after another. A thread that ends hands its stack to the next
// thread that has not begun, without a switch: a kernel without barriers is a plain loop.
void fiber_loop(boost::context::detail::transfer_t transfer) {
  Worker& worker = *current_worker;
  arrive(transfer, nullptr, worker.host);
  for (;;) {
    Thread* thread = worker.first;
    Thread* next = nullptr;
    for (;;) {
      thread->fiber = worker.fiber;
      enter_kernel(worker, *thread);
      const LaunchRequest& request = worker.block->launch->request;
      request.invoke(request.call);
      worker.in_kernel = false;
      thread_returned(worker, *thread);
      next = nullptr;
      if (worker.block->launch->failed.load(std::memory_order_relaxed)) break;
      next = take_ready(*worker.block);
      if (next == nullptr || next->fiber != nullptr) break;
      thread = next;
    }
    worker.fibers.give_back(worker.fiber);
    switch_to(worker, next != nullptr ? *next->fiber : worker.host);
  }
}

}  // namespace

constinit thread_local Worker* current_worker = nullptr;
constinit const CheckHooks* check_hooks = nullptr;

Worker::Worker() : fibers(fiber_loop) {}

void drop_thread(Worker& worker) {
  switch_to(worker, worker.host);
  std::abort();  // nobody comes back
}

void run_ready_threads(Worker& worker, Block& block) {
  worker.block = &block;
  blockIdx = block.index;
  blockDim = block.launch->request.block;
  gridDim = block.launch->request.grid;
  if (Thread* const thread = take_ready(block)) dispatch(worker, *thread);
  worker.thread = nullptr;
  worker.in_kernel = false;
  Launch& launch = *block.launch;
  if (launch.failed.load(std::memory_order_relaxed)) return;
  if (block.live == 0) {
    block.done = true;
  } else if (block.live != block.arrived_at_grid || !launch.request.cooperative) {
    launch.fail(describe_launch(launch, &block) +
                "\n  deadlock, no thread of the block can go on:" + describe_threads(block));
  }
}

}  // namespace mwalimu::simt::detail
