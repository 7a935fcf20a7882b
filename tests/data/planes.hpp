// Images of tests, and the way between (N, 3, H, W) reference numbers and planes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data::test {

/// Random bytes that own their memory.
struct RandomImage {
  RandomImage(int h, int w, std::uint64_t seed = 1) : height(h), width(w) {
    RandomStream random(seed, Purpose::test, static_cast<std::uint64_t>(h),
                        static_cast<std::uint64_t>(w));
    bytes.resize(3 * static_cast<std::size_t>(h) * static_cast<std::size_t>(w));
    for (auto& b : bytes) b = static_cast<std::uint8_t>(random.bits() >> 24);
  }
  operator ByteImage() const { return {bytes.data(), height, width}; }
  float unit(int y, int x, int c) const {
    return static_cast<float>(bytes[static_cast<std::size_t>((y * width + x) * 3 + c)]) / 255.0f;
  }
  int height, width;
  std::vector<std::uint8_t> bytes;
};

inline PlanarImage planes_of(std::span<const float> values, int height, int width) {
  PlanarImage image(height, width);
  std::copy(values.begin(), values.end(), image.values().begin());
  return image;
}

inline PlanarImage random_planes(int height, int width, std::uint64_t seed = 1) {
  PlanarImage image;
  to_planes(RandomImage(height, width, seed), image);
  return image;
}

/// Applies op(PlanarImage&) to each image of an (N, 3, H, W) array and joins the results.
template <class Op>
std::vector<double> each_image(const std::vector<float>& batch, int height, int width, Op&& op) {
  const std::size_t values = 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  std::vector<double> joined;
  for (std::size_t at = 0; at < batch.size(); at += values) {
    PlanarImage image = planes_of(std::span(batch).subspan(at, values), height, width);
    op(image);
    for (const float x : image.values()) joined.push_back(static_cast<double>(x));
  }
  return joined;
}

}  // namespace mwalimu::data::test
