// What is thrown where CUDA has no device, and what becomes of the runtime's failures.
#include <gtest/gtest.h>

#include "mwalimu/core/tensor.hpp"
#include "mwalimu/gpu/cublaslt.hpp"
#include "mwalimu/gpu/cudnn_device.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "support/reference.hpp"

namespace mwalimu::gpu {
namespace {

using test::expect_error;

TEST(CudaStatus, WhatAUserCanHelpIsADeviceError) {
  for (const auto status :
       {cudaErrorNoDevice, cudaErrorInvalidDevice, cudaErrorInsufficientDriver,
        cudaErrorDevicesUnavailable, cudaErrorMemoryAllocation}) {
    expect_error<DeviceError>([&] { check_cuda(status, "cudaMalloc", 3); },
                              cudaGetErrorName(status));
  }
  for (const auto status : {cudaErrorInvalidValue, cudaErrorIllegalAddress,
                            cudaErrorLaunchOutOfResources, cudaErrorStreamCaptureUnsupported}) {
    expect_error<CudaError>([&] { check_cuda(status, "cudaMalloc", 3); },
                            cudaGetErrorName(status));
  }
  EXPECT_NO_THROW(check_cuda(cudaSuccess, "cudaMalloc", 3));
}

TEST(CudaStatus, NamesCallReasonDeviceAndCircumstances) {
  expect_error<CudaError>(
      [] { check_cuda(cudaErrorInvalidConfiguration, "sinkhorn", 1, ", grid (", 0, ")"); },
      "sinkhorn: invalid configuration argument (cudaErrorInvalidConfiguration) on cuda:1, grid (0)");
}

// All that a program may begin with.
TEST(NoDevice, IsADeviceErrorThatSaysWhy) {
  if (Driver::device_count() > 0) GTEST_SKIP() << "there is a device";
  EXPECT_FALSE(cuda_available());
  const auto expect = [](auto&& f) {
    expect_error<DeviceError>(f, "no CUDA device: " + Driver::why_no_device() + "; use the cpu");
  };
  const auto device = mwalimu::Device::cuda();
  expect([&] { (void)gpu_place(device); });
  expect([&] { (void)Tensor<float>::empty({2}, device); });
  expect([&] { (void)Tensor<float>::full({2}, 1).to(device); });
  expect([&] { synchronize(device); });
  expect([] { (void)Driver::info(0); });
  expect([] { (void)allocate(0, 16); });
  expect([] { Stream stream(0); });
  expect([] { Event event(0); });
  expect([] { select_device(0); });
  expect([] { (void)cublaslt::Device::of(0); });
  expect([] { (void)cudnn::Device::of(0); });
  expect([&] { DeviceStore(data::ImageStore::from_pixels({1, 2, 3}, 1, 1), device); });
  // Here the runtime is asked itself.
  expect_error<DeviceError>([] { (void)allocate_pinned(16); }, "cudaHostAlloc: ");
  expect_error<DeviceError>([] { (void)Driver::free_memory(0); }, "cudaSetDevice: ");
}

}  // namespace
}  // namespace mwalimu::gpu
