// ops/packed_weights: weights as a library's kernels want to read them, kept until they change.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "mwalimu/core/allocator.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::ops {

/// Where a blocked layout keeps convolution weights of logical shape (O, I, kh, kw), O and I
/// counted within a group g. Element (g, o, i, h, w) lies at
///
///     (g / block_g) stride_g + (o / block_o) stride_o + (i / block_i) stride_i + h stride_h
///       + w stride_w + (g % block_g) inner_g + (o % block_o) inner_o + (i % block_i) inner_i
///
/// The last block of a dimension may be partly empty: what lies there must be zero. A block of 1 is
/// a plain dimension.
struct WeightLayout {
  index_t groups = 1;
  index_t padded_g = 1, padded_o = 0, padded_i = 0;  ///< extents rounded up to whole blocks
  index_t block_g = 1, block_o = 1, block_i = 1;
  index_t inner_g = 0, inner_o = 0, inner_i = 0;
  index_t stride_g = 0, stride_o = 0, stride_i = 0, stride_h = 0, stride_w = 0;
  index_t count = 0;  ///< elements, padding included
  bool operator==(const WeightLayout&) const = default;
};

/// Copies of one layer's weights in the layouts that its kernels asked for. Whoever changes the
/// weights calls invalidate(); the next use packs again, into the same memory. So the forward
/// passes over all crop sizes of a step and their backward passes share one copy a layout.
///
/// Safe for one thread that trains and others that evaluate between its updates. Copies taken from
/// other memory than the weights at hand are never used, so a struct that holds a PackedWeights may
/// be copied.
class PackedWeights {
 public:
  /// To be called whenever the values of the weights have changed.
  void invalidate() {
    const std::lock_guard lock(mutex_);
    ++version_;
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

 private:
  struct Entry {
    WeightLayout layout;
    std::size_t element_size;
    std::shared_ptr<std::byte> data;
    const void* source;
    index_t version;
  };
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  index_t version_ = 0, packings_ = 0;
};

}  // namespace mwalimu::ops
