// The functions that g++ -fsanitize=thread calls before every load and store. Linked in place of
// the sanitizer's own library, they hand a kernel's accesses to the checker.
#include "../src/state.hpp"
#include "rules.hpp"

extern "C" char __executable_start;

namespace mwalimu::simt::detail {
namespace {

bool lies_in(Address address, const char* begin, const char* end) {
  return address - reinterpret_cast<Address>(begin) < static_cast<Address>(end - begin);
}

std::uint32_t relative(void* pc) {
  return static_cast<std::uint32_t>(static_cast<char*>(pc) - &__executable_start);
}

void on_access(const volatile void* at, std::size_t bytes, bool write, bool atomic, void* pc) {
  Worker* const worker = current_worker;
  if (worker == nullptr || !worker->in_kernel) return;
  const auto address = reinterpret_cast<Address>(at);
  const LaunchRequest& request = worker->block->launch->request;
  const char* const parameters = static_cast<const char*>(request.call);
  if (worker->fibers.holds(const_cast<const void*>(at)) ||
      lies_in(address, worker->thread_locals.begin, worker->thread_locals.end) ||
      lies_in(address, parameters, parameters + request.call_bytes)) {
    return;  // private to the thread, or the same for all
  }
  worker->in_kernel = false;
  checker().access(*worker->block, worker->thread->rank,
                   {address, static_cast<unsigned>(bytes), write, atomic, relative(pc)});
  worker->in_kernel = true;
}

void copied(const AsyncCopy& copy) {
  Worker& worker = *current_worker;
  const std::size_t read = copy.bytes - copy.zeros;
  const auto touch = [&](const void* at, std::size_t bytes, bool write) {
    checker().access(*worker.block, worker.thread->rank,
                     {reinterpret_cast<Address>(at), static_cast<unsigned>(bytes), write, false,
                      relative(copy.pc)});
  };
  if (read != 0) touch(copy.from, read, false);
  touch(copy.to, copy.bytes, true);
}

constexpr CheckHooks hooks{
    .launch_begins = [](Launch& launch) { checker().begin_launch(launch); },
    .launch_ends = [](Launch& launch) { return checker().end_launch(launch); },
    .block_begins = [](Block& block) { checker().begin_block(block); },
    .block_ends = [](Block& block) { checker().end_block(block); },
    .barrier = [](Block& block) { checker().barrier(block); },
    .warp_barrier = [](Block& block, unsigned warp,
                       unsigned mask) { checker().warp_barrier(block, warp, mask); },
    .grid_barrier = [](Launch&) { checker().grid_barrier(); },
    .fence = [](Block& block) { checker().fence(block, current_worker->thread->rank); },
    .copied = copied,
};

[[maybe_unused]] const bool installed = (check_hooks = &hooks, true);

}  // namespace
}  // namespace mwalimu::simt::detail

// The names and the types are the compiler's.
#define MWALIMU_ACCESS(p, bytes, write, atomic) \
  ::mwalimu::simt::detail::on_access(p, bytes, write, atomic, __builtin_return_address(0))

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}

void __tsan_read_range(void* p, unsigned long bytes) { MWALIMU_ACCESS(p, bytes, false, false); }
void __tsan_write_range(void* p, unsigned long bytes) { MWALIMU_ACCESS(p, bytes, true, false); }

#define MWALIMU_PLAIN(N)                                                                 \
  void __tsan_read##N(void* p) { MWALIMU_ACCESS(p, N, false, false); }                   \
  void __tsan_write##N(void* p) { MWALIMU_ACCESS(p, N, true, false); }                   \
  void __tsan_unaligned_read##N(void* p) { MWALIMU_ACCESS(p, N, false, false); }         \
  void __tsan_unaligned_write##N(void* p) { MWALIMU_ACCESS(p, N, true, false); }         \
  void __tsan_volatile_read##N(void* p) { MWALIMU_ACCESS(p, N, false, true); }           \
  void __tsan_volatile_write##N(void* p) { MWALIMU_ACCESS(p, N, true, true); }           \
  void __tsan_unaligned_volatile_read##N(void* p) { MWALIMU_ACCESS(p, N, false, true); } \
  void __tsan_unaligned_volatile_write##N(void* p) { MWALIMU_ACCESS(p, N, true, true); }
MWALIMU_PLAIN(1)
MWALIMU_PLAIN(2)
MWALIMU_PLAIN(4)
MWALIMU_PLAIN(8)
MWALIMU_PLAIN(16)

#define MWALIMU_FETCH(B, T, op)                                  \
  T __tsan_atomic##B##_fetch_##op(volatile T* p, T value, int) { \
    MWALIMU_ACCESS(p, B / 8, true, true);                        \
    return __atomic_fetch_##op(p, value, __ATOMIC_SEQ_CST);      \
  }
#define MWALIMU_ATOMIC(B, T)                                                                      \
  T __tsan_atomic##B##_load(const volatile T* p, int) {                                           \
    MWALIMU_ACCESS(p, B / 8, false, true);                                                        \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                  \
  }                                                                                               \
  void __tsan_atomic##B##_store(volatile T* p, T value, int) {                                    \
    MWALIMU_ACCESS(p, B / 8, true, true);                                                         \
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                                                 \
  }                                                                                               \
  T __tsan_atomic##B##_exchange(volatile T* p, T value, int) {                                    \
    MWALIMU_ACCESS(p, B / 8, true, true);                                                         \
    return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);                                       \
  }                                                                                               \
  MWALIMU_FETCH(B, T, add)                                                                        \
  MWALIMU_FETCH(B, T, sub)                                                                        \
  MWALIMU_FETCH(B, T, and)                                                                        \
  MWALIMU_FETCH(B, T, or)                                                                         \
  MWALIMU_FETCH(B, T, xor)                                                                        \
  MWALIMU_FETCH(B, T, nand)                                                                       \
  int __tsan_atomic##B##_compare_exchange_strong(volatile T* p, T* expected, T value, int, int) { \
    MWALIMU_ACCESS(p, B / 8, true, true);                                                         \
    return __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST,               \
                                       __ATOMIC_SEQ_CST);                                         \
  }                                                                                               \
  int __tsan_atomic##B##_compare_exchange_weak(volatile T* p, T* expected, T value, int, int) {   \
    MWALIMU_ACCESS(p, B / 8, true, true);                                                         \
    return __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST,               \
                                       __ATOMIC_SEQ_CST);                                         \
  }                                                                                               \
  T __tsan_atomic##B##_compare_exchange_val(volatile T* p, T expected, T value, int, int) {       \
    MWALIMU_ACCESS(p, B / 8, true, true);                                                         \
    __atomic_compare_exchange_n(p, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);  \
    return expected;                                                                              \
  }
MWALIMU_ATOMIC(8, unsigned char)
MWALIMU_ATOMIC(16, unsigned short)
MWALIMU_ATOMIC(32, unsigned)
MWALIMU_ATOMIC(64, unsigned long)

}  // extern "C"
