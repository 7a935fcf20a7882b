// simt/barriers: block-wide and grid-wide barriers, fences and waits.
#pragma once

#include <string>

#include "simt/specifiers.hpp"

namespace mwalimu::simt {
namespace detail {

enum class Vote { none, count, all, any };
int block_barrier(Vote vote, int predicate, const char* file, int line);
void grid_barrier(const char* file, int line);
void yield();
void fence();
/// Ends the launch with an error at the current thread.
[[noreturn]] void fail(std::string message, const char* file, int line);
unsigned lane();         ///< of the current thread in its warp, 0..31
unsigned thread_rank();  ///< of the current thread in its block, x fastest

}  // namespace detail

/// Waits for every thread of a cooperative launch.
inline void grid_sync(MWALIMU_SIMT_HERE) { detail::grid_barrier(file_, line_); }

}  // namespace mwalimu::simt

inline void __syncthreads(MWALIMU_SIMT_HERE) {
  ::mwalimu::simt::detail::block_barrier(::mwalimu::simt::detail::Vote::none, 0, file_, line_);
}
inline int __syncthreads_count(int predicate, MWALIMU_SIMT_HERE) {
  using ::mwalimu::simt::detail::Vote;
  return ::mwalimu::simt::detail::block_barrier(Vote::count, predicate, file_, line_);
}
inline int __syncthreads_and(int predicate, MWALIMU_SIMT_HERE) {
  using ::mwalimu::simt::detail::Vote;
  return ::mwalimu::simt::detail::block_barrier(Vote::all, predicate, file_, line_);
}
inline int __syncthreads_or(int predicate, MWALIMU_SIMT_HERE) {
  using ::mwalimu::simt::detail::Vote;
  return ::mwalimu::simt::detail::block_barrier(Vote::any, predicate, file_, line_);
}
inline void __threadfence() { ::mwalimu::simt::detail::fence(); }
inline void __threadfence_block() { ::mwalimu::simt::detail::fence(); }
inline void __threadfence_system() { ::mwalimu::simt::detail::fence(); }
/// Lets the block's other threads run: a wait loop must call it.
inline void __nanosleep(unsigned) { ::mwalimu::simt::detail::yield(); }
[[noreturn]] inline void __trap(MWALIMU_SIMT_HERE) {
  ::mwalimu::simt::detail::fail("__trap()", file_, line_);
}
