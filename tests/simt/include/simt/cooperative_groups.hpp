// simt/cooperative_groups: the part of CUDA's cooperative groups that kernels here may use.
#pragma once

#include <bit>

#include "simt/barriers.hpp"
#include "simt/vectors.hpp"
#include "simt/warp.hpp"

namespace cooperative_groups {

struct thread_block {
  static void sync(MWALIMU_SIMT_HERE) { ::__syncthreads(file_, line_); }
  static unsigned thread_rank() { return ::mwalimu::simt::detail::thread_rank(); }
  static unsigned size() { return blockDim.x * blockDim.y * blockDim.z; }
  static unsigned num_threads() { return size(); }
  static dim3 group_index() { return blockIdx; }
  static dim3 thread_index() { return threadIdx; }
};
inline thread_block this_thread_block() { return {}; }

/// Every thread of a cooperative launch.
struct grid_group {
  static void sync(MWALIMU_SIMT_HERE) { ::mwalimu::simt::detail::grid_barrier(file_, line_); }
  static unsigned block_rank() {
    return blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  }
  static unsigned num_blocks() { return gridDim.x * gridDim.y * gridDim.z; }
  static unsigned long long thread_rank() {
    return static_cast<unsigned long long>(block_rank()) * thread_block::size() +
           thread_block::thread_rank();
  }
  static unsigned long long size() {
    return static_cast<unsigned long long>(num_blocks()) * thread_block::size();
  }
  static unsigned long long num_threads() { return size(); }
  static bool is_valid() { return true; }
};
inline grid_group this_grid() { return {}; }

/// N neighbouring lanes of a warp.
template <unsigned N, class Parent = void>
struct thread_block_tile {
  static_assert(N <= 32 && std::has_single_bit(N));
  static unsigned thread_rank() { return ::mwalimu::simt::detail::lane() & (N - 1); }
  static constexpr unsigned size() { return N; }
  static constexpr unsigned num_threads() { return N; }
  static unsigned meta_group_rank() { return ::mwalimu::simt::detail::thread_rank() / N; }
  static unsigned meta_group_size() { return (thread_block::size() + N - 1) / N; }
  static void sync(MWALIMU_SIMT_HERE) { ::__syncwarp(mask(), file_, line_); }
  template <class T>
  static T shfl(T value, int source, MWALIMU_SIMT_HERE) {
    return ::__shfl_sync(mask(), value, source, N, file_, line_);
  }
  template <class T>
  static T shfl_up(T value, unsigned distance, MWALIMU_SIMT_HERE) {
    return ::__shfl_up_sync(mask(), value, distance, N, file_, line_);
  }
  template <class T>
  static T shfl_down(T value, unsigned distance, MWALIMU_SIMT_HERE) {
    return ::__shfl_down_sync(mask(), value, distance, N, file_, line_);
  }
  template <class T>
  static T shfl_xor(T value, unsigned flip, MWALIMU_SIMT_HERE) {
    return ::__shfl_xor_sync(mask(), value, static_cast<int>(flip), N, file_, line_);
  }
  static unsigned ballot(int predicate, MWALIMU_SIMT_HERE) {
    return ::__ballot_sync(mask(), predicate, file_, line_) >> first_lane();
  }
  static int any(int predicate, MWALIMU_SIMT_HERE) {
    return ::__any_sync(mask(), predicate, file_, line_);
  }
  static int all(int predicate, MWALIMU_SIMT_HERE) {
    return ::__all_sync(mask(), predicate, file_, line_);
  }

 private:
  static unsigned first_lane() { return ::mwalimu::simt::detail::lane() & ~(N - 1); }
  static unsigned mask() { return (N == 32 ? ~0u : (1u << N % 32) - 1) << first_lane(); }
};
template <unsigned N, class Parent>
thread_block_tile<N, Parent> tiled_partition(const Parent&) {
  return {};
}

}  // namespace cooperative_groups
