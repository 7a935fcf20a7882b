// gpu/select_device: the device that this thread's calls of CUDA's libraries mean.
#pragma once

#include <cuda_runtime_api.h>

#include "mwalimu/core/check.hpp"

namespace mwalimu::gpu {

/// @throws CudaError  no such device.
inline void select_device(int device) {
  const cudaError_t status = cudaSetDevice(device);
  require<CudaError>(status == cudaSuccess, "cudaSetDevice(", device, "): ",
                     cudaGetErrorString(status));
}

}  // namespace mwalimu::gpu
