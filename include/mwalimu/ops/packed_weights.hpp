// ops/packed_weights: weights as kernels want to read them, kept until they change: in the type
// that the network computes in, and in the layout of a library's kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include "mwalimu/core/allocator.hpp"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::ops {

/// Where a blocked layout keeps convolution weights of logical shape (O, I, kh, kw), O and I
/// counted within a group g. Element (g, o, i, h, w) lies at
///
///     (g / block_g) stride_g + (o / block_o) stride_o + (i / block_i) stride_i + h stride_h
///       + w stride_w + (g % block_g) inner_g + (o % block_o) / pair_o inner_o + o % pair_o
///       + (i % block_i) / pair_i inner_i + i % pair_i
///
/// The last block of a dimension may be partly empty: what lies there must be zero. A block of 1 is
/// a plain dimension, a pair of 1 no pair. Kernels of 16-bit types have pairs of the channels that
/// they sum over: an instruction multiplies and adds two neighbours at once.
struct WeightLayout {
  index_t groups = 1;
  index_t padded_g = 1, padded_o = 0, padded_i = 0;  ///< extents rounded up to whole blocks
  index_t block_g = 1, block_o = 1, block_i = 1;
  index_t pair_o = 1, pair_i = 1;  ///< channels of a block that are neighbours; divide it
  index_t inner_g = 0, inner_o = 0, inner_i = 0;
  index_t stride_g = 0, stride_o = 0, stride_i = 0, stride_h = 0, stride_w = 0;
  index_t count = 0;  ///< elements, padding included
  bool operator==(const WeightLayout&) const = default;
};

/// Copies of one layer's weights: in the 16-bit types that they were used in (cast), and in the
/// layouts that kernels asked for (get). Whoever changes the weights calls invalidate(); the next
/// use copies again, into the same memory. So the forward passes over all crop sizes of a step and
/// their backward passes share one copy a type and layout.
///
/// A 16-bit copy may be bound to memory of somebody who writes it together with the weights (an
/// optimiser's step over all parameters at once). invalidate() then leaves its values alone; a
/// change of the weights that does not write the copy is announced by invalidate_all().
///
/// Safe for one thread that trains and others that evaluate between its updates. Copies taken from
/// other memory than the weights at hand are never used, so a struct that holds a PackedWeights may
/// be copied.
class PackedWeights {
 public:
  /// To be called whenever the values of the weights, and with them those of a bound copy, have
  /// changed.
  void invalidate() {
    const std::lock_guard lock(mutex_);
    ++version_;
  }
  /// To be called when the values of the weights alone have changed: the next use writes a bound
  /// copy, too.
  void invalidate_all() {
    const std::lock_guard lock(mutex_);
    ++version_;
    half_.stale = bfloat16_.stale = true;
  }

  /// The weights in T, rounded to nearest, with the strides of `master`. The bound copy where there
  /// is one, else a copy kept here.
  /// @throws ShapeError  a bound copy has another shape, other strides or another device.
  template <class T>
  Tensor<T> cast(const Tensor<float>& master) {
    const std::lock_guard lock(mutex_);
    Copy<T>& copy = copy_of<T>();
    if (copy.bound) {
      require<ShapeError>(same_layout(copy.tensor, master), "packed_weights: the bound copy ",
                          copy.tensor.shape(), " on ", copy.tensor.device(),
                          " is not laid out as the weights ", master.shape(), " on ",
                          master.device());
    } else if (copy.source != master.data() || copy.version != version_ ||
               !same_layout(copy.tensor, master)) {
      copy.stale = true;
    }
    if (copy.stale) {
      // A graph that is still to run backward keeps the values that it saw forward.
      const bool reusable = copy.bound || (same_layout(copy.tensor, master) &&
                                           copy.tensor.storage().use_count() == 1);
      if (!reusable)
        copy.tensor = Tensor<T>::with_strides(master.shape(), master.strides(), master.device());
      copy.tensor.copy_from(master);
      copy.stale = false;
      forget_packed_from(copy.tensor.data());
      ++casts_;
    }
    copy.source = master.data();
    copy.version = version_;
    return copy.tensor;
  }

  /// Makes `copy` the copy of the weights in T. It must hold their values, in their strides, now
  /// and after every change of them that is announced by invalidate().
  template <class T>
  void bind_copy(Tensor<T> copy) {
    const std::lock_guard lock(mutex_);
    forget_packed_from(copy.data());
    copy_of<T>() = {.tensor = std::move(copy), .bound = true, .stale = false};
  }

  /// The copy of the weights at `source` in `layout`; pack(T*) writes it where there is none or a
  /// stale one.
  template <class T, class Pack>
  std::shared_ptr<const T> get(const WeightLayout& layout, const T* source, Pack&& pack) {
    const std::lock_guard lock(mutex_);
    auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) {
      return e.element_size == sizeof(T) && e.layout == layout;
    });
    if (entry == entries_.end()) entry = entries_.insert(entry, {layout, sizeof(T), {}, {}, 0});
    if (!entry->data || entry->source != source || entry->version != version_) {
      // Another thread may still be reading the old copy: then it keeps that one.
      if (!entry->data || entry->data.use_count() > 1) {
        entry->data = CachingAllocator::instance().allocate(static_cast<std::size_t>(layout.count) *
                                                            sizeof(T));
      }
      pack(reinterpret_cast<T*>(entry->data.get()));
      entry->source = source;
      entry->version = version_;
      ++packings_;
    }
    return {entry->data, reinterpret_cast<const T*>(entry->data.get())};
  }

  /// How often weights have been packed.
  index_t packings() const {
    const std::lock_guard lock(mutex_);
    return packings_;
  }
  /// How often weights have been cast.
  index_t casts() const {
    const std::lock_guard lock(mutex_);
    return casts_;
  }

 private:
  template <class T>
  struct Copy {
    Tensor<T> tensor;
    bool bound = false, stale = true;
    const void* source = nullptr;  // of a copy that is not bound
    index_t version = 0;           // the same
  };
  template <class T>
  Copy<T>& copy_of() {
    static_assert(std::is_same_v<T, half> || std::is_same_v<T, bfloat16>);
    if constexpr (std::is_same_v<T, half>) {
      return half_;
    } else {
      return bfloat16_;
    }
  }
  template <class T>
  static bool same_layout(const Tensor<T>& copy, const Tensor<float>& master) {
    return copy.shape() == master.shape() && copy.strides() == master.strides() &&
           copy.device() == master.device();
  }
  void forget_packed_from(const void* source) {
    for (Entry& entry : entries_) {
      if (entry.source == source) entry.source = nullptr;
    }
  }

  struct Entry {
    WeightLayout layout;
    std::size_t element_size;
    std::shared_ptr<std::byte> data;
    const void* source;
    index_t version;
  };
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  Copy<half> half_;
  Copy<bfloat16> bfloat16_;
  index_t version_ = 0, packings_ = 0, casts_ = 0;
};

namespace detail {

/// What a backend that computes in T reads: the weights themselves where they are of that type,
/// else a copy in T, kept by `packed` where there is one.
template <Real T>
Tensor<T> weights_in(const Tensor<accumulate_t<T>>& master,
                     [[maybe_unused]] PackedWeights* packed) {
  if constexpr (std::is_same_v<T, accumulate_t<T>>) {
    return master;
  } else {
    return packed != nullptr ? packed->template cast<T>(master) : master.template to<T>();
  }
}

}  // namespace detail

}  // namespace mwalimu::ops
