// optim/device_step: one step of an optimiser on a CUDA device.
//
// Everything that changes from step to step lies in device memory: learning rate, momentum, gradient
// scale, group scales and trainable flags in one block that the host writes before the step, the
// segments' step counters, and whether the step is taken at all. So a step that a CUDA graph holds
// may be replayed for the whole run.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "mwalimu/core/tensor.hpp"
#include "mwalimu/gpu/allocator.hpp"
#include "mwalimu/optim/gradient_control.hpp"
#include "mwalimu/optim/options.hpp"
#include "mwalimu/optim/segment.hpp"
#include "mwalimu/optim/segment_step.hpp"

namespace mwalimu::optim::detail {

/// Elements a block of a kernel: four 16-byte packs a thread of 256. A guess until it is measured.
inline constexpr index_t kDeviceChunk = 4096;

/// How the block of numbers that the host writes is laid out: three numbers of the step, then one
/// each of every segment for each of the three columns.
struct HyperBlock {
  enum Number { lr, momentum, gradient_scale, numbers };
  enum Column { lr_scale, decay, trainable, columns };

  static MWALIMU_HOST_DEVICE index_t index(Column column, int segment, int segments) {
    return numbers + static_cast<index_t>(column) * segments + segment;
  }
  static index_t size(int segments) { return numbers + index_t{columns} * segments; }
};

/// One step as the kernels see it: addresses of device memory that stay where they are. `steps` is
/// advanced by the step.
struct DeviceStep {
  float* values = nullptr;
  const float* gradients = nullptr;
  float *momentum = nullptr, *squared = nullptr, *slow = nullptr;
  void* copy = nullptr;  ///< the values in copy_type; unused where that is float32
  ElementType copy_type = ElementType::float32;
  std::int64_t* steps = nullptr;
  const double* hyper = nullptr;                    ///< HyperBlock
  const GradientControlState* control = nullptr;    ///< null: every step is taken
  const std::int64_t* chunks = nullptr;             ///< (chunk_count, 3): begin, count, segment
  const std::int64_t* first_chunk = nullptr;        ///< (segment_count + 1)
  NormSums* sums = nullptr;                         ///< scratch, by chunk
  void* updates = nullptr;                          ///< scratch, kUpdateBytes a segment
  index_t chunk_count = 0;
  int segment_count = 0;

  static constexpr std::size_t kUpdateBytes = 64;

  MWALIMU_HOST_DEVICE double of(HyperBlock::Column column, int s) const {
    return hyper[HyperBlock::index(column, s, segment_count)];
  }
  MWALIMU_HOST_DEVICE bool is_active(int s) const {
    return of(HyperBlock::trainable, s) != 0 && (control == nullptr || control->take != 0);
  }
  MWALIMU_HOST_DEVICE SegmentStep at(int s, std::int64_t t) const {
    const double factor = control == nullptr ? 1.0 : control->factor;
    return {.lr = hyper[HyperBlock::lr] * of(HyperBlock::lr_scale, s),
            .momentum = hyper[HyperBlock::momentum],
            .gradient_scale = hyper[HyperBlock::gradient_scale] * factor,
            .decay = of(HyperBlock::decay, s) != 0,
            .t = static_cast<double>(t)};
  }
};

/// One step by the rule of the options, queued: momentum rules and adaptive rules alike.
/// Defined in kernels/optimizer.cuh.
template <class Options>
void apply(Gpu, const Options& options, const DeviceStep& step);

/// Numbers that the host writes again and again and a device reads: from page-locked memory, so that
/// nobody waits. A few copies may be under way at once.
class HostWritten {
 public:
  HostWritten(Device device, index_t count)
      : numbers_(Tensor<double>::zeros({count}, device)),
        last_(static_cast<std::size_t>(count), 0.0) {
    for (Slot& slot : slots_) {
      slot.memory = gpu::allocate_pinned(last_.size() * sizeof(double));
      slot.copied.emplace(device.index);
    }
  }
  ~HostWritten() {
    try {
      for (Slot& slot : slots_) {
        if (slot.used && !slot.copied->has_happened()) slot.copied->synchronize();
      }
    } catch (const CudaError&) {
      // The device is lost, and the copies with it; who uses it next is told.
    }
  }
  HostWritten(const HostWritten&) = delete;
  HostWritten& operator=(const HostWritten&) = delete;

  const double* data() const { return numbers_.data(); }

  /// Queues the numbers on the current stream; nothing where they are as they were.
  /// @throws ValueError  the stream is capturing a graph, which would keep these numbers for ever.
  void write(std::span<const double> numbers) {
    const gpu::StreamHandle stream = gpu_place(numbers_.device()).stream;
    require<ValueError>(!gpu::Driver::capturing(stream),
                        "optimizer: prepare() belongs before the graph, run() inside of it");
    if (written_ && std::ranges::equal(numbers, last_)) return;
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % slots_.size();
    if (slot.used && !slot.copied->has_happened()) slot.copied->synchronize();
    std::memcpy(slot.memory.get(), numbers.data(), numbers.size_bytes());
    gpu::Driver::copy(numbers_.data(), slot.memory.get(), numbers.size_bytes(),
                      gpu::CopyKind::host_to_device, stream);
    slot.copied->record(stream);
    slot.used = true;
    std::ranges::copy(numbers, last_.begin());
    written_ = true;
  }

 private:
  struct Slot {
    std::shared_ptr<std::byte> memory;
    std::optional<gpu::Event> copied;
    bool used = false;
  };
  Tensor<double> numbers_;
  std::vector<double> last_;
  std::array<Slot, 4> slots_;
  std::size_t next_ = 0;
  bool written_ = false;
};

/// What an optimiser keeps on its device beside its state: where the chunks lie, the host's numbers,
/// scratch.
class DeviceStepMemory {
 public:
  DeviceStepMemory(Device device, std::span<const Segment> segments)
      : hyper_(device, HyperBlock::size(static_cast<int>(segments.size()))) {
    std::vector<std::int64_t> chunks, first{0};
    for (std::size_t s = 0; s < segments.size(); ++s) {
      const Segment& segment = segments[s];
      require<ShapeError>(segment.offset % 4 == 0, "optimizer: on a device segments start at 16 ",
                          "bytes; '", segment.name, "' starts at element ", segment.offset);
      for (index_t at = 0; at < segment.count; at += kDeviceChunk) {
        chunks.insert(chunks.end(), {segment.offset + at,
                                     std::min(kDeviceChunk, segment.count - at),
                                     static_cast<std::int64_t>(s)});
      }
      first.push_back(static_cast<std::int64_t>(chunks.size() / 3));
    }
    const index_t count = first.back(), S = static_cast<index_t>(segments.size());
    chunks_ = Tensor<std::int64_t>::from(chunks, {count, 3}).to(device);
    first_chunk_ = Tensor<std::int64_t>::from(first, {S + 1}).to(device);
    sums_ = Tensor<double>::zeros({count, 2}, device);
    updates_ = Tensor<std::uint8_t>::zeros(
        {S, static_cast<index_t>(DeviceStep::kUpdateBytes)}, device);
  }

  /// @param hyper  its momentum is set.
  void write(const HyperParameters& hyper, std::span<const Segment> segments) {
    const int S = static_cast<int>(segments.size());
    std::vector<double> numbers(static_cast<std::size_t>(HyperBlock::size(S)));
    numbers[HyperBlock::lr] = hyper.lr;
    numbers[HyperBlock::momentum] = *hyper.momentum;
    numbers[HyperBlock::gradient_scale] = hyper.gradient_scale;
    for (int s = 0; s < S; ++s) {
      const auto set = [&](HyperBlock::Column column, double value) {
        numbers[static_cast<std::size_t>(HyperBlock::index(column, s, S))] = value;
      };
      const Segment& segment = segments[static_cast<std::size_t>(s)];
      set(HyperBlock::lr_scale, group_scale(hyper, segment));
      set(HyperBlock::decay, segment.decay);
      set(HyperBlock::trainable, segment.trainable);
    }
    hyper_.write(numbers);
  }

  /// A step over these tables; the caller adds the arena's and the state's addresses.
  DeviceStep step() {
    DeviceStep step;
    step.hyper = hyper_.data();
    step.chunks = chunks_.data();
    step.first_chunk = first_chunk_.data();
    step.sums = reinterpret_cast<NormSums*>(sums_.data());
    step.updates = updates_.data();
    step.chunk_count = chunks_.dim(0);
    step.segment_count = static_cast<int>(first_chunk_.count()) - 1;
    return step;
  }

 private:
  Tensor<std::int64_t> chunks_, first_chunk_;
  Tensor<double> sums_;
  Tensor<std::uint8_t> updates_;
  HostWritten hyper_;
};

}  // namespace mwalimu::optim::detail
