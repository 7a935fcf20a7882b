// data/rice_leaf: a blade in focus: midrib, veins, gloss, and what grows or lands on it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mwalimu/core/random.hpp"
#include "mwalimu/data/rice_scene.hpp"

namespace mwalimu::data::rice {

/// A spot in the blade's own coordinates, from its middle outwards: centre, rim, halo.
struct Spot {
  float u = 0, v = 0;                   ///< where it sits
  float length = 0.05f, width = 0.02f;  ///< half axes, along the blade and across
  float turn = 0;                       ///< of the long axis against the blade, radians
  float pointed = 0;                    ///< 0: an ellipse; 1: a spindle with pointed ends
  float ragged = 0.12f;                 ///< irregularity of the outline
  float centre = 0.5f;                  ///< the centre's share of the radius
  float halo = 1.3f;                    ///< the halo's radius over the spot's
  float halo_strength = 0.5f;
  Bands inside{}, rim{}, around{};
  float opacity = 1;
  Tissue tissue = Tissue::lesion;
};

/// Drops of water are lenses: a dark side towards the light, a bright one away from it, a glint.
struct Drop {
  float u, v, radius;
};

/// What a blade looks like before the light falls on it.
struct LeafLook {
  Bands green{};
  float midrib = 0.4f;   ///< how pale the midrib is
  float veins = 0.12f;   ///< contrast of the veins
  float vein_count = 8;  ///< over half the width
  float fold = 0.3f;     ///< how steeply the halves fall off the midrib
  float bow = 0.2f;      ///< and how they curve
  float twist = 0.2f, twist_phase = 0;
  float roll = 0.2f, roll_phase = 0;  ///< waves along the blade
  float gloss = 0.15f;
  float mottle = 0.2f;  ///< patches of yellow
  float dust = 0;
  float scorch = 9;       ///< from this u on the blade has dried up, as tips do
  float edge_yellow = 0;  ///< yellow margins
  float zoom = 1;         ///< of the patterns on it
  std::vector<Spot> spots;
  std::vector<Drop> drops;
};

namespace detail {

// What the surface is at one sample while it is being painted.
struct Surface {
  Bands albedo;
  float shine;  // share of the gloss: dead tissue has none
  Tissue tissue;
};

// One sample of a canvas that the blade covers.
struct Covered {
  std::size_t at;
  float u, v, width, coverage;
  float fibre, rib;
  Surface surface;
};

inline void apply_spot(Covered& sample, const Spot& spot, float cos_turn, float sin_turn,
                       const Texture& ragged, float blur) {
  const float du = sample.u - spot.u, dv = sample.v - spot.v;
  const float x = (du * cos_turn + dv * sin_turn) / spot.length;
  const float y = (dv * cos_turn - du * sin_turn) / spot.width;
  const float reach = spot.halo + 0.4f;
  if (x * x + y * y > reach * reach) return;
  const float ax = std::abs(x), ay = std::abs(y);
  const float round = std::sqrt(x * x + y * y), spindle = ay + ax * std::sqrt(ax);
  const float rough = spot.ragged * ragged(sample.u, sample.v);
  const float radius = mix(round, spindle, spot.pointed) + rough;
  const float soft = blur / spot.width;  // an edge is never sharper than the raster
  Bands& albedo = sample.surface.albedo;
  const float halo = spot.halo_strength * (1 - smoothstep(0.8f, spot.halo, radius));
  albedo = mix(albedo, spot.around, halo);
  const float body = spot.opacity * (1 - smoothstep(1 - soft - 0.1f, 1 + soft, radius));
  if (body <= 0) return;
  const float inner = radius + 0.8f * rough;
  const float core = 1 - smoothstep(spot.centre - 0.18f - soft, spot.centre + 0.18f + soft, inner);
  const Bands colour = mix(spot.rim, spot.inside, core) * (1 + 0.6f * rough);
  albedo = mix(albedo, colour, body);
  sample.surface.shine *= 1 - 0.85f * body;
  if (body > 0.5f && spot.tissue == Tissue::lesion) sample.surface.tissue = Tissue::lesion;
}

}  // namespace detail

/// Paints a blade over the canvas.
inline void paint_leaf(Canvas& canvas, const Blade& blade, const LeafLook& look, const Light& light,
                       RandomStream& random) {
  using detail::Covered;
  const float blur = 0.6f / canvas.scale;
  const float near = 1 / look.zoom;
  const Texture patches(blobs(), 60 * near, random), streaks(fractal(), 90 * near, random),
      grain(fractal(), 400 * near, random), ragged(fractal(), 330 * near, random),
      dust(fractal(), 220 * near, random);

  // 1. Which samples are covered, and the healthy surface there. Veins closer than two samples
  // would alias: they fade out instead.
  const float vein_samples = blade.half_width / look.vein_count * canvas.scale;
  const float veins = look.veins * clamp01((vein_samples - 1.6f) / 2.0f);
  const float dry_reach = 0.10f;
  std::vector<Covered> covered;
  covered.reserve(canvas.radiance.size() / 2);
  for (int i = 0; i < canvas.size; ++i) {
    const float y = canvas.coordinate(i);
    for (int j = 0; j < canvas.size; ++j) {
      const Blade::Point p = blade.locate(canvas.coordinate(j), y);
      if (std::abs(p.v) >= p.width + std::max(blade.softness, blur) || p.width <= 0) continue;
      const float s = p.v / p.width, across = std::abs(s);
      Bands colour = look.green;
      const float patch = patches(p.u, 2.5f * p.v);
      colour = mix(colour, albedo::kYellowGreen, look.mottle * clamp01(0.5f * patch));
      colour = mix(colour, albedo::kYellow,
                   look.edge_yellow * smoothstep(0.5f, 1.0f, across + 0.12f * patch));
      const float fibre = streaks(0.45f * p.u, 7 * p.v), fine = grain(p.u, p.v);
      const float vein = wave(across * look.vein_count + 0.06f * patch + 0.25f);
      const float uneven = std::clamp(0.7f + 0.5f * fibre, 0.0f, 1.5f);
      colour = colour * (1 + veins * uneven * vein + 0.05f * fibre + 0.04f * fine);
      const float rib = across < 0.2f ? std::exp(-(s * s) * 260) : 0.0f;
      if (rib > 0) {
        const Bands pale = colour * Bands{2.1f, 1.75f, 2.2f, 0.93f} + Bands{0.05f, 0.06f, 0.03f, 0};
        colour = mix(colour, pale, look.midrib * rib);
      }
      float shine = 1;
      if (p.u > look.scorch - 3 * dry_reach) {
        const float front = p.u - look.scorch + 0.05f * fibre + 0.06f * patch + 0.12f * across;
        const float dead = smoothstep(0.0f, 0.3f * dry_reach, front);
        colour = mix(colour, albedo::kYellow, 0.8f * smoothstep(-2 * dry_reach, 0.0f, front));
        const float ring = dead * (1 - smoothstep(0.25f * dry_reach, dry_reach, front));
        colour = mix(colour,
                     mix(albedo::kStraw, albedo::kChestnut, 0.7f * ring) *
                         (1 + 0.08f * fibre + 0.05f * vein),
                     dead);
        shine = 1 - 0.7f * dead;
      }
      if (look.dust > 0) {
        const float powder = look.dust * smoothstep(0.2f, 1.8f, dust(p.u, p.v));
        colour = mix(colour, albedo::kDrySoil, powder);
        shine *= 1 - powder;
      }
      covered.push_back({canvas.index(i, j),
                         p.u,
                         p.v,
                         p.width,
                         blade.coverage(p, blur),
                         fibre,
                         rib,
                         {colour, shine, Tissue::leaf}});
    }
  }

  // 2. Spots, in the order in which they came.
  for (const Spot& spot : look.spots) {
    const float c = std::cos(spot.turn), s = std::sin(spot.turn);
    const float reach = std::max(spot.length, spot.width) * (spot.halo + 0.4f);
    for (Covered& sample : covered) {
      if (std::abs(sample.u - spot.u) > reach || std::abs(sample.v - spot.v) > reach) continue;
      detail::apply_spot(sample, spot, c, s, ragged, blur);
    }
  }

  // 3. Light: the slope of the surface across the blade and along it, against the sun.
  const float side = light.y * blade.dx - light.x * blade.dy;
  const float along = light.x * blade.dx + light.y * blade.dy;
  for (const Covered& sample : covered) {
    const float s = sample.v / sample.width, sign = s / (std::abs(s) + 0.06f);
    const float turn = look.twist * wave(0.5f * sample.u + look.twist_phase);
    const float slope = look.fold * sign + look.bow * s + turn;
    const float groove = -5.6f * look.midrib * s * sample.rib;
    const float rise = look.roll * wave(0.6f * sample.u + look.roll_phase + 0.13f * s);
    const float direct = std::max(0.12f, 1 + 0.9f * (slope + groove) * side + rise * along);
    Bands colour = sample.surface.albedo * (light.sun * direct + light.sky);
    const float facing = clamp01(0.45f + slope * side * 1.3f + rise * along);
    const float sheen =
        look.gloss * sample.surface.shine * facing * facing * (0.75f + 0.2f * sample.fibre);
    colour = colour + albedo::kSky * std::max(sheen, 0.0f);
    for (const Drop& drop : look.drops) {
      const float du = (sample.u - drop.u) / drop.radius, dv = (sample.v - drop.v) / drop.radius;
      const float r2 = du * du + dv * dv;
      if (r2 > 1.1f) continue;
      const float away = -(du * along + dv * side);
      const float inside = 1 - smoothstep(0.75f, 1.1f, r2);
      colour = mix(colour, colour * (0.85f + 0.55f * away), inside);
      const float gx = du - 0.45f * along, gy = dv - 0.45f * side;
      colour = colour + albedo::kSky * (0.9f * inside * std::exp(-(gx * gx + gy * gy) * 12));
    }
    Bands& out = canvas.radiance[sample.at];
    out = mix(out, colour, sample.coverage);
    if (sample.coverage > 0.5f) canvas.tissue[sample.at] = sample.surface.tissue;
  }
}

}  // namespace mwalimu::data::rice
