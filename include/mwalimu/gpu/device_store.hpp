// gpu/device_store: the images of a run where a device's kernels can read them.
//
// A store that fits lies on the device as a whole, and a batch is a list of row numbers. One that
// does not stays on the host: threads gather each batch's images into pinned memory ahead of its
// step and copy them on a stream of their own. Either way BatchFeed::next() leaves a batch at the
// same addresses, so that a captured step reads it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/data/image_store.hpp"
#include "mwalimu/data/loader.hpp"
#include "mwalimu/gpu/allocator.hpp"
#include "mwalimu/gpu/stream.hpp"

namespace mwalimu::gpu {

/// Where the images lie. automatic: on the device if they take no more than half of what is free
/// there.
enum class StorePlacement { automatic, device, host };

/// @throws ValueError  another name than auto, device or host.
inline StorePlacement store_placement(std::string_view name) {
  if (name == "auto") return StorePlacement::automatic;
  if (name == "device") return StorePlacement::device;
  if (name == "host") return StorePlacement::host;
  mwalimu::detail::fail<ValueError>("--store: want auto, device or host, got '", name, "'");
}

/// An image store that a device's kernels draw batches from. Copies share the images.
class DeviceStore {
 public:
  /// Copies the images to the device, if that is where they go; waits for the copies.
  /// @throws DeviceError  `device` is the cpu or does not exist, or `placement` is device and the
  ///                      images have no room.
  DeviceStore(data::ImageStore store, Device device,
              StorePlacement placement = StorePlacement::automatic)
      : store_(std::move(store)), device_(device) {
    require<DeviceError>(!device.is_cpu(), "DeviceStore: want a device, got ", device);
    require<ValueError>(store_.size() >= 1, "DeviceStore: the store is empty");
    const StreamHandle stream = gpu_place(device).stream;  // there is such a device
    const auto bytes = static_cast<std::size_t>(store_.size()) * image_bytes();
    if (placement == StorePlacement::automatic) {
      const bool fits = bytes <= Driver::free_memory(device.index) / 2;
      placement = fits ? StorePlacement::device : StorePlacement::host;
    }
    if (placement == StorePlacement::host) return;
    images_ = Tensor<std::uint8_t>::empty(
        {store_.size(), store_.height(), store_.width(), store_.channels()}, device);
    // Images that follow each other on the host, all of them as a rule, go in one copy.
    for (index_t begin = 0; begin < store_.size();) {
      const std::uint8_t* first = store_.image(begin).data();
      index_t end = begin + 1;
      while (end < store_.size() &&
             store_.image(end).data() ==
                 first + static_cast<std::size_t>(end - begin) * image_bytes()) {
        ++end;
      }
      Driver::copy(images_.data() + static_cast<std::size_t>(begin) * image_bytes(), first,
                   static_cast<std::size_t>(end - begin) * image_bytes(), CopyKind::host_to_device,
                   stream);
      begin = end;
    }
    Driver::synchronize(stream);
  }

  Device device() const { return device_; }
  bool resident() const { return images_.count() > 0; }
  /// All images on the device, (N, height, width, channels), where resident; else empty.
  const Tensor<std::uint8_t>& images() const { return images_; }
  const data::ImageStore& host() const { return store_; }
  std::size_t image_bytes() const {
    return static_cast<std::size_t>(store_.height()) * static_cast<std::size_t>(store_.width()) *
           static_cast<std::size_t>(store_.channels());
  }

 private:
  data::ImageStore store_;
  Device device_;
  Tensor<std::uint8_t> images_;
};

/// What a step wants on the device.
struct BatchRequest {
  std::vector<index_t> images;       ///< of the store, in any order, repeated or not
  std::vector<std::int64_t> labels;  ///< may be empty
};

/// Batches of a store, one after another, at fixed addresses of the device.
///
///     BatchFeed feed(store, 2 * B, first, last, [&](std::int64_t step, BatchRequest& want) {
///       for (const index_t i : sampler.indices(step)) {
///         want.images.push_back(pairs[i].first);
///         want.images.push_back(pairs[i].second);
///       }
///     });
///     std::vector<Tensor<bfloat16>> crops;
///     while (feed.next()) {
///       const auto rows = feed.rows().reshape({B, 2});
///       data::multi_crop(options, seed, feed.step(), feed.images(), rows, crops);
///     }
///
/// Work that is queued on the calling thread's current stream after next() sees the batch, until
/// the next call. The host does not wait for the device, but for a batch that is not made yet, and
/// when it is more than `depth` batches ahead. next() is not for captured graphs; what reads the
/// batch is.
class BatchFeed {
 public:
  /// Called by the feed's threads, for different steps at once; `request` is empty.
  using Make = std::function<void(std::int64_t step, BatchRequest& request)>;

  /// @param capacity     the most images, and the most labels, that a step asks for
  /// @param first, last  steps [first, last)
  /// @throws ValueError  capacity < 1, or what Prefetcher refuses.
  BatchFeed(DeviceStore store, index_t capacity, std::int64_t first, std::int64_t last, Make make,
            data::PrefetcherOptions options = {})
      : store_(std::move(store)),
        capacity_((require<ValueError>(capacity >= 1,
                                       "BatchFeed: want room for at least one image, "
                                       "got ",
                                       capacity),
                   capacity)),
        make_(std::move(make)),
        copies_(store_.device().index),
        finished_(store_.device().index) {
    const Place at(*this);
    const Device device = store_.device();
    current_ = allocate(device.index, at.bytes);
    for (int i = 0; i < options.depth + 1; ++i) {
      ring_.push_back({.pinned = allocate_pinned(at.bytes),
                       .staged = allocate(device.index, at.bytes),
                       .arrived = Event(device.index),
                       .taken = Event(device.index)});
    }
    // The pool hands out memory that this thread's stream may not have done with yet.
    finished_.record(gpu_place(device).stream);
    finished_.block(copies_.handle());
    if (store_.resident()) {
      images_ = store_.images();
    } else {
      const data::ImageStore& host = store_.host();
      images_ = tensor<std::uint8_t>(at.images,
                                     {capacity_, host.height(), host.width(), host.channels()});
    }
    loader_.emplace(
        first, last, [this](std::int64_t step, Ready& ready) { prepare(step, ready); }, options);
  }
  /// Waits for batches in the making and for copies under way.
  ~BatchFeed() {
    loader_.reset();
    try {
      copies_.synchronize();
      finished_.synchronize();  // this feed's memory is free for other streams
    } catch (const Error&) {    // whoever uses the device next is told
    }
  }
  BatchFeed(const BatchFeed&) = delete;
  BatchFeed& operator=(const BatchFeed&) = delete;

  /// Brings the next step's batch; false after the last.
  /// @throws whatever `make` threw for that step; ValueError for a request for images that the
  ///         store does not have, or for more than the capacity.
  bool next() {
    const std::int64_t step = loader_->step();
    const Ready* ready = loader_->next();
    if (ready == nullptr) return false;
    Slot& slot = slot_of(step);
    const StreamHandle stream = gpu_place(store_.device()).stream;
    slot.arrived.block(stream);
    Driver::copy(current_.get(), slot.staged.get(), ready->bytes, CopyKind::device_to_device,
                 stream);
    slot.taken.record(stream);
    finished_.record(stream);
    step_ = step;
    images_here_ = ready->images;
    labels_here_ = ready->labels;
    return true;
  }

  /// The pixels that rows() counts in: the whole store, or the batch's own images.
  const Tensor<std::uint8_t>& images() const { return images_; }
  /// (n) rows of images(), one for each image asked for, in that order.
  Tensor<index_t> rows() const { return numbers_at(Place(*this).rows, images_here_); }
  /// (n) numbers of those images in the store: what test-time augmentation draws by.
  Tensor<index_t> numbers() const { return numbers_at(Place(*this).numbers, images_here_); }
  /// The labels asked for.
  Tensor<std::int64_t> labels() const { return numbers_at(Place(*this).labels, labels_here_); }
  /// The batch's step, on the device.
  Scalar step() const {
    return Scalar::at(reinterpret_cast<const double*>(current_.get()), static_cast<double>(step_));
  }
  /// Seconds that next() waited for batches that were not made yet, in total.
  double total_wait_seconds() const { return loader_->total_wait_seconds(); }

 private:
  // One batch in pinned memory and on its way; used again every depth + 1 steps.
  struct Slot {
    std::shared_ptr<std::byte> pinned, staged;
    Event arrived;  // its copy from pinned memory has run
    Event taken;    // its copy to current_ has run
  };
  struct Ready {
    index_t images = 0, labels = 0;
    std::size_t bytes = 0;
  };
  // A batch's memory: the step, three lists of `capacity` numbers, and the pixels where they
  // travel.
  struct Place {
    explicit Place(const BatchFeed& feed) {
      const auto list = static_cast<std::size_t>(feed.capacity_) * sizeof(std::int64_t);
      numbers = rows + list;
      labels = numbers + list;
      images = (labels + list + 255) / 256 * 256;
      const auto pixels = static_cast<std::size_t>(feed.capacity_) * feed.store_.image_bytes();
      bytes = feed.store_.resident() ? images : images + pixels;
    }
    static constexpr std::size_t rows = 256;  // the step lies at 0
    std::size_t numbers, labels, images, bytes;
  };

  Slot& slot_of(std::int64_t step) { return ring_[static_cast<std::size_t>(step) % ring_.size()]; }

  template <class T>
  Tensor<T> tensor(std::size_t offset, const Shape& shape) const {
    return Tensor<T>::borrow(reinterpret_cast<T*>(current_.get() + offset), shape,
                             contiguous_strides(shape), current_, store_.device());
  }
  Tensor<std::int64_t> numbers_at(std::size_t offset, index_t count) const {
    return tensor<std::int64_t>(offset, {count});
  }

  // On a thread of the loader, which sees to it that the slot's last batch was taken.
  void prepare(std::int64_t step, Ready& ready) {
    BatchRequest request;
    make_(step, request);
    const auto n = static_cast<index_t>(request.images.size());
    const auto labels = static_cast<index_t>(request.labels.size());
    require<ValueError>(n >= 1 && n <= capacity_ && labels <= capacity_, "BatchFeed: step ", step,
                        " wants ", n, " images and ", labels, " labels; the feed has room for ",
                        capacity_);
    const data::ImageStore& store = store_.host();
    for (const index_t image : request.images) {
      require<ValueError>(image >= 0 && image < store.size(), "BatchFeed: step ", step,
                          " wants image ", image, " of ", store.size());
    }
    Slot& slot = slot_of(step);
    slot.arrived.synchronize();  // the pinned block has been read
    const Place at(*this);
    std::byte* block = slot.pinned.get();
    const double number = static_cast<double>(step);
    std::memcpy(block, &number, sizeof number);
    auto* rows = reinterpret_cast<index_t*>(block + Place::rows);
    auto* numbers = reinterpret_cast<index_t*>(block + at.numbers);
    for (index_t i = 0; i < n; ++i) {
      const index_t image = request.images[static_cast<std::size_t>(i)];
      numbers[i] = image;
      rows[i] = store_.resident() ? image : i;
      if (!store_.resident()) {
        std::memcpy(block + at.images + static_cast<std::size_t>(i) * store_.image_bytes(),
                    store.image(image).data(), store_.image_bytes());
      }
    }
    std::copy(request.labels.begin(), request.labels.end(),
              reinterpret_cast<std::int64_t*>(block + at.labels));
    ready.images = n;
    ready.labels = labels;
    ready.bytes = store_.resident()
                      ? at.bytes
                      : at.images + static_cast<std::size_t>(n) * store_.image_bytes();
    slot.taken.block(copies_.handle());
    Driver::copy(slot.staged.get(), block, ready.bytes, CopyKind::host_to_device, copies_.handle());
    slot.arrived.record(copies_.handle());
  }

  DeviceStore store_;
  index_t capacity_;
  Make make_;
  Stream copies_;   // from pinned memory to the device
  Event finished_;  // the calling thread's stream has done with the last slot
  std::vector<Slot> ring_;
  std::shared_ptr<std::byte> current_;
  Tensor<std::uint8_t> images_;
  index_t images_here_ = 0, labels_here_ = 0;
  std::int64_t step_ = 0;
  std::optional<data::Prefetcher<Ready>> loader_;  // last: its threads use all the rest
};

}  // namespace mwalimu::gpu
