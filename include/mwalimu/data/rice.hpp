// data/rice: synthetic pictures of rice leaves by two sensors, for trying every program without the
// challenge's images: blast, brown spot and healthy leaves. Not a model of the disease: a task of
// its kind, whose answer lies in the shape of small spots, not in the colour of the picture.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/data/image.hpp"
#include "mwalimu/data/rice_camera.hpp"
#include "mwalimu/data/rice_leaf.hpp"
#include "mwalimu/data/rice_scene.hpp"

namespace mwalimu::data {

/// The classes of the rice challenge, sorted by name: indices are labels.
inline constexpr std::array<std::string_view, 3> kRiceClasses{"blast", "brown", "healthy"};
enum RiceLabel : int { kBlast = 0, kBrown = 1, kHealthy = 2 };

struct RiceOptions {
  int size = 128;  ///< height and width in pixels
  /// 0: large, typical spots on even leaves; 1: few, small, atypical ones among dirt and wounds.
  double difficulty = 0.5;
  /// How near the camera is. 0: a view of the field, blades over soil and water; 1: one blade fills
  /// most of the picture, and so do its spots: what a small network can learn at 64 pixels.
  double closeup = 0;
};

/// One plant by both sensors.
struct RicePair {
  Image rgb, rgn;
  int label = 0;
  /// What each pixel of `rgb` shows: 0 background, 1 leaf, 2 lesion.
  std::vector<std::uint8_t> tissue;
};

/// The label of plant `index`: every three in a row are one of each class, in random order.
inline int rice_label(std::uint64_t seed, index_t index) {
  const auto order = random_permutation(
      3, RandomStream(seed, Purpose::synthesis, 1, static_cast<std::uint64_t>(index / 3)));
  return static_cast<int>(order[static_cast<std::size_t>(index % 3)]);
}

/// Its name, as the challenge names plants: "id_" and ten characters of 0-9a-z.
inline std::string rice_id(std::uint64_t seed, index_t index) {
  RandomStream random(seed, Purpose::synthesis, 2, static_cast<std::uint64_t>(index));
  std::string id = "id_";
  for (int i = 0; i < 10; ++i) id += "0123456789abcdefghijklmnopqrstuvwxyz"[random.below(36)];
  return id;
}

namespace rice {

/// Spots of rice blast: spindles along the blade, ash-grey inside, with a brown rim. Young ones are
/// small, brown and blunt.
inline Spot blast_spot(RandomStream& random, float d, float scale) {
  Spot spot;
  const bool young = random.chance(mix(0.0f, 0.55f, d));
  const float aspect =
      young ? random.uniform(1.3f, 2.4f) : random.uniform(mix(2.8f, 1.7f, d), mix(5.5f, 4.0f, d));
  spot.width = scale * (young ? random.uniform(0.010f, 0.018f) : random.uniform(0.014f, 0.030f));
  spot.length = spot.width * aspect;
  spot.turn = 0.10f * random.normal();
  spot.pointed = young ? random.uniform(0.2f, 0.7f) : random.uniform(mix(0.9f, 0.6f, d), 1.0f);
  spot.centre = young ? random.uniform(0.1f, 0.4f) : random.uniform(0.45f, 0.72f);
  spot.inside = mix(albedo::kAsh, albedo::kTan,
                    mix(0.2f, 1.0f, d) * random.uniform() * (young ? 1.2f : 0.8f));
  spot.rim = mix(albedo::kChestnut, albedo::kBrown, random.uniform());
  spot.around = mix(albedo::kYellow, albedo::kYellowGreen, random.uniform());
  spot.halo = random.uniform(1.2f, 1.7f);
  spot.halo_strength = random.uniform(0.1f, mix(0.4f, 0.75f, d));
  return spot;
}

/// Brown spot: small round or oval spots, brown, the old ones paler inside, with a yellow halo.
inline Spot brown_spot(RandomStream& random, float d, float scale) {
  Spot spot;
  const bool old = random.chance(mix(0.15f, 0.5f, d));
  const float aspect = random.uniform(1.0f, mix(1.25f, 1.9f, d));
  spot.width = scale * (old ? random.uniform(0.013f, 0.026f) : random.uniform(0.009f, 0.019f));
  spot.length = spot.width * aspect;
  spot.turn = 0.2f * random.normal();
  spot.pointed = random.uniform(0, mix(0.05f, 0.35f, d));
  spot.centre = old ? random.uniform(0.3f, 0.6f) : random.uniform(0.0f, 0.2f);
  spot.inside = old ? mix(albedo::kTan, albedo::kAsh, mix(0.1f, 0.8f, d) * random.uniform())
                    : mix(albedo::kBrown, albedo::kTan, 0.4f * random.uniform());
  spot.rim = mix(albedo::kBrown, albedo::kChestnut, random.uniform());
  spot.around = mix(albedo::kYellow, albedo::kYellowGreen, 0.5f * random.uniform());
  spot.halo = random.uniform(1.5f, 2.3f);
  spot.halo_strength = random.uniform(mix(0.6f, 0.25f, d), 0.9f);
  return spot;
}

/// How large spots are on a blade that the camera sees `zoom` times as wide as in the field.
inline float spot_scale(const Blade& blade, float zoom) {
  return zoom * std::clamp(blade.half_width / (zoom * 0.14f), 0.75f, 1.35f);
}

/// A position on the blade that the picture shows. @return false: none was found.
inline bool place_spot(Spot& spot, const Blade& blade, RandomStream& random) {
  for (int attempt = 0; attempt < 40; ++attempt) {
    const float u = random.uniform(-0.85f, 0.85f), room = blade.width_at(u);
    if (room < 0.4f * blade.half_width) continue;
    const float v = room * random.uniform(-0.9f, 0.9f);
    const auto [x, y] = blade.place(u, v);
    if (x < 0.04f || x > 0.96f || y < 0.04f || y > 0.96f) continue;
    spot.u = u;
    spot.v = v;
    return true;
  }
  return false;
}

/// Draws lesions until they cover the wanted share of the blade. Both diseases draw that share from
/// the same distribution, so that the amount of brown does not tell one from the other.
inline void infect(LeafLook& look, const Blade& blade, int label, float d, float severity,
                   float zoom, RandomStream& random) {
  const float lesions = severity * std::exp(random.uniform(std::log(mix(0.05f, 0.012f, d)),
                                                           std::log(mix(0.16f, 0.10f, d))));
  const float wanted = lesions * 2 * blade.half_width;  // of about one image side of blade
  const float scale = spot_scale(blade, zoom);
  const int least = (label == kBlast ? 1 : 3) * static_cast<int>(std::lround(zoom));
  const int most = label == kBlast ? 14 : 60;
  float area = 0;
  for (int n = 0; n < most && (n < least || area < wanted); ++n) {
    Spot spot = label == kBlast ? blast_spot(random, d, scale) : brown_spot(random, d, scale);
    // The first one is typical: a person can tell the picture.
    if (n == 0) {
      spot = label == kBlast ? blast_spot(random, 0.35f * d, scale)
                             : brown_spot(random, 0.35f * d, scale);
    }
    if (!place_spot(spot, blade, random)) return;
    area += 2.6f * spot.length * spot.width;
    look.spots.push_back(spot);
  }
}

/// What any leaf may bear, sick or not: mud, wounds, drops, dry tips, pale margins, dust.
inline void weather(LeafLook& look, const Blade& blade, float d, float zoom,
                    RandomStream& random) {
  const float often = mix(0.12f, 0.5f, d);
  const float scale = spot_scale(blade, zoom);
  Spot spot;
  if (random.chance(often)) {  // mud splashes: ragged, soil-coloured, lying on the surface
    const Bands mud = mix(albedo::kWetSoil, albedo::kRedSoil, random.uniform());
    for (auto n = 2 + random.below(12); n > 0; --n) {
      spot = Spot{};
      spot.width = scale * 0.006f * std::exp2(1.6f * random.uniform());
      spot.length = spot.width * random.uniform(1.0f, 1.6f);
      spot.turn = random.uniform(-1.5f, 1.5f);
      spot.ragged = 0.35f;
      spot.halo_strength = 0;
      spot.inside = spot.rim = mud;
      spot.opacity = random.uniform(0.5f, 0.95f);
      spot.tissue = Tissue::leaf;
      if (place_spot(spot, blade, random)) look.spots.push_back(spot);
    }
  }
  if (random.chance(0.7f *
                    often)) {  // scratches and feeding marks: thin pale lines along the veins
    for (auto n = 1 + random.below(5); n > 0; --n) {
      spot = Spot{};
      spot.width = scale * random.uniform(0.004f, 0.008f);
      spot.length = scale * random.uniform(0.04f, 0.14f);
      spot.pointed = 0.8f;
      spot.turn = 0.03f * random.normal();
      spot.halo_strength = 0;
      spot.centre = 0.8f;
      spot.inside = mix(albedo::kStraw, albedo::kAsh, random.uniform());
      spot.rim = mix(look.green, albedo::kYellowGreen, 0.6f);
      spot.opacity = random.uniform(0.5f, 0.9f);
      spot.tissue = Tissue::leaf;
      if (place_spot(spot, blade, random)) look.spots.push_back(spot);
    }
  }
  if (random.chance(0.4f * often)) {  // old wounds: a brown, blunt patch without rim or halo
    for (auto n = 1 + random.below(3); n > 0; --n) {
      spot = Spot{};
      spot.width = scale * random.uniform(0.01f, 0.022f);
      spot.length = spot.width * random.uniform(1.2f, 3.0f);
      spot.turn = 0.5f * random.normal();
      spot.ragged = 0.4f;
      spot.halo_strength = 0.3f * random.uniform();
      spot.around = albedo::kYellowGreen;
      spot.inside = spot.rim = mix(albedo::kStraw, albedo::kTan, random.uniform());
      spot.tissue = Tissue::leaf;
      if (place_spot(spot, blade, random)) look.spots.push_back(spot);
    }
  }
  if (random.chance(0.6f * often)) {
    for (auto n = 2 + random.below(9); n > 0; --n) {
      const float radius = scale * random.uniform(0.008f, 0.03f);
      if (place_spot(spot, blade, random)) look.drops.push_back({spot.u, spot.v, radius});
    }
  }
  if (random.chance(0.5f * often)) look.edge_yellow = random.uniform(0.3f, 0.9f);
  if (random.chance(0.5f * often)) look.dust = random.uniform(0.15f, 0.6f);
}

inline LeafLook random_look(RandomStream& random, float variety) {
  LeafLook look;
  look.green = random_leaf_albedo(random, variety);
  look.midrib = random.uniform(0.25f, 0.9f);
  look.veins = random.uniform(0.05f, 0.16f);
  look.vein_count = std::round(random.uniform(6, 10));
  look.fold = random.uniform(-0.1f, 0.55f);
  look.bow = random.uniform(-0.25f, 0.35f);
  look.twist = random.uniform(0, 0.3f);
  look.twist_phase = random.uniform();
  look.roll = random.uniform(0.05f, 0.45f);
  look.roll_phase = random.uniform();
  look.gloss = 0.2f * random.uniform() * random.uniform();
  look.mottle = variety * random.uniform(0, 0.5f);
  return look;
}

}  // namespace rice

/// Plant `index` of the set `seed`: the same picture on every call and any number of threads.
/// The lengths of the scene are relative to the picture: another size shows the same leaves.
///
/// @throws ValueError  size not in 16..2048, or difficulty or closeup not in [0, 1].
/// Accuracy  none is claimed: colours are of the order of field spectra, shapes follow the
///           descriptions of the diseases by the IRRI Rice Knowledge Bank.
inline RicePair make_rice(std::uint64_t seed, index_t index, const RiceOptions& options = {}) {
  using namespace rice;
  require<ValueError>(options.size >= 16 && options.size <= 2048,
                      "make_rice: want a size in 16..2048, got ", options.size);
  require<ValueError>(options.difficulty >= 0 && options.difficulty <= 1,
                      "make_rice: want a difficulty in [0, 1], got ", options.difficulty);
  require<ValueError>(options.closeup >= 0 && options.closeup <= 1,
                      "make_rice: want a closeup in [0, 1], got ", options.closeup);
  require<ValueError>(index >= 0, "make_rice: want index >= 0, got ", index);
  const auto d = static_cast<float>(options.difficulty);
  const float variety = mix(0.5f, 1.15f, d);
  const auto near = static_cast<float>(options.closeup);
  const float zoom = 1 + 1.7f * near;  // lengths on the blades, against those in the field
  RicePair pair;
  pair.label = rice_label(seed, index);
  RandomStream random(seed, Purpose::synthesis, 0, static_cast<std::uint64_t>(index));

  const Light light(random);
  Canvas coarse(static_cast<float>(options.size));
  paint_background(coarse, light, random);
  Canvas scene(2.0f * static_cast<float>(options.size));
  upsample(coarse, scene);

  // Leaves lie over each other; the last and widest one is what the picture is of.
  const auto leaves = 1 + static_cast<int>(random.below(3));
  const float heading = random.uniform(0, 6.2831853f);
  for (int k = leaves - 1; k >= 0; --k) {
    const bool main = k == 0;
    const float width =
        zoom * (main ? random.uniform(0.11f, 0.20f) : random.uniform(0.06f, 0.14f));
    const float angle = heading + (main ? 0.0f : random.uniform(-1.2f, 1.2f));
    const float offset = main ? 0.10f * random.normal() : random.uniform(-0.45f, 0.45f);
    Blade blade = random_blade(random, 0.5f - offset * std::sin(angle),
                               0.5f + offset * std::cos(angle), angle, width);
    blade.bend /= zoom;
    blade.sway /= zoom * zoom;
    LeafLook look = random_look(random, variety);
    look.zoom = zoom;
    if (random.chance(main ? 0.25f : 0.4f)) blade.tip = zoom * random.uniform(0.25f, 0.6f);
    if (random.chance(mix(0.1f, 0.4f, d))) {
      look.scorch = (blade.tip < 2 ? blade.tip : 0.55f) - random.uniform(0.02f, 0.22f);
    }
    if (!main) blade.softness = random.chance(0.5f) ? 0 : random.uniform(0.004f, 0.02f);
    weather(look, blade, d, zoom, random);
    if (pair.label != kHealthy && (main || random.chance(0.6f))) {
      infect(look, blade, pair.label, d, (1 + 1.2f * near) * (main ? 1.0f : 0.7f), zoom, random);
    }
    cast_shadow(scene, blade, light, random.uniform(0.03f, 0.12f));
    paint_leaf(scene, blade, look, light, random);
  }

  if (random.chance(0.45f)) cast_canopy(scene, light, random);

  const Camera visible = visible_camera(random, variety);
  const Camera infrared = infrared_camera(random, variety);
  pair.rgb = take_picture(scene, visible, options.size, random);
  pair.rgn = take_picture(scene, infrared, options.size, random);
  for (int i = 0; i < options.size; ++i) {
    for (int j = 0; j < options.size; ++j) {
      const auto at = [&](int k) {
        return static_cast<int>(
            scene.sample((static_cast<float>(k) + 0.5f) / static_cast<float>(options.size)));
      };
      pair.tissue.push_back(static_cast<std::uint8_t>(scene.tissue[scene.index(at(i), at(j))]));
    }
  }
  return pair;
}

}  // namespace mwalimu::data
