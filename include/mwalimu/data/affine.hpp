// data/affine: flips, rotations, zooms and perspective warps, composed into one map and sampled
// once.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <vector>

#include "mwalimu/core/config.hpp"
#include "mwalimu/data/crop_resize.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data {

/// A projective map of the plane, row-major 3 x 3, that takes a point of the *output* to the point
/// of the *source* it is read from. Both are in [-1, 1] across the image, x to the right, y
/// downwards, -1 and 1 at the centres of the border pixels (align_corners = true).
struct Projective {
  std::array<double, 9> m{1, 0, 0, 0, 1, 0, 0, 0, 1};

  /// (a * b)(p) = a(b(p)).
  friend constexpr Projective operator*(const Projective& a, const Projective& b) {
    Projective c;
    for (std::size_t i = 0; i < 3; ++i) {
      for (std::size_t j = 0; j < 3; ++j) {
        c.m[3 * i + j] =
            a.m[3 * i] * b.m[j] + a.m[3 * i + 1] * b.m[3 + j] + a.m[3 * i + 2] * b.m[6 + j];
      }
    }
    return c;
  }
  /// The image of (x, y).
  constexpr std::array<double, 2> operator()(double x, double y) const {
    const double w = m[6] * x + m[7] * y + m[8];
    return {(m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w};
  }
  /// Whether no point is divided by its depth.
  constexpr bool affine() const { return m[6] == 0 && m[7] == 0 && m[8] == 1; }
  friend bool operator==(const Projective&, const Projective&) = default;
};

/// Swaps left and right.
constexpr Projective horizontal_flip() { return {{-1, 0, 0, 0, 1, 0, 0, 0, 1}}; }

/// [cos, sin; -sin, cos] of the angle, in a square frame: see correct_aspect.
MWALIMU_HOST_DEVICE inline Projective rotation(double degrees) {
  const double angle = degrees * std::numbers::pi / 180.0;
  const double c = std::cos(angle), s = std::sin(angle);
  return {{c, s, 0, -s, c, 0, 0, 0, 1}};
}

/// Magnifies by `factor` about a point that lies at the fractions (x, y) of the width and height;
/// both 0.5: about the centre. factor > 0.
constexpr Projective zoom(double factor, double x, double y) {
  const double s = 1.0 / factor;
  return {{s, 0, (1 - s) * (2 * x - 1), 0, s, (1 - s) * (2 * y - 1), 0, 0, 1}};
}

/// Makes an affine map that was written for a square frame keep angles on a height x width image.
constexpr Projective correct_aspect(Projective map, int height, int width) {
  map.m[1] *= static_cast<double>(height) / width;
  map.m[3] *= static_cast<double>(width) / height;
  return map;
}

/// The perspective tilt that moves the corners (-1, -1), (-1, 1), (1, -1), (1, 1) to (-1 - y, -1 -
/// x),
/// (-1 + y, 1 + x), (1 + y, -1 + x), (1 - y, 1 - x). |x| + |y| < 1, or the horizon enters the
/// image.
///
/// The diagonals of the moved frame cross at (x, y), which is where the centre goes; along a
/// diagonal the map is a fractional line through three known points, which gives all eight
/// coefficients. Source  fastai.vision.augment.Warp, which solves for them.
constexpr Projective warp(double x, double y) {
  return {{1 - y * y, -x * y, x, -x * y, 1 - x * x, y, x, y, 1}};
}

/// Memory that sample_projective reuses from call to call; one a thread.
struct SampleScratch {
  std::vector<std::int32_t> upper_left, upper_right, lower_left, lower_right;
  std::vector<float> x, y;
};

namespace detail {

// Folds a coordinate into [0, last] by mirroring at both ends, as often as needed.
MWALIMU_HOST_DEVICE inline float reflect_coordinate(float t, float last) {
  t = std::abs(t);
  const float period = 2.0f * last;
  t -= period * std::floor(t / period);
  t = t > last ? period - t : t;
  // Rounding may leave the range by a little; a point at infinity is NaN here and fails the test.
  t = t >= 0.0f ? t : 0.0f;
  return t > last ? last : t;
}

// Output pixels -> [-1, 1] -> map -> [-1, 1] -> pixels of the image, as one matrix. The divisions
// come last, so that the identity has coefficients 1 and 0 exactly.
constexpr Projective pixel_map(const CropBox& box, const Projective& map, int out_height,
                               int out_width) {
  const double half_w = (box.width - 1) / 2.0, half_h = (box.height - 1) / 2.0;
  const Projective to_pixels{{half_w, 0, half_w + box.left, 0, half_h, half_h + box.top, 0, 0, 1}};
  Projective t = to_pixels * map;
  for (std::size_t i = 0; i < 3; ++i) {
    const double along_x = t.m[3 * i], along_y = t.m[3 * i + 1];
    t.m[3 * i] = out_width > 1 ? 2 * along_x / (out_width - 1) : 0;
    t.m[3 * i + 1] = out_height > 1 ? 2 * along_y / (out_height - 1) : 0;
    t.m[3 * i + 2] -= (out_width > 1 ? along_x : 0) + (out_height > 1 ? along_y : 0);
  }
  return t;
}

}  // namespace detail

/// out(p) <- image(map(p)), bilinear, mirrored at the image's border, in [0, 1].
///
/// @param image  bytes or planes, fewer than 2^31 pixels
/// @param box    the part of the image that [-1, 1] stands for. Pixels outside it are read where
///               the map leaves it, so a rotated crop shows what was really there.
/// @throws ShapeError  a box that leaves the image, an empty image or result.
/// Accuracy  the identity on a box of the output's size copies: byte / 255, exactly.
/// Source    torch.nn.functional.grid_sample(bilinear, padding_mode="reflection",
/// align_corners=True)
///           after affine_grid; an output one pixel wide or high reads the middle.
template <class Image>
void sample_projective(const Image& image, const CropBox& box, const Projective& map,
                       int out_height, int out_width, PlanarImage& out, SampleScratch& scratch) {
  detail::require_box("sample_projective", image, box);
  const int H = detail::height_of(image), W = detail::width_of(image);
  require<ShapeError>(std::int64_t{H} * W < std::int64_t{1} << 31,
                      "sample_projective: the image of ", H, " x ", W,
                      " pixels is too large, want fewer than 2^31");
  out.resize(out_height, out_width, detail::channels_of(image));

  const Projective t = detail::pixel_map(box, map, out_height, out_width);
  const bool affine = t.affine();

  const auto n = static_cast<std::size_t>(out_width);
  for (auto* v :
       {&scratch.upper_left, &scratch.upper_right, &scratch.lower_left, &scratch.lower_right}) {
    v->resize(n);
  }
  scratch.x.resize(n);
  scratch.y.resize(n);
  float* __restrict__ sx = scratch.x.data();
  float* __restrict__ sy = scratch.y.data();
  std::int32_t* __restrict__ ul = scratch.upper_left.data();
  std::int32_t* __restrict__ ur = scratch.upper_right.data();
  std::int32_t* __restrict__ ll = scratch.lower_left.data();
  std::int32_t* __restrict__ lr = scratch.lower_right.data();
  const float last_x = static_cast<float>(W - 1), last_y = static_cast<float>(H - 1);
  const float unit = detail::unit_of(image);

  for (int y = 0; y < out_height; ++y) {
    const auto ax = static_cast<float>(t.m[0]), ay = static_cast<float>(t.m[3]);
    const auto bx = static_cast<float>(t.m[1] * y + t.m[2]),
               by = static_cast<float>(t.m[4] * y + t.m[5]);
    for (int x = 0; x < out_width; ++x) {
      sx[x] = ax * static_cast<float>(x) + bx;
      sy[x] = ay * static_cast<float>(x) + by;
    }
    if (!affine) {
      const auto aw = static_cast<float>(t.m[6]), bw = static_cast<float>(t.m[7] * y + t.m[8]);
      for (int x = 0; x < out_width; ++x) {
        const float w = aw * static_cast<float>(x) + bw;
        sx[x] /= w;
        sy[x] /= w;
      }
    }
    for (int x = 0; x < out_width; ++x) {
      const float px = W > 1 ? detail::reflect_coordinate(sx[x], last_x) : 0.0f;
      const float py = H > 1 ? detail::reflect_coordinate(sy[x], last_y) : 0.0f;
      const auto column = static_cast<std::int32_t>(px), row = static_cast<std::int32_t>(py);
      const std::int32_t right = column + 1 < W ? column + 1 : column;
      const std::int32_t below = row + 1 < H ? row + 1 : row;
      sx[x] = px - static_cast<float>(column);
      sy[x] = py - static_cast<float>(row);
      ul[x] = row * W + column;
      ur[x] = row * W + right;
      ll[x] = below * W + column;
      lr[x] = below * W + right;
    }
    for (int c = 0; c < out.channels(); ++c) {
      float* __restrict__ line = out.plane(c) + static_cast<std::size_t>(y) * n;
      for (int x = 0; x < out_width; ++x) {
        const float a = detail::channel_at(image, c, ul[x]),
                    b = detail::channel_at(image, c, ur[x]);
        const float d = detail::channel_at(image, c, ll[x]),
                    e = detail::channel_at(image, c, lr[x]);
        const float upper = a + sx[x] * (b - a), lower = d + sx[x] * (e - d);
        line[x] = (upper + sy[x] * (lower - upper)) / unit;
      }
    }
  }
}

/// The whole of the image as a box.
template <class Image>
CropBox whole(const Image& image) {
  return {0, 0, detail::height_of(image), detail::width_of(image)};
}

/// Rotates by `degrees` about the centre, keeping the extents; what turns into view is mirrored.
inline void rotate(PlanarImage& image, float degrees, PlanarImage& spare, SampleScratch& scratch) {
  const Projective map = correct_aspect(rotation(degrees), image.height(), image.width());
  sample_projective(image, whole(image), map, image.height(), image.width(), spare, scratch);
  swap(image, spare);
}

}  // namespace mwalimu::data
