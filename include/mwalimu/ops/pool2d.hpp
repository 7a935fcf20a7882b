// ops/pool2d: the geometry that max and average pooling share.
#pragma once

#include <algorithm>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/shape.hpp"

namespace mwalimu::ops {

/// Square windows over height and width, as in PyTorch.
struct Pool2dOptions {
  index_t kernel = 2;
  index_t stride = 2;
  index_t padding = 0;     ///< rows and columns around the image: at most half of the kernel
  bool ceil_mode = false;  ///< a last window that hangs over the edge counts, if it starts inside
};

namespace detail {

/// Windows along one side: [start(o), start(o) + kernel) for o < count, before clipping.
struct PoolAxis {
  index_t extent, kernel, stride, padding, count;

  PoolAxis(index_t extent_, const Pool2dOptions& options)
      : extent(extent_), kernel(options.kernel), stride(options.stride), padding(options.padding) {
    const index_t slack = extent + 2 * padding - kernel + (options.ceil_mode ? stride - 1 : 0);
    count = slack < 0 ? 0 : slack / stride + 1;
    // A window must not start in the padding behind the image.
    if (options.ceil_mode && (count - 1) * stride >= extent + padding) --count;
  }
  index_t start(index_t o) const { return o * stride - padding; }
  /// Clipped to the image.
  index_t begin(index_t o) const { return std::max<index_t>(0, start(o)); }
  index_t end(index_t o) const { return std::min(extent, start(o) + kernel); }
  /// Positions that count_include_pad counts: within image and padding.
  index_t padded_length(index_t o) const {
    return std::min(extent + padding, start(o) + kernel) - start(o);
  }
  /// The windows [first, last) that cover position i.
  index_t first(index_t i) const {
    return i + padding < kernel ? 0 : (i + padding - kernel) / stride + 1;
  }
  index_t last(index_t i) const { return std::min(count, (i + padding) / stride + 1); }
};

inline void check_pool2d(const char* op, const Shape& shape, const Pool2dOptions& options) {
  require<ShapeError>(shape.rank() == 4, op, ": want (N, H, W, C), got ", shape);
  require<ValueError>(options.kernel >= 1 && options.kernel <= 15 && options.stride >= 1, op,
                      ": want a kernel of 1 to 15 and a stride of 1 or more, got ", options.kernel,
                      " and ", options.stride);
  require<ValueError>(options.padding >= 0 && 2 * options.padding <= options.kernel, op,
                      ": want a padding of 0 to half of the kernel ", options.kernel, ", got ",
                      options.padding);
  require<ShapeError>(
      PoolAxis(shape[1], options).count >= 1 && PoolAxis(shape[2], options).count >= 1, op,
      ": a window of ", options.kernel, " does not fit into ", shape);
}

}  // namespace detail
}  // namespace mwalimu::ops
