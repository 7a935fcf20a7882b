// simt/options: in which order the executor runs the threads of a kernel, and how strict it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "mwalimu/core/check.hpp"

namespace mwalimu::simt {

/// What a launch throws when the kernel breaks CUDA's rules. The text names the kernel, the block,
/// the thread, the variable, the source lines, and the schedule that shows it.
struct LaunchError : Error {
  using Error::Error;
};
/// What a launch throws, in either world.
using error = LaunchError;

/// In which order threads that can go on do so, and blocks begin.
enum class Schedule { forward, reverse, random };

struct Options {
  Schedule order = Schedule::random;  ///< MWALIMU_SIMT_ORDER=forward|reverse|random
  std::uint64_t seed = 1;             ///< MWALIMU_SIMT_SEED; of the random order
  int workers = 0;                    ///< MWALIMU_SIMT_WORKERS; 0: one a core
  bool traffic = false;               ///< MWALIMU_SIMT_TRAFFIC=1, which also prints; check builds
  bool findings_throw = true;         ///< a launch with races or uninitialised reads throws
  bool allow_early_return = false;    ///< sm_70 lets threads that returned miss a barrier
  int poison = 0xFF;                  ///< byte over shared memory before each block; < 0: none
  std::size_t stack_bytes = 0;        ///< of a thread; 0: 64 KB, 256 KB under AddressSanitizer
  std::size_t max_shared_bytes = 227 << 10;  ///< of a block; sm_90's limit (sm_80: 163 KB)
  int cooperative_blocks = 4;                ///< what max_cooperative_blocks() answers
};

namespace detail {
Options options_from_environment();
}

/// Process-wide; read from the environment at first use. Not to be changed while a kernel runs.
/// @throws ValueError  an environment variable has a value that is none of its own.
Options& options();

/// Puts the options back as they were.
class ScopedOptions {
 public:
  ScopedOptions() : saved_(options()) {}
  ~ScopedOptions() { options() = saved_; }
  ScopedOptions(const ScopedOptions&) = delete;
  ScopedOptions& operator=(const ScopedOptions&) = delete;

 private:
  Options saved_;
};
using scoped_options = ScopedOptions;

/// Runs test(), or test(i), under the forward, the reverse and `random_orders` random schedules.
template <class F>
void for_each_schedule(int random_orders, F&& test) {
  const ScopedOptions keep;
  for (int i = 0; i < random_orders + 2; ++i) {
    options().order = i == 0 ? Schedule::forward : i == 1 ? Schedule::reverse : Schedule::random;
    options().seed = static_cast<std::uint64_t>(i) + 1;
    if constexpr (std::is_invocable_v<F&, int>) {
      test(i);
    } else {
      test();
    }
  }
}

/// Work of the last launch.
struct Counters {
  std::uint64_t blocks = 0, threads = 0, switches = 0, barriers = 0, warp_operations = 0;
};
Counters last_counters();

/// "kernel k<float>, block (1,0,0), thread (3,0,0)", or "host code".
std::string where();

/// Whether this program checks every access (flavour `check`).
bool checks_accesses();

/// Called before and after the threads of each launch run, whatever becomes of them, on the
/// launching thread. Null: nothing is called.
void set_launch_guard(void (*before)(), void (*after)());

}  // namespace mwalimu::simt
