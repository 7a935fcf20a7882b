// A launch from the outside: the limits it must keep, and its blocks' order.
#include "simt/launch.hpp"

#include <algorithm>
#include <set>
#include <thread>
#include <unordered_map>

#include "blocks.hpp"
#include "report.hpp"

namespace mwalimu::simt {
namespace {

Counters counters_of_last_launch;
struct {
  void (*before)() = nullptr;
  void (*after)() = nullptr;
} launch_guard;

class Guarded {
 public:
  Guarded() {
    if (launch_guard.before != nullptr) launch_guard.before();
  }
  ~Guarded() {
    if (launch_guard.after != nullptr) launch_guard.after();
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
};

}  // namespace

Counters last_counters() { return counters_of_last_launch; }
bool checks_accesses() { return detail::check_hooks != nullptr; }
void set_launch_guard(void (*before)(), void (*after)()) { launch_guard = {before, after}; }

namespace detail {
namespace {

const std::vector<const SharedVariable*>& shared_variables_known(const void* kernel) {
  static std::unordered_map<const void*, std::vector<const SharedVariable*>> known;
  const auto [at, is_new] = known.try_emplace(kernel);
  if (is_new) at->second = shared_variables_of(kernel);
  return at->second;
}

template <class... Args>
void limit(const Launch& launch, bool kept, const char* pattern, const Args&... args) {
  if (kept) return;
  throw LaunchError(describe_launch(launch, nullptr) + "\n  " + format(pattern, args...));
}

void check_limits(const Launch& launch) {
  const dim3 g = launch.request.grid, b = launch.request.block;
  const unsigned long long blocks = 1ull * g.x * g.y * g.z, threads = 1ull * b.x * b.y * b.z;
  limit(launch, blocks > 0 && threads > 0, "the grid and the block want at least one of each");
  limit(launch, threads <= 1024 && b.z <= 64,
        "a block has at most 1024 threads, 64 of them in z; got %llu", threads);
  limit(launch, g.y <= 65535 && g.z <= 65535, "a grid has at most 65535 blocks in y and in z");
  limit(launch, blocks <= 1u << 26, "the executor runs grids of up to 2^26 blocks, got %llu",
        blocks);

  std::set<std::string_view> counted;  // a kernel's variables may be there once an object file
  std::size_t fixed = 0;
  for (const SharedVariable* v : launch.shared) {
    if (v->of_kernel && counted.insert(v->mangled).second) fixed += v->bytes;
  }
  const std::size_t dynamic = launch.request.shared_bytes;
  limit(launch, fixed <= 48 << 10,
        "the kernel declares %zu bytes of shared memory; the limit is 49152", fixed);
  limit(launch, fixed + dynamic <= launch.options.max_shared_bytes,
        "%zu bytes of declared and %zu of dynamic shared memory; the limit is %zu", fixed, dynamic,
        launch.options.max_shared_bytes);
  limit(launch,
        !launch.request.cooperative || blocks <= static_cast<unsigned long long>(std::max(
                                                     launch.options.cooperative_blocks, 0)),
        "a cooperative launch of %llu blocks; max_cooperative_blocks says %d", blocks,
        launch.options.cooperative_blocks);
}

void lay_out(Launch& launch) {
  const dim3 g = launch.request.grid, b = launch.request.block;
  launch.blocks = g.x * g.y * g.z;
  launch.threads = b.x * b.y * b.z;
  launch.indices.resize(launch.threads);
  for (unsigned i = 0; i < launch.threads; ++i) {
    launch.indices[i] = {i % b.x, i / b.x % b.y, i / b.x / b.y};
  }
  if (launch.options.order == Schedule::forward) return;
  launch.order.resize(launch.blocks);
  for (unsigned i = 0; i < launch.blocks; ++i) launch.order[i] = launch.blocks - 1 - i;
  if (launch.options.order == Schedule::reverse) return;
  Shuffler shuffler(launch.options.seed * 0x9E3779B97F4A7C15ull);
  for (unsigned i = launch.blocks; i > 1; --i) {
    std::swap(launch.order[i - 1], launch.order[shuffler.below(i)]);
  }
}

unsigned workers_for(const Launch& launch) {
  const bool one_copy = std::any_of(launch.shared.begin(), launch.shared.end(),
                                    [](const auto* v) { return !v->thread_local_; });
  if (launch.request.cooperative || one_copy || check_hooks != nullptr) return 1;
  const unsigned wanted = launch.options.workers > 0
                              ? static_cast<unsigned>(launch.options.workers)
                              : std::max(1u, std::thread::hardware_concurrency());
  return std::min(wanted, launch.blocks);
}

}  // namespace

void run(const LaunchRequest& request) {
  static std::mutex one_at_a_time;
  if (current_worker != nullptr && current_worker->thread != nullptr) {
    throw LaunchError("simt: a launch from inside a kernel");
  }
  const std::lock_guard lock(one_at_a_time);
  install_crash_reports();
  require<LaunchError>(have_symbols(),
                       "simt: the program has no symbol table, in which the "
                       "executor finds shared variables; do not strip it");
  Launch launch(request);
  launch.shared = shared_variables_known(request.kernel);
  check_limits(launch);
  lay_out(launch);
  static std::uint32_t next_serial = 1;
  if (next_serial > 0xC0000000u) next_serial = 1;  // long before it overflows
  launch.first_serial = next_serial;
  next_serial += launch.blocks;

  if (check_hooks != nullptr) check_hooks->launch_begins(launch);
  {
    const Guarded guarded;
    counters_of_last_launch = run_on_workers(launch, workers_for(launch) - 1);
  }
  const std::string findings = check_hooks != nullptr ? check_hooks->launch_ends(launch) : "";
  if (launch.failed) throw LaunchError(launch.message());
  if (!findings.empty() && launch.options.findings_throw) {
    throw LaunchError(describe_launch(launch, nullptr) + findings);
  }
}

}  // namespace detail
}  // namespace mwalimu::simt
