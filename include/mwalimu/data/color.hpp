// data/color: brightness, contrast, saturation, hue and gray: of one pixel, for every backend, and
// in place on planes.
//
// Of a fourth channel, near infra-red: brightness and contrast are the exposure of a photograph and
// change it as they change the others, contrast about its own mean; saturation, hue and gray are what
// an eye makes of red, green and blue, and leave it.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "mwalimu/core/random.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data {

namespace detail {

// Luma of ITU-R BT.601.
constexpr float luma(float r, float g, float b) { return 0.299f * r + 0.587f * g + 0.114f * b; }
// Branches rather than std::clamp's references: these loops must vectorise.
constexpr float clamp01(float x) {
  x = x < 0.0f ? 0.0f : x;
  return x > 1.0f ? 1.0f : x;
}

struct Rgb {
  float r, g, b;
};
constexpr float luma(Rgb p) { return luma(p.r, p.g, p.b); }

constexpr Rgb saturate(Rgb p, float factor) {
  const float gray = (1.0f - factor) * luma(p);
  return {clamp01(factor * p.r + gray), clamp01(factor * p.g + gray), clamp01(factor * p.b + gray)};
}

// The turn in sixths of the circle, [0, 6).
MWALIMU_HOST_DEVICE inline float hue_shift(float turns) {
  return 6.0f * (turns - std::floor(turns));
}

MWALIMU_HOST_DEVICE inline Rgb turn_hue(Rgb p, float shift) {
  const float v = std::max(p.r, std::max(p.g, p.b));
  const float chroma = v - std::min(p.r, std::min(p.g, p.b));
  const float inverse = 1.0f / (chroma == 0.0f ? 1.0f : chroma);
  float h = v == p.r   ? (p.g - p.b) * inverse
            : v == p.g ? (p.b - p.r) * inverse + 2.0f
                       : (p.r - p.g) * inverse + 4.0f;
  h += shift;  // in [-1, 11)
  const auto channel = [&](float n) {
    float k = n + h;  // in [0, 16)
    k -= 6.0f * std::floor(k * (1.0f / 6.0f));
    return v - chroma * clamp01(std::min(k, 4.0f - k));
  };
  return {channel(5.0f), channel(3.0f), channel(1.0f)};
}

}  // namespace detail

/// x <- clamp(x * factor) to [0, 1]. factor >= 0; 1 keeps.
inline void adjust_brightness(PlanarImage& image, float factor) {
  for (float& x : image.values()) x = detail::clamp01(x * factor);
}

/// x <- clamp(x * factor + m * (1 - factor)), m the image's mean luma. factor >= 0; 1 keeps, 0 is
/// flat. Of near infra-red m is its own mean.
inline void adjust_contrast(PlanarImage& image, float factor) {
  const float *r = image.plane(0), *g = image.plane(1), *b = image.plane(2);
  const std::size_t count = image.plane_size();
  // Sixteen partial sums: fixed order, so the same bits everywhere, and wide enough for one vector.
  constexpr std::size_t kLanes = 16, kBlock = 4096;
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, count);
    std::array<float, kLanes> lanes{};
    std::size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (std::size_t k = 0; k < kLanes; ++k)
        lanes[k] += detail::luma(r[i + k], g[i + k], b[i + k]);
    }
    for (std::size_t k = 0; i + k < end; ++k)
      lanes[k] += detail::luma(r[i + k], g[i + k], b[i + k]);
    for (const float lane : lanes) total += lane;
  }
  const float mean = static_cast<float>(total / static_cast<double>(count));
  const float shift = mean * (1.0f - factor);
  for (float& x : image.values().first(3 * count)) x = detail::clamp01(x * factor + shift);
  if (image.channels() == 4) {
    double sum = 0;
    for (const float x : image.values().subspan(3 * count)) sum += x;
    const float own = static_cast<float>(sum / static_cast<double>(count)) * (1.0f - factor);
    for (float& x : image.values().subspan(3 * count)) x = detail::clamp01(x * factor + own);
  }
}

/// x <- clamp(x * factor + luma * (1 - factor)) per pixel. factor >= 0; 1 keeps, 0 is gray.
inline void adjust_saturation(PlanarImage& image, float factor) {
  float *r = image.plane(0), *g = image.plane(1), *b = image.plane(2);
  const std::size_t count = image.plane_size();
  for (std::size_t i = 0; i < count; ++i) {
    const detail::Rgb out = detail::saturate({r[i], g[i], b[i]}, factor);
    r[i] = out.r;
    g[i] = out.g;
    b[i] = out.b;
  }
}

/// Turns the hue of HSV by `turns` of the colour circle: 1/3 sends red to green, 1 keeps. Value and
/// saturation stay; nothing is clamped.
///
/// With v the largest channel, c = v - the smallest and h in [0, 6) the hue, channel n of R, G, B
/// is v - c * clamp(min(k, 4 - k), 0, 1) with k = (n + h) mod 6, n = 5, 3, 1: HSV to RGB without
/// branches.
inline void adjust_hue(PlanarImage& image, float turns) {
  float *r = image.plane(0), *g = image.plane(1), *b = image.plane(2);
  const std::size_t count = image.plane_size();
  const float shift = detail::hue_shift(turns);
  for (std::size_t i = 0; i < count; ++i) {
    const detail::Rgb out = detail::turn_hue({r[i], g[i], b[i]}, shift);
    r[i] = out.r;
    g[i] = out.g;
    b[i] = out.b;
  }
}

/// Each of R, G, B <- 0.299 R + 0.587 G + 0.114 B.
inline void to_gray(PlanarImage& image) {
  float *r = image.plane(0), *g = image.plane(1), *b = image.plane(2);
  const std::size_t count = image.plane_size();
  for (std::size_t i = 0; i < count; ++i) r[i] = g[i] = b[i] = detail::luma(r[i], g[i], b[i]);
}

/// How far a jitter may go: factors are U(max(0, 1 - x), 1 + x), the hue turns by U(-hue, hue).
struct ColorJitterOptions {
  float brightness = 0.48f, contrast = 0.48f, saturation = 0.48f;  ///< >= 0
  float hue = 0.12f;                                               ///< turns of the circle, 0..0.5
};

/// One draw of a colour jitter. Operation ids: 0 brightness, 1 contrast, 2 saturation, 3 hue.
struct ColorJitter {
  float brightness = 1, contrast = 1, saturation = 1, hue = 0;
  std::array<std::uint8_t, 4> order{0, 1, 2, 3};
};

/// Seven numbers of the stream, whatever the options.
constexpr ColorJitter draw_color_jitter(RandomStream& random, const ColorJitterOptions& options) {
  const auto factor = [&](float x) { return random.uniform(std::max(0.0f, 1.0f - x), 1.0f + x); };
  ColorJitter jitter;
  jitter.brightness = factor(options.brightness);
  jitter.contrast = factor(options.contrast);
  jitter.saturation = factor(options.saturation);
  jitter.hue = random.uniform(-options.hue, options.hue);
  for (std::size_t i = 3; i > 0; --i) {
    const auto j = static_cast<std::size_t>(random.uniform() * static_cast<float>(i + 1));
    std::swap(jitter.order[i], jitter.order[j]);
  }
  return jitter;
}

/// The four operations in the drawn order.
/// Source  kornia 0.6.6 ColorJitter: brightness, contrast and saturation clamp to [0, 1], hue does
/// not.
inline void apply_color_jitter(PlanarImage& image, const ColorJitter& jitter) {
  for (const std::uint8_t operation : jitter.order) {
    switch (operation) {
      case 0:
        adjust_brightness(image, jitter.brightness);
        break;
      case 1:
        adjust_contrast(image, jitter.contrast);
        break;
      case 2:
        adjust_saturation(image, jitter.saturation);
        break;
      default:
        adjust_hue(image, jitter.hue);
        break;
    }
  }
}

}  // namespace mwalimu::data
