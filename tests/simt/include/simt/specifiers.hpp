// simt/specifiers: CUDA's declaration specifiers for a C++ compiler.
//
// The abi_tag marks the mangled names of kernels and of their shared variables (function-local
// statics of templates included), so that the executor finds each one, its name, address and size,
// in the program's own symbol table.
#pragma once

#if defined(__CUDACC__)
#error "simt/ is the host's stand-in for CUDA; under nvcc include kernels/simt.cuh"
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MWALIMU_SIMT_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define MWALIMU_SIMT_CHECK 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(MWALIMU_SIMT_ASAN)
#define MWALIMU_SIMT_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(MWALIMU_SIMT_CHECK)
#define MWALIMU_SIMT_CHECK 1
#endif

// Plain: shared variables are thread-local, so that each worker thread runs its own block.
// AddressSanitizer puts no red zones around thread-locals, nor around statics of functions with
// external linkage: there shared variables are statics, kernels are static functions, and blocks
// run one at a time, as they do in check builds.
#if defined(MWALIMU_SIMT_ASAN)
#define __shared__ static __attribute__((abi_tag("simt_shared")))
#define __global__ static __attribute__((noinline, unused, abi_tag("simt_kernel")))
#elif defined(MWALIMU_SIMT_CHECK)
#define __shared__ static __attribute__((abi_tag("simt_shared")))
#define __global__ __attribute__((noinline, abi_tag("simt_kernel")))
#else
#define __shared__ static thread_local __attribute__((abi_tag("simt_shared")))
#define __global__ __attribute__((noinline, abi_tag("simt_kernel")))
#endif

#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
// glibc's headers know __align__ by no other meaning; CUDA spells alignas so.
#define __align__(n) __attribute__((aligned(n)))

// Inlined helpers let the checkers name the kernel's own line; without optimisation a debugger can
// step into them.
#if defined(__OPTIMIZE__)
#define __forceinline__ inline __attribute__((always_inline))
#else
#define __forceinline__ inline
#endif

/// Declares `T* const name`: the block's dynamic shared memory. Once a kernel.
#define MWALIMU_DYNAMIC_SHARED(T, name) \
  T* const name = static_cast<T*>(::mwalimu::simt::detail::dynamic_shared(sizeof(T)))

// Every call that synchronises carries its own source line, for messages.
#define MWALIMU_SIMT_HERE const char *file_ = __builtin_FILE(), int line_ = __builtin_LINE()
