// tests/kernels/captured: work recorded once and replayed, in the plainest way.
#pragma once

#include <utility>

#include "mwalimu/gpu/stream.hpp"

namespace mwalimu::test {

/// A CUDA graph on a stream of its own. What it records must not allocate.
class Captured {
 public:
  Captured() = default;
  ~Captured() {
    if (graph_ != nullptr) gpu::Driver::destroy_graph(graph_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

  const gpu::Stream& stream() const { return stream_; }
  /// f on this stream, not recorded.
  template <class F>
  void run(F&& f) {
    const gpu::StreamScope on_stream(stream_);
    std::forward<F>(f)();
  }
  template <class F>
  void record(F&& f) {
    const gpu::StreamScope on_stream(stream_);
    gpu::Driver::begin_capture(stream_.handle());
    try {
      std::forward<F>(f)();
    } catch (...) {
      gpu::Driver::abandon_capture(stream_.handle());
      throw;
    }
    graph_ = gpu::Driver::end_capture(stream_.handle());
  }
  void launch() { gpu::Driver::launch_graph(graph_, stream_.handle()); }

 private:
  gpu::Stream stream_{0};
  gpu::GraphHandle graph_ = nullptr;
};

}  // namespace mwalimu::test
