// simt/state: what the executor knows of a launch, its blocks, their threads and the host threads
// that run them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "fiber.hpp"
#include "simt/barriers.hpp"
#include "simt/launch.hpp"
#include "simt/options.hpp"
#include "simt/vectors.hpp"
#include "simt/warp.hpp"
#include "symbols.hpp"

namespace mwalimu::simt::detail {

// tools/simt_gdb.py reads these structures: names and the order of the states are known to it.
enum class ThreadState : unsigned char { ready, running, at_barrier, in_warp, at_grid, returned };

struct AsyncCopy {
  void* to;
  const void* from;
  std::size_t bytes, zeros;
  void* pc;  ///< of the call
};

/// One CUDA thread. A switch touches its first cache line only.
struct alignas(64) Thread {
  Fiber* fiber = nullptr;  ///< null before it starts and after it returned
  const char* what = "";   ///< where it waits
  const char* file = "";
  int line = 0;
  unsigned rank = 0;  ///< in its block, x fastest
  uint3 index{};
  unsigned mask = 0;  ///< of the warp's collective that it waits in
  LaneOperand* operand = nullptr;
  ThreadState state = ThreadState::ready;
  CompleteFunction complete = nullptr;
  std::vector<std::vector<AsyncCopy>> copies;  ///< committed groups, the open one last
};

/// xorshift64: which thread, which block next.
class Shuffler {
 public:
  explicit Shuffler(std::uint64_t seed = 1) : state_(seed != 0 ? seed : 1) {}
  std::uint32_t below(std::uint32_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::uint32_t>((state_ >> 32) * limit >> 32);
  }

 private:
  std::uint64_t state_;
};

struct Launch;

struct Block {
  Launch* launch = nullptr;
  uint3 index{};
  std::uint32_t serial = 0;  ///< unique among all launches
  std::vector<Thread> threads;
  unsigned count = 0;  ///< of threads
  unsigned live = 0;   ///< that have not returned

  // Threads that may go on: a ring.
  std::vector<Thread*> ring;
  unsigned head = 0, ready = 0;
  bool picked = false;  ///< random order: ring[head] is chosen already
  Shuffler shuffler;

  // The barrier that threads wait at.
  unsigned arrived = 0, arrived_at_grid = 0;
  int votes = 0, result = 0;
  Vote vote = Vote::none;
  const char *barrier_what = "", *barrier_file = "";
  int barrier_line = 0;

  std::vector<unsigned> waiting;  ///< per warp: lanes that wait in a collective
  unsigned char* dynamic_shared = nullptr;
  std::vector<char> saved;  ///< cooperative launch: its shared variables while another block runs
  bool done = false;
  void* shadow = nullptr;  ///< the checker's
};

struct Launch {
  explicit Launch(const LaunchRequest& r) : request(r), options(simt::options()) {}
  LaunchRequest request;
  Options options;
  unsigned blocks = 0, threads = 0;
  std::vector<uint3> indices;   ///< of a block's threads by rank
  std::vector<unsigned> order;  ///< of blocks; empty: forward
  std::uint32_t first_serial = 0;
  std::vector<const SharedVariable*> shared;
  std::atomic<unsigned> next{0};  ///< block to start
  std::atomic<bool> failed{false};

  /// Keeps the first message.
  void fail(std::string message);
  const std::string& message() const { return message_; }

 private:
  std::mutex mutex_;
  std::string message_;
};

/// A host thread that runs blocks.
struct Worker {
  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Fiber host;  ///< the host thread's own stack
  Fiber* fiber = &host;
  Thread* thread = nullptr;  ///< running
  Thread* first = nullptr;   ///< that a fiber just taken is to start
  Block* block = nullptr;
  // True only while a kernel's code runs. Templates of std:: that the executor uses may be linked
  // from an instrumented object file (one copy is kept), so their accesses reach the checker too.
  bool in_kernel = false;
  FiberPool fibers;
  Range thread_locals;
  Counters counters;
  std::vector<char> signal_stack;
};

/// The calling host thread's, if it runs blocks.
extern constinit thread_local Worker* current_worker;
Worker& this_worker();

/// Callbacks of the access checker; null in programs without it.
struct CheckHooks {
  void (*launch_begins)(Launch&);
  std::string (*launch_ends)(Launch&);  ///< findings, or nothing
  void (*block_begins)(Block&);
  void (*block_ends)(Block&);
  void (*barrier)(Block&);
  void (*warp_barrier)(Block&, unsigned warp, unsigned mask);
  void (*grid_barrier)(Launch&);
  void (*fence)(Block&);
  void (*copied)(const AsyncCopy&);
};
extern constinit const CheckHooks* check_hooks;

/// Where the block's copy of a shared variable lies while it runs on this host thread.
inline char* address_of(const SharedVariable& v) {
  return (v.thread_local_ ? current_worker->thread_locals.begin : nullptr) + v.value;
}

}  // namespace mwalimu::simt::detail
