// data/rice_noise: scalar shaping functions, and noise tabulated once, for the synthetic scenes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mwalimu/core/random.hpp"

namespace mwalimu::data::rice {

inline float mix(float a, float b, float t) { return a + (b - a) * t; }
inline float clamp01(float x) { return std::clamp(x, 0.0f, 1.0f); }
/// 0 below a, 1 above b, smooth between.
inline float smoothstep(float a, float b, float x) {
  const float t = clamp01((x - a) / (b - a));
  return t * t * (3 - 2 * t);
}

/// A wave of period and amplitude 1, two parabolas: a sine to within 0.06.
inline float wave(float turns) {
  const float t = turns - std::floor(turns + 0.5f);
  return 16 * t * (0.5f - std::abs(t));
}

/// Periodic noise of mean 0 and deviation 1, tabulated once: a look-up costs one bilinear read.
class NoiseTile {
 public:
  static constexpr int kSize = 256;

  /// Sum of octaves from `first` cells a side to `last`, each `gain` times the one before.
  NoiseTile(std::uint64_t seed, int first, int last, float gain) : values_(kSize * kSize) {
    float weight = 1;
    for (int cells = first; cells <= last; cells *= 2, weight *= gain) add(seed, cells, weight);
    double sum = 0, squares = 0;
    for (const float v : values_) sum += v, squares += double{v} * v;
    const double mean = sum / kSize / kSize;
    const double inverse = 1 / std::sqrt(squares / kSize / kSize - mean * mean);
    for (float& v : values_) v = static_cast<float>((v - mean) * inverse);
  }

  /// At a position in texels.
  float operator()(float x, float y) const {
    const float fx = std::floor(x), fy = std::floor(y), tx = x - fx, ty = y - fy;
    const int x0 = static_cast<int>(fx) & (kSize - 1), y0 = static_cast<int>(fy) & (kSize - 1);
    const int x1 = (x0 + 1) & (kSize - 1), y1 = (y0 + 1) & (kSize - 1);
    const float* top = values_.data() + y0 * kSize;
    const float* bottom = values_.data() + y1 * kSize;
    return mix(mix(top[x0], top[x1], tx), mix(bottom[x0], bottom[x1], tx), ty);
  }

 private:
  void add(std::uint64_t seed, int cells, float weight) {
    std::vector<float> lattice(static_cast<std::size_t>(cells) * static_cast<std::size_t>(cells));
    RandomStream random(seed, Purpose::synthesis, static_cast<std::uint64_t>(cells));
    for (float& v : lattice) v = random.normal();
    const auto at = [&](int y, int x) {
      return lattice[static_cast<std::size_t>(y % cells) * static_cast<std::size_t>(cells) +
                     static_cast<std::size_t>(x % cells)];
    };
    const int step = kSize / cells;
    for (int y = 0; y < kSize; ++y) {
      for (int x = 0; x < kSize; ++x) {
        const int cx = x / step, cy = y / step;
        const float tx = smoothstep(0, 1, static_cast<float>(x % step) / static_cast<float>(step));
        const float ty = smoothstep(0, 1, static_cast<float>(y % step) / static_cast<float>(step));
        values_[static_cast<std::size_t>(y * kSize + x)] +=
            weight * mix(mix(at(cy, cx), at(cy, cx + 1), tx),
                         mix(at(cy + 1, cx), at(cy + 1, cx + 1), tx), ty);
      }
    }
  }
  std::vector<float> values_;
};

/// One octave of 16-texel blobs.
inline const NoiseTile& blobs() {
  static const NoiseTile tile(0x51CE, 16, 16, 1);
  return tile;
}
/// Six octaves, from 64 texels to 2.
inline const NoiseTile& fractal() {
  static const NoiseTile tile(0x51CF, 4, 128, 0.62f);
  return tile;
}

/// A tile placed on the scene: so many texels an image side, at a random offset.
struct Texture {
  const NoiseTile* tile;
  float scale, x, y;
  Texture(const NoiseTile& noise, float texels, RandomStream& random)
      : tile(&noise),
        scale(texels),
        x(random.uniform(0, NoiseTile::kSize)),
        y(random.uniform(0, NoiseTile::kSize)) {}
  float operator()(float u, float v) const { return (*tile)(u * scale + x, v * scale + y); }
};

}  // namespace mwalimu::data::rice
