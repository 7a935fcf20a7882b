// data/blur: Gaussian blur, separable, with reflected borders.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "mwalimu/core/config.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data {

namespace detail {

MWALIMU_HOST_DEVICE inline double gaussian(int x, float sigma) {
  const double z = x / static_cast<double>(sigma);
  return std::exp(-0.5 * z * z);
}

// Reflection that does not repeat the edge (... 2 1 0 1 2 ...), for any distance and any extent.
constexpr int reflect_index(int i, int extent) {
  if (extent == 1) return 0;
  const int period = 2 * (extent - 1);
  i %= period;
  if (i < 0) i += period;
  return i < extent ? i : period - i;
}

}  // namespace detail

/// exp(-x^2 / (2 sigma^2)) at x = -radius..radius, divided by its sum: 2 * radius + 1 weights.
/// @throws ValueError  sigma <= 0 or NaN, radius < 0.
inline std::vector<float> gaussian_kernel(float sigma, int radius) {
  require<ValueError>(sigma > 0 && radius >= 0,
                      "gaussian_kernel: want sigma > 0 and radius >= 0, got ", sigma, " and ",
                      radius);
  std::vector<double> weight(static_cast<std::size_t>(2 * radius + 1));
  double sum = 0;
  for (int x = -radius; x <= radius; ++x) {
    sum += weight[static_cast<std::size_t>(x + radius)] = detail::gaussian(x, sigma);
  }
  std::vector<float> kernel(weight.size());
  for (std::size_t i = 0; i < kernel.size(); ++i) kernel[i] = static_cast<float>(weight[i] / sum);
  return kernel;
}

/// Three standard deviations, where a Gaussian has fallen to 1.1% of its peak.
MWALIMU_HOST_DEVICE inline int gaussian_radius(float sigma) {
  return static_cast<int>(std::ceil(3.0f * sigma));
}

/// Memory that gaussian_blur reuses from call to call; one a thread.
struct BlurScratch {
  std::vector<float> row;
  PlanarImage across;
};

/// Convolves rows and columns with `kernel` (odd length, sums to 1), in place. Beyond the border
/// the image is mirrored, the border pixel itself not repeated; an image may be smaller than the
/// kernel.
/// @throws ValueError  a kernel of even length.
/// Source  kornia.filters.gaussian_blur2d(border_type="reflect").
inline void gaussian_blur(PlanarImage& image, const std::vector<float>& kernel,
                          BlurScratch& scratch) {
  require<ValueError>(kernel.size() % 2 == 1, "gaussian_blur: want an odd number of weights, got ",
                      kernel.size());
  detail::require_pixels("gaussian_blur", image);
  const int H = image.height(), W = image.width(), radius = static_cast<int>(kernel.size() / 2);
  const auto width = static_cast<std::size_t>(W);
  scratch.across.resize(H, W, image.channels());
  scratch.row.resize(width + kernel.size() - 1);
  for (int c = 0; c < image.channels(); ++c) {
    const float* source = image.plane(c);
    float* across = scratch.across.plane(c);
    float* padded = scratch.row.data();
    for (int y = 0; y < H; ++y) {
      const float* line = source + static_cast<std::size_t>(y) * width;
      for (int x = 0; x < radius; ++x) {
        padded[x] = line[detail::reflect_index(x - radius, W)];
        padded[radius + W + x] = line[detail::reflect_index(W + x, W)];
      }
      std::copy(line, line + width, padded + radius);
      float* __restrict__ out = across + static_cast<std::size_t>(y) * width;
      for (std::size_t x = 0; x < width; ++x) out[x] = kernel[0] * padded[x];
      for (std::size_t k = 1; k < kernel.size(); ++k) {
        const float w = kernel[k];
        for (std::size_t x = 0; x < width; ++x) out[x] += w * padded[x + k];
      }
    }
    for (int y = 0; y < H; ++y) {
      float* __restrict__ out = image.plane(c) + static_cast<std::size_t>(y) * width;
      for (int k = -radius; k <= radius; ++k) {
        const float w = kernel[static_cast<std::size_t>(k + radius)];
        const float* line =
            across + static_cast<std::size_t>(detail::reflect_index(y + k, H)) * width;
        if (k == -radius) {
          for (std::size_t x = 0; x < width; ++x) out[x] = w * line[x];
        } else {
          for (std::size_t x = 0; x < width; ++x) out[x] += w * line[x];
        }
      }
    }
  }
}

}  // namespace mwalimu::data
