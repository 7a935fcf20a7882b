// gpu/driver on the host: one device whose memory is host memory and whose streams run at once.
//
// Device memory lies in one reserved range that nobody may touch except while work of a stream runs:
// host code that follows a device pointer dies here with a signal, as it would with a real device.
// (Not under AddressSanitizer, which wants each block by itself, between red zones.)
// A captured graph is a list of closures; what a step bakes into them is what a real graph would.

#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "emulated/stream.hpp"
#include "mwalimu/core/allocator.hpp"
#include "mwalimu/gpu/driver.hpp"

using mwalimu::emulated::HostAccess;
using Work = std::function<void()>;
using Clock = std::chrono::steady_clock;

// A capture that several streams may have joined.
struct Capture {
  std::vector<Work> nodes;
  bool open = true;
};
struct CUgraphExec_st {
  std::vector<Work> nodes;
};
struct CUstream_st {
  std::shared_ptr<Capture> capture;  // null or closed: work runs at once
  bool capturing() const { return capture != nullptr && capture->open; }
};
struct CUevent_st {
  Clock::time_point when{};
  bool recorded = false;
  std::shared_ptr<Capture> capture;
  bool captured() const { return capture != nullptr && capture->open; }
};

namespace mwalimu {
namespace {

struct Totals {
  std::atomic<unsigned long long> works{0}, synchronizations{0}, device_to_host{0};
} totals;

// The range of device memory. Blocks are never given back to the system, only reused by size.
class DeviceRange {
 public:
  static DeviceRange& instance() {
    static auto* range = new DeviceRange;
    return *range;
  }

  void* take(std::size_t bytes) {
#ifdef MWALIMU_ADDRESS_SANITIZER
    void* block = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    std::memset(block, 0xFF, bytes);
    return block;
#else
    const std::lock_guard lock(mutex_);
    const std::size_t size = (bytes + kGap + 255) / 256 * 256;
    auto& blocks = unused_[size];
    std::byte* block;
    if (!blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
    } else {
      if (used_ + size > kReserved) return nullptr;
      block = base_ + used_;
      used_ += size;
      protect_locked();
    }
    sizes_[block] = size;
    // Fresh device memory holds anything: here NaN in every type of ours.
    open_locked();
    std::memset(block, 0xFF, size);
    close_locked();
    return block;
#endif
  }
  void give_back(void* block) {
#ifdef MWALIMU_ADDRESS_SANITIZER
    std::free(block);
#else
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(static_cast<std::byte*>(block));
    if (found == sizes_.end()) std::abort();  // freed twice, or never allocated
    unused_[found->second].push_back(found->first);
    sizes_.erase(found);
#endif
  }
  bool contains(const void* p) const {
#ifdef MWALIMU_ADDRESS_SANITIZER
    (void)p;
    return true;
#else
    return p >= base_ && p < base_ + kReserved;
#endif
  }
  std::size_t free_bytes() const { return kReserved - used_; }

  void open() {
    const std::lock_guard lock(mutex_);
    open_locked();
  }
  void close() {
    const std::lock_guard lock(mutex_);
    close_locked();
  }

 private:
  static constexpr std::size_t kReserved = std::size_t{8} << 30;
  static constexpr std::size_t kGap = 64;  // bytes of NaN behind every block

  DeviceRange() {
#ifndef MWALIMU_ADDRESS_SANITIZER
    void* range = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                       -1, 0);
    if (range == MAP_FAILED) std::abort();
    base_ = static_cast<std::byte*>(range);
#endif
  }
  void open_locked() {
    if (depth_++ == 0) protect_locked();
  }
  void close_locked() {
    if (--depth_ == 0) protect_locked();
  }
  void protect_locked() {
    if (base_ == nullptr || used_ == 0) return;
    const std::size_t page = 4096, length = (used_ + page - 1) / page * page;
    (void)mprotect(base_, length, depth_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
  }

  std::mutex mutex_;
  std::byte* base_ = nullptr;
  std::size_t used_ = 0;
  int depth_ = 0;
  std::map<std::size_t, std::vector<std::byte*>> unused_;
  std::map<std::byte*, std::size_t> sizes_;
};

}  // namespace

namespace emulated {

HostAccess::HostAccess() { DeviceRange::instance().open(); }
HostAccess::~HostAccess() { DeviceRange::instance().close(); }

void enqueue(gpu::StreamHandle stream, Work work) {
  require<CudaError>(stream != nullptr, "emulated device: work on CUDA's default stream");
  if (stream->capturing()) {
    stream->capture->nodes.push_back(std::move(work));
    return;
  }
  const HostAccess access;
  ++totals.works;
  work();
}

Counters counters() {
  return {totals.works.load(), totals.synchronizations.load(), totals.device_to_host.load()};
}

}  // namespace emulated

namespace gpu {
namespace {

// Pinned blocks, so that a capture can tell them from pageable memory, which a real graph would read
// at every replay, long after the tensor behind it has died.
class PinnedBlocks {
 public:
  static PinnedBlocks& instance() {
    static auto* blocks = new PinnedBlocks;
    return *blocks;
  }
  void add(void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    blocks_[static_cast<const std::byte*>(block)] = bytes;
  }
  void remove(void* block) {
    const std::lock_guard lock(mutex_);
    blocks_.erase(static_cast<const std::byte*>(block));
  }
  bool contains(const void* p) {
    const std::lock_guard lock(mutex_);
    auto after = blocks_.upper_bound(static_cast<const std::byte*>(p));
    if (after == blocks_.begin()) return false;
    --after;
    return static_cast<const std::byte*>(p) < after->first + after->second;
  }

 private:
  std::mutex mutex_;
  std::map<const std::byte*, std::size_t> blocks_;
};

void refuse_while_capturing(StreamHandle stream, const char* call) {
  require<CudaError>(!stream->capturing(), call,
                     ": operation not permitted when stream is capturing (emulated device)");
}

}  // namespace

template <class T>
int BasicDriver<T>::device_count() {
  return 1;
}
template <class T>
std::string BasicDriver<T>::why_no_device() {
  return "there are devices";
}
template <class T>
const DeviceInfo& BasicDriver<T>::info(int) {
  // Few multiprocessors, so that grid-stride loops go round more than once on small tensors.
  static const DeviceInfo info{.name = "emulated", .major = 9, .minor = 0, .multiprocessors = 2,
                               .memory = DeviceRange::instance().free_bytes(),
                               .l2_cache = std::size_t{1} << 20, .driver_version = 0,
                               .runtime_version = 0, .emulated = true};
  return info;
}

template <class T>
void* BasicDriver<T>::allocate(int, std::size_t bytes) {
  return DeviceRange::instance().take(bytes);
}
template <class T>
void BasicDriver<T>::free(int, void* memory) noexcept {
  DeviceRange::instance().give_back(memory);
}
template <class T>
std::size_t BasicDriver<T>::free_memory(int) {
  return DeviceRange::instance().free_bytes();
}
template <class T>
void* BasicDriver<T>::allocate_pinned(std::size_t bytes) {
  void* block = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  PinnedBlocks::instance().add(block, bytes);
  return block;
}
template <class T>
void BasicDriver<T>::free_pinned(void* memory) noexcept {
  PinnedBlocks::instance().remove(memory);
  std::free(memory);
}

template <class T>
StreamHandle BasicDriver<T>::create_stream(int) {
  return new CUstream_st;
}
template <class T>
void BasicDriver<T>::destroy_stream(StreamHandle stream) noexcept {
  delete stream;
}
template <class T>
void BasicDriver<T>::synchronize(StreamHandle stream) {
  refuse_while_capturing(stream, "cudaStreamSynchronize");
  ++totals.synchronizations;
}

template <class T>
EventHandle BasicDriver<T>::create_event(int, bool) {
  return new CUevent_st;
}
template <class T>
void BasicDriver<T>::destroy_event(EventHandle event) noexcept {
  delete event;
}
template <class T>
void BasicDriver<T>::record(EventHandle event, StreamHandle stream) {
  event->capture = stream->capture;
  event->when = Clock::now();
  event->recorded = true;
}
template <class T>
void BasicDriver<T>::wait(StreamHandle stream, EventHandle event) {
  // Waiting for an event of a capture joins it, as in CUDA.
  if (event->captured()) stream->capture = event->capture;
}
template <class T>
void BasicDriver<T>::synchronize_event(EventHandle event) {
  require<CudaError>(!event->captured(),
                     "cudaEventSynchronize: the event was captured (emulated device)");
  ++totals.synchronizations;
}
template <class T>
bool BasicDriver<T>::has_happened(EventHandle event) {
  return !event->captured();
}
template <class T>
double BasicDriver<T>::milliseconds(EventHandle begin, EventHandle end) {
  require<CudaError>(begin->recorded && end->recorded,
                     "cudaEventElapsedTime: an event was never recorded (emulated device)");
  return std::chrono::duration<double, std::milli>(end->when - begin->when).count();
}

template <class T>
void BasicDriver<T>::copy(void* to, const void* from, std::size_t bytes, CopyKind kind,
                          StreamHandle stream) {
  const auto& range = DeviceRange::instance();
  const bool from_device = kind != CopyKind::host_to_device;
  const bool to_device = kind != CopyKind::device_to_host;
  require<CudaError>(range.contains(from) || !from_device,
                     "cudaMemcpyAsync: invalid argument: the source is no device memory");
  require<CudaError>(range.contains(to) || !to_device,
                     "cudaMemcpyAsync: invalid argument: the target is no device memory");
  if (stream->capturing()) {
    auto& pinned = PinnedBlocks::instance();
    require<CudaError>((from_device || pinned.contains(from)) && (to_device || pinned.contains(to)),
                       "cudaMemcpyAsync: a graph would keep the address of pageable host memory");
  }
  if (kind == CopyKind::device_to_host) ++totals.device_to_host;
  emulated::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}
template <class T>
void BasicDriver<T>::fill_bytes(void* to, int byte, std::size_t bytes, StreamHandle stream) {
  require<CudaError>(DeviceRange::instance().contains(to),
                     "cudaMemsetAsync: invalid argument: no device memory");
  emulated::enqueue(stream, [=] { std::memset(to, byte, bytes); });
}

template <class T>
void BasicDriver<T>::begin_capture(StreamHandle stream) {
  refuse_while_capturing(stream, "cudaStreamBeginCapture");
  stream->capture = std::make_shared<Capture>();
}
template <class T>
GraphHandle BasicDriver<T>::end_capture(StreamHandle stream) {
  require<CudaError>(stream->capturing(),
                     "cudaStreamEndCapture: the stream is not capturing (emulated device)");
  auto* graph = new CUgraphExec_st{std::move(stream->capture->nodes)};
  stream->capture->open = false;
  return graph;
}
template <class T>
void BasicDriver<T>::abandon_capture(StreamHandle stream) noexcept {
  if (stream->capture != nullptr) stream->capture->open = false;
}
template <class T>
bool BasicDriver<T>::capturing(StreamHandle stream) {
  return stream->capturing();
}
template <class T>
void BasicDriver<T>::launch_graph(GraphHandle graph, StreamHandle stream) {
  for (const Work& node : graph->nodes) emulated::enqueue(stream, node);
}
template <class T>
void BasicDriver<T>::destroy_graph(GraphHandle graph) noexcept {
  delete graph;
}

template <class T>
void BasicDriver<T>::push_range(const char*) {}
template <class T>
void BasicDriver<T>::pop_range() {}

template struct BasicDriver<>;

}  // namespace gpu
}  // namespace mwalimu
