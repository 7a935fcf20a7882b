// data/resize: PIL's Image.resize for 8-bit RGB, to the bit: two passes of fixed-point filters
// whose support grows with the reduction, so shrinking does not alias.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/data/image.hpp"

namespace mwalimu::data {

enum class Interpolation { bilinear, bicubic };

namespace detail {

inline double filter_support(Interpolation mode) {
  return mode == Interpolation::bilinear ? 1.0 : 2.0;
}

// The triangle, and Keys' cubic with a = -1/2 (Keys 1981, "Cubic convolution interpolation").
inline double filter_value(Interpolation mode, double x) {
  x = std::abs(x);
  if (mode == Interpolation::bilinear) return x < 1.0 ? 1.0 - x : 0.0;
  constexpr double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

// Weights in fixed point: 8 bits of pixel, 2 of overshoot and a sign leave 22 of fraction.
inline constexpr int kWeightBits = 32 - 8 - 2;

// What one output coordinate reads: `count` inputs from `first`, weights at weights[start...].
struct Taps {
  int first, count;
  std::size_t start;
};

struct FilterBank {
  std::vector<Taps> taps;
  std::vector<std::int32_t> weights;
};

inline FilterBank make_filter_bank(int in, int out, Interpolation mode) {
  const double scale = static_cast<double>(in) / out, stretch = std::max(scale, 1.0);
  const double support = filter_support(mode) * stretch;
  FilterBank bank;
  bank.taps.reserve(static_cast<std::size_t>(out));
  std::vector<double> values;
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int last = std::min(in, static_cast<int>(center + support + 0.5));
    values.clear();
    double sum = 0;
    for (int j = first; j < last; ++j) {
      values.push_back(filter_value(mode, (j - center + 0.5) / stretch));
      sum += values.back();
    }
    bank.taps.push_back({first, last - first, bank.weights.size()});
    for (const double value : values) {
      const double fixed = value / sum * (1 << kWeightBits);
      bank.weights.push_back(static_cast<std::int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return bank;
}

inline std::uint8_t from_fixed(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

inline Image resize_width(const Image& in, int width, Interpolation mode) {
  const FilterBank bank = make_filter_bank(in.width, width, mode);
  Image out(in.height, width);
  for (int y = 0; y < in.height; ++y) {
    std::uint8_t* to = out.at(y, 0);
    for (const Taps& taps : bank.taps) {
      const std::uint8_t* from = in.at(y, taps.first);
      const std::int32_t* weight = bank.weights.data() + taps.start;
      std::int32_t r = 1 << (kWeightBits - 1), g = r, b = r;
      for (int k = 0; k < taps.count; ++k, from += 3) {
        r += weight[k] * from[0];
        g += weight[k] * from[1];
        b += weight[k] * from[2];
      }
      *to++ = from_fixed(r);
      *to++ = from_fixed(g);
      *to++ = from_fixed(b);
    }
  }
  return out;
}

inline Image resize_height(const Image& in, int height, Interpolation mode) {
  const FilterBank bank = make_filter_bank(in.height, height, mode);
  Image out(height, in.width);
  const std::size_t row = static_cast<std::size_t>(in.width) * Image::channels;
  std::vector<std::int32_t> sums(row);
  for (int y = 0; y < height; ++y) {
    const Taps taps = bank.taps[static_cast<std::size_t>(y)];
    std::fill(sums.begin(), sums.end(), 1 << (kWeightBits - 1));
    for (int k = 0; k < taps.count; ++k) {
      const std::uint8_t* from = in.at(taps.first + k, 0);
      const std::int32_t weight = bank.weights[taps.start + static_cast<std::size_t>(k)];
      for (std::size_t i = 0; i < row; ++i) sums[i] += weight * from[i];
    }
    std::uint8_t* to = out.at(y, 0);
    for (std::size_t i = 0; i < row; ++i) to[i] = from_fixed(sums[i]);
  }
  return out;
}

}  // namespace detail

/// The image at another size; the aspect ratio is not kept. Width first, then height, rounding to
/// 8 bits in between, as PIL does (ResizeGolden.MatchesPil).
/// @throws ValueError  height or width < 1, or an empty image.
inline Image resize(const Image& image, int height, int width,
                    Interpolation mode = Interpolation::bicubic) {
  require<ValueError>(height >= 1 && width >= 1 && image.height >= 1 && image.width >= 1,
                      "resize: want extents of at least 1, got ", image.height, " x ", image.width,
                      " to ", height, " x ", width);
  const Image* from = &image;
  Image narrow;
  if (width != image.width) {
    narrow = detail::resize_width(image, width, mode);
    from = &narrow;
  }
  return height != image.height ? detail::resize_height(*from, height, mode) : *from;
}

/// The `height` x `width` pixels whose corner is (top, left).
/// @throws ValueError  the box does not lie inside the image.
inline Image crop(const Image& image, int top, int left, int height, int width) {
  require<ValueError>(top >= 0 && left >= 0 && height >= 1 && width >= 1 &&
                          height <= image.height - top && width <= image.width - left,
                      "crop: box ", height, " x ", width, " at (", top, ", ", left,
                      ") is not inside ", image.height, " x ", image.width);
  Image out(height, width);
  for (int y = 0; y < height; ++y) {
    std::copy_n(image.at(top + y, left), width * Image::channels, out.at(y, 0));
  }
  return out;
}

/// The largest centred square.
inline Image center_square(const Image& image) {
  const int side = std::min(image.height, image.width);
  return crop(image, (image.height - side) / 2, (image.width - side) / 2, side, side);
}

}  // namespace mwalimu::data
