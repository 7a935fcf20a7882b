// kernels/simt: the one header of CUDA's vocabulary that a kernel includes (through launch.cuh).
//
// Under nvcc it is CUDA. Under any other compiler it is simt/host.hpp of the tests: the same names
// on an executor that runs the kernel's own source on the host (docs/simt.md). Beyond CUDA it has
//   MWALIMU_DYNAMIC_SHARED(T, name)   instead of `extern __shared__ T name[]`
//   simt::launch(kernel, grid, block, shared_bytes, stream, args...)   instead of <<<...>>>
//   simt::launch_cooperative(...), simt::max_cooperative_blocks(kernel, threads, shared_bytes)
//   simt::grid_sync()                 a barrier of all blocks of a cooperative launch
//   simt::mma_m16n8k16(c, a, b)       a product of tiles on tensor cores
#pragma once

#if !defined(__CUDACC__)

#include "simt/host.hpp"

#else

#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "mwalimu/core/check.hpp"

#define MWALIMU_DYNAMIC_SHARED(T, name)                                     \
  extern __shared__ __align__(128) unsigned char mwalimu_dynamic_shared_[]; \
  T* const name = reinterpret_cast<T*>(mwalimu_dynamic_shared_)

namespace mwalimu::simt {

/// What starting a kernel throws, in either world.
using error = CudaError;

namespace detail {

// More than 48 KB of dynamic shared memory is asked for by name.
template <class... P>
cudaError_t allow_shared(void (*kernel)(P...), std::size_t shared_bytes) {
  if (shared_bytes <= 48 * 1024) return cudaSuccess;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(shared_bytes));
}

template <class... P>
constexpr void check_parameters() {
  static_assert((sizeof(P) + ... + 0) <= 4096, "launch: kernel parameters exceed 4 KB");
  static_assert((std::is_trivially_copyable_v<P> && ...),
                "launch: kernel parameters are copied bit by bit");
  static_assert((!std::is_reference_v<P> && ...), "launch: kernels take no references");
}

}  // namespace detail

/// Queues kernel(args...) on the stream of the current device.
/// @return  what the driver says; errors inside the kernel come later.
template <class... P, class... A>
[[nodiscard]] cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block,
                                 std::size_t shared_bytes, cudaStream_t stream, A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "launch: wrong number of kernel arguments");
  detail::check_parameters<P...>();
  if (const cudaError_t status = detail::allow_shared(kernel, shared_bytes);
      status != cudaSuccess) {
    return status;
  }
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<P>(std::forward<A>(args))...);
  return cudaGetLastError();
}

/// The same with all blocks on the device at once, so that the kernel may wait for the whole grid.
template <class... P, class... A>
[[nodiscard]] cudaError_t launch_cooperative(void (*kernel)(P...), dim3 grid, dim3 block,
                                             std::size_t shared_bytes, cudaStream_t stream,
                                             A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "launch: wrong number of kernel arguments");
  detail::check_parameters<P...>();
  if (const cudaError_t status = detail::allow_shared(kernel, shared_bytes);
      status != cudaSuccess) {
    return status;
  }
  const auto start = [&](auto... values) {
    void* pointers[] = {static_cast<void*>(&values)..., nullptr};
    return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers,
                                       shared_bytes, stream);
  };
  return start(static_cast<P>(std::forward<A>(args))...);
}

/// Blocks that the current device holds at once: the most that launch_cooperative takes.
/// @throws CudaError  the driver refused to say.
template <class... P>
int max_cooperative_blocks(void (*kernel)(P...), int threads, std::size_t shared_bytes) {
  int device = 0, multiprocessors = 0, blocks = 0;
  cudaError_t status = detail::allow_shared(kernel, shared_bytes);
  if (status == cudaSuccess) status = cudaGetDevice(&device);
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  }
  if (status == cudaSuccess) {
    status = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes);
  }
  require<CudaError>(status == cudaSuccess, "max_cooperative_blocks: ", cudaGetErrorString(status),
                     " (", cudaGetErrorName(status), ") on cuda:", device);
  return multiprocessors * blocks;
}

/// Waits for every thread of a cooperative launch.
__device__ __forceinline__ void grid_sync() { cooperative_groups::this_grid().sync(); }

/// c (16, 8) += a (16, 16) b (16, 8) by a whole warp on its tensor core: a and b of bfloat16, two a
/// word, in whose lower half is the lower column (of b: row); c in float. With g = lane / 4 and
/// t = lane % 4, a lane has
///   a[r]  row g + 8 (r % 2), columns 2t + 8 (r / 2) and the next
///   b[r]  rows 2t + 8 r and the next, column g
///   c[i]  row g + 8 (i / 2), column 2t + i % 2
/// Order, rounding and subnormal numbers are the device's own affair. From compute capability 8.0.
/// Source  PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace mwalimu::simt

#endif
