// kernels/pixels: what the kernels of images share: where an output pixel reads its image, and the
// way out of a canvas of floats, normalised.
#pragma once

#include <array>

#include "mwalimu/data/affine.hpp"
#include "mwalimu/data/color.hpp"
#include "numeric.cuh"
#include "simt.cuh"

namespace mwalimu::kernels {

/// Four neighbouring pixels and the weights between them.
struct BilinearSource {
  int left, right, upper, lower;
  float x, y;  ///< weights of right and lower

  __device__ __forceinline__ float mix(float a, float b, float d, float e) const {
    const float top = a + x * (b - a), bottom = d + x * (e - d);
    return top + y * (bottom - top);
  }
  /// `at(row, column)` is a pixel.
  template <class At>
  __device__ __forceinline__ data::detail::Rgb operator()(At&& at) const {
    const data::detail::Rgb a = at(upper, left), b = at(upper, right);
    const data::detail::Rgb d = at(lower, left), e = at(lower, right);
    return {mix(a.r, b.r, d.r, e.r), mix(a.g, b.g, d.g, e.g), mix(a.b, b.b, d.b, e.b)};
  }
};

/// What pixel (x, y) of the output reads of an H x W image under the matrix of
/// data::detail::pixel_map, mirrored at the border. The arithmetic is data::sample_projective's.
__device__ __forceinline__ BilinearSource bilinear_source(const data::Projective& map, bool affine,
                                                          int x, int y, int H, int W) {
  float sx = static_cast<float>(map.m[0]) * static_cast<float>(x) +
             static_cast<float>(map.m[1] * y + map.m[2]);
  float sy = static_cast<float>(map.m[3]) * static_cast<float>(x) +
             static_cast<float>(map.m[4] * y + map.m[5]);
  if (!affine) {
    const float w = static_cast<float>(map.m[6]) * static_cast<float>(x) +
                    static_cast<float>(map.m[7] * y + map.m[8]);
    sx /= w;
    sy /= w;
  }
  const float px = W > 1 ? data::detail::reflect_coordinate(sx, static_cast<float>(W - 1)) : 0.0f;
  const float py = H > 1 ? data::detail::reflect_coordinate(sy, static_cast<float>(H - 1)) : 0.0f;
  BilinearSource source;
  source.left = static_cast<int>(px);
  source.upper = static_cast<int>(py);
  source.right = source.left + 1 < W ? source.left + 1 : source.left;
  source.lower = source.upper + 1 < H ? source.upper + 1 : source.upper;
  source.x = px - static_cast<float>(source.left);
  source.y = py - static_cast<float>(source.upper);
  return source;
}

/// What a kernel takes of a data::Normalisation: the numbers of R, G and B. (Two more floats in a
/// launch's parameters made the crop kernel spill registers.)
struct RgbNormalisation {
  std::array<float, 3> mean, std;

  RgbNormalisation(const data::Normalisation& n) : mean(n.mean), std(n.std) {}
};

/// Channel `channel` of a finished pixel.
template <class T>
__device__ __forceinline__ T normalised(float x, int channel, const RgbNormalisation& n) {
  const float mean = channel == 0 ? n.mean[0] : channel == 1 ? n.mean[1] : n.mean[2];
  const float std = channel == 0 ? n.std[0] : channel == 1 ? n.std[1] : n.std[2];
  return narrow<T>((x - mean) / std);
}

/// N values at index i N of the canvas. Eight of them are two reads of 16 bytes, and every second
/// four lanes do the later one first: eight lanes then touch all 32 banks.
template <int N>
__device__ __forceinline__ void load_values(const float* canvas, int i, float (&values)[N]) {
  if constexpr (N == 8) {
    const bool swapped = i / 4 % 2 != 0;
    const auto a = load_pack<4>(canvas + i * 8 + (swapped ? 4 : 0));
    const auto b = load_pack<4>(canvas + i * 8 + (swapped ? 0 : 4));
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      values[j] = swapped ? b[j] : a[j];
      values[4 + j] = swapped ? a[j] : b[j];
    }
  } else {
    const auto a = load_pack<N>(canvas + i * N);
#pragma unroll
    for (int j = 0; j < N; ++j) values[j] = a[j];
  }
}

/// The interleaved values [begin, end) of a canvas, whose first is red, to the same places of
/// `out`, N at a time; by the whole block. Both ends are multiples of N, the canvas is aligned to
/// 16 bytes, `out` to a pack.
template <int N, class T>
__device__ __forceinline__ void write_normalised(const float* canvas, int begin, int end,
                                                 const RgbNormalisation& normalisation, T* out) {
  for (int i = begin / N + static_cast<int>(threadIdx.x); i < end / N;
       i += static_cast<int>(blockDim.x)) {
    float values[N];
    load_values<N>(canvas, i, values);
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      pack[j] = normalised<T>(values[j], (i * N + j) % 3, normalisation);
    }
    store_pack<N>(out + i * N, pack);
  }
}

}  // namespace mwalimu::kernels
