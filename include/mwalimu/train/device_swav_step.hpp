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

#include "mwalimu/core/scalar.hpp"
#include "mwalimu/data/multi_crop.hpp"
#include "mwalimu/gpu/device_store.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/ops/swav_statistics.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/train/embedding_queue.hpp"
#include "mwalimu/train/precision.hpp"
#include "mwalimu/train/step_control.hpp"
#include "mwalimu/train/step_graphs.hpp"
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
                  .scaler = options.loss_scale.value_or(optim::GradScalerOptions{})},
                 options.history),
        codes_(Tensor<float>::zeros({options.history * options.accumulate,
                                     ops::kSwavStatistics + options.crops.views()},
                                    arena.device())),
        graphs_(stream_, options.accumulate, options.graph) {
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
    if (std::exchange(frozen_, frozen) != frozen) graphs_.forget();  // another shape of the step
    optimizer_.prepare(arena_, hyper);
    const std::array<double, kNumbers> numbers{
        queue_on ? static_cast<double>(queues_.length()) : 0.0, options_.loss.temperature};
    numbers_.write(numbers);
    graphs_.run(arena_, feed, [&] { forward_backward(feed); }, [&] { update(); });
    if (unread_ == 0) first_unread_ = step;
    ++unread_;
  }

  index_t unread() const { return unread_; }

  /// Sides of the crops of the steps to come.
  void set_crops(const data::MultiCropOptions& crops) {
    if (crops.groups == options_.crops.groups) return;
    options_.crops = crops;
    graphs_.forget();
  }

  /// What the steps since the last call have left, in order; waits for them.
  /// @throws ValueError  float16: no loss scale gives finite gradients.
  std::vector<Row> read() {
    const gpu::StreamScope on_stream(stream_);
    const auto codes = codes_.to(Device::cpu());
    std::vector<Row> rows;
    std::int64_t step = first_unread_;
    for (const StepControl::Row& control : control_.read(unread_)) {
      Row row{.codes = {},
              .gradient_norm = control.gradient_norm,
              .loss_scale = control.loss_scale,
              .skipped = control.skipped};
      const double share = 1.0 / options_.accumulate;
      for (int a = 0; a < options_.accumulate; ++a) {
        const index_t at = (step * options_.accumulate + a) % codes.dim(0);
        const auto columns = static_cast<std::size_t>(codes.dim(1));
        row.codes.add(read_statistics(codes.span().subspan(static_cast<std::size_t>(at) * columns,
                                                           columns)),
                      share);
      }
      rows.push_back(row);
      ++step;
    }
    unread_ = 0;
    return rows;
  }

  /// Waits until all queued steps have run.
  void wait() const { stream_.synchronize(); }

  /// What the steps are queued on.
  const gpu::Stream& stream() const { return stream_; }
  StepControl& control() { return control_; }

  /// Device memory that the graphs hold, bytes.
  std::size_t graph_memory() const { return graphs_.memory(); }

 private:
  // What the host writes before each step.
  enum Number : index_t { kQueueRows, kTemperature, kNumbers };

  Scalar number(Number which, double host_copy) const {
    return Scalar::at(numbers_.data() + which, host_copy);
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
    control_.update(arena_, optimizer_);
    network_.normalize_prototypes();
  }

  DeviceSwavStepOptions options_;
  models::SwavNetwork& network_;
  optim::ParameterArena& arena_;
  optim::Optimizer& optimizer_;
  EmbeddingQueues& queues_;
  gpu::Stream stream_;
  optim::detail::HostWritten numbers_;
  StepControl control_;
  Tensor<float> codes_;  // a ring: a row a batch
  std::tuple<std::vector<Tensor<float>>, std::vector<Tensor<half>>, std::vector<Tensor<bfloat16>>>
      crops_;
  StepGraphs graphs_;
  bool frozen_ = false;
  std::int64_t first_unread_ = 0;
  index_t unread_ = 0;
};

}  // namespace mwalimu::train
