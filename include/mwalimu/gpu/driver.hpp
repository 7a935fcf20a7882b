// gpu/driver: all that the library asks of CUDA's runtime, named without CUDA's headers.
//
// A program compiled by g++ sees these declarations alone and links mwalimu::kernels, which defines
// them with CUDA (kernels/driver.cuh). Tests link an emulated device instead, which defines them with
// host memory and host threads: everything above this page is the same in both.
#pragma once

#include <cstddef>
#include <string>

#include "mwalimu/core/check.hpp"

// CUDA's own opaque types: cudaStream_t is CUstream_st*, and so on.
struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

namespace mwalimu::gpu {

using StreamHandle = CUstream_st*;
using EventHandle = CUevent_st*;
using GraphHandle = CUgraphExec_st*;

enum class CopyKind { host_to_device, device_to_host, device_to_device };

/// What a results file says about the machine it was measured on.
struct DeviceInfo {
  std::string name;            ///< "NVIDIA H200"
  int major = 0, minor = 0;    ///< compute capability
  int multiprocessors = 0;
  std::size_t memory = 0;      ///< bytes
  std::size_t l2_cache = 0;    ///< bytes
  int driver_version = 0;      ///< of CUDA that the driver supports: 13000 is 13.0
  int runtime_version = 0;     ///< of CUDA that this program was built with
  bool emulated = false;       ///< host threads that play a device: for tests only
};

/// Static functions of one class template, so that they need no definition where they are declared.
/// Every function that can fail throws CudaError with the call's name, the device and CUDA's text,
/// or DeviceError with the same where the device is not there or has no room.
template <class = void>
struct BasicDriver {
  /// Devices that a kernel can run on; 0 where there is no driver, no device or no permission.
  static int device_count();
  /// Why there are none, in one line.
  static std::string why_no_device();
  static const DeviceInfo& info(int device);

  /// Null where the device has no room: the caller frees something and tries again.
  static void* allocate(int device, std::size_t bytes);
  static void free(int device, void* memory) noexcept;
  static std::size_t free_memory(int device);
  /// Host memory that the device copies from and to without staging.
  static void* allocate_pinned(std::size_t bytes);
  static void free_pinned(void* memory) noexcept;

  static StreamHandle create_stream(int device);
  static void destroy_stream(StreamHandle stream) noexcept;
  /// Waits until all that was queued on the stream has run, and reports what went wrong in it.
  static void synchronize(StreamHandle stream);

  static EventHandle create_event(int device, bool timed);
  static void destroy_event(EventHandle event) noexcept;
  static void record(EventHandle event, StreamHandle stream);
  /// Work queued on `stream` from now on starts after the event.
  static void wait(StreamHandle stream, EventHandle event);
  static void synchronize_event(EventHandle event);
  static bool has_happened(EventHandle event);
  /// Between two events that have happened.
  static double milliseconds(EventHandle begin, EventHandle end);

  /// Queued on the stream. From or to pageable host memory the call returns when the host memory may
  /// be reused; from or to pinned memory it does not wait.
  static void copy(void* to, const void* from, std::size_t bytes, CopyKind kind,
                   StreamHandle stream);
  static void fill_bytes(void* to, int byte, std::size_t bytes, StreamHandle stream);

  /// Everything queued on the stream until end_capture becomes the nodes of a graph and does not run.
  static void begin_capture(StreamHandle stream);
  static GraphHandle end_capture(StreamHandle stream);
  /// Ends a capture whose work is not wanted (something threw in between).
  static void abandon_capture(StreamHandle stream) noexcept;
  static bool capturing(StreamHandle stream);
  static void launch_graph(GraphHandle graph, StreamHandle stream);
  static void destroy_graph(GraphHandle graph) noexcept;

  /// Named ranges in a profiler's time line (NVTX).
  static void push_range(const char* name);
  static void pop_range();
};

using Driver = BasicDriver<>;

}  // namespace mwalimu::gpu
