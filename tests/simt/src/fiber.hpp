// simt/fiber: stacks that run the threads of a kernel, and the switch between them. The only file
// that knows Boost.Context.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <memory>
#include <vector>

// Found where the program is linked with AddressSanitizer; the executor itself is never
// instrumented.
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom,
                                                          std::size_t bytes);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack,
                                                           const void** old_bottom,
                                                           std::size_t* old_bytes);
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* at,
                                                         std::size_t bytes);
__attribute__((weak)) int __asan_address_is_poisoned(const volatile void* at);
}

namespace mwalimu::simt::detail {

inline bool under_address_sanitizer() { return __sanitizer_start_switch_fiber != nullptr; }

/// A stack. It runs one CUDA thread after another.
struct Fiber {
  boost::context::detail::fcontext_t context = nullptr;
  char* low = nullptr;  ///< lowest usable byte
  std::size_t bytes = 0;
  void* fake_stack = nullptr;  ///< AddressSanitizer's, while suspended
};

/// To be called first on the stack that a switch arrives at.
inline __attribute__((always_inline)) void arrive(boost::context::detail::transfer_t transfer,
                                                  void* fake_stack, Fiber& host) {
  Fiber* const from = static_cast<Fiber*>(transfer.data);
  from->context = transfer.fctx;
  if (under_address_sanitizer()) {
    const void* bottom = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
    if (from == &host) {  // the first switch tells where the host thread's own stack lies
      host.low = static_cast<char*>(const_cast<void*>(bottom));
      host.bytes = bytes;
    }
  }
}

/// Leaves `from` for `to`; returns when somebody switches back.
inline __attribute__((always_inline)) void jump(Fiber& from, Fiber& to, Fiber& host) {
  if (under_address_sanitizer()) {
    __sanitizer_start_switch_fiber(&from.fake_stack, to.low, to.bytes);
  }
  arrive(boost::context::detail::jump_fcontext(to.context, &from), from.fake_stack, host);
}

/// One worker's fibers.
class FiberPool {
 public:
  using Entry = void (*)(boost::context::detail::transfer_t);
  explicit FiberPool(Entry entry) : entry_(entry) {}
  ~FiberPool() { release(); }
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  /// A fiber that starts at the entry.
  Fiber* take() {
    if (idle_.empty()) return make();
    Fiber* const fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }
  /// A fiber that waits in the entry's loop for its next thread.
  void give_back(Fiber* fiber) { idle_.push_back(fiber); }

  /// Forgets what every fiber was doing; nothing is unwound.
  void abandon_all();
  /// Stacks of another size from now on. No fiber is in use.
  void set_stack_bytes(std::size_t bytes);
  /// Whether `address` lies in a fiber's stack, or between two.
  bool holds(const void* address) const { return address >= low_ && address < high_; }
  /// Whether the words at the low end of the stack are as they were.
  static bool is_intact(const Fiber& fiber);

 private:
  Fiber* make();
  void reset(Fiber& fiber, std::size_t index) const;
  void release();

  Entry entry_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
  std::size_t stack_bytes_ = 0;
  struct Slab {
    char* memory;
    std::size_t bytes;
  };
  std::vector<Slab> slabs_;
  std::size_t unused_stacks_ = 0;  ///< at the end of the last slab
  char *low_ = nullptr, *high_ = nullptr;
};

}  // namespace mwalimu::simt::detail
