// core/config: what this build has. Set by the CMake target that a program links, so all parts of
// one program agree.
#pragma once

namespace mwalimu {

/// Whether operations may run on a CUDA device: the program links mwalimu::kernels, or is compiled
/// by nvcc against mwalimu::cuda.
#if defined(MWALIMU_CUDA)
inline constexpr bool kCuda = true;
#else
inline constexpr bool kCuda = false;
#endif

}  // namespace mwalimu

// For functions that kernels call, too, and that are not constexpr: nvcc takes those as they are
// (--expt-relaxed-constexpr, which mwalimu::cuda carries). The body means the same to every compiler.
#if defined(__CUDACC__)
#define MWALIMU_HOST_DEVICE __host__ __device__
#else
#define MWALIMU_HOST_DEVICE
#endif
