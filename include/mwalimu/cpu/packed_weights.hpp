// cpu/packed_weights: between weights in a plain layout and the blocked layouts of oneDNN's
// kernels.
//
// oneDNN's own reorders do the same. These loops know that a plain layout has the output channels
// densest (conv2d_weight_strides) and so move whole runs; other plain layouts work, only slower.
#pragma once

#include <algorithm>
#include <array>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/packed_weights.hpp"

namespace mwalimu::cpu {
namespace detail {

// Calls body(plain, packed, o, i) for every block: the offsets of its first element in the plain
// weights and in the packed ones, and how many output and input channels of it are real.
template <class Body>
void for_each_weight_block(const ops::WeightLayout& layout, const std::array<index_t, 4>& extents,
                           const std::array<index_t, 4>& strides, Body&& body) {
  const index_t O = extents[0] / layout.groups, I = extents[1], kh = extents[2], kw = extents[3];
  const index_t blocks_o = layout.padded_o / layout.block_o;
  const index_t blocks_i = layout.padded_i / layout.block_i;
  const index_t items = layout.groups * blocks_o * kh * kw;
  // About 64 KiB an item of work for a thread, so that small layers stay on one.
  const index_t item_size = layout.block_o * layout.padded_i;
  parallel_for(items, std::max<index_t>(1, 16384 / item_size), [&](index_t begin, index_t end) {
    for (index_t item = begin; item < end; ++item) {
      index_t rest = item;
      const index_t w = rest % kw;
      rest /= kw;
      const index_t h = rest % kh;
      rest /= kh;
      const index_t ob = rest % blocks_o, g = rest / blocks_o;
      const index_t o = std::min(layout.block_o, O - ob * layout.block_o);
      for (index_t ib = 0; ib < blocks_i; ++ib) {
        const index_t i = std::min(layout.block_i, I - ib * layout.block_i);
        body((g * O + ob * layout.block_o) * strides[0] + ib * layout.block_i * strides[1] +
                 h * strides[2] + w * strides[3],
             g / layout.block_g * layout.stride_g + g % layout.block_g * layout.inner_g +
                 ob * layout.stride_o + ib * layout.stride_i + h * layout.stride_h +
                 w * layout.stride_w,
             std::max<index_t>(o, 0), std::max<index_t>(i, 0));
      }
    }
  });
}

}  // namespace detail

/// packed <- weight (O, I, kh, kw; any strides) in `layout`, zero where a block is partly empty.
template <class T>
void pack_weights(View<const T, 4> weight, const ops::WeightLayout& layout, T* packed) {
  const auto& strides = weight.strides();
  const index_t so = strides[0], si = strides[1], to = layout.inner_o, ti = layout.inner_i;
  const bool padded =
      layout.padded_g * layout.padded_o * layout.padded_i != weight.dim(0) * weight.dim(1);
  if (padded) {
    parallel_for(layout.count, 16384,
                 [&](index_t begin, index_t end) { std::fill(packed + begin, packed + end, T{}); });
  }
  detail::for_each_weight_block(
      layout, weight.extents(), strides,
      [&](index_t from_offset, index_t to_offset, index_t o_count, index_t i_count) {
        const T* from = weight.data() + from_offset;
        T* out = packed + to_offset;
        if (so == 1 && to == 1) {
          for (index_t i = 0; i < i_count; ++i) {
            const T* __restrict row = from + i * si;
            T* __restrict into = out + i * ti;
            for (index_t o = 0; o < o_count; ++o) into[o] = row[o];
          }
        } else {
          for (index_t o = 0; o < o_count; ++o) {
            for (index_t i = 0; i < i_count; ++i) out[o * to + i * ti] = from[o * so + i * si];
          }
        }
      });
}

/// weight (O, I, kh, kw; any strides) <- packed, or += packed if `accumulate`.
template <class T>
void unpack_weights(const T* packed, const ops::WeightLayout& layout, bool accumulate,
                    View<T, 4> weight) {
  const auto& strides = weight.strides();
  const index_t so = strides[0], si = strides[1], to = layout.inner_o, ti = layout.inner_i;
  detail::for_each_weight_block(
      layout, weight.extents(), strides,
      [&](index_t to_offset, index_t from_offset, index_t o_count, index_t i_count) {
        const T* from = packed + from_offset;
        T* out = weight.data() + to_offset;
        if (so == 1 && to == 1) {
          for (index_t i = 0; i < i_count; ++i) {
            const T* __restrict row = from + i * ti;
            T* __restrict into = out + i * si;
            if (accumulate) {
              for (index_t o = 0; o < o_count; ++o) into[o] += row[o];
            } else {
              for (index_t o = 0; o < o_count; ++o) into[o] = row[o];
            }
          }
        } else {
          for (index_t i = 0; i < i_count; ++i) {
            for (index_t o = 0; o < o_count; ++o) {
              const T value = from[o * to + i * ti];
              T& into = out[o * so + i * si];
              into = accumulate ? into + value : value;
            }
          }
        }
      });
}

}  // namespace mwalimu::cpu
