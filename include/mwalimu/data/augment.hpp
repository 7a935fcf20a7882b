// data/augment: the classifier's inputs. Training flips, rotates, zooms, tilts and lights an image
// by chance, in one resampling; evaluation resizes it; test-time augmentation does both in turn.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/data/affine.hpp"
#include "mwalimu/data/area_resize.hpp"
#include "mwalimu/data/crop_resize.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data {

/// What training does to an image; the defaults are the study's (fastai's aug_transforms).
struct AugmentOptions {
  int size = 224;            ///< side of the square result, pixels
  Range scale{1.0f, 1.0f};   ///< of a random resized crop, fractions of the area; 1..1: whole image
  Range aspect{1.0f, 1.0f};  ///< width / height of that crop
  float flip = 0.5f;         ///< probability of swapping left and right
  float affine = 0.75f;      ///< probability, each, of rotation, zoom and either axis of the tilt
  float degrees = 10.0f;     ///< rotation by U(-x, x)
  float zoom = 1.1f;         ///< magnification U(1, x) about a random point, x >= 1
  float warp = 0.2f;         ///< tilt of each axis U(-x, x), 0 <= x < 0.5
  float light = 0.75f;       ///< probability, each, of the changes of brightness and contrast
  float lighting = 0.2f;     ///< how far they go, 0 <= x < 1
  Normalisation normalisation{};  ///< ImageNet's
};

/// All that is random about one input; as it stands, nothing happens but a resize of `box`.
struct AugmentParameters {
  CropBox box;
  bool flip = false;
  float degrees = 0, zoom = 1, zoom_x = 0.5f, zoom_y = 0.5f, warp_x = 0, warp_y = 0;
  float brightness = 0.5f;  ///< 0..1; 0.5 keeps
  float contrast = 1;       ///< > 0; 1 keeps
};
static_assert(std::is_trivially_copyable_v<AugmentParameters> &&
              std::is_trivially_copyable_v<AugmentOptions>);

/// @throws ValueError  an option out of its range; the text names it.
inline void validate(const AugmentOptions& o) {
  require<ValueError>(o.size >= 1, "augment: want a size of at least 1, got ", o.size);
  require<ValueError>(o.scale.low > 0 && o.scale.low <= o.scale.high && o.scale.high <= 1,
                      "augment: want 0 < scale low <= high <= 1, got ", o.scale.low, "..",
                      o.scale.high);
  require<ValueError>(
      o.aspect.low > 0 && o.aspect.low <= o.aspect.high && std::isfinite(o.aspect.high),
      "augment: want 0 < aspect low <= high, got ", o.aspect.low, "..", o.aspect.high);
  for (const float p : {o.flip, o.affine, o.light}) {
    require<ValueError>(p >= 0 && p <= 1, "augment: want probabilities in 0..1, got ", p);
  }
  require<ValueError>(o.degrees >= 0 && o.degrees <= 180, "augment: want 0..180 degrees, got ",
                      o.degrees);
  require<ValueError>(o.zoom >= 1 && o.zoom <= 100, "augment: want a zoom in 1..100, got ", o.zoom);
  require<ValueError>(o.warp >= 0 && o.warp < 0.5f,
                      "augment: want a warp in 0..0.5, below 0.5, got ", o.warp);
  require<ValueError>(o.lighting >= 0 && o.lighting < 1,
                      "augment: want lighting in 0..1, below 1, got ", o.lighting);
  for (int c = 0; c < 4; ++c) {
    const float std = o.normalisation.std_of(c);
    require<ValueError>(std > 0, "augment: want a positive standard deviation, got ", std);
  }
}

/// The neutral parameters: the whole image, resized and nothing else.
constexpr AugmentParameters evaluation_parameters(int height, int width) {
  return {.box = {0, 0, height, width}};
}

/// Draws one training input from a stream. Everything is drawn whether it applies or not.
/// Source  fastai.vision.augment (Flip, Rotate, Zoom, Warp, Brightness, Contrast).
MWALIMU_HOST_DEVICE inline AugmentParameters draw_augment(const AugmentOptions& o,
                                                          RandomStream random, int height,
                                                          int width) {
  AugmentParameters p = evaluation_parameters(height, width);
  const auto maybe = [&](float probability, float value, float neutral) {
    return random.chance(probability) ? value : neutral;
  };
  p.flip = random.chance(o.flip);
  p.degrees = maybe(o.affine, random.uniform(-o.degrees, o.degrees), 0.0f);
  p.zoom = maybe(o.affine, random.uniform(1.0f, o.zoom), 1.0f);
  p.zoom_x = random.uniform();
  p.zoom_y = random.uniform();
  p.warp_x = maybe(o.affine, random.uniform(-o.warp, o.warp), 0.0f);
  p.warp_y = maybe(o.affine, random.uniform(-o.warp, o.warp), 0.0f);
  const float half = 0.5f * o.lighting, log_high = -std::log1p(-o.lighting);
  p.brightness = maybe(o.light, random.uniform(0.5f - half, 0.5f + half), 0.5f);
  p.contrast = maybe(o.light, std::exp(random.uniform(-log_high, log_high)), 1.0f);
  if (o.scale.low < 1.0f) p.box = draw_resized_box(random, height, width, o.scale, o.aspect);
  return p;
}

/// The training input of row `sample` of step `step`.
inline AugmentParameters draw_augment(const AugmentOptions& options, std::uint64_t seed,
                                      std::uint64_t step, std::uint64_t sample, int height,
                                      int width) {
  return draw_augment(options, RandomStream(seed, Purpose::augment, step, sample), height, width);
}

namespace detail {

MWALIMU_HOST_DEVICE inline AugmentParameters draw_pass(const AugmentOptions& options,
                                                       std::uint64_t seed, int pass,
                                                       std::uint64_t sample, int height,
                                                       int width) {
  if (pass == 0) return evaluation_parameters(height, width);
  // Steps count from the far end: no training step comes near them.
  const std::uint64_t step = 0xFFFFFFFFu - static_cast<std::uint64_t>(pass);
  return draw_augment(options, RandomStream(seed, Purpose::augment, step, sample), height, width);
}

}  // namespace detail

/// Test-time augmentation: pass 0 is the evaluation input, passes 1, 2, ... are training inputs of
/// their own. `sample` is the image's index in the data.
inline AugmentParameters draw_tta(const AugmentOptions& options, std::uint64_t seed, int pass,
                                  std::uint64_t sample, int height, int width) {
  require<ValueError>(pass >= 0, "draw_tta: want a pass of at least 0, got ", pass);
  return detail::draw_pass(options, seed, pass, sample, height, width);
}

namespace detail {

// What adjust_lighting adds to a logit.
MWALIMU_HOST_DEVICE inline float lighting_bias(float brightness) {
  return std::log(brightness / (1.0f - brightness));
}
MWALIMU_HOST_DEVICE inline float light(float value, float bias, float contrast) {
  const float x = std::min(std::max(value, 1e-7f), 1.0f - 1e-7f);
  const float logit = std::log(x / (1.0f - x));
  return 1.0f / (1.0f + std::exp(-(logit + bias) * contrast));
}

}  // namespace detail

/// x <- sigmoid((logit x + logit brightness) * contrast), with x clamped to [1e-7, 1 - 1e-7]
/// before, in every channel. Brightness 0.5 and contrast 1 leave the image as it is.
inline void adjust_lighting(PlanarImage& image, float brightness, float contrast) {
  if (brightness == 0.5f && contrast == 1.0f) return;
  const float bias = detail::lighting_bias(brightness);
  for (float& value : image.values()) value = detail::light(value, bias, contrast);
}

/// Memory of one thread that makes inputs.
struct AugmentScratch {
  PlanarImage view, shrunk;
  SampleScratch sample;
};

/// The geometric part of `p` for its box: what an output point reads, see Projective.
MWALIMU_HOST_DEVICE inline Projective augment_map(const AugmentParameters& p) {
  Projective map = rotation(p.degrees) * zoom(p.zoom, p.zoom_x, p.zoom_y);
  if (p.flip) map = horizontal_flip() * map;
  return warp(p.warp_x, p.warp_y) * correct_aspect(map, p.box.height, p.box.width);
}

namespace detail {

// Extents that the box is first shrunk to by areas; 0 x 0: it is sampled as it is. A box more than
// twice as large as the result is shrunk to twice the result's size, unless the map itself reads it
// more densely.
constexpr std::array<int, 2> shrunk_extents(const AugmentParameters& p, const Projective& map,
                                            int size) {
  double low = 1e30, high = -1e30;
  for (int corner = 0; corner < 4; ++corner) {
    const auto at = map(corner < 2 ? -1.0 : 1.0, corner % 2 == 0 ? -1.0 : 1.0);
    low = std::min(low, std::min(at[0], at[1]));
    high = std::max(high, std::max(at[0], at[1]));
  }
  const double shrink = std::min(p.box.height, p.box.width) / (2.0 * size);
  if (!(shrink > 1 && shrink > 2 / (high - low))) return {0, 0};
  return {static_cast<int>(p.box.height / shrink), static_cast<int>(p.box.width / shrink)};
}

}  // namespace detail

/// Makes the input that `p` describes: (size, size, C) normalised floats at `out`, interleaved.
///
/// A box more than twice as large as the result is first shrunk by areas to twice the result's
/// size, so that bilinear sampling does not step over pixels. Neutral parameters on a box of the
/// result's size copy the pixels exactly.
/// @throws ShapeError  the box leaves the image.
template <int C>
void apply_augment(const BasicByteImage<C>& image, const AugmentParameters& p, int size,
                   const Normalisation& normalisation, float* out, AugmentScratch& scratch) {
  const Projective map = augment_map(p);
  const auto [shrunk_height, shrunk_width] = detail::shrunk_extents(p, map, size);
  if (shrunk_height > 0) {
    area_resize(image, p.box, shrunk_height, shrunk_width, scratch.shrunk);
    sample_projective(scratch.shrunk, whole(scratch.shrunk), map, size, size, scratch.view,
                      scratch.sample);
  } else {
    sample_projective(image, p.box, map, size, size, scratch.view, scratch.sample);
  }
  adjust_lighting(scratch.view, p.brightness, p.contrast);
  write_normalised(scratch.view, normalisation, out);
}

/// Which draws a batch takes.
struct AugmentDraws {
  static constexpr int kTraining = -1;
  std::uint64_t seed = 0;
  Scalar step{};             ///< of a training input; may lie on the device
  index_t first_sample = 0;  ///< row r is sample first_sample + r, unless samples are named
  int pass = kTraining;  ///< or test-time augmentation's, draw_tta: 0 evaluation, 1, 2, ... random
};

// Backends. Cpu is defined below, Gpu in kernels/augment.cuh.

/// Inputs of a whole batch: inputs[r] <- apply_augment of images[rows[r]] with the draws'
/// parameters.
///
/// @param images   (N, height, width, C) bytes, C = 3 or 4
/// @param rows     (B) rows of `images`, 0 <= row < N (whoever fills them checks: a kernel cannot)
/// @param samples  (B) numbers that the draws know the images by; (0): see AugmentDraws
/// @param inputs   (B, size, size, C) normalised, overwritten; the side is theirs, not the options'
/// @throws ShapeError  extents disagree.
template <Real T>
void augment(Cpu, const AugmentOptions& options, const AugmentDraws& draws,
             View<const std::uint8_t, 4> images, View<const index_t, 1> rows,
             View<const index_t, 1> samples, View<T, 4> inputs);
template <Real T>
void augment(Gpu, const AugmentOptions& options, const AugmentDraws& draws,
             View<const std::uint8_t, 4> images, View<const index_t, 1> rows,
             View<const index_t, 1> samples, View<T, 4> inputs);

namespace detail {

MWALIMU_HOST_DEVICE inline AugmentParameters draw_input(const AugmentOptions& options,
                                                        const AugmentDraws& draws,
                                                        std::uint64_t sample, int height,
                                                        int width) {
  if (draws.pass != AugmentDraws::kTraining) {
    return draw_pass(options, draws.seed, draws.pass, sample, height, width);
  }
  const auto step = static_cast<std::uint64_t>(draws.step.load());
  return draw_augment(options, RandomStream(draws.seed, Purpose::augment, step, sample), height,
                      width);
}

template <Real T>
void check_augment(const AugmentDraws& draws, View<const std::uint8_t, 4> images,
                   View<const index_t, 1> rows, View<const index_t, 1> samples, View<T, 4> inputs) {
  require<ValueError>(draws.pass >= AugmentDraws::kTraining,
                      "augment: want a pass of at least 0, got ", draws.pass);
  require_images("augment", images);
  const index_t B = rows.dim(0), S = inputs.dim(1), C = images.dim(3);
  require<ShapeError>(inputs.dim(0) == B && S >= 1 && inputs.dim(2) == S && inputs.dim(3) == C &&
                          inputs.is_contiguous(),
                      "augment: want dense square inputs of ", B, " rows and ", C,
                      " channels, got (", inputs.dim(0), ", ", S, ", ", inputs.dim(2), ", ",
                      inputs.dim(3), ")");
  require<ShapeError>(samples.dim(0) == B || samples.dim(0) == 0, "augment: want ", B,
                      " sample numbers or none, got ", samples.dim(0));
}

}  // namespace detail

template <Real T>
void augment(Cpu, const AugmentOptions& options, const AugmentDraws& draws,
             View<const std::uint8_t, 4> images, View<const index_t, 1> rows,
             View<const index_t, 1> samples, View<T, 4> inputs) {
  detail::check_augment(draws, images, rows, samples, inputs);
  const auto H = static_cast<int>(images.dim(1)), W = static_cast<int>(images.dim(2));
  const auto size = static_cast<int>(inputs.dim(1));
  parallel_for(rows.dim(0), 1, [&](index_t begin, index_t end) {
    AugmentScratch scratch;
    std::vector<float> made(static_cast<std::size_t>(inputs.stride(0)));
    for (index_t r = begin; r < end; ++r) {
      const index_t sample = samples.dim(0) == 0 ? draws.first_sample + r : samples(r);
      const AugmentParameters p =
          detail::draw_input(options, draws, static_cast<std::uint64_t>(sample), H, W);
      detail::with_channels(images.dim(3), [&](auto C) {
        const BasicByteImage<C> image{images.data() + rows(r) * images.stride(0), H, W};
        apply_augment(image, p, size, options.normalisation, made.data(), scratch);
      });
      T* out = inputs.data() + r * inputs.stride(0);
      for (const float x : made) *out++ = convert<T>(x);
    }
  });
}

/// The same on the images' device, into a tensor that is made anew where its shape or device
/// differ.
/// @param samples  null: see AugmentDraws
template <Real T>
void augment(const AugmentOptions& options, const AugmentDraws& draws,
             const Tensor<std::uint8_t>& images, const Tensor<index_t>& rows, Tensor<T>& inputs,
             const Tensor<index_t>* samples = nullptr) {
  const Device device = images.device();
  require<DeviceError>(device == rows.device() && (!samples || device == samples->device()),
                       "augment: images on ", device, ", but rows or samples elsewhere");
  const Shape shape{rows.count(), options.size, options.size, images.dim(3)};
  if (!(inputs.shape() == shape && inputs.device() == device)) {
    inputs = Tensor<T>::empty(shape, device);
  }
  const auto numbers =
      samples ? samples->template view<1>() : View<const index_t, 1>(nullptr, {0}, {1});
  on_device(device, [&](auto place) {
    augment<T>(place, options, draws, images.template view<4>(), rows.template view<1>(), numbers,
               inputs.template view<4>());
  });
}

}  // namespace mwalimu::data
