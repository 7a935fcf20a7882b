// gpu/select_device: the device that this thread's calls of CUDA's libraries mean.
#pragma once

#include "mwalimu/gpu/cuda_status.hpp"
#include "mwalimu/gpu/stream.hpp"

namespace mwalimu::gpu {

/// @throws DeviceError  there is no such device.
inline void select_device(int device) {
  require_device(device);
  check_cuda(cudaSetDevice(device), "cudaSetDevice", device);
}

}  // namespace mwalimu::gpu
