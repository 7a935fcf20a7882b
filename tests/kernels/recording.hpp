// tests/kernels/recording: operations captured once and replayed.
#pragma once

#include <utility>

#include "mwalimu/gpu/allocator.hpp"
#include "mwalimu/gpu/stream.hpp"

namespace mwalimu::test {

/// A stream that this thread's operations are queued on while the object lives, and a graph of some of
/// them, whose tensors come from memory that nobody else is given.
class Recording {
 public:
  Recording() = default;
  ~Recording() {
    if (graph_ != nullptr) gpu::Driver::destroy_graph(graph_);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  template <class F>
  void record(F&& f) {
    const gpu::PoolScope in_pool(pool_);
    gpu::Driver::begin_capture(stream_.handle());
    std::forward<F>(f)();
    graph_ = gpu::Driver::end_capture(stream_.handle());
  }
  void launch() const { gpu::Driver::launch_graph(graph_, stream_.handle()); }

 private:
  gpu::Stream stream_{0};
  gpu::StreamScope on_it_{stream_};
  gpu::DevicePool pool_{gpu::DeviceMemory{0}};
  gpu::GraphHandle graph_ = nullptr;
};

}  // namespace mwalimu::test
