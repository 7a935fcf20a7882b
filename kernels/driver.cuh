// kernels/driver: gpu/driver by CUDA's runtime.
#pragma once

#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#include <array>
#include <mutex>
#include <optional>

#include "mwalimu/gpu/cuda_status.hpp"
#include "mwalimu/gpu/driver.hpp"
#include "mwalimu/gpu/stream.hpp"

namespace mwalimu::gpu {
namespace detail {

/// check_cuda() for this thread's device.
inline void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  int device = -1;
  (void)cudaGetDevice(&device);
  check_cuda(status, call, device);
}

// Allocation is allowed while the thread captures a graph: it is no work on a stream.
class RelaxedCapture {
 public:
  RelaxedCapture() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace detail

template <class T>
int BasicDriver<T>::device_count() {
  static const int count = [] {
    int found = 0;
    if (cudaGetDeviceCount(&found) != cudaSuccess) {
      (void)cudaGetLastError();
      found = 0;
    }
    return found < kMaxDevices ? found : kMaxDevices;
  }();
  return count;
}

template <class T>
std::string BasicDriver<T>::why_no_device() {
  int found = 0;
  const cudaError_t status = cudaGetDeviceCount(&found);
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    return cudaGetErrorString(status);
  }
  return found == 0 ? "none is visible (CUDA_VISIBLE_DEVICES?)" : "there are devices";
}

template <class T>
const DeviceInfo& BasicDriver<T>::info(int device) {
  require_device(device);
  static std::mutex mutex;
  static std::array<std::optional<DeviceInfo>, kMaxDevices> known;
  const std::lock_guard lock(mutex);
  auto& entry = known[static_cast<std::size_t>(device)];
  if (!entry) {
    cudaDeviceProp properties{};
    detail::check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
    DeviceInfo found;
    found.name = properties.name;
    found.major = properties.major;
    found.minor = properties.minor;
    found.multiprocessors = properties.multiProcessorCount;
    found.memory = properties.totalGlobalMem;
    found.l2_cache = static_cast<std::size_t>(properties.l2CacheSize);
    detail::check(cudaDriverGetVersion(&found.driver_version), "cudaDriverGetVersion");
    detail::check(cudaRuntimeGetVersion(&found.runtime_version), "cudaRuntimeGetVersion");
    entry = found;
  }
  return *entry;
}

template <class T>
void* BasicDriver<T>::allocate(int device, std::size_t bytes) {
  const detail::RelaxedCapture relaxed;
  detail::check(cudaSetDevice(device), "cudaSetDevice");
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    return nullptr;
  }
  detail::check(status, "cudaMalloc");
  return memory;
}

template <class T>
void BasicDriver<T>::free(int device, void* memory) noexcept {
  // At exit the driver may be gone already; there is nobody left to tell.
  const detail::RelaxedCapture relaxed;
  (void)cudaSetDevice(device);
  (void)cudaFree(memory);
}

template <class T>
std::size_t BasicDriver<T>::free_memory(int device) {
  std::size_t available = 0, total = 0;
  detail::check(cudaSetDevice(device), "cudaSetDevice");
  detail::check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  return available;
}

template <class T>
void* BasicDriver<T>::allocate_pinned(std::size_t bytes) {
  const detail::RelaxedCapture relaxed;
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, bytes, cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    return nullptr;
  }
  detail::check(status, "cudaHostAlloc");
  return memory;
}

template <class T>
void BasicDriver<T>::free_pinned(void* memory) noexcept {
  const detail::RelaxedCapture relaxed;
  (void)cudaFreeHost(memory);
}

template <class T>
StreamHandle BasicDriver<T>::create_stream(int device) {
  detail::check(cudaSetDevice(device), "cudaSetDevice");
  StreamHandle stream = nullptr;
  detail::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return stream;
}
template <class T>
void BasicDriver<T>::destroy_stream(StreamHandle stream) noexcept {
  (void)cudaStreamDestroy(stream);
}
template <class T>
void BasicDriver<T>::synchronize(StreamHandle stream) {
  detail::check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

template <class T>
EventHandle BasicDriver<T>::create_event(int device, bool timed) {
  detail::check(cudaSetDevice(device), "cudaSetDevice");
  EventHandle event = nullptr;
  detail::check(cudaEventCreateWithFlags(&event, timed ? 0u : unsigned{cudaEventDisableTiming}),
                "cudaEventCreate");
  return event;
}
template <class T>
void BasicDriver<T>::destroy_event(EventHandle event) noexcept {
  (void)cudaEventDestroy(event);
}
template <class T>
void BasicDriver<T>::record(EventHandle event, StreamHandle stream) {
  detail::check(cudaEventRecord(event, stream), "cudaEventRecord");
}
template <class T>
void BasicDriver<T>::wait(StreamHandle stream, EventHandle event) {
  detail::check(cudaStreamWaitEvent(stream, event, 0), "cudaStreamWaitEvent");
}
template <class T>
void BasicDriver<T>::synchronize_event(EventHandle event) {
  detail::check(cudaEventSynchronize(event), "cudaEventSynchronize");
}
template <class T>
bool BasicDriver<T>::has_happened(EventHandle event) {
  const cudaError_t status = cudaEventQuery(event);
  if (status == cudaErrorNotReady) return false;
  detail::check(status, "cudaEventQuery");
  return true;
}
template <class T>
double BasicDriver<T>::milliseconds(EventHandle begin, EventHandle end) {
  float elapsed = 0;
  detail::check(cudaEventElapsedTime(&elapsed, begin, end), "cudaEventElapsedTime");
  return elapsed;
}

template <class T>
void BasicDriver<T>::copy(void* to, const void* from, std::size_t bytes, CopyKind kind,
                          StreamHandle stream) {
  const cudaMemcpyKind direction = kind == CopyKind::host_to_device   ? cudaMemcpyHostToDevice
                                   : kind == CopyKind::device_to_host ? cudaMemcpyDeviceToHost
                                                                      : cudaMemcpyDeviceToDevice;
  detail::check(cudaMemcpyAsync(to, from, bytes, direction, stream), "cudaMemcpyAsync");
}
template <class T>
void BasicDriver<T>::fill_bytes(void* to, int byte, std::size_t bytes, StreamHandle stream) {
  detail::check(cudaMemsetAsync(to, byte, bytes, stream), "cudaMemsetAsync");
}

template <class T>
void BasicDriver<T>::begin_capture(StreamHandle stream) {
  // Other threads (a loader, an evaluation) may go on with their own streams.
  detail::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                "cudaStreamBeginCapture");
}
template <class T>
GraphHandle BasicDriver<T>::end_capture(StreamHandle stream) {
  cudaGraph_t graph = nullptr;
  detail::check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  GraphHandle executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  (void)cudaGraphDestroy(graph);
  detail::check(status, "cudaGraphInstantiate");
  return executable;
}
template <class T>
void BasicDriver<T>::abandon_capture(StreamHandle stream) noexcept {
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph != nullptr) {
    (void)cudaGraphDestroy(graph);
  }
  (void)cudaGetLastError();
}
template <class T>
bool BasicDriver<T>::capturing(StreamHandle stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  detail::check(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}
template <class T>
void BasicDriver<T>::launch_graph(GraphHandle graph, StreamHandle stream) {
  detail::check(cudaGraphLaunch(graph, stream), "cudaGraphLaunch");
}
template <class T>
void BasicDriver<T>::destroy_graph(GraphHandle graph) noexcept {
  (void)cudaGraphExecDestroy(graph);
}

template <class T>
void BasicDriver<T>::push_range(const char* name) {
  (void)nvtxRangePushA(name);
}
template <class T>
void BasicDriver<T>::pop_range() {
  (void)nvtxRangePop();
}

}  // namespace mwalimu::gpu
