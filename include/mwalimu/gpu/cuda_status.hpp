// gpu/cuda_status: what a failure of CUDA's runtime is thrown as.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "mwalimu/core/check.hpp"

namespace mwalimu::gpu {

/// Whether the device is not there, is not to be had, or has no room: what a program's user can do
/// something about. All else is a mistake of ours, or of the machine.
inline bool lacks_device(cudaError_t status) {
  switch (status) {
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorDevicesUnavailable:
    case cudaErrorMemoryAllocation: return true;
    default: return false;
  }
}

/// Unless `status` is success, throws the call's or the kernel's name, CUDA's text and name for the
/// failure, the device, and `more` of the circumstances.
/// @throws DeviceError  lacks_device(status).
/// @throws CudaError    any other failure.
template <class... More>
void check_cuda(cudaError_t status, const char* call, int device, const More&... more) {
  if (status == cudaSuccess) [[likely]] return;
  (void)cudaGetLastError();  // an error that is not sticky must not be reported twice
  const std::string text =
      mwalimu::detail::concatenate(call, ": ", cudaGetErrorString(status), " (",
                                   cudaGetErrorName(status), ") on cuda:", device, more...);
  if (lacks_device(status)) throw DeviceError(text);
  throw CudaError(text);
}

}  // namespace mwalimu::gpu
