// emulated/stream: how work reaches the emulated device's streams.
#pragma once

#include <functional>

#include "mwalimu/gpu/driver.hpp"

namespace mwalimu::emulated {

/// Runs `work` now, or, while the stream captures a graph, makes it the graph's next node. `work` may
/// touch device memory and must hold all it needs by value, as a kernel's launch does.
void enqueue(gpu::StreamHandle stream, std::function<void()> work);

/// Counts since the program started.
struct Counters {
  unsigned long long works = 0;        ///< kernels, copies and fills that ran
  unsigned long long synchronizations = 0;  ///< times that the host waited
  unsigned long long device_to_host = 0;    ///< copies that bring numbers to the host
};
Counters counters();

/// While it lives, host code may read device memory: for tests that look at raw addresses.
class HostAccess {
 public:
  HostAccess();
  ~HostAccess();
  HostAccess(const HostAccess&) = delete;
  HostAccess& operator=(const HostAccess&) = delete;
};

}  // namespace mwalimu::emulated
