// data/area_resize: shrinking by the mean over areas, for what bilinear sampling would step over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "mwalimu/data/affine.hpp"
#include "mwalimu/data/crop_resize.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data {

namespace detail {

// The pixels whose mean becomes pixel i of n out of `in`: [first, last).
constexpr int area_first(int i, int in, int n) {
  return static_cast<int>(std::int64_t{i} * in / n);
}
constexpr int area_last(int i, int in, int n) {
  return static_cast<int>((std::int64_t{i + 1} * in + n - 1) / n);
}

}  // namespace detail

/// out(i, j) <- the mean of rows [floor(i h / H), ceil((i + 1) h / H)) and columns likewise of the
/// box, for a box of h x w and a result of H x W, in [0, 1]. Equal extents copy exactly.
/// @throws ShapeError  a box that leaves the image, an empty image or result.
/// Source  torch.nn.functional.interpolate(mode="area"), which is adaptive average pooling.
template <class Image>
void area_resize(const Image& image, const CropBox& box, int out_height, int out_width,
                 PlanarImage& out) {
  detail::require_box("area_resize", image, box);
  out.resize(out_height, out_width, detail::channels_of(image));
  const float unit = detail::unit_of(image);
  const int W = detail::width_of(image);
  for (int c = 0; c < out.channels(); ++c) {
    float* p = out.plane(c);
    for (int i = 0; i < out_height; ++i) {
      const int y0 = detail::area_first(i, box.height, out_height),
                y1 = detail::area_last(i, box.height, out_height);
      for (int j = 0; j < out_width; ++j) {
        const int x0 = detail::area_first(j, box.width, out_width),
                  x1 = detail::area_last(j, box.width, out_width);
        float sum = 0;
        for (int y = y0; y < y1; ++y) {
          const std::int64_t row = std::int64_t{box.top + y} * W + box.left;
          for (int x = x0; x < x1; ++x) sum += detail::channel_at(image, c, row + x);
        }
        *p++ = sum / static_cast<float>((y1 - y0) * (x1 - x0)) / unit;
      }
    }
  }
}

}  // namespace mwalimu::data
