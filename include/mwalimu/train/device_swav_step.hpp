// train/device_swav_step: SwAV's training step on a CUDA device, as one graph.
//
// Everything that changes from step to step lies in device memory: the host writes a few numbers
// (step, queue's switch, temperature, learning rate) and the rows of the batch, and launches. Crops,
// forward, codes, loss, backward, optimiser, queue and the statistics of the log run without it; the
// log is read back every `history` steps. So the graph that the second step records serves the whole
// run: only what changes its shape (the prototypes' freezing) records it anew.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "mwalimu/core/profile.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/data/multi_crop.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "mwalimu/gpu/graph.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/ops/queue.hpp"
#include "mwalimu/ops/swav_statistics.hpp"
#include "mwalimu/optim/gradient_control.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/train/embedding_queue.hpp"
#include "mwalimu/train/precision.hpp"
#include "mwalimu/train/swav_loss.hpp"

namespace mwalimu::train {

struct DeviceSwavStepOptions {
  data::MultiCropOptions crops;
  SwavLossOptions loss;
  index_t batch = 32;
  int accumulate = 1;
  Precision precision = Precision::float32;
  std::optional<optim::GradScalerOptions> loss_scale;
  std::uint64_t seed = 0;
  bool graph = true;      ///< false: every kernel is launched by itself, for debuggers and profiles
  index_t history = 32;   ///< steps between two looks at the log
};

/// Runs steps over a network, its arena, optimiser and queue, which all lie on one device. A template
/// only so that a build without CUDA compiles none of it.
template <class Place = Gpu>
class DeviceSwavStep {
 public:
  /// What one step has left for the log.
  struct Row {
    SwavStatistics codes;
    double gradient_norm = 0;
    double loss_scale = 1;
    bool skipped = false;
  };

  /// All four must outlive this.
  DeviceSwavStep(models::SwavNetwork& network, optim::ParameterArena& arena,
                 optim::Optimizer& optimizer, EmbeddingQueues& queues,
                 const DeviceSwavStepOptions& options)
      : options_(options),
        network_(network),
        arena_(arena),
        optimizer_(optimizer),
        queues_(queues),
        stream_(arena.device().index),
        numbers_(arena.device(), kNumbers),
        control_(arena.device(),
                 {.gradient_scale = 1.0 / options.accumulate,
                  .scale_loss = options.loss_scale.has_value(),
                  .scaler = options.loss_scale.value_or(optim::GradScalerOptions{})}),
        codes_(Tensor<float>::zeros({options.history * options.accumulate,
                                     ops::kSwavStatistics + options.crops.views()},
                                    arena.device())),
        controls_(Tensor<float>::zeros(
            {options.history, optim::GradientControlState::kCount}, arena.device())),
        controls_cursor_(Tensor<std::int64_t>::zeros({}, arena.device())),
        micro_step_(stream_),
        update_(stream_),
        whole_(stream_) {
    scale_before_ = control_.read().scale;
    synchronize(arena.device());  // what was uploaded on another stream is there
  }

  /// Queues one step. At most `history` of them between two calls of read().
  /// @param step      number of the step, from 0.
  /// @param queue_on  whether the queue joins the codes.
  /// @param feed      makes the batches, (B, 2) images each, `accumulate` of them a step.
  void run(std::int64_t step, const optim::HyperParameters& hyper, bool queue_on,
           gpu::BatchFeed& feed) {
    require<ValueError>(unread_ < options_.history, "swav step: read() the log first");
    const gpu::StreamScope on_stream(stream_);
    const bool frozen = !network_.prototypes.weight.trainable;
    const std::array<const void*, 2> addresses{feed.rows().data(), feed.images().data()};
    // Another shape of the step, or another feed's addresses.
    if (frozen != frozen_ || addresses != addresses_) forget_graphs();
    frozen_ = frozen;
    addresses_ = addresses;
    optimizer_.prepare(arena_, hyper);
    const std::array<double, kNumbers> numbers{
        queue_on ? static_cast<double>(queues_.length()) : 0.0, options_.loss.temperature};
    numbers_.write(numbers);
    if (options_.accumulate == 1) {
      next(feed);
      launch(whole_, [&] {
        arena_.zero_gradients();
        forward_backward(feed);
        update();
      });
    } else {
      arena_.zero_gradients();
      for (int a = 0; a < options_.accumulate; ++a) {
        next(feed);
        launch(micro_step_, [&] { forward_backward(feed); });
      }
      launch(update_, [&] { update(); });
    }
    if (unread_ == 0) first_unread_ = step;
    ++unread_;
  }

  index_t unread() const { return unread_; }

  /// Sides of the crops of the steps to come.
  void set_crops(const data::MultiCropOptions& crops) {
    if (crops.groups == options_.crops.groups) return;
    options_.crops = crops;
    forget_graphs();
  }

  /// What the steps since the last call have left, in order; waits for them.
  /// @throws ValueError  float16: no loss scale gives finite gradients.
  std::vector<Row> read() {
    const gpu::StreamScope on_stream(stream_);
    const auto codes = codes_.to(Device::cpu());
    const auto controls = controls_.to(Device::cpu());
    if (unread_ > 0) (void)control_.read();
    std::vector<Row> rows;
    for (std::int64_t step = first_unread_; step < first_unread_ + unread_; ++step) {
      Row row;
      const double share = 1.0 / options_.accumulate;
      for (int a = 0; a < options_.accumulate; ++a) {
        const index_t at = (step * options_.accumulate + a) % codes.dim(0);
        const auto columns = static_cast<std::size_t>(codes.dim(1));
        row.codes.add(read_statistics(codes.span().subspan(static_cast<std::size_t>(at) * columns,
                                                           columns)),
                      share);
      }
      const index_t at = controls_read_++ % controls.dim(0);
      const auto control = [&](index_t field) { return double{controls.view<2>()(at, field)}; };
      row.gradient_norm = control(kNorm);
      row.skipped = control(kTake) == 0;
      row.loss_scale = std::exchange(scale_before_, control(kScale));
      rows.push_back(row);
    }
    unread_ = 0;
    return rows;
  }

  /// Waits until all queued steps have run.
  void wait() const { stream_.synchronize(); }

  /// What the steps are queued on.
  const gpu::Stream& stream() const { return stream_; }
  /// The loss scale and its counters.
  const optim::GradientControl& control() const { return control_; }
  /// Goes on with a loss scale and its counters; see optim::GradScaler.
  void restore_scale(const optim::GradScaler::State& scale) {
    optim::GradientControlState state = control_.read();
    state.scale = scale_before_ = scale.scale;
    state.good_steps = static_cast<double>(scale.good_steps);
    state.skipped_steps = static_cast<double>(scale.skipped_steps);
    control_.restore(state);
  }

  /// Device memory that the graphs hold, bytes.
  std::size_t graph_memory() const {
    return whole_.memory().peak + micro_step_.memory().peak + update_.memory().peak;
  }

 private:
  // What the host writes before each step.
  enum Number : index_t { kQueueRows, kTemperature, kNumbers };
  // Fields of GradientControlState, in doubles.
  enum : index_t { kNorm = 0, kTake = 2, kScale = 3 };

  Scalar number(Number which, double host_copy) const {
    return Scalar::at(numbers_.data() + which, host_copy);
  }

  // The first call runs f itself, in the graph's memory; the second records it.
  template <class F>
  void launch(gpu::Graph& graph, F&& f) {
    const bool warm = std::exchange(warm_[index_of(graph)], true);
    if (!options_.graph || !warm || Profiler::active()) return graph.run(f);
    if (!graph.recorded()) graph.record(f);
    graph.launch();
  }
  std::size_t index_of(const gpu::Graph& graph) const {
    return &graph == &whole_ ? 0 : &graph == &micro_step_ ? 1 : 2;
  }
  void forget_graphs() {
    for (gpu::Graph* graph : {&whole_, &micro_step_, &update_}) {
      graph->reset();
      warm_[index_of(*graph)] = false;
    }
  }

  static void next(gpu::BatchFeed& feed) {
    require<ValueError>(feed.next(), "swav step: the feed has no more batches");
  }

  void forward_backward(const gpu::BatchFeed& feed) {
    with_precision(options_.precision, [&]<class T>(T) { forward_backward<T>(feed); });
  }
  template <nn::ComputeType T>
  void forward_backward(const gpu::BatchFeed& feed) {
    const index_t B = options_.batch;
    auto& crops = std::get<std::vector<Tensor<T>>>(crops_);
    data::multi_crop<T>(options_.crops, options_.seed, feed.step(), feed.images(),
                        feed.rows().reshape({B, 2}), crops);
    const std::vector<Variable<T>> groups(crops.begin(), crops.end());
    // Always with the queues' scores: a number on the device says how many rows of them join.
    const auto result = swav_loss<T>(
        network_(groups), B, network_.prototypes, queues_,
        number(kQueueRows, static_cast<double>(queues_.length())),
        number(kTemperature, options_.loss.temperature), options_.loss);
    ops::swav_statistics(result.codes, result.loss.value(), result.loss_without_queue,
                         result.crop_loss, feed.step(), codes_);
    result.loss.backward(control_.loss_scale());
  }

  void update() {
    control_.measure(arena_.gradient_buffer());
    optimizer_.run(arena_, &control_);
    network_.normalize_prototypes();
    ops::queue_push(control_.state().reshape({1, optim::GradientControlState::kCount}),
                    controls_cursor_, controls_);
  }

  DeviceSwavStepOptions options_;
  models::SwavNetwork& network_;
  optim::ParameterArena& arena_;
  optim::Optimizer& optimizer_;
  EmbeddingQueues& queues_;
  gpu::Stream stream_;
  optim::detail::HostWritten numbers_;
  optim::GradientControl control_;
  Tensor<float> codes_, controls_;  // rings: a row a batch, a row a step
  Tensor<std::int64_t> controls_cursor_;
  std::tuple<std::vector<Tensor<float>>, std::vector<Tensor<half>>, std::vector<Tensor<bfloat16>>>
      crops_;
  gpu::Graph micro_step_, update_, whole_;
  std::array<bool, 3> warm_{};
  bool frozen_ = false;
  std::array<const void*, 2> addresses_{};  // of the last step's batch
  std::int64_t first_unread_ = 0;
  index_t unread_ = 0, controls_read_ = 0;
  double scale_before_ = 1;
};

}  // namespace mwalimu::train
