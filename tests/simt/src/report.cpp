#include "report.hpp"

#include <cstdarg>
#include <cstdio>
#include <map>
#include <utility>

#include "scheduler.hpp"

namespace mwalimu::simt {
namespace detail {
namespace {

std::string place_of(const Thread& thread) {
  switch (thread.state) {
    case ThreadState::at_barrier:
    case ThreadState::at_grid:
      return format("waiting at %s, %s:%d", thread.what, thread.file, thread.line);
    case ThreadState::in_warp:
      return format("waiting at %s with mask 0x%08x, %s:%d", thread.what, thread.mask, thread.file,
                    thread.line);
    case ThreadState::returned:
      return "returned";
    case ThreadState::running:
      return "running";
    case ThreadState::ready:
      return thread.fiber != nullptr ? "ready" : "not started";
  }
  return "";
}

}  // namespace

std::string format(const char* pattern, ...) {
  char text[1024];
  std::va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

std::string ranges(const std::vector<unsigned>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (!text.empty()) text += ",";
    text += std::to_string(numbers[i]);
    if (last > i) text += "-" + std::to_string(numbers[last]);
    i = last + 1;
    if (text.size() > 160 && i < numbers.size()) return text + ",...";
  }
  return text;
}

std::string describe_launch(const Launch& launch, const Block* block) {
  static constexpr const char* kOrders[] = {"forward", "reverse", "random"};
  const dim3 g = launch.request.grid, b = launch.request.block;
  std::string text =
      "kernel " + function_name(launch.request.kernel) +
      format(" <<<(%u,%u,%u),(%u,%u,%u)>>> [MWALIMU_SIMT_ORDER=%s MWALIMU_SIMT_SEED=%llu]", g.x,
             g.y, g.z, b.x, b.y, b.z, kOrders[static_cast<int>(launch.options.order)],
             static_cast<unsigned long long>(launch.options.seed));
  if (block != nullptr) {
    text += format(" block (%u,%u,%u)", block->index.x, block->index.y, block->index.z);
  }
  return text;
}

std::string describe_threads(const Block& block) {
  std::map<std::string, std::vector<unsigned>> places;
  for (const Thread& thread : block.threads) places[place_of(thread)].push_back(thread.rank);
  std::string text;
  for (const auto& [place, threads] : places) {
    text += "\n    " + std::string(threads.size() == 1 ? "thread " : "threads ") + ranges(threads) +
            ": " + place;
  }
  return text;
}

void Launch::fail(std::string message) {
  const std::lock_guard lock(mutex_);
  if (!failed.exchange(true)) message_ = std::move(message);
}

// Nothing is unwound: kernels need no exceptions, and their stacks are dropped as they are. What
// this function holds is therefore freed before it leaves.
void fail(std::string message, const char* file, int line) {
  Worker& worker = *current_worker;
  worker.in_kernel = false;
  {
    Launch& launch = *worker.block->launch;
    const uint3 index = worker.thread->index;
    std::string text = describe_launch(launch, worker.block) +
                       format(" thread (%u,%u,%u)\n  ", index.x, index.y, index.z) +
                       std::exchange(message, std::string());
    if (line != 0) text += format(", at %s:%d", file, line);
    launch.fail(std::move(text));
  }
  drop_thread(worker);
}

}  // namespace detail

std::string where() {
  const detail::Worker* worker = detail::current_worker;
  if (worker == nullptr || worker->thread == nullptr) return "host code";
  const uint3 b = worker->block->index, t = worker->thread->index;
  const std::string kernel = detail::function_name(worker->block->launch->request.kernel);
  return "kernel " + kernel +
         detail::format(", block (%u,%u,%u), thread (%u,%u,%u)", b.x, b.y, b.z, t.x, t.y, t.z);
}

}  // namespace mwalimu::simt
