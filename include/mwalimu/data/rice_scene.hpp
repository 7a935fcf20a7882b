// data/rice_scene: the field that the synthetic cameras look at: soil, water and leaf blades as
// reflectances in four bands, lit by a sun and a sky. Lengths are in image sides.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/data/rice_noise.hpp"

namespace mwalimu::data::rice {

/// Reflectance or radiance in red, green, blue and near infra-red, linear.
struct Bands {
  float r = 0, g = 0, b = 0, n = 0;
  friend Bands operator+(Bands x, Bands y) { return {x.r + y.r, x.g + y.g, x.b + y.b, x.n + y.n}; }
  friend Bands operator*(Bands x, Bands y) { return {x.r * y.r, x.g * y.g, x.b * y.b, x.n * y.n}; }
  friend Bands operator*(Bands x, float k) { return {x.r * k, x.g * k, x.b * k, x.n * k}; }
};

inline Bands mix(Bands a, Bands b, float t) { return a * (1 - t) + b * t; }

// Diffuse reflectances. Green tissue is dark in red and blue and bright in the near infra-red,
// where only water and dead tissue absorb; the values are of the order that field spectra show.
namespace albedo {
inline constexpr Bands kDarkGreen{0.052f, 0.098f, 0.032f, 0.47f};
inline constexpr Bands kLightGreen{0.140f, 0.225f, 0.060f, 0.54f};
inline constexpr Bands kYellowGreen{0.260f, 0.300f, 0.080f, 0.56f};
inline constexpr Bands kYellow{0.480f, 0.390f, 0.075f, 0.50f};
inline constexpr Bands kStraw{0.420f, 0.335f, 0.185f, 0.36f};
inline constexpr Bands kBrown{0.150f, 0.068f, 0.026f, 0.11f};
inline constexpr Bands kChestnut{0.190f, 0.078f, 0.034f, 0.12f};
inline constexpr Bands kAsh{0.360f, 0.335f, 0.270f, 0.22f};
inline constexpr Bands kTan{0.290f, 0.205f, 0.110f, 0.18f};
inline constexpr Bands kDrySoil{0.300f, 0.215f, 0.140f, 0.36f};
inline constexpr Bands kRedSoil{0.260f, 0.140f, 0.080f, 0.30f};
inline constexpr Bands kWetSoil{0.105f, 0.076f, 0.050f, 0.14f};
inline constexpr Bands kWater{0.045f, 0.050f, 0.040f, 0.015f};
inline constexpr Bands kSky{0.68f, 0.75f, 0.87f, 0.25f};
}  // namespace albedo

enum class Tissue : std::uint8_t { background = 0, leaf = 1, lesion = 2 };

/// A square raster over the scene, wider than the picture by a margin on every side: the second
/// camera looks past the first one's edges.
struct Canvas {
  static constexpr float kMargin = 0.07f;

  int size;     ///< samples a side
  float scale;  ///< samples an image side
  std::vector<Bands> radiance;
  std::vector<Tissue> tissue;

  explicit Canvas(float samples_per_side)
      : size(static_cast<int>(std::ceil(samples_per_side * (1 + 2 * kMargin)))),
        scale(samples_per_side),
        radiance(static_cast<std::size_t>(size) * static_cast<std::size_t>(size)),
        tissue(radiance.size(), Tissue::background) {}
  std::size_t index(int y, int x) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(size) +
           static_cast<std::size_t>(x);
  }
  /// Scene coordinate of a sample's middle, and back.
  float coordinate(int i) const { return (static_cast<float>(i) + 0.5f) / scale - kMargin; }
  float sample(float coordinate) const { return (coordinate + kMargin) * scale - 0.5f; }
};

/// Sun and sky.
struct Light {
  float x, y;      ///< direction towards the sun in the image plane; its length grows as it sinks
  Bands sun, sky;  ///< irradiance of a flat, unshaded surface: sun + sky = 1 up to their colour

  explicit Light(RandomStream& random) {
    const float azimuth = random.uniform(0, 6.2831853f), low = random.uniform(0.35f, 1.0f);
    x = low * std::cos(azimuth);
    y = low * std::sin(azimuth);
    const float direct = random.chance(0.25f) ? random.uniform(0.15f, 0.4f)  // overcast
                                              : random.uniform(0.55f, 0.8f);
    const float warm = random.uniform(-0.04f, 0.14f) * low;
    sun = Bands{1 + warm, 1, 1 - 1.4f * warm, 1 + 0.5f * warm} * direct;
    sky = Bands{0.93f, 1.0f, 1.12f, 0.75f} * (1 - direct);
  }
};

/// A strip of leaf about a cubic centre line. Its own coordinates are u along it, v across it.
struct Blade {
  float x = 0.5f, y = 0.5f, dx = 1, dy = 0;  ///< a point of the centre line, its direction there
  float bend = 0, sway = 0;                  ///< v = bend u^2 + sway u^3
  float half_width = 0.1f, taper = 0;        ///< at u = 0; relative change a unit of u
  float tip = 9, tip_length = 0.6f;          ///< u of the tip, and where narrowing begins before it
  float softness = 0;                        ///< blur of its edge: 0 in focus

  struct Point {
    float u, v, width;  ///< width: the half width there, 0 beyond the tip
  };
  Point locate(float px, float py) const {
    const float u = (px - x) * dx + (py - y) * dy, across = (py - y) * dx - (px - x) * dy;
    const float slope = u * (2 * bend + 3 * sway * u);
    const float v = (across - u * u * (bend + sway * u)) / std::sqrt(1 + slope * slope);
    return {u, v, width_at(u)};
  }
  float width_at(float u) const {
    const float t = clamp01((tip - u) / tip_length);
    return half_width * std::max(0.3f, 1 + taper * u) * t * (2 - t);
  }
  /// Where (u, v) lies in the scene, to first order in the bend: enough to place a spot.
  std::array<float, 2> place(float u, float v) const {
    const float across = u * u * (bend + sway * u) + v;
    return {x + u * dx - across * dy, y + u * dy + across * dx};
  }
  /// How much of a sample at `p` the blade covers. @param blur  at least half a sample.
  float coverage(const Point& p, float blur) const {
    const float edge = std::max(softness, blur);
    return smoothstep(-edge, edge, p.width - std::abs(p.v)) * (p.width > 0 ? 1.0f : 0.0f);
  }
};

/// A blade that passes (x, y) at the angle, slightly bent.
inline Blade random_blade(RandomStream& random, float x, float y, float angle, float half_width) {
  Blade blade;
  blade.x = x;
  blade.y = y;
  blade.dx = std::cos(angle);
  blade.dy = std::sin(angle);
  blade.bend = 0.22f * random.normal();
  blade.sway = 0.10f * random.normal();
  blade.half_width = half_width;
  blade.taper = random.uniform(-0.35f, 0.1f);
  return blade;
}

/// Green of every age and nourishment. `variety` widens the range; the class has no part in it.
inline Bands random_leaf_albedo(RandomStream& random, float variety) {
  const float age = clamp01(0.45f + variety * random.uniform(-0.5f, 0.5f));
  Bands leaf = mix(albedo::kDarkGreen, albedo::kLightGreen, age);
  const float pale = random.uniform();
  leaf = mix(leaf, albedo::kYellowGreen, variety * 0.85f * pale * pale);
  const float cool = variety * random.uniform(-0.08f, 0.08f);
  leaf = leaf * Bands{1 - cool, 1, 1 + 2 * cool, 1 + 0.3f * random.uniform(-1, 1) * variety};
  return leaf * (1 + variety * random.uniform(-0.25f, 0.25f));
}

/// Multiplies what lies under `blade` by its shadow. Leaves pass about half of the near infra-red,
/// so its shadows are lighter.
inline void cast_shadow(Canvas& canvas, const Blade& blade, const Light& light, float height) {
  Blade shadow = blade;
  shadow.x -= light.x * height;
  shadow.y -= light.y * height;
  shadow.softness = std::max(blade.softness, 0.35f * height);
  const float reach = shadow.softness;
  const float dark = light.sun.g / (light.sun.g + light.sky.g);
  for (int i = 0; i < canvas.size; ++i) {
    const float py = canvas.coordinate(i);
    for (int j = 0; j < canvas.size; ++j) {
      const Blade::Point p = shadow.locate(canvas.coordinate(j), py);
      if (std::abs(p.v) >= p.width + reach) continue;
      const float c = 0.85f * dark * shadow.coverage(p, 0.5f / canvas.scale);
      Bands& out = canvas.radiance[canvas.index(i, j)];
      out = out * Bands{1 - c, 1 - c, 1 - 0.92f * c, 1 - 0.6f * c};
    }
  }
}

/// Soil with clods, standing water that mirrors the sky, or both; then blades far out of focus.
inline void paint_background(Canvas& canvas, const Light& light, RandomStream& random) {
  const float zoom = random.uniform(0.6f, 1.6f), relief = random.uniform(0.25f, 0.7f);
  const float sharp = random.uniform(0.2f, 1.0f);  // how near the soil is to the focus
  const Texture clods(fractal(), 70 * zoom, random), grain(fractal(), 260 * zoom, random);
  const Texture damp(blobs(), random.uniform(18, 36), random), ripples(fractal(), 55, random);
  const Bands dry = mix(albedo::kDrySoil, albedo::kRedSoil, random.uniform());
  const float wetness = random.uniform(),
              level = random.chance(0.4f) ? random.uniform(-1.2f, 0.9f) : 9.0f;  // 9: no water
  const float mirror = random.uniform(0.06f, 0.45f), glide = random.uniform(-0.35f, 0.35f);
  const float dim = random.uniform(0.45f, 1.0f);
  const float step = 1.5f / canvas.scale, lx = light.x * step, ly = light.y * step;
  const Bands lit = light.sun + light.sky;
  for (int i = 0; i < canvas.size; ++i) {
    const float y = canvas.coordinate(i);
    for (int j = 0; j < canvas.size; ++j) {
      const float x = canvas.coordinate(j);
      const float h = clods(x, y), fine = grain(x, y), pool = damp(x, y);
      const float shore = pool - level;
      const float wet = clamp01(wetness + 0.3f * pool + smoothstep(-0.5f, 0.0f, shore));
      const float slope =
          clods(x + lx, y + ly) - h + 0.45f * sharp * (grain(x + lx, y + ly) - fine);
      const float shade = std::clamp(1 - relief * 2.2f * slope, 0.25f, 1.8f);
      const float crevice = std::max(0.35f, 1 + 0.3f * std::min(h, 0.0f));
      Bands colour = mix(dry, albedo::kWetSoil, wet) * (crevice * (1 + 0.16f * sharp * fine));
      colour = colour * (light.sun * shade + light.sky);
      if (shore > -0.12f) {
        const float ripple = ripples(0.5f * x, y);
        const float sheen = mirror * clamp01(0.5f + glide * (x + y) + 0.16f * ripple);
        const Bands water = albedo::kWater * lit + albedo::kSky * lit * sheen;
        colour = mix(colour, water, smoothstep(-0.12f, 0.04f, shore));
      }
      canvas.radiance[canvas.index(i, j)] = colour * dim;
    }
  }

  const int blades = static_cast<int>(random.below(random.chance(0.5f) ? 9 : 4));
  for (int k = 0; k < blades; ++k) {
    Blade blade = random_blade(random, random.uniform(), random.uniform(),
                               random.uniform(0, 6.2831853f), random.uniform(0.03f, 0.12f));
    blade.softness = random.uniform(0.015f, 0.07f);
    if (random.chance(0.4f)) blade.tip = random.uniform(0.0f, 0.4f);
    const bool dead = random.chance(0.2f);
    const Bands colour = (dead ? albedo::kStraw : random_leaf_albedo(random, 1)) * lit *
                         (dim * random.uniform(0.35f, 0.95f));
    const float fold = random.uniform(-0.3f, 0.3f);
    if (random.chance(0.6f)) cast_shadow(canvas, blade, light, random.uniform(0.05f, 0.15f));
    for (int i = 0; i < canvas.size; ++i) {
      const float y = canvas.coordinate(i);
      for (int j = 0; j < canvas.size; ++j) {
        const Blade::Point p = blade.locate(canvas.coordinate(j), y);
        if (std::abs(p.v) >= p.width + blade.softness) continue;
        Bands& out = canvas.radiance[canvas.index(i, j)];
        const float tilt = 1 + fold * std::clamp(p.v / (p.width + 0.01f), -1.0f, 1.0f);
        out = mix(out, colour * tilt, blade.coverage(p, 0.5f / canvas.scale));
        if (blade.coverage(p, 0.5f / canvas.scale) > 0.5f) {
          canvas.tissue[canvas.index(i, j)] = Tissue::leaf;
        }
      }
    }
  }
}

/// The shadow of plants that the picture does not show: soft, bluish, with flecks of sun.
inline void cast_canopy(Canvas& canvas, const Light& light, RandomStream& random) {
  const Texture flecks(blobs(), random.uniform(14, 40), random);
  const float level = random.uniform(-0.8f, 0.9f), soft = random.uniform(0.15f, 0.7f);
  const float stretch = random.uniform(0.35f, 1.0f), c = light.x, s = light.y;
  const float dark = random.uniform(0.5f, 0.95f) * light.sun.g / (light.sun.g + light.sky.g);
  for (int i = 0; i < canvas.size; ++i) {
    const float y = canvas.coordinate(i);
    for (int j = 0; j < canvas.size; ++j) {
      const float x = canvas.coordinate(j);
      const float k = dark * smoothstep(level - soft, level + soft,
                                        flecks(c * x + s * y, stretch * (c * y - s * x)));
      Bands& out = canvas.radiance[canvas.index(i, j)];
      out = out * Bands{1 - k, 1 - 0.97f * k, 1 - 0.9f * k, 1 - 0.8f * k};
    }
  }
}

/// The same scene on a finer raster: what is out of focus is painted coarse.
inline void upsample(const Canvas& from, Canvas& to) {
  for (int i = 0; i < to.size; ++i) {
    const float y =
        std::clamp(from.sample(to.coordinate(i)), 0.0f, static_cast<float>(from.size - 1) - 1e-3f);
    const int y0 = static_cast<int>(y);
    for (int j = 0; j < to.size; ++j) {
      const float x = std::clamp(from.sample(to.coordinate(j)), 0.0f,
                                 static_cast<float>(from.size - 1) - 1e-3f);
      const int x0 = static_cast<int>(x);
      const Bands* top = from.radiance.data() + from.index(y0, x0);
      const Bands* bottom = top + from.size;
      const float tx = x - static_cast<float>(x0), ty = y - static_cast<float>(y0);
      to.radiance[to.index(i, j)] = mix(mix(top[0], top[1], tx), mix(bottom[0], bottom[1], tx), ty);
      to.tissue[to.index(i, j)] = from.tissue[from.index(y0, x0)];
    }
  }
}

}  // namespace mwalimu::data::rice
