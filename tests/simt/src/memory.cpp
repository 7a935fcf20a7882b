// Dynamic shared memory, and asynchronous copies into shared memory.
#include "simt/memory.hpp"

#include <cstdint>
#include <cstring>

#include "report.hpp"
#include "state.hpp"

namespace mwalimu::simt::detail {
namespace {

class OutsideKernel {
 public:
  OutsideKernel() { current_worker->in_kernel = false; }
  ~OutsideKernel() { current_worker->in_kernel = true; }
  OutsideKernel(const OutsideKernel&) = delete;
  OutsideKernel& operator=(const OutsideKernel&) = delete;
};

}  // namespace

void* dynamic_shared(std::size_t element_bytes) {
  const Block& block = *current_worker->block;
  if (block.launch->request.shared_bytes < element_bytes) {
    fail(format("the kernel uses dynamic shared memory but was launched with %zu bytes of it",
                block.launch->request.shared_bytes),
         "", 0);
  }
  return block.dynamic_shared;
}

void async_copy(void* to, const void* from, std::size_t bytes, std::size_t zeros, const char* file,
                int line) {
  const OutsideKernel outside;
  const auto addresses =
      reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from);
  if ((bytes != 4 && bytes != 8 && bytes != 16) || zeros > bytes) {
    fail(format("__pipeline_memcpy_async: want 4, 8 or 16 bytes, got %zu with %zu zeros", bytes,
                zeros),
         file, line);
  }
  if (addresses % bytes != 0) {
    fail(format("__pipeline_memcpy_async: want addresses aligned to %zu bytes, got %p and %p",
                bytes, to, from),
         file, line);
  }
  auto& groups = current_worker->thread->copies;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({to, from, bytes, zeros, __builtin_return_address(0)});
}

void async_commit() {
  const OutsideKernel outside;
  auto& groups = current_worker->thread->copies;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void async_wait(unsigned prior) {
  const OutsideKernel outside;
  auto& groups = current_worker->thread->copies;
  while (groups.size() > std::size_t{prior} + 1) {
    for (const AsyncCopy& copy : groups.front()) {
      if (check_hooks != nullptr) check_hooks->copied(copy);
      std::memcpy(copy.to, copy.from, copy.bytes - copy.zeros);
      std::memset(static_cast<char*>(copy.to) + copy.bytes - copy.zeros, 0, copy.zeros);
    }
    groups.erase(groups.begin());
  }
}

}  // namespace mwalimu::simt::detail
