// train/swav_trainer: one step of SwAV, and all state that a step changes.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/data/image_store.hpp"
#include "mwalimu/data/multi_crop.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/optim/gradients.hpp"
#include "mwalimu/optim/optimizer.hpp"
#include "mwalimu/optim/parameter_arena.hpp"
#include "mwalimu/optim/schedule.hpp"
#include "mwalimu/train/device_swav_step.hpp"
#include "mwalimu/train/model_checkpoint.hpp"
#include "mwalimu/train/precision.hpp"
#include "mwalimu/train/swav_loss.hpp"

namespace mwalimu::train {

/// The crops of one batch: a tensor a group, (views B, size, size, channels), view-major.
struct CropBatch {
  std::vector<Tensor<float>> groups;
};

/// The two images that each sample's crops come from; equal where there is one sensor.
struct ViewPair {
  index_t first = 0, second = 0;  ///< images of the store
};

/// Fills `batch` with the crops of the samples `indices`, as step `step` of the run draws them.
inline void make_crops(const data::MultiCropOptions& options, std::uint64_t seed, std::int64_t step,
                       const data::ImageStore& store, std::span<const ViewPair> samples,
                       std::span<const index_t> indices, CropBatch& batch) {
  const auto B = static_cast<index_t>(indices.size());
  batch.groups.resize(options.groups.size());
  std::vector<float*> blocks;
  for (std::size_t g = 0; g < batch.groups.size(); ++g) {
    const auto& group = options.groups[g];
    const Shape shape{group.count * B, group.size, group.size, store.channels()};
    if (!(batch.groups[g].shape() == shape)) batch.groups[g] = Tensor<float>::empty(shape);
    blocks.push_back(batch.groups[g].data());
  }
  data::CropScratch scratch;
  for (index_t row = 0; row < B; ++row) {
    const ViewPair pair = samples[static_cast<std::size_t>(indices[static_cast<std::size_t>(row)])];
    store.visit(pair.first, [&]<class Image>(const Image& first) {
      const Image second{store.image(pair.second).data(), store.height(), store.width()};
      data::multi_crop(options, seed, static_cast<std::uint64_t>(step),
                       static_cast<std::uint64_t>(row), first, second, row, B, blocks, scratch);
    });
  }
}

struct SwavTrainerOptions {
  models::EncoderOptions encoder;
  models::SwavHeadOptions head;
  SwavLossOptions loss;
  index_t batch = 32;
  int accumulate = 1;            ///< batches whose gradients make one step
  std::int64_t steps = 0;        ///< of the whole run: the schedule and the queue's start need it
  QueueOptions queue;
  std::int64_t freeze_prototypes = 0;  ///< steps during which the prototypes stand still; -1: all
  optim::OptimizerOptions optimizer = optim::LambOptions{.weight_decay = 1e-6};
  optim::Schedule schedule = optim::OneCycle{.lr = 1e-4};
  Precision precision = Precision::float32;
  std::optional<optim::GradScalerOptions> loss_scale;  ///< see loss_scale_options
  std::uint64_t seed = 0;
  Device device = Device::cpu();
  // On a CUDA device:
  data::MultiCropOptions crops;  ///< which are made there
  bool graph = true;             ///< the step as one CUDA graph
  index_t read_interval = 32;    ///< steps between two looks at the log
};

/// @throws ValueError  an option is out of range; the text names it as users type it.
inline void check(const SwavTrainerOptions& options) {
  require<ValueError>(options.batch >= 1, "--batch: want at least 1, got ", options.batch);
  require<ValueError>(options.head.prototypes >= 1 && options.head.hidden >= 1 &&
                          options.head.embedding >= 1,
                      "--prototypes, --hidden, --embedding: want at least 1, got ",
                      options.head.prototypes, ", ", options.head.hidden, " and ",
                      options.head.embedding);
  require<ValueError>(options.queue.length >= 0 && options.queue.length % options.batch == 0,
                      "--queue-length: want a multiple of the batch ", options.batch, ", got ",
                      options.queue.length);
  require<ValueError>(options.queue.start >= 0 && options.queue.start <= 1,
                      "--queue-start: want a fraction from 0 to 1, got ", options.queue.start);
  const auto& coded = options.loss.code_crops;
  require<ValueError>(!coded.empty(), "--code-crops: want one crop at least");
  for (auto crop = coded.begin(); crop != coded.end(); ++crop) {
    require<ValueError>(*crop >= 0 && *crop < options.crops.views() &&
                            std::find(coded.begin(), crop, *crop) == crop,
                        "--code-crops: want different crops from 0 to ", options.crops.views() - 1,
                        ", got ", *crop);
  }
  require<ValueError>(options.accumulate >= 1, "--accumulate: want at least 1, got ",
                      options.accumulate);
  require<ValueError>(options.loss.epsilon > 0, "--epsilon: want more than 0, got ",
                      options.loss.epsilon);
  require<ValueError>(options.loss.temperature > 0, "--temperature: want more than 0, got ",
                      options.loss.temperature);
  require<ValueError>(options.loss.sinkhorn_iterations >= 1,
                      "--sinkhorn-iterations: want at least 1, got ",
                      options.loss.sinkhorn_iterations);
  optim::check(options.schedule);
}

/// The network, its optimiser and its queue.
class SwavTrainer {
 public:
  /// @throws ValueError  an option is out of range.
  explicit SwavTrainer(const SwavTrainerOptions& options)
      : options_((check(options), options)),
        network_(initialized(options)),
        arena_(network_, options.device,
               options.device.is_cpu() ? ElementType::float32 : element_type_of(options.precision)),
        optimizer_(options.optimizer, arena_),
        queues_(options.queue, options.loss.code_crops, options.head.embedding, options.batch,
                options.seed, options.device),
        loss_scale_(loss_scale_options(options.precision, options.loss_scale)) {
    nn::name_layers(network_);
    if constexpr (kCuda) {
      if (!options.device.is_cpu()) make_device_step();
    }
  }

  // The arena knows where the parameters lie.
  SwavTrainer(const SwavTrainer&) = delete;
  SwavTrainer& operator=(const SwavTrainer&) = delete;

  struct StepRecord {
    SwavStatistics codes;
    double lr = 0, momentum = 0;
    double gradient_norm = 0;
    bool queue_on = false;
    double loss_scale = 1;  ///< that the gradients were computed with
    bool skipped = false;   ///< gradients overflowed: no parameter has changed, the loss scale has
  };

  /// Steps taken.
  std::int64_t step() const { return step_; }
  models::SwavNetwork& network() { return network_; }
  optim::ParameterArena& arena() { return arena_; }
  EmbeddingQueues& queues() { return queues_; }

  /// Whether the queue joins the codes of the next step.
  bool queue_on() const {
    return queue_joins(options_.queue, step_, options_.steps, options_.batch * options_.accumulate);
  }

  /// One step on the cpu over `accumulate` batches; `next()` returns the next one. Schedules advance
  /// on a skipped step, too.
  /// @throws Error  the loss is not a finite number; no parameter has changed.
  template <class Next>
  StepRecord step(Next&& next) {
    const auto now = begin_step();
    StepRecord record = scheduled(now);
    arena_.zero_gradients();
    record.loss_scale = loss_scale_.value();
    const double share = 1.0 / options_.accumulate, gradient_scale = share / record.loss_scale;
    for (int a = 0; a < options_.accumulate; ++a) {
      const CropBatch& batch = next();
      const SwavStatistics part = with_precision(options_.precision, [&]<class T>(T) {
        return forward_backward<T>(batch, record.queue_on);
      });
      record.codes.add(part, share);
    }
    record.gradient_norm = gradient_scale * optim::gradient_norm(arena_.gradients());
    const bool finite = std::isfinite(record.codes.loss) && std::isfinite(record.gradient_norm);
    require_finite(record, step_);

    record.skipped = loss_scale_.is_dynamic() && !loss_scale_.update(finite);
    if (!record.skipped) {
      optimizer_.step(arena_.values(), arena_.gradients(), arena_.segments(),
                      {.lr = now.lr, .momentum = now.momentum, .gradient_scale = gradient_scale});
      network_.normalize_prototypes();
    }
    ++step_;
    return record;
  }

  /// Queues one step on the device and returns. At most read_interval of them between two calls of
  /// read_steps().
  /// @param feed  makes the batches: the two images of each sample.
  void queue_step(gpu::BatchFeed& feed) {
    const auto now = begin_step();
    queued_.push_back(scheduled(now));
    device_->run(step_, {.lr = now.lr, .momentum = now.momentum}, queue_on(), feed);
    ++step_;
  }
  /// Makes the crops of the steps to come with these sides. On the cpu whoever makes the batches does.
  /// @param crops  as many in every group as before.
  void set_crops(const data::MultiCropOptions& crops) {
    require<ShapeError>(crops.views() == options_.crops.views(), "set_crops: want ",
                        options_.crops.views(), " crops, got ", crops.views());
    options_.crops = crops;
    if (device_ != nullptr) device_->set_crops(crops);
  }
  index_t unread_steps() const { return static_cast<index_t>(queued_.size()); }
  /// The records of the steps queued since the last call; waits for them.
  /// @throws Error  a loss is not a finite number; that step has changed no parameter.
  std::vector<StepRecord> read_steps() {
    const auto rows = device_->read();
    std::vector<StepRecord> records = std::exchange(queued_, {});
    for (std::size_t i = 0; i < records.size(); ++i) {
      StepRecord& record = records[i];
      record.codes = rows[i].codes;
      record.gradient_norm = rows[i].gradient_norm;
      record.loss_scale = rows[i].loss_scale;
      record.skipped = rows[i].skipped;
      require_finite(record, step_ - static_cast<std::int64_t>(records.size() - i));
    }
    return records;
  }
  /// Device memory that the step's graph holds, bytes; 0 on the cpu.
  std::size_t graph_memory() const { return device_ == nullptr ? 0 : device_->graph_memory(); }

  /// All that a run needs to go on bit for bit.
  void save(CheckpointWriter& checkpoint) {
    if constexpr (kCuda) {
      if (device_ != nullptr) {
        device_->wait();
        loss_scale_.restore(device_->control().scale());
      }
    }
    put_model(checkpoint, "model.", network_);
    put_optimizer(checkpoint, optimizer_, arena_);
    for (index_t q = 0; q < queues_.count(); ++q) {
      checkpoint.put(queue_name(q) + ".rows", queues_[q].rows());
      checkpoint.put(queue_name(q) + ".cursor", queues_[q].cursor());
    }
    checkpoint.put("step", step_);
    loss_scale_.save(checkpoint);
  }
  void restore(const CheckpointReader& checkpoint) {
    get_model(checkpoint, "model.", network_);
    get_optimizer(checkpoint, optimizer_, arena_);
    for (index_t q = 0; q < queues_.count(); ++q) {
      checkpoint.get(queue_name(q) + ".rows", queues_[q].rows());
      queues_[q].set_cursor(checkpoint.value<std::int64_t>(queue_name(q) + ".cursor"));
    }
    step_ = checkpoint.value<std::int64_t>("step");
    loss_scale_.restore(checkpoint);
    if constexpr (kCuda) {
      if (device_ != nullptr) {
        device_->control().restore(loss_scale_.state());
        synchronize(options_.device);  // what was read lies there before a step begins
      }
    }
  }

 private:
  static std::string queue_name(index_t q) {
    std::string name = "queue";
    if (q > 0) name += std::to_string(q);
    return name;
  }
  optim::SchedulePoint begin_step() {
    nn::set_training(network_, true);
    network_.prototypes.weight.trainable =
        options_.freeze_prototypes >= 0 && step_ >= options_.freeze_prototypes;
    return optim::at(options_.schedule,
                     static_cast<double>(step_) / static_cast<double>(options_.steps));
  }
  StepRecord scheduled(const optim::SchedulePoint& now) const {
    StepRecord record;
    record.queue_on = queue_on();
    record.lr = now.lr;
    record.momentum = now.momentum.value_or(optim::momentum_of(options_.optimizer));
    return record;
  }
  // With a dynamic loss scale a step may overflow: then it was skipped.
  void require_finite(const StepRecord& record, std::int64_t step) const {
    const bool finite = std::isfinite(record.codes.loss) && std::isfinite(record.gradient_norm);
    require<Error>(finite || loss_scale_.is_dynamic(), "step ", step, ": the loss (",
                   record.codes.loss, ") or its gradient (", record.gradient_norm,
                   ") is not a finite number; lower --lr or raise --epsilon");
  }
  void make_device_step() {
    device_ = std::make_shared<DeviceSwavStep<>>(
        network_, arena_, optimizer_, queues_,
        DeviceSwavStepOptions{.crops = options_.crops,
                              .loss = options_.loss,
                              .batch = options_.batch,
                              .accumulate = options_.accumulate,
                              .precision = options_.precision,
                              .loss_scale = loss_scale_options(options_.precision,
                                                               options_.loss_scale),
                              .seed = options_.seed,
                              .graph = options_.graph,
                              .history = options_.read_interval});
  }
  static models::SwavNetwork initialized(const SwavTrainerOptions& options) {
    models::SwavNetwork network(models::Encoder(options.encoder), options.head);
    network.initialize(options.seed);
    return network;
  }

  // T: the type that the network computes in.
  template <nn::ComputeType T>
  SwavStatistics forward_backward(const CropBatch& batch, bool with_queue) {
    std::vector<Variable<T>> groups;
    for (const Tensor<float>& crops : batch.groups) {
      groups.push_back(ops::cast<T>(Variable<float>(crops)));
    }
    const double rows = with_queue ? static_cast<double>(queues_.length()) : 0.0;
    const auto result = swav_loss<T>(network_(groups), options_.batch, network_.prototypes, queues_,
                                     rows, options_.loss.temperature, options_.loss);
    auto row = Tensor<float>::empty({1, ops::kSwavStatistics + result.crop_loss.dim(0)});
    ops::swav_statistics(result.codes, result.loss.value(), result.loss_without_queue,
                         result.crop_loss, 0, row);
    result.loss.backward(Tensor<float>::full({}, static_cast<float>(loss_scale_.value())));
    return read_statistics(row.span());
  }

  SwavTrainerOptions options_;
  models::SwavNetwork network_;
  optim::ParameterArena arena_;
  optim::Optimizer optimizer_;
  EmbeddingQueues queues_;
  LossScale loss_scale_;
  std::int64_t step_ = 0;
  std::shared_ptr<DeviceSwavStep<>> device_;  // null on the cpu
  std::vector<StepRecord> queued_;            // steps of the device that are not read yet
};

}  // namespace mwalimu::train
