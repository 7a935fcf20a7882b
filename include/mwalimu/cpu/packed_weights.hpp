// cpu/packed_weights: between weights in a plain layout and the blocked layouts of oneDNN's
// kernels.
//
// oneDNN's own reorders do the same. These loops know that parameters have the output channels
// densest (conv2d_weight_strides) and walk plain memory in whole rows of output channels, whatever
// the blocks are: on 512 x 512 x 3 x 3 weights in DRAM that runs at the speed of memcpy, while
// block by block (rows of 64 bytes, 2 KiB apart) took three times as long. Other plain layouts
// work, only slower.
#pragma once

#include <algorithm>
#include <array>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/packed_weights.hpp"

namespace mwalimu::cpu {
namespace detail {

/// All output channels of up to 16 (or a block of) input channels of one tap of one group.
struct WeightRows {
  index_t plain, packed;  ///< offsets of the first element
  index_t outputs, inputs;
  index_t packed_i_stride;  ///< between these input channels in packed memory
};

// Calls body(rows) for all weights, on all threads.
template <class Body>
void for_each_weight_rows(const ops::WeightLayout& layout, const std::array<index_t, 4>& extents,
                          const std::array<index_t, 4>& strides, Body&& body) {
  const index_t O = extents[0] / layout.groups, I = extents[1], kh = extents[2], kw = extents[3];
  const bool blocked = layout.block_i > 1;
  const index_t step = blocked ? layout.block_i : 16, steps = (I + step - 1) / step;
  // At least 64 KiB for a thread, so that small layers stay on one.
  const index_t grain = std::max<index_t>(1, 16384 / (O * step));
  parallel_for(layout.groups * kh * kw * steps, grain, [&](index_t begin, index_t end) {
    for (index_t item = begin; item < end; ++item) {
      // In the order of packed memory: (i, h, w) where input channels are blocked, else (h, w, i).
      const index_t taps = kh * kw, rest = item % (taps * steps), g = item / (taps * steps);
      const index_t tap = blocked ? rest % taps : rest / steps, h = tap / kw, w = tap % kw;
      const index_t i = (blocked ? rest / taps : rest % steps) * step;
      body(WeightRows{g * O * strides[0] + i * strides[1] + h * strides[2] + w * strides[3],
                      g / layout.block_g * layout.stride_g + g % layout.block_g * layout.inner_g +
                          i / layout.block_i * layout.stride_i + h * layout.stride_h +
                          w * layout.stride_w,
                      O, std::min(step, I - i), blocked ? layout.inner_i : layout.stride_i});
    }
  });
}

// to[o / 16 * block_stride + o % 16 * 16 + i] <- from[i * row + o] for 16 rows of `outputs`
// elements, a multiple of 16. Strips of 64 are copied into the first-level cache before they are
// transposed, 4 x 4 at a time, which fits into registers.
template <class T>
void transpose_rows(const T* __restrict from, index_t row, index_t outputs, T* __restrict to,
                    index_t block_stride) {
  constexpr index_t kStrip = 64;
  T strip[16 * kStrip];
  for (index_t first = 0; first < outputs; first += kStrip) {
    const index_t width = std::min(kStrip, outputs - first);
    for (index_t i = 0; i < 16; ++i) {
      std::copy_n(from + i * row + first, width, strip + i * kStrip);
    }
    for (index_t o = 0; o < width; o += 4) {
      T* out = to + (first + o) / 16 * block_stride + o % 16 * 16;
      for (index_t i = 0; i < 16; i += 4) {
        T tile[4][4];
        for (index_t a = 0; a < 4; ++a) {
          for (index_t b = 0; b < 4; ++b) tile[b][a] = strip[(i + a) * kStrip + o + b];
        }
        for (index_t b = 0; b < 4; ++b) {
          for (index_t a = 0; a < 4; ++a) out[b * 16 + i + a] = tile[b][a];
        }
      }
    }
  }
}

}  // namespace detail

/// packed <- weight (O, I, kh, kw; any strides) in `layout`, zero where a block is partly empty.
template <class T>
void pack_weights(View<const T, 4> weight, const ops::WeightLayout& layout, T* packed) {
  const index_t so = weight.stride(0), si = weight.stride(1);
  const index_t block = layout.block_o, inner = layout.inner_o;
  if (layout.padded_g * layout.padded_o * layout.padded_i != weight.dim(0) * weight.dim(1)) {
    parallel_for(layout.count, 16384,
                 [&](index_t begin, index_t end) { std::fill(packed + begin, packed + end, T{}); });
  }
  detail::for_each_weight_rows(
      layout, weight.extents(), weight.strides(), [&](const detail::WeightRows& rows) {
        const T* from = weight.data() + rows.plain;
        T* to = packed + rows.packed;
        const index_t ti = rows.packed_i_stride;
        if (so == 1 && inner == 16 && ti == 1 && rows.inputs == 16 && rows.outputs % 16 == 0) {
          return detail::transpose_rows(from, si, rows.outputs, to, layout.stride_o);
        }
        for (index_t i = 0; i < rows.inputs; ++i) {
          for (index_t o = 0; o < rows.outputs; o += block) {
            const T* __restrict run = from + i * si + o * so;
            T* __restrict into = to + i * ti + o / block * layout.stride_o;
            const index_t length = std::min(block, rows.outputs - o);
            if (so == 1 && inner == 1) {
              for (index_t k = 0; k < length; ++k) into[k] = run[k];
            } else {
              for (index_t k = 0; k < length; ++k) into[k * inner] = run[k * so];
            }
          }
        }
      });
}

/// weight (O, I, kh, kw; any strides) <- packed, or += packed if `accumulate`.
template <class T>
void unpack_weights(const T* packed, const ops::WeightLayout& layout, bool accumulate,
                    View<T, 4> weight) {
  const index_t so = weight.stride(0), si = weight.stride(1);
  const index_t block = layout.block_o, inner = layout.inner_o;
  detail::for_each_weight_rows(
      layout, weight.extents(), weight.strides(), [&](const detail::WeightRows& rows) {
        const T* from = packed + rows.packed;
        T* to = weight.data() + rows.plain;
        for (index_t i = 0; i < rows.inputs; ++i) {
          for (index_t o = 0; o < rows.outputs; o += block) {
            const T* __restrict run = from + i * rows.packed_i_stride + o / block * layout.stride_o;
            T* __restrict into = to + i * si + o * so;
            const index_t length = std::min(block, rows.outputs - o);
            if (so == 1 && inner == 1 && accumulate) {
              for (index_t k = 0; k < length; ++k) into[k] += run[k];
            } else if (accumulate) {
              for (index_t k = 0; k < length; ++k) into[k * so] += run[k * inner];
            } else {
              for (index_t k = 0; k < length; ++k) into[k * so] = run[k * inner];
            }
          }
        }
      });
}

}  // namespace mwalimu::cpu
