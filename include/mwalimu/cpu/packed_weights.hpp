// cpu/packed_weights: between weights in a plain layout and the blocked layouts of oneDNN's
// kernels, without change of type.
//
// oneDNN's own reorders do the same. These loops know that parameters have the output channels
// densest (conv2d_weight_strides) and walk plain memory in whole rows of output channels, whatever
// the blocks are: on 512 x 512 x 3 x 3 weights in DRAM that runs at the speed of memcpy, while
// block by block (rows of 64 bytes, 2 KiB apart) took three times as long. Other plain layouts
// work, only slower.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/packed_weights.hpp"

namespace mwalimu::cpu {
namespace detail {

/// All output channels of up to 16 (or a block of) input channels of one tap of one group.
struct WeightRows {
  index_t plain, packed;  ///< offsets of the first element
  index_t outputs, inputs;
  index_t packed_i_stride;  ///< between these input channels (or their pairs) in packed memory
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

// to[o / block * block_stride + o % block * 16 + i] <- from[i * row + o] for 16 rows of `outputs`
// units, a multiple of `block`, which is one of 4. A unit is 4 bytes: a float, or a pair of 16-bit
// channels. Strips of 64 are copied into the first-level cache before they are transposed, 4 x 4 at
// a time, which fits into registers.
inline void transpose_rows(const void* from, index_t row, index_t outputs, void* to, index_t block,
                           index_t block_stride) {
  using Unit = std::uint32_t;
  constexpr index_t kStrip = 64, kBytes = sizeof(Unit);
  const auto* read = static_cast<const std::byte*>(from);
  auto* written = static_cast<std::byte*>(to);
  Unit strip[16 * kStrip];
  for (index_t first = 0; first < outputs; first += kStrip) {
    const index_t width = std::min(kStrip, outputs - first);
    for (index_t i = 0; i < 16; ++i) {
      std::memcpy(strip + i * kStrip, read + (i * row + first) * kBytes,
                  static_cast<std::size_t>(width * kBytes));
    }
    for (index_t o = 0; o < width; o += 4) {
      const index_t at = first + o;
      std::byte* out = written + (at / block * block_stride + at % block * 16) * kBytes;
      for (index_t i = 0; i < 16; i += 4) {
        Unit tile[4][4];
        for (index_t a = 0; a < 4; ++a) {
          for (index_t b = 0; b < 4; ++b) tile[b][a] = strip[(i + a) * kStrip + o + b];
        }
        for (index_t b = 0; b < 4; ++b) std::memcpy(out + (b * 16 + i) * kBytes, tile[b], 16);
      }
    }
  }
}

// to[2 o] <- first[o], to[2 o + 1] <- second[o].
template <class T>
void interleave(const T* __restrict first, const T* __restrict second, index_t count,
                T* __restrict to) {
  for (index_t o = 0; o < count; ++o) {
    to[2 * o] = first[o];
    to[2 * o + 1] = second[o];
  }
}

}  // namespace detail

/// packed <- weight (O, I, kh, kw; any strides) in `layout`, zero where a block is partly empty.
template <class T>
void pack_weights(View<const T, 4> weight, const ops::WeightLayout& layout, T* packed) {
  const index_t so = weight.stride(0), si = weight.stride(1);
  const index_t block = layout.block_o, inner = layout.inner_o;
  const index_t pair_o = layout.pair_o, pair_i = layout.pair_i;
  // Of pairs of inputs, the whole block may be one pair.
  const bool input_pairs = so == 1 && pair_o == 1 && inner == 2 &&
                           (pair_i == 2 || (layout.block_i == 2 && layout.inner_i == 1));
  // Units of 4 bytes in 16 columns: floats, or pairs of 16-bit outputs.
  constexpr index_t kPerUnit = 4 / std::min<index_t>(4, sizeof(T));
  const bool transposed_units = sizeof(T) <= 4 && so == 1 && pair_i == 1 && pair_o == kPerUnit &&
                                layout.inner_i == kPerUnit && inner == 16 * kPerUnit &&
                                layout.block_i == 16 && block % (4 * kPerUnit) == 0 &&
                                si % kPerUnit == 0 && layout.stride_o % kPerUnit == 0;
  if (layout.padded_g * layout.padded_o * layout.padded_i != weight.dim(0) * weight.dim(1)) {
    parallel_for(layout.count, 16384,
                 [&](index_t begin, index_t end) { std::fill(packed + begin, packed + end, T{}); });
  }
  detail::for_each_weight_rows(
      layout, weight.extents(), weight.strides(), [&](const detail::WeightRows& rows) {
        const T* from = weight.data() + rows.plain;
        T* to = packed + rows.packed;
        const index_t ti = rows.packed_i_stride;
        if (transposed_units && rows.inputs == 16 && rows.outputs % block == 0) {
          return detail::transpose_rows(from, si / kPerUnit, rows.outputs / kPerUnit, to,
                                        block / kPerUnit, layout.stride_o / kPerUnit);
        }
        for (index_t i = 0; i < rows.inputs; ++i) {
          const bool two = input_pairs && i % 2 == 0 && i + 1 < rows.inputs;
          for (index_t o = 0; o < rows.outputs; o += block) {
            const T* __restrict run = from + i * si + o * so;
            T* __restrict into = to + i / pair_i * ti + i % pair_i + o / block * layout.stride_o;
            const index_t length = std::min(block, rows.outputs - o);
            if (two) {
              detail::interleave(run, run + si, length, into);
            } else if (so == 1 && inner == 1) {
              for (index_t k = 0; k < length; ++k) into[k] = run[k];
            } else if (pair_o == 1) {
              for (index_t k = 0; k < length; ++k) into[k * inner] = run[k * so];
            } else {
              for (index_t k = 0; k < length; ++k) {
                into[k / pair_o * inner + k % pair_o] = run[k * so];
              }
            }
          }
          if (two) ++i;
        }
      });
}

/// weight (O, I, kh, kw; any strides) <- packed, or += packed if `accumulate`. Gradients are float,
/// so the layout has no pairs.
template <class T>
void unpack_weights(const T* packed, const ops::WeightLayout& layout, bool accumulate,
                    View<T, 4> weight) {
  const index_t so = weight.stride(0), si = weight.stride(1);
  const index_t block = layout.block_o, inner = layout.inner_o;
  require<DnnlError>(layout.pair_o == 1 && layout.pair_i == 1,
                     "conv2d: oneDNN gives a gradient in a layout that Mwalimu does not know");
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
