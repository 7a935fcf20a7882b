// data/pixels: the two forms of an image inside an augmentation, bytes as stored and three float
// planes while they are worked on, and the way out: normalised and interleaved.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::data {

/// A view of an image as it is stored: (height, width, 3) bytes, RGB interleaved, rows dense.
struct ByteImage {
  const std::uint8_t* data = nullptr;
  int height = 0;
  int width = 0;
};

/// Three planes (3, height, width) of float32, normally in [0, 1]. Colour operations and resampling
/// run on planes because neighbours in memory are then neighbours in the image, of one channel: the
/// loops vectorise. Memory is kept when an image shrinks, so that one object serves a whole batch.
class PlanarImage {
 public:
  PlanarImage() = default;
  PlanarImage(int height, int width) { resize(height, width); }

  /// Sets the extents; the pixels are unspecified afterwards.
  /// @throws ShapeError  an extent below 1.
  void resize(int height, int width) {
    require<ShapeError>(height >= 1 && width >= 1, "PlanarImage: want at least 1 x 1 pixel, got ",
                        height, " x ", width);
    height_ = height;
    width_ = width;
    const std::size_t needed = 3 * plane_size();
    if (pixels_.size() < needed) pixels_.resize(needed);
  }

  int height() const { return height_; }
  int width() const { return width_; }
  std::size_t plane_size() const {
    return static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_);
  }
  /// Plane c of R, G, B = 0, 1, 2: height x width, rows dense.
  float* plane(int c) { return pixels_.data() + static_cast<std::size_t>(c) * plane_size(); }
  const float* plane(int c) const {
    return pixels_.data() + static_cast<std::size_t>(c) * plane_size();
  }
  /// All 3 * height * width values, plane after plane.
  std::span<float> values() { return {pixels_.data(), 3 * plane_size()}; }
  std::span<const float> values() const { return {pixels_.data(), 3 * plane_size()}; }

  friend void swap(PlanarImage& a, PlanarImage& b) noexcept {
    std::swap(a.height_, b.height_);
    std::swap(a.width_, b.width_);
    a.pixels_.swap(b.pixels_);
  }

 private:
  int height_ = 0, width_ = 0;
  std::vector<float> pixels_;
};

/// y = (x - mean) / std per channel of R, G, B, for x in [0, 1].
struct Normalisation {
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};  ///< ImageNet's
  std::array<float, 3> std{0.229f, 0.224f, 0.225f};   ///< ImageNet's; each > 0

  /// y = x: pixels stay in [0, 1].
  static constexpr Normalisation none() { return {{0, 0, 0}, {1, 1, 1}}; }
};

namespace detail {

inline void require_pixels(const char* where, const ByteImage& image) {
  require<ShapeError>(image.data != nullptr && image.height >= 1 && image.width >= 1, where,
                      ": want an image of at least 1 x 1 pixel, got ", image.height, " x ",
                      image.width);
}
inline void require_pixels(const char* where, const PlanarImage& image) {
  require<ShapeError>(image.height() >= 1 && image.width() >= 1, where,
                      ": want an image of at least 1 x 1 pixel, got an empty one");
}

// Stacked images, as a device has them.
inline void require_images(const char* where, const View<const std::uint8_t, 4>& images) {
  require<ShapeError>(images.dim(0) >= 1 && images.dim(1) >= 1 && images.dim(2) >= 1 &&
                          images.dim(3) == 3 && images.stride(3) == 1 && images.stride(2) == 3 &&
                          images.stride(1) == 3 * images.dim(2),
                      where, ": want images (N, height, width, 3) of dense pixels, got (",
                      images.dim(0), ", ", images.dim(1), ", ", images.dim(2), ", ", images.dim(3),
                      ")");
}

// The two kinds of source, read alike: extents, a channel of a pixel, and what stands for 1.
inline int height_of(const ByteImage& image) { return image.height; }
inline int height_of(const PlanarImage& image) { return image.height(); }
inline int width_of(const ByteImage& image) { return image.width; }
inline int width_of(const PlanarImage& image) { return image.width(); }
inline float channel_at(const ByteImage& image, int c, std::int64_t pixel) {
  return static_cast<float>(image.data[3 * pixel + c]);
}
inline float channel_at(const PlanarImage& image, int c, std::int64_t pixel) {
  return image.plane(c)[pixel];
}
inline constexpr float unit_of(const ByteImage&) { return 255.0f; }
inline constexpr float unit_of(const PlanarImage&) { return 1.0f; }

}  // namespace detail

/// Bytes to planes in [0, 1]: x = byte / 255, the correctly rounded quotient.
inline void to_planes(const ByteImage& image, PlanarImage& out) {
  detail::require_pixels("to_planes", image);
  out.resize(image.height, image.width);
  const std::size_t count = out.plane_size();
  float *r = out.plane(0), *g = out.plane(1), *b = out.plane(2);
  const std::uint8_t* p = image.data;
  for (std::size_t i = 0; i < count; ++i) {
    r[i] = static_cast<float>(p[3 * i]) / 255.0f;
    g[i] = static_cast<float>(p[3 * i + 1]) / 255.0f;
    b[i] = static_cast<float>(p[3 * i + 2]) / 255.0f;
  }
}

/// Writes (x - mean) / std, interleaved: out[(h * width + w) * 3 + c], so that `out` may lie inside
/// a batch of NHWC memory. Overwrites 3 * height * width floats.
inline void write_normalised(const PlanarImage& image, const Normalisation& normalisation,
                             float* __restrict__ out) {
  detail::require_pixels("write_normalised", image);
  const std::size_t count = image.plane_size();
  const float *r = image.plane(0), *g = image.plane(1), *b = image.plane(2);
  const auto [mr, mg, mb] = normalisation.mean;
  const auto [sr, sg, sb] = normalisation.std;
  for (std::size_t i = 0; i < count; ++i) {
    out[3 * i] = (r[i] - mr) / sr;
    out[3 * i + 1] = (g[i] - mg) / sg;
    out[3 * i + 2] = (b[i] - mb) / sb;
  }
}

}  // namespace mwalimu::data
