// data/crop_resize: a box of an image, resampled to a given size, and the rule that draws the box.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data {

/// A rectangle of pixels: rows [top, top + height), columns [left, left + width).
struct CropBox {
  std::int32_t top = 0, left = 0, height = 0, width = 0;
  friend bool operator==(const CropBox&, const CropBox&) = default;
};

/// A closed interval to draw from.
struct Range {
  float low = 0, high = 0;
  friend bool operator==(const Range&, const Range&) = default;
};

/// The box of a random resized crop: up to ten draws of an area, U(scale) of the image's, and an
/// aspect width / height, log-uniform in `aspect`; the first that fits is placed uniformly. If none
/// fits: the largest centred box whose aspect lies in the range.
///
/// @param height, width  extents of the image, >= 1, pixels
/// @param scale          fractions of the image's area, 0 < low <= high <= 1
/// @param aspect         0 < low <= high
/// @return               a box inside the image, at least 1 x 1
/// Source  torchvision.transforms.RandomResizedCrop.get_params, including its rounding (half to
/// even).
MWALIMU_HOST_DEVICE inline CropBox draw_resized_box(RandomStream& random, int height, int width,
                                                    Range scale, Range aspect) {
  const double H = height, W = width;
  const double log_low = std::log(static_cast<double>(aspect.low));
  const double log_high = std::log(static_cast<double>(aspect.high));
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = H * W * random.uniform(scale.low, scale.high);
    const double ratio = std::exp(log_low + (log_high - log_low) * random.uniform());
    const double w = std::nearbyint(std::sqrt(area * ratio));
    const double h = std::nearbyint(std::sqrt(area / ratio));
    if (w < 1 || h < 1 || w > W || h > H) continue;
    CropBox box{.height = static_cast<std::int32_t>(h), .width = static_cast<std::int32_t>(w)};
    box.top = static_cast<std::int32_t>(
        random.below(static_cast<std::uint64_t>(height - box.height) + 1));
    box.left =
        static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(width - box.width) + 1));
    return box;
  }
  double h = H, w = W;
  if (W / H < aspect.low) h = std::nearbyint(W / aspect.low);
  if (W / H > aspect.high) w = std::nearbyint(H * aspect.high);
  CropBox box{.height = static_cast<std::int32_t>(std::clamp(h, 1.0, H)),
              .width = static_cast<std::int32_t>(std::clamp(w, 1.0, W))};
  box.top = (height - box.height) / 2;
  box.left = (width - box.width) / 2;
  return box;
}

namespace detail {

// Also checks the image itself.
template <class Image>
void require_box(const char* where, const Image& image, const CropBox& box) {
  require_pixels(where, image);
  const int H = height_of(image), W = width_of(image);
  require<ShapeError>(box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1 &&
                          box.height <= H - box.top && box.width <= W - box.left,
                      where, ": want a box inside the ", H, " x ", W, " image, got ", box.height,
                      " x ", box.width, " at row ", box.top, ", column ", box.left);
}

/// Where an output coordinate reads from: x * (1 - weight) at `first`, x * weight at `second`.
struct BilinearTap {
  std::int32_t first, second;
  float weight;
};

// Coordinate i of the result; scale = in / out. Pixel centres at half integers, clamped to the box:
// align_corners = false, no antialiasing.
constexpr BilinearTap bilinear_tap(int i, double scale, int in) {
  const double x = std::max(0.0, (i + 0.5) * scale - 0.5);
  const int first = std::min(static_cast<int>(x), in - 1);
  return {first, std::min(first + 1, in - 1), static_cast<float>(x - first)};
}

/// The taps of a row or column of the result.
struct BilinearTaps {
  std::vector<std::int32_t> first, second;
  std::vector<float> weight;
};

inline void bilinear_taps(int in, int out, bool mirrored, BilinearTaps& taps) {
  const auto n = static_cast<std::size_t>(out);
  taps.first.resize(n);
  taps.second.resize(n);
  taps.weight.resize(n);
  const double scale = static_cast<double>(in) / out;
  for (int i = 0; i < out; ++i) {
    const BilinearTap tap = bilinear_tap(i, scale, in);
    const auto at = static_cast<std::size_t>(mirrored ? out - 1 - i : i);
    taps.first[at] = tap.first;
    taps.second[at] = tap.second;
    taps.weight[at] = tap.weight;
  }
}

// One source row, resampled to the output's width: a plane of `out` values a channel. The unit of the
// source is kept (bytes stay in 0..255).
template <int C>
void resample_row(const BasicByteImage<C>& image, const CropBox& box, int row,
                  const BilinearTaps& taps, float* __restrict__ out) {
  const std::uint8_t* p = image.data + (static_cast<std::size_t>(box.top + row) *
                                            static_cast<std::size_t>(image.width) +
                                        static_cast<std::size_t>(box.left)) *
                                           C;
  const std::size_t n = taps.weight.size();
  float *r = out, *g = out + n, *b = out + 2 * n;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t* a = p + C * taps.first[i];
    const std::uint8_t* z = p + C * taps.second[i];
    const float w = taps.weight[i];
    r[i] = static_cast<float>(a[0]) + w * static_cast<float>(z[0] - a[0]);
    g[i] = static_cast<float>(a[1]) + w * static_cast<float>(z[1] - a[1]);
    b[i] = static_cast<float>(a[2]) + w * static_cast<float>(z[2] - a[2]);
    if constexpr (C == 4) {
      out[3 * n + i] = static_cast<float>(a[3]) + w * static_cast<float>(z[3] - a[3]);
    }
  }
}

inline void resample_row(const PlanarImage& image, const CropBox& box, int row,
                         const BilinearTaps& taps, float* __restrict__ out) {
  const std::size_t offset =
      static_cast<std::size_t>(box.top + row) * static_cast<std::size_t>(image.width()) +
      static_cast<std::size_t>(box.left);
  const std::size_t n = taps.weight.size();
  for (int c = 0; c < image.channels(); ++c) {
    const float* p = image.plane(c) + offset;
    float* line = out + static_cast<std::size_t>(c) * n;
    for (std::size_t i = 0; i < n; ++i) {
      const float a = p[taps.first[i]];
      line[i] = a + taps.weight[i] * (p[taps.second[i]] - a);
    }
  }
}

}  // namespace detail

/// Memory that crop_resize reuses from call to call; one a thread.
struct CropResizeScratch {
  detail::BilinearTaps rows, columns;
  std::vector<float> upper, lower;
};

/// out <- the box of the image, bilinearly resampled to (out_height, out_width), in [0, 1].
///
/// Nothing outside the box is read: at its border the border pixels repeat. Down-sampling does not
/// average (no antialiasing), as the reference's crops do not.
///
/// @param image     bytes, or planes in [0, 1]
/// @param box       inside the image, at least 1 x 1
/// @param mirrored  swaps left and right of the result: a horizontal flip at no cost
/// @throws ShapeError  a box that leaves the image, an empty image or result.
/// Moves     each source row that is needed is resampled once, whatever the magnification.
/// Accuracy  a box of the output's own size is copied: byte / 255, exactly.
/// Source    torch.nn.functional.interpolate(bilinear, align_corners=False, antialias=False).
template <class Image>
void crop_resize(const Image& image, const CropBox& box, int out_height, int out_width,
                 bool mirrored, PlanarImage& out, CropResizeScratch& scratch) {
  detail::require_box("crop_resize", image, box);
  const int channels = detail::channels_of(image);
  out.resize(out_height, out_width, channels);
  detail::bilinear_taps(box.height, out_height, false, scratch.rows);
  detail::bilinear_taps(box.width, out_width, mirrored, scratch.columns);
  const auto n = static_cast<std::size_t>(out_width);
  scratch.upper.resize(static_cast<std::size_t>(channels) * n);
  scratch.lower.resize(static_cast<std::size_t>(channels) * n);

  constexpr std::int32_t kNone = -1;
  std::int32_t upper_row = kNone, lower_row = kNone;
  const float unit = detail::unit_of(image);
  for (int y = 0; y < out_height; ++y) {
    const std::int32_t first = scratch.rows.first[static_cast<std::size_t>(y)];
    const std::int32_t second = scratch.rows.second[static_cast<std::size_t>(y)];
    if (first != upper_row && first == lower_row) {
      std::swap(scratch.upper, scratch.lower);
      std::swap(upper_row, lower_row);
    }
    if (first != upper_row) {
      detail::resample_row(image, box, first, scratch.columns, scratch.upper.data());
      upper_row = first;
    }
    const float w = scratch.rows.weight[static_cast<std::size_t>(y)];
    if (w != 0.0f && second != lower_row) {
      detail::resample_row(image, box, second, scratch.columns, scratch.lower.data());
      lower_row = second;
    }
    // Without weight the second row was perhaps never filled: read the first one twice.
    const float* lower = w != 0.0f ? scratch.lower.data() : scratch.upper.data();
    for (int c = 0; c < channels; ++c) {
      const float* a = scratch.upper.data() + static_cast<std::size_t>(c) * n;
      const float* z = lower + static_cast<std::size_t>(c) * n;
      float* line = out.plane(c) + static_cast<std::size_t>(y) * n;
      for (std::size_t i = 0; i < n; ++i) line[i] = (a[i] + w * (z[i] - a[i])) / unit;
    }
  }
}

}  // namespace mwalimu::data
