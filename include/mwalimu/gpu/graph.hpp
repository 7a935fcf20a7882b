// gpu/graph: work recorded once and launched as one.
#pragma once

#include <memory>
#include <utility>

#include "mwalimu/gpu/allocator.hpp"
#include "mwalimu/gpu/stream.hpp"

namespace mwalimu::gpu {

/// What a function queued on a stream, as one launch. At a batch of 32 a training step is a thousand
/// small kernels, and launching them one by one takes longer than running them.
///
/// The graph holds addresses, so it owns the memory that the function's tensors came from: they may
/// die, their blocks go to nobody else. What the function reads and writes outside of them (weights,
/// queue, inputs) must stay where it is. Host code inside the function runs at capture alone: numbers
/// it computed are constants of the graph (core/scalar has those that may change).
///
///     gpu::Graph graph(stream);
///     graph.run([&] { step(); });      // the first step for real
///     graph.record([&] { step(); });   // the second only recorded ...
///     graph.launch();                  // ... and run, as all that follow
class Graph {
 public:
  /// @param stream  what the graph is recorded and launched on; must outlive it.
  explicit Graph(const Stream& stream)
      : stream_(stream), pool_(DeviceMemory{stream.device()}) {}
  ~Graph() { reset(); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  bool recorded() const { return graph_ != nullptr; }

  /// Runs f with its operations on this graph's stream and in this graph's memory, without recording
  /// it: libraries choose their algorithms and allocate on such a first run.
  template <class F>
  void run(F&& f) {
    const StreamScope on_stream(stream_);
    const PoolScope in_pool(pool_);
    std::forward<F>(f)();
  }

  /// Records f. Nothing runs until launch().
  /// @throws what f throws, or CudaError where f did what a graph cannot hold: waited for the device,
  ///         or copied from pageable host memory. The graph is then empty.
  template <class F>
  void record(F&& f) {
    reset();
    const StreamScope on_stream(stream_);
    const PoolScope in_pool(pool_);
    Driver::begin_capture(stream_.handle());
    try {
      std::forward<F>(f)();
      graph_ = Driver::end_capture(stream_.handle());
    } catch (...) {
      Driver::abandon_capture(stream_.handle());
      throw;
    }
  }

  /// Queues all of it on the graph's stream.
  void launch() {
    require<ValueError>(recorded(), "graph: nothing is recorded");
    Driver::launch_graph(graph_, stream_.handle());
  }
  void reset() {
    if (graph_ != nullptr) Driver::destroy_graph(std::exchange(graph_, nullptr));
  }
  /// Device memory that the graph holds.
  DevicePool::Statistics memory() const { return pool_.statistics(); }

 private:
  const Stream& stream_;
  DevicePool pool_;
  GraphHandle graph_ = nullptr;
};

}  // namespace mwalimu::gpu
