// kernels/launch: the one way that every kernel is started.
//
// A launch is queued on the place's stream, never on CUDA's default stream; it is a named range for
// profilers (NVTX); errors name the kernel and the device. With MWALIMU_SYNC=1 the host waits after
// every launch, so that an error inside a kernel is reported by the kernel's own name.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/profile.hpp"
#include "mwalimu/core/types.hpp"
#include "simt.cuh"

#if defined(__CUDACC__)
#include "mwalimu/gpu/select_device.hpp"
#else
#include "emulated/stream.hpp"
#endif

namespace mwalimu::kernels {

struct LaunchConfig {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  ///< of dynamic shared memory
};

/// Blocks of a grid-stride loop over `count` items, `per_block` at a time: enough to fill the device
/// `waves` times, never more than there is work for, at least one.
inline unsigned grid_blocks(Gpu on, index_t count, index_t per_block, index_t waves = 16) {
  const index_t most = waves * gpu::Driver::info(on.device).multiprocessors;
  return static_cast<unsigned>(
      std::clamp<index_t>((count + per_block - 1) / per_block, 1, std::max<index_t>(most, 1)));
}

#if defined(__CUDACC__)

namespace detail {

inline bool synchronous() {
  static const bool on = [] {
    const char* text = std::getenv("MWALIMU_SYNC");
    return text != nullptr && std::string_view(text) == "1";
  }();
  return on;
}

inline void check_launch(Gpu on, const char* name, cudaError_t status, const LaunchConfig& config) {
  gpu::check_cuda(status, name, on.device, ", grid (", config.grid.x, ", ", config.grid.y, ", ",
                  config.grid.z, "), block (", config.block.x, ", ", config.block.y, ", ",
                  config.block.z, "), ", config.shared_bytes, " bytes of shared memory");
}

template <class Start>
void launch_with(Gpu on, const char* name, const LaunchConfig& config, Start&& start) {
  const ProfileScope range(name, on, ProfileRecord::Kind::kernel);
  check_launch(on, name, cudaSetDevice(on.device), config);
  check_launch(on, name, start(), config);
  if (synchronous() && !gpu::Driver::capturing(on.stream)) {
    check_launch(on, name, cudaStreamSynchronize(on.stream), config);
  }
}

}  // namespace detail

/// Queues kernel(args...) on the place's stream.
/// @throws CudaError    the driver refused: its text, the kernel's name, grid and block.
/// @throws DeviceError  the same, where the device has no room for the kernel.
template <class... P, class... A>
void launch(Gpu on, const char* name, void (*kernel)(P...), const LaunchConfig& config,
            const A&... args) {
  detail::launch_with(on, name, config, [&] {
    return simt::launch(kernel, config.grid, config.block, config.shared_bytes, on.stream,
                        args...);
  });
}

/// The same with all blocks on the device at once, so that the kernel may wait for the whole grid.
template <class... P, class... A>
void launch_cooperative(Gpu on, const char* name, void (*kernel)(P...), const LaunchConfig& config,
                        const A&... args) {
  detail::launch_with(on, name, config, [&] {
    return simt::launch_cooperative(kernel, config.grid, config.block, config.shared_bytes,
                                    on.stream, args...);
  });
}

/// The most blocks that launch_cooperative takes on the place's device.
template <class... P>
index_t max_cooperative_blocks(Gpu on, void (*kernel)(P...), int threads,
                               std::size_t shared_bytes) {
  gpu::select_device(on.device);
  return simt::max_cooperative_blocks(kernel, threads, shared_bytes);
}

#else  // the emulated device: the executor runs the kernel when its turn on the stream comes

template <class... P, class... A>
void launch(Gpu on, const char* name, void (*kernel)(P...), const LaunchConfig& config,
            const A&... args) {
  const ProfileScope range(name, on, ProfileRecord::Kind::kernel);
  emulated::enqueue(on.stream, [=] {
    simt::launch(kernel, config.grid, config.block, config.shared_bytes, on.stream,
                 static_cast<P>(args)...);
  });
}

template <class... P, class... A>
void launch_cooperative(Gpu on, const char* name, void (*kernel)(P...), const LaunchConfig& config,
                        const A&... args) {
  const ProfileScope range(name, on, ProfileRecord::Kind::kernel);
  emulated::enqueue(on.stream, [=] {
    simt::launch_cooperative(kernel, config.grid, config.block, config.shared_bytes, on.stream,
                             static_cast<P>(args)...);
  });
}

template <class... P>
index_t max_cooperative_blocks(Gpu, void (*kernel)(P...), int threads, std::size_t shared_bytes) {
  return simt::max_cooperative_blocks(kernel, threads, shared_bytes);
}

#endif

}  // namespace mwalimu::kernels
