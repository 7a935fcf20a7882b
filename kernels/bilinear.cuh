// kernels/bilinear: where an output pixel reads its image, for the kernels that resample.
#pragma once

#include "mwalimu/data/affine.hpp"
#include "simt.cuh"

namespace mwalimu::kernels {

/// Four neighbouring pixels and the weights between them.
struct BilinearSource {
  int left, right, upper, lower;
  float x, y;  ///< weights of right and lower

  /// `at(row, column)` is a pixel's value.
  template <class At>
  __device__ __forceinline__ float operator()(At&& at) const {
    const float a = at(upper, left), d = at(lower, left);
    const float top = a + x * (at(upper, right) - a), bottom = d + x * (at(lower, right) - d);
    return top + y * (bottom - top);
  }
};

/// What pixel (x, y) of the output reads of an H x W image under the matrix of data::detail::pixel_map,
/// mirrored at the border. The arithmetic is data::sample_projective's.
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
  const float px =
      W > 1 ? data::detail::reflect_coordinate(sx, static_cast<float>(W - 1)) : 0.0f;
  const float py =
      H > 1 ? data::detail::reflect_coordinate(sy, static_cast<float>(H - 1)) : 0.0f;
  BilinearSource source;
  source.left = static_cast<int>(px);
  source.upper = static_cast<int>(py);
  source.right = source.left + 1 < W ? source.left + 1 : source.left;
  source.lower = source.upper + 1 < H ? source.upper + 1 : source.upper;
  source.x = px - static_cast<float>(source.left);
  source.y = py - static_cast<float>(source.upper);
  return source;
}

}  // namespace mwalimu::kernels
