// The host threads that run blocks: the launching one, and a pool of helpers.
#include <signal.h>

#include <condition_variable>
#include <thread>

#include "blocks.hpp"
#include "state.hpp"

namespace mwalimu::simt::detail {
namespace {

constexpr std::size_t kSignalStack = 64 << 10;

void add(Counters& total, const Counters& c) {
  total.blocks += c.blocks;
  total.threads += c.threads;
  total.switches += c.switches;
  total.barriers += c.barriers;
  total.warp_operations += c.warp_operations;
}

class Pool {
 public:
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    go_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  Counters run(Launch& launch, unsigned helpers) {
    {
      const std::lock_guard lock(mutex_);
      while (threads_.size() < helpers) {
        threads_.emplace_back(&Pool::help, this, static_cast<unsigned>(threads_.size()));
      }
      launch_ = &launch;
      wanted_ = running_ = helpers;
      total_ = {};
      ++generation_;
    }
    if (helpers != 0) go_.notify_all();
    if (launch.request.cooperative) {
      run_cooperative(launch);
    } else {
      run_blocks(launch);
    }
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return running_ == 0; });
    collect();
    return total_;
  }

 private:
  void help(unsigned number) {
    unsigned seen = 0;
    for (;;) {
      std::unique_lock lock(mutex_);
      go_.wait(lock, [&] { return stop_ || (generation_ != seen && number < wanted_); });
      if (stop_) return;
      seen = generation_;
      Launch& launch = *launch_;
      lock.unlock();
      run_blocks(launch);
      lock.lock();
      collect();
      if (--running_ == 0) finished_.notify_all();
    }
  }
  void collect() {
    add(total_, current_worker->counters);
    current_worker->counters = {};
  }

  std::mutex mutex_;
  std::condition_variable go_, finished_;
  std::vector<std::thread> threads_;
  Launch* launch_ = nullptr;
  unsigned generation_ = 0, wanted_ = 0, running_ = 0;
  bool stop_ = false;
  Counters total_;
};

}  // namespace

Worker& this_worker() {
  static thread_local struct Owner {
    Worker worker;
    Owner() {
      worker.thread_locals = thread_local_block();
      if (under_address_sanitizer()) return;     // which has a signal stack of its own
      worker.signal_stack.resize(kSignalStack);  // nothing runs on a stack that overflowed
      stack_t stack{};
      stack.ss_sp = worker.signal_stack.data();
      stack.ss_size = worker.signal_stack.size();
      sigaltstack(&stack, nullptr);
    }
    ~Owner() {
      current_worker = nullptr;
      if (worker.signal_stack.empty()) return;
      stack_t off{};
      off.ss_flags = SS_DISABLE;
      sigaltstack(&off, nullptr);
    }
  } owner;
  current_worker = &owner.worker;
  return owner.worker;
}

Worker::~Worker() = default;

Counters run_on_workers(Launch& launch, unsigned helpers) {
  static Pool pool;
  return pool.run(launch, helpers);
}

}  // namespace mwalimu::simt::detail
