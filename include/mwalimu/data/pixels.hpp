// data/pixels: the two forms of an image inside an augmentation, bytes as stored and float planes
// while they are worked on, and the way out: normalised and interleaved.
//
// An image has three channels, R, G, B; or four where a pair of sensors is stacked: R, G, B and
// near infra-red.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::data {

/// A view of an image as it is stored: (height, width, C) bytes, interleaved, rows dense. C is part
/// of the type, so that the strides of the loops that read bytes are constants.
template <int C>
struct BasicByteImage {
  static_assert(C == 3 || C == 4);
  static constexpr int kChannels = C;
  const std::uint8_t* data = nullptr;
  int height = 0;
  int width = 0;
};
using ByteImage = BasicByteImage<3>;         ///< R, G, B
using StackedByteImage = BasicByteImage<4>;  ///< R, G, B, near infra-red

/// Planes (channels, height, width) of float32, normally in [0, 1]. Colour operations and resampling
/// run on planes because neighbours in memory are then neighbours in the image, of one channel: the
/// loops vectorise. Memory is kept when an image shrinks, so that one object serves a whole batch.
class PlanarImage {
 public:
  PlanarImage() = default;
  PlanarImage(int height, int width, int channels = 3) { resize(height, width, channels); }

  /// Sets the extents; the pixels are unspecified afterwards.
  /// @param channels  3: R, G, B; 4: and near infra-red.
  /// @throws ShapeError  an extent below 1, or another number of channels.
  void resize(int height, int width, int channels = 3) {
    require<ShapeError>(height >= 1 && width >= 1, "PlanarImage: want at least 1 x 1 pixel, got ",
                        height, " x ", width);
    require<ShapeError>(channels == 3 || channels == 4, "PlanarImage: want 3 or 4 channels, got ",
                        channels);
    height_ = height;
    width_ = width;
    channels_ = channels;
    const std::size_t needed = static_cast<std::size_t>(channels) * plane_size();
    if (pixels_.size() < needed) pixels_.resize(needed);
  }

  int channels() const { return channels_; }
  int height() const { return height_; }
  int width() const { return width_; }
  std::size_t plane_size() const {
    return static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_);
  }
  /// Plane c of R, G, B, near infra-red = 0, 1, 2, 3: height x width, rows dense.
  float* plane(int c) { return pixels_.data() + static_cast<std::size_t>(c) * plane_size(); }
  const float* plane(int c) const {
    return pixels_.data() + static_cast<std::size_t>(c) * plane_size();
  }
  /// All channels * height * width values, plane after plane.
  std::span<float> values() { return {pixels_.data(), count()}; }
  std::span<const float> values() const { return {pixels_.data(), count()}; }

  friend void swap(PlanarImage& a, PlanarImage& b) noexcept {
    std::swap(a.height_, b.height_);
    std::swap(a.width_, b.width_);
    std::swap(a.channels_, b.channels_);
    a.pixels_.swap(b.pixels_);
  }

 private:
  std::size_t count() const { return static_cast<std::size_t>(channels_) * plane_size(); }

  int height_ = 0, width_ = 0, channels_ = 3;
  std::vector<float> pixels_;
};

/// y = (x - mean) / std per channel of R, G, B (and near infra-red), for x in [0, 1].
///
/// ImageNet has no near infra-red: its channel gets the means of the other three's numbers, as if it
/// were a gray image. That is what a stem expects which was learned on three channels and begins with
/// the mean of their weights for the fourth (models/input_channels.hpp), and no camera's gain and
/// filter, on which its true numbers depend, is built in.
struct Normalisation {
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};  ///< ImageNet's
  std::array<float, 3> std{0.229f, 0.224f, 0.225f};   ///< ImageNet's; each > 0
  float near_infrared_mean = 0.449f;  ///< of a fourth channel
  float near_infrared_std = 0.226f;   ///< > 0

  /// y = x: pixels stay in [0, 1].
  static constexpr Normalisation none() { return {{0, 0, 0}, {1, 1, 1}, 0, 1}; }

  constexpr float mean_of(int c) const {
    return c < 3 ? mean[static_cast<std::size_t>(c)] : near_infrared_mean;
  }
  constexpr float std_of(int c) const {
    return c < 3 ? std[static_cast<std::size_t>(c)] : near_infrared_std;
  }
};

namespace detail {

template <int C>
void require_pixels(const char* where, const BasicByteImage<C>& image) {
  require<ShapeError>(image.data != nullptr && image.height >= 1 && image.width >= 1, where,
                      ": want an image of at least 1 x 1 pixel, got ", image.height, " x ",
                      image.width);
}
inline void require_pixels(const char* where, const PlanarImage& image) {
  require<ShapeError>(image.height() >= 1 && image.width() >= 1, where,
                      ": want an image of at least 1 x 1 pixel, got an empty one");
}

// The images of a batch, as a device has them.
inline void require_images(const char* where, const View<const std::uint8_t, 4>& images) {
  const index_t C = images.dim(3);
  require<ShapeError>(images.dim(0) >= 1 && images.dim(1) >= 1 && images.dim(2) >= 1 &&
                          (C == 3 || C == 4) && images.stride(3) == 1 && images.stride(2) == C &&
                          images.stride(1) == C * images.dim(2),
                      where, ": want images (N, height, width, 3 or 4) of dense pixels, got (",
                      images.dim(0), ", ", images.dim(1), ", ", images.dim(2), ", ", C, ")");
}
// f(std::integral_constant<int, C>) for the C = 3 or 4 channels that require_images lets through.
template <class F>
void with_channels(index_t channels, F&& f) {
  channels == 4 ? f(std::integral_constant<int, 4>{}) : f(std::integral_constant<int, 3>{});
}

// The two kinds of source, read alike: extents, a channel of a pixel, and what stands for 1.
template <int C>
int height_of(const BasicByteImage<C>& image) {
  return image.height;
}
inline int height_of(const PlanarImage& image) { return image.height(); }
template <int C>
int width_of(const BasicByteImage<C>& image) {
  return image.width;
}
inline int width_of(const PlanarImage& image) { return image.width(); }
template <int C>
constexpr int channels_of(const BasicByteImage<C>&) {
  return C;
}
inline int channels_of(const PlanarImage& image) { return image.channels(); }
template <int C>
float channel_at(const BasicByteImage<C>& image, int c, std::int64_t pixel) {
  return static_cast<float>(image.data[C * pixel + c]);
}
inline float channel_at(const PlanarImage& image, int c, std::int64_t pixel) {
  return image.plane(c)[pixel];
}
template <int C>
constexpr float unit_of(const BasicByteImage<C>&) {
  return 255.0f;
}
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

/// Writes (x - mean) / std, interleaved: out[(h * width + w) * channels + c], so that `out` may lie
/// inside a batch of NHWC memory. Overwrites channels * height * width floats.
inline void write_normalised(const PlanarImage& image, const Normalisation& normalisation,
                             float* __restrict__ out) {
  detail::require_pixels("write_normalised", image);
  const std::size_t count = image.plane_size();
  const float *r = image.plane(0), *g = image.plane(1), *b = image.plane(2);
  const auto [mr, mg, mb] = normalisation.mean;
  const auto [sr, sg, sb] = normalisation.std;
  if (image.channels() == 4) {
    const float* n = image.plane(3);
    const float mn = normalisation.near_infrared_mean, sn = normalisation.near_infrared_std;
    for (std::size_t i = 0; i < count; ++i) {
      out[4 * i] = (r[i] - mr) / sr;
      out[4 * i + 1] = (g[i] - mg) / sg;
      out[4 * i + 2] = (b[i] - mb) / sb;
      out[4 * i + 3] = (n[i] - mn) / sn;
    }
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    out[3 * i] = (r[i] - mr) / sr;
    out[3 * i + 1] = (g[i] - mg) / sg;
    out[3 * i + 2] = (b[i] - mb) / sb;
  }
}

}  // namespace mwalimu::data
