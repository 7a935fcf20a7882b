// core/tensor: an n-dimensional array that shares its storage, and the typed view of it that
// backends work on.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/core/allocator.hpp"
#include "mwalimu/core/device_copy.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/shape.hpp"
#include "mwalimu/core/strided.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/gpu/allocator.hpp"

namespace mwalimu {

/// A pointer with R extents and strides: what backends take. It owns nothing, and T is const where
/// the backend only reads.
template <class T, int R>
class View {
 public:
  View(T* data, const std::array<index_t, R>& extents, const std::array<index_t, R>& strides)
      : data_(data), extents_(extents), strides_(strides) {}
  /// A view to change converts to one to read.
  template <class U>
    requires std::is_same_v<T, const U>
  View(const View<U, R>& other)
      : data_(other.data()), extents_(other.extents()), strides_(other.strides()) {}

  T* data() const { return data_; }
  index_t dim(int i) const { return extents_[static_cast<std::size_t>(i)]; }
  index_t stride(int i) const { return strides_[static_cast<std::size_t>(i)]; }
  const std::array<index_t, R>& extents() const { return extents_; }
  const std::array<index_t, R>& strides() const { return strides_; }
  index_t count() const {
    index_t product = 1;
    for (index_t extent : extents_) product *= extent;
    return product;
  }
  bool is_contiguous() const {
    index_t step = 1;
    for (int i = R - 1; i >= 0; --i) {
      if (dim(i) != 1 && stride(i) != step) return false;
      step *= dim(i);
    }
    return true;
  }
  template <class... Index>
    requires(sizeof...(Index) == R)
  T& operator()(Index... index) const {
    const std::array<index_t, R> at{static_cast<index_t>(index)...};
    index_t offset = 0;
    for (std::size_t i = 0; i < R; ++i) offset += at[i] * strides_[i];
    return data_[offset];
  }

 private:
  T* data_;
  std::array<index_t, R> extents_;
  std::array<index_t, R> strides_;
};

/// An array of T with up to five extents on one device. Copies of a Tensor, and slices of it, share
/// its elements; clone() makes new ones. Images are (N, H, W, C), C densest.
template <Element T>
class Tensor {
 public:
  /// No elements, shape (0).
  Tensor() : shape_{0}, strides_{1} {}

  /// Uninitialised elements in row-major order.
  /// @throws ShapeError      a negative extent, or more elements than memory can address.
  /// @throws std::bad_alloc
  static Tensor empty(const Shape& shape, Device device = Device::cpu()) {
    checked_count(shape);  // before the strides, whose products would overflow
    return with_strides(shape, contiguous_strides(shape), device);
  }
  /// Uninitialised elements whose strides are the given permutation of a dense tensor: the extents
  /// keep their meaning, memory keeps another order (convolution weights).
  static Tensor with_strides(const Shape& shape, const Shape& strides,
                             Device device = Device::cpu()) {
    const index_t count = checked_count(shape);
    Tensor tensor;
    tensor.shape_ = shape;
    tensor.strides_ = strides;
    tensor.device_ = device;
    on_device(device, [&](auto place) {
      tensor.storage_ = allocate(place, static_cast<std::size_t>(count) * sizeof(T));
    });
    tensor.data_ = reinterpret_cast<T*>(tensor.storage_.get());
    return tensor;
  }
  static Tensor zeros(const Shape& shape, Device device = Device::cpu()) {
    Tensor tensor = empty(shape, device);
    tensor.fill_bytes(0);
    return tensor;
  }
  static Tensor full(const Shape& shape, T value, Device device = Device::cpu()) {
    Tensor tensor = empty(shape, device);
    tensor.fill(value);
    return tensor;
  }
  static Tensor empty_like(const Tensor& other) {
    return with_strides(other.shape_, other.is_dense() ? other.strides_
                                                       : contiguous_strides(other.shape_),
                        other.device_);
  }
  /// Elements copied from the host, row-major.
  /// @throws ShapeError  the count differs from the shape's.
  static Tensor from(std::span<const T> values, const Shape& shape) {
    require<ShapeError>(static_cast<index_t>(values.size()) == shape.count(), "tensor: ",
                        values.size(), " values do not fill ", shape);
    Tensor tensor = empty(shape);
    std::copy(values.begin(), values.end(), tensor.data_);
    return tensor;
  }
  static Tensor from(std::initializer_list<T> values, const Shape& shape) {
    return from(std::span<const T>(values.begin(), values.size()), shape);
  }
  static Tensor scalar(T value) { return full({}, value); }
  /// Memory of somebody else on `device`, kept alive by `owner` (null: the caller keeps it), not
  /// copied.
  static Tensor borrow(T* data, const Shape& shape, const Shape& strides,
                       std::shared_ptr<std::byte> owner, Device device = Device::cpu()) {
    Tensor tensor;
    tensor.shape_ = shape;
    tensor.strides_ = strides;
    tensor.device_ = device;
    tensor.data_ = data;
    tensor.storage_ = std::move(owner);
    return tensor;
  }

  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  int rank() const { return shape_.rank(); }
  index_t dim(int i) const { return shape_[i]; }
  index_t count() const { return shape_.count(); }
  Device device() const { return device_; }
  const std::shared_ptr<std::byte>& storage() const { return storage_; }

  T* data() { return data_; }
  const T* data() const { return data_; }
  /// The elements in memory order. @throws ShapeError  the tensor has gaps.
  std::span<T> span() {
    require<ShapeError>(is_dense(), "tensor: no span over a strided ", shape_);
    return {data_, static_cast<std::size_t>(count())};
  }
  std::span<const T> span() const { return const_cast<Tensor&>(*this).span(); }

  /// Row-major without gaps.
  bool is_contiguous() const {
    index_t step = 1;
    for (int i = rank() - 1; i >= 0; --i) {
      if (dim(i) != 1 && strides_[i] != step) return false;
      step *= dim(i);
    }
    return true;
  }
  /// The elements fill one range of memory, in some order of the dimensions.
  bool is_dense() const {
    if (count() == 0) return true;
    // Grow the densest block: the next dimension must step by exactly what is covered so far.
    index_t covered = 1;
    unsigned used = 0;
    for (int placed = 0; placed < rank(); ++placed) {
      int next = -1;
      for (int i = 0; i < rank(); ++i) {
        if ((used & (1u << i)) == 0 && (dim(i) == 1 || strides_[i] == covered)) next = i;
      }
      if (next < 0) return false;
      used |= 1u << next;
      covered *= dim(next);
    }
    return true;
  }

  /// The typed view for a backend. @throws ShapeError  the rank is not R.
  template <int R>
  View<T, R> view() {
    return make_view<R>(data_);
  }
  template <int R>
  View<const T, R> view() const {
    return make_view<R>(const_cast<const T*>(data_));
  }

  /// Elements [begin, end) along a dimension; shares memory.
  /// @throws ShapeError  the range leaves the tensor.
  Tensor slice(int dimension, index_t begin, index_t end) const {
    require<ShapeError>(dimension >= 0 && dimension < rank() && begin >= 0 && begin <= end &&
                            end <= dim(dimension),
                        "slice: [", begin, ", ", end, ") of dimension ", dimension,
                        " leaves the shape ", shape_);
    Tensor part = *this;
    part.shape_[dimension] = end - begin;
    if (data_ != nullptr) part.data_ += begin * strides_[dimension];
    return part;
  }
  /// Dimensions in a new order; shares memory.
  Tensor permute(std::initializer_list<int> order) const {
    require<ShapeError>(static_cast<int>(order.size()) == rank(), "permute: ", order.size(),
                        " dimensions named for ", shape_);
    Tensor result = *this;
    int to = 0;
    unsigned seen = 0;
    for (int from : order) {
      require<ShapeError>(from >= 0 && from < rank() && (seen & (1u << from)) == 0,
                          "permute: dimension ", from, " is out of range or named twice");
      seen |= 1u << from;
      result.shape_[to] = shape_[from];
      result.strides_[to] = strides_[from];
      ++to;
    }
    return result;
  }
  /// Other extents over the same elements; shares memory.
  /// @throws ShapeError  the counts differ, or this tensor is not contiguous.
  Tensor reshape(const Shape& shape) const {
    require<ShapeError>(shape.count() == count(), "reshape: ", shape_, " does not fit ", shape);
    require<ShapeError>(is_contiguous(), "reshape: want a contiguous tensor, got strides ",
                        strides_, " for ", shape_);
    Tensor result = *this;
    result.shape_ = shape;
    result.strides_ = contiguous_strides(shape);
    return result;
  }
  /// This tensor if it is row-major, else a row-major copy.
  Tensor contiguous() const {
    if (is_contiguous()) return *this;
    Tensor result = empty(shape_, device_);
    result.copy_from(*this);
    return result;
  }
  /// A copy with its own memory and the same strides.
  Tensor clone() const {
    Tensor result = empty_like(*this);
    result.copy_from(*this);
    return result;
  }
  /// Overwrites every element with that of `source` at the same index, converted to T. Between
  /// devices, too; to the host the call waits for the copy, else it is queued.
  /// @throws ShapeError  the shapes differ.
  template <Element U>
  void copy_from(const Tensor<U>& source) {
    require<ShapeError>(shape_ == source.shape(), "copy: ", source.shape(), " into ", shape_);
    if (count() == 0) return;
    if constexpr (kCuda) {
      if (!(device_ == source.device())) return copy_between_devices(source);
      if (!device_.is_cpu()) return copy_on_gpu(source);
    }
    const U* from = source.data();
    if (strides_ == source.strides() && is_dense()) {
      parallel_for(count(), kGrain, [&](index_t begin, index_t end) {
        copy_run(from + begin, data_ + begin, end - begin);
      });
      return;
    }
    detail::for_each_run(
        shape_, strides_, source.strides(),
        [&](index_t to_first, index_t from_first, index_t n, index_t to_step, index_t from_step) {
          const U* read = from + from_first;
          T* written = data_ + to_first;
          if (to_step == 1 && from_step == 1) return copy_run(read, written, n);
          for (index_t i = 0; i < n; ++i) written[i * to_step] = convert<T>(read[i * from_step]);
        });
  }
  /// This tensor if it lies on `device`, else a copy there with the same strides (row-major if this
  /// one has gaps).
  Tensor to(Device device) const {
    if (device_ == device) return *this;
    const Shape order = is_dense() ? strides_ : contiguous_strides(shape_);
    Tensor result = with_strides(shape_, order, device);
    result.copy_from(*this);
    return result;
  }
  /// The same values in another element type.
  template <Element U>
  Tensor<U> to() const {
    auto result = is_dense() ? Tensor<U>::with_strides(shape_, strides_, device_)
                             : Tensor<U>::empty(shape_, device_);
    result.copy_from(*this);
    return result;
  }

  void fill(T value) {
    if (count() == 0) return;
    if constexpr (kCuda) {
      if (!device_.is_cpu()) {
        return fill_elements(gpu_place(device_), shape_, &value, sizeof(T), data_, strides_);
      }
    }
    if (is_dense()) {
      parallel_for(count(), kGrain, [&](index_t begin, index_t end) {
        std::fill(data_ + begin, data_ + end, value);
      });
    } else {
      detail::for_each_run(shape_, strides_, strides_,
                           [&](index_t first, index_t, index_t n, index_t step, index_t) {
                             for (index_t i = 0; i < n; ++i) data_[first + i * step] = value;
                           });
    }
  }
  void zero() { is_dense() ? fill_bytes(0) : fill(T{}); }

  /// The single element; waits for a device. @throws ShapeError  there is not exactly one.
  T item() const {
    require<ShapeError>(count() == 1, "item: want one element, got ", shape_);
    if (device_.is_cpu()) return *data_;
    return *to(Device::cpu()).data();
  }
  /// All elements in row-major order; waits for a device.
  std::vector<T> to_vector() const {
    const Tensor dense = contiguous().to(Device::cpu());
    return {dense.data_, dense.data_ + count()};
  }

 private:
  static index_t checked_count(const Shape& shape) {
    index_t product = 1;  // of all but zeros: the strides multiply these
    for (index_t extent : shape) {
      require<ShapeError>(extent >= 0, "tensor: negative extent in ", shape);
      if (extent == 0) continue;
      require<ShapeError>(product <= (index_t{1} << 46) / extent, "tensor: too many elements in ",
                          shape);
      product *= extent;
    }
    return shape.count();
  }
  static std::shared_ptr<std::byte> allocate(Cpu, std::size_t bytes) {
    return CachingAllocator::instance().allocate(bytes);
  }
  static std::shared_ptr<std::byte> allocate(Gpu place, std::size_t bytes) {
    return gpu::allocate(place.device, bytes);
  }
  void fill_bytes(int byte) {
    if (count() == 0) return;
    if constexpr (kCuda) {
      if (!device_.is_cpu()) {
        return gpu::Driver::fill_bytes(data_, byte, static_cast<std::size_t>(count()) * sizeof(T),
                                       gpu_place(device_).stream);
      }
    }
    parallel_for(count(), kGrain, [&](index_t begin, index_t end) {
      std::memset(static_cast<void*>(data_ + begin), byte,
                  static_cast<std::size_t>(end - begin) * sizeof(T));
    });
  }

  template <Element U>
  void copy_on_gpu(const Tensor<U>& source) {
    const Gpu place = gpu_place(device_);
    if (std::is_same_v<T, U> && strides_ == source.strides() && is_dense()) {
      gpu::Driver::copy(data_, source.data(), static_cast<std::size_t>(count()) * sizeof(T),
                        gpu::CopyKind::device_to_device, place.stream);
    } else {
      copy_elements(place, shape_, element_type<U>(), source.data(), source.strides(),
                    element_type<T>(), data_, strides_);
    }
  }
  // One of the two is the host's. What crosses is dense, of one type and in one order.
  template <Element U>
  void copy_between_devices(const Tensor<U>& source) {
    if constexpr (std::is_same_v<T, U>) {
      if (strides_ == source.strides() && is_dense()) {
        require<DeviceError>(device_.is_cpu() || source.device().is_cpu(), "copy: from ",
                             source.device(), " to ", device_, "; go through the cpu");
        const bool to_host = device_.is_cpu();
        const Gpu place = gpu_place(to_host ? source.device() : device_);
        gpu::Driver::copy(
            data_, source.data(), static_cast<std::size_t>(count()) * sizeof(T),
            to_host ? gpu::CopyKind::device_to_host : gpu::CopyKind::host_to_device, place.stream);
        if (to_host) gpu::Driver::synchronize(place.stream);
        return;
      }
    }
    const Shape order = is_dense() ? strides_ : contiguous_strides(shape_);
    auto staged = Tensor::with_strides(shape_, order, source.device());
    staged.copy_from(source);  // converts and reorders where the source lies
    if (is_dense()) return copy_from(staged);
    auto arrived = Tensor::with_strides(shape_, order, device_);
    arrived.copy_from(staged);
    copy_from(arrived);
  }

  template <int R, class U>
  View<U, R> make_view(U* data) const {
    require<ShapeError>(rank() == R, "view: want rank ", R, ", got ", shape_);
    std::array<index_t, R> extents{}, strides{};
    for (int i = 0; i < R; ++i) {
      extents[static_cast<std::size_t>(i)] = shape_[i];
      strides[static_cast<std::size_t>(i)] = strides_[i];
    }
    return {data, extents, strides};
  }

  static constexpr index_t kGrain = 16384;  // elements that are worth a thread

  template <Element U>
  static void copy_run(const U* from, T* to, index_t n) {
    if constexpr (std::is_same_v<T, U>) {
      constexpr index_t kLine = 64, kLong = 4096;  // bytes
      auto* written = reinterpret_cast<std::byte*>(to);
      const auto* read = reinterpret_cast<const std::byte*>(from);
      index_t bytes = n * static_cast<index_t>(sizeof(T));
      // Of a short run the call costs more than the copy: the compiler writes lines out.
      for (; bytes >= kLine && bytes < kLong; bytes -= kLine, written += kLine, read += kLine) {
        std::memcpy(written, read, kLine);
      }
      if (bytes >= kLine / 2 && bytes < kLine) {
        std::memcpy(written, read, kLine / 2);
        bytes -= kLine / 2, written += kLine / 2, read += kLine / 2;
      }
      if (bytes > 0) std::memcpy(written, read, static_cast<std::size_t>(bytes));
    } else {
#pragma omp simd
      for (index_t i = 0; i < n; ++i) to[i] = convert<T>(from[i]);
    }
  }

  Shape shape_, strides_;
  Device device_;
  std::shared_ptr<std::byte> storage_;
  T* data_ = nullptr;
};

}  // namespace mwalimu
