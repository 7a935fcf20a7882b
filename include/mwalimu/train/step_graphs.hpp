// train/step_graphs: a training step on a CUDA device as one launch.
#pragma once

#include <array>
#include <utility>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/profile.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "mwalimu/gpu/graph.hpp"
#include "mwalimu/optim/parameter_arena.hpp"

namespace mwalimu::train {

/// Runs steps of one or several batches. A step of one batch is one graph; of several, one graph
/// holds a batch's gradients and is launched for each, another one the update. The first step runs
/// kernel by kernel, the second one records. Under a profiler all run kernel by kernel.
///
///     StepGraphs graphs(stream, accumulate, true);
///     graphs.run(arena, feed, [&] { forward_backward(feed); }, [&] { update(); });
class StepGraphs {
 public:
  /// @param stream      what the steps are queued on; must outlive this.
  /// @param accumulate  batches whose gradients make one step.
  /// @param graph       false: every kernel is launched by itself, for debuggers and profiles.
  StepGraphs(const gpu::Stream& stream, int accumulate, bool graph)
      : accumulate_(accumulate),
        graph_(graph),
        whole_(stream),
        gradients_(stream),
        update_(stream) {}

  /// Queues one step.
  /// @param feed       of `accumulate` batches: their addresses are part of the graph.
  /// @param gradients  adds a batch's gradients to the arena's.
  /// @param update     takes the step.
  /// @throws ValueError  the feed has no more batches.
  template <class Gradients, class Update>
  void run(optim::ParameterArena& arena, gpu::BatchFeed& feed, Gradients&& gradients,
           Update&& update) {
    const std::array<const void*, 2> addresses{feed.rows().data(), feed.images().data()};
    if (std::exchange(addresses_, addresses) != addresses) forget();  // of another feed
    if (accumulate_ == 1) {
      next(feed);
      return launch(whole_, [&] {
        arena.zero_gradients();
        gradients();
        update();
      });
    }
    arena.zero_gradients();
    for (int a = 0; a < accumulate_; ++a) {
      next(feed);
      launch(gradients_, gradients);
    }
    launch(update_, update);
  }

  /// To be called when a step is no longer what was recorded: it has another shape, or parameters
  /// were changed other than by a step, for a graph would go on from their old 16-bit copy.
  void forget() {
    for (Part* part : {&whole_, &gradients_, &update_}) {
      part->graph.reset();
      part->warm = false;
    }
  }

  /// Device memory that the graphs hold, bytes.
  std::size_t memory() const {
    return whole_.graph.memory().peak + gradients_.graph.memory().peak +
           update_.graph.memory().peak;
  }

 private:
  struct Part {
    explicit Part(const gpu::Stream& stream) : graph(stream) {}
    gpu::Graph graph;
    bool warm = false;  // it has run in the graph's memory: the next time records it
  };

  static void next(gpu::BatchFeed& feed) {
    require<ValueError>(feed.next(), "training step: the feed has no more batches");
  }
  template <class F>
  void launch(Part& part, F&& f) {
    const bool warm = std::exchange(part.warm, true);
    if (!graph_ || !warm || Profiler::active()) return part.graph.run(f);
    if (!part.graph.recorded()) part.graph.record(f);
    part.graph.launch();
  }

  int accumulate_;
  bool graph_;
  Part whole_, gradients_, update_;
  std::array<const void*, 2> addresses_{};  // of the last step's batch
};

}  // namespace mwalimu::train
