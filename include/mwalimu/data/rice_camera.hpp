// data/rice_camera: from a scene's radiance to the bytes of a picture.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/data/image.hpp"
#include "mwalimu/data/rice_scene.hpp"

namespace mwalimu::data::rice {

/// A camera: where it looks, its optics, its sensor and its processing.
struct Camera {
  bool infrared = false;  ///< records red, green, near infra-red; else red, green, blue
  float shift_x = 0, shift_y = 0, turn = 0, zoom = 1;  ///< against the scene: image sides, radians
  float blur = 0.5f;                                   ///< deviation of the point spread, pixels
  float vignette = 0.2f;                               ///< loss of light in the corners
  float key = 0.2f;                    ///< what the metering brings the mean radiance to
  std::array<float, 3> gain{1, 1, 1};  ///< white balance, or what is wrong with it
  float leak = 0;                      ///< share of the near infra-red that red and green also see
  float saturation = 1;
  float contrast = 1;
  float shot_noise = 0.02f, read_noise = 0.004f;  ///< deviations at full scale and in the dark
};

namespace detail {

// Zero mean, deviation 1, from one draw: four bytes' sum is near enough to normal for a sensor.
inline float rough_normal(RandomStream& random) {
  const std::uint32_t bits = random.bits();
  const auto sum =
      static_cast<int>((bits & 255u) + (bits >> 8 & 255u) + (bits >> 16 & 255u) + (bits >> 24));
  return static_cast<float>(sum - 510) * (1.0f / 147.8f);  // 4 (256^2 - 1) / 12 = 147.8^2
}

// Gaussian blur in place, rows then columns; beyond the edge the edge goes on.
inline void blur_bands(std::vector<Bands>& image, int size, float sigma) {
  const int radius = std::max(1, static_cast<int>(std::ceil(2.2f * sigma)));
  std::vector<float> kernel(static_cast<std::size_t>(2 * radius + 1));
  float sum = 0;
  for (int k = -radius; k <= radius; ++k) {
    const float x = static_cast<float>(k) / sigma;
    sum += kernel[static_cast<std::size_t>(k + radius)] = std::exp(-0.5f * x * x);
  }
  for (float& w : kernel) w /= sum;
  const auto n = static_cast<std::size_t>(size);
  std::vector<Bands> line(n + 2 * static_cast<std::size_t>(radius));
  for (int i = 0; i < size; ++i) {
    Bands* row = image.data() + static_cast<std::size_t>(i) * n;
    std::fill_n(line.begin(), radius, row[0]);
    std::copy_n(row, n, line.begin() + radius);
    std::fill_n(line.end() - radius, radius, row[n - 1]);
    for (std::size_t j = 0; j < n; ++j) {
      Bands total{};
      for (std::size_t k = 0; k < kernel.size(); ++k) total = total + line[j + k] * kernel[k];
      row[j] = total;
    }
  }
  const std::vector<Bands> rows = image;
  for (int i = 0; i < size; ++i) {
    Bands* out = image.data() + static_cast<std::size_t>(i) * n;
    std::fill_n(out, n, Bands{});
    for (int k = -radius; k <= radius; ++k) {
      const Bands* in = rows.data() + static_cast<std::size_t>(std::clamp(i + k, 0, size - 1)) * n;
      const float w = kernel[static_cast<std::size_t>(k + radius)];
      for (std::size_t j = 0; j < n; ++j) out[j] = out[j] + in[j] * w;
    }
  }
}

// Linear light to the byte that a camera stores: the sRGB curve, and contrast about middle grey.
class ToneCurve {
 public:
  explicit ToneCurve(float contrast) {
    for (int i = 0; i < kSteps; ++i) {
      const float light = static_cast<float>(i) / (kSteps - 1);
      const float coded =
          light < 0.0031308f ? 12.92f * light : 1.055f * std::pow(light, 1 / 2.4f) - 0.055f;
      const float bent = coded + (contrast - 1) * coded * (1 - coded) * (2 * coded - 1) * 2;
      table_[static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(std::lround(255 * clamp01(bent)));
    }
  }
  std::uint8_t operator()(float light) const {
    return table_[static_cast<std::size_t>(clamp01(light) * (kSteps - 1) + 0.5f)];
  }

 private:
  static constexpr int kSteps = 4096;
  std::array<std::uint8_t, kSteps> table_{};
};

}  // namespace detail

/// A picture of size x size pixels.
inline Image take_picture(const Canvas& scene, const Camera& camera, int size,
                          RandomStream& random) {
  std::vector<Bands> light = scene.radiance;
  const float samples = scene.scale / static_cast<float>(size);  // a pixel
  // A pixel gathers light from its square: about a blur of 0.29 pixels.
  const float spread = std::sqrt(camera.blur * camera.blur + 0.29f * 0.29f);
  detail::blur_bands(light, scene.size, std::max(0.3f, spread * samples));

  const float c = std::cos(camera.turn) / camera.zoom, s = std::sin(camera.turn) / camera.zoom;
  std::vector<std::array<float, 3>> raw;
  raw.reserve(static_cast<std::size_t>(size) * static_cast<std::size_t>(size));
  double sum = 0;
  const float limit = static_cast<float>(scene.size) - 1.001f;
  for (int i = 0; i < size; ++i) {
    const float y = (static_cast<float>(i) + 0.5f) / static_cast<float>(size) - 0.5f;
    for (int j = 0; j < size; ++j) {
      const float x = (static_cast<float>(j) + 0.5f) / static_cast<float>(size) - 0.5f;
      const float px = std::clamp(scene.sample(0.5f + camera.shift_x + c * x - s * y), 0.0f, limit);
      const float py = std::clamp(scene.sample(0.5f + camera.shift_y + s * x + c * y), 0.0f, limit);
      const int x0 = static_cast<int>(px), y0 = static_cast<int>(py);
      const float tx = px - static_cast<float>(x0), ty = py - static_cast<float>(y0);
      const Bands* top = light.data() + scene.index(y0, x0);
      const Bands* bottom = top + scene.size;
      const Bands seen = mix(mix(top[0], top[1], tx), mix(bottom[0], bottom[1], tx), ty);
      const float dim = 1 - camera.vignette * 2 * (x * x + y * y);
      const float haze = camera.leak * seen.n;
      raw.push_back({(seen.r + haze) * camera.gain[0] * dim, (seen.g + haze) * camera.gain[1] * dim,
                     (camera.infrared ? seen.n : seen.b) * camera.gain[2] * dim});
      sum += raw.back()[0] + raw.back()[1] + raw.back()[2];
    }
  }

  const auto pixels = static_cast<double>(raw.size());
  const float exposure = camera.key / static_cast<float>(std::max(sum / (3 * pixels), 1e-4));
  const detail::ToneCurve tone(camera.contrast);
  Image image(size, size);
  std::uint8_t* out = image.pixels.data();
  for (const auto& pixel : raw) {
    std::array<float, 3> value{};
    for (std::size_t k = 0; k < 3; ++k) {
      const float signal = pixel[k] * exposure;
      const float noise = camera.read_noise + camera.shot_noise * std::sqrt(std::max(signal, 0.0f));
      value[k] = signal + noise * detail::rough_normal(random);
    }
    const float grey = 0.3f * value[0] + 0.59f * value[1] + 0.11f * value[2];
    for (std::size_t k = 0; k < 3; ++k) {
      *out++ = tone(camera.saturation == 1 ? value[k] : mix(grey, value[k], camera.saturation));
    }
  }
  return image;
}

/// A consumer camera: automatic white balance, a little more colour than there was.
inline Camera visible_camera(RandomStream& random, float variety) {
  Camera camera;
  camera.blur = random.uniform(0.25f, 0.45f + 0.45f * variety);
  camera.vignette = random.uniform(0, 0.35f);
  camera.key = 0.17f * std::exp2(0.55f * variety * random.normal());
  camera.key = std::clamp(camera.key, 0.08f, 0.34f);
  const float warm = 0.09f * variety * random.normal(), tint = 0.04f * variety * random.normal();
  camera.gain = {1.04f + warm, 1.0f - tint, 1.06f - warm};
  camera.saturation = random.uniform(0.85f, 1.15f);
  camera.contrast = random.uniform(0.95f, 1.35f);
  camera.shot_noise = random.uniform(0.006f, 0.015f + 0.02f * variety);
  camera.read_noise = random.uniform(0.001f, 0.003f + 0.004f * variety);
  return camera;
}

/// A converted camera beside it: its own exposure and noise, near infra-red in place of blue and
/// leaking into the others, and a view that is not quite the same.
inline Camera infrared_camera(RandomStream& random, float variety) {
  Camera camera;
  camera.infrared = true;
  camera.shift_x = 0.012f * random.normal();
  camera.shift_y = 0.012f * random.normal();
  camera.shift_x = std::clamp(camera.shift_x, -0.03f, 0.03f);
  camera.shift_y = std::clamp(camera.shift_y, -0.03f, 0.03f);
  camera.turn = random.uniform(-0.02f, 0.02f);
  camera.zoom = random.uniform(0.985f, 1.015f);
  camera.blur = random.uniform(0.35f, 0.6f + 0.5f * variety);
  camera.vignette = random.uniform(0.1f, 0.45f);
  camera.key = std::clamp(0.20f * std::exp2(0.5f * variety * random.normal()), 0.10f, 0.36f);
  camera.gain = {1.25f + 0.08f * variety * random.normal(),
                 1.0f + 0.06f * variety * random.normal(),
                 0.75f + 0.05f * variety * random.normal()};
  camera.leak = random.uniform(0.02f, 0.07f);
  camera.contrast = random.uniform(0.9f, 1.3f);
  camera.shot_noise = random.uniform(0.01f, 0.02f + 0.025f * variety);
  camera.read_noise = random.uniform(0.002f, 0.004f + 0.004f * variety);
  return camera;
}

}  // namespace mwalimu::data::rice
