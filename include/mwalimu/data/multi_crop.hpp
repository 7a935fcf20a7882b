// data/multi_crop: SwAV's crops. One sample, an image or a pair of sensors, becomes a few large and
// several small random views; each view's parameters are drawn first and applied afterwards.
//
// Order of a view: crop and resize, flip, colour jitter, gray, blur, rotation, all on [0, 1]
// pixels; then one normalisation, written interleaved into the batch.
//
// Source  Caron et al. 2020, arXiv:2006.09882, section 3.3 and its appendix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "mwalimu/core/random.hpp"
#include "mwalimu/data/affine.hpp"
#include "mwalimu/data/blur.hpp"
#include "mwalimu/data/color.hpp"
#include "mwalimu/data/crop_resize.hpp"
#include "mwalimu/data/multi_crop_options.hpp"
#include "mwalimu/data/pixels.hpp"

namespace mwalimu::data {

/// All that is random about one view. Plain numbers: it can be copied to a device as it is.
struct CropParameters {
  CropBox box;
  std::int32_t size = 0;    ///< side of the view
  std::uint8_t sensor = 0;  ///< which image of the pair: 0 the first, 1 the second
  bool flip = false, jitter = false, gray = false, blur = false, rotate = false;
  ColorJitter color;
  float sigma = 1;    ///< of the blur, pixels of the view
  float degrees = 0;  ///< of the rotation
};
static_assert(std::is_trivially_copyable_v<CropParameters>);

/// The image of the pair that a view is taken from: group 0 gives view 0 the one sensor and view 1
/// the other, small views alternate likewise, and a coin of the sample's own says which sensor is
/// first.
inline int crop_sensor(const MultiCropOptions& options, std::uint64_t seed, std::uint64_t step,
                       std::uint64_t sample, int view) {
  if (!options.pairs) return 0;
  const int swapped =
      static_cast<int>(RandomStream(seed, Purpose::pairs, step, sample).bits() >> 31);
  return (options.position(view).index + swapped) % 2;
}

/// Draws one view: a function of (seed, step, sample, view), the options and the image's extents.
/// Everything is drawn whether it will be applied or not, so one option never moves another's draw.
///
/// @param sample         row in the step's batch (over all ranks, if several share a step)
/// @param view           0 <= view < options.views()
/// @param height, width  extents of the image the view is taken from
inline CropParameters draw_crop(const MultiCropOptions& options, std::uint64_t seed,
                                std::uint64_t step, std::uint64_t sample, int view, int height,
                                int width) {
  require<ValueError>(view >= 0 && view < options.views(), "draw_crop: want a view in 0..",
                      options.views() - 1, ", got ", view);
  const CropGroup& group = options.groups[static_cast<std::size_t>(options.position(view).group)];
  RandomStream random(
      seed, Purpose::crops, step,
      sample * static_cast<std::uint64_t>(options.views()) + static_cast<std::uint64_t>(view));
  CropParameters p;
  p.size = group.size;
  p.sensor = static_cast<std::uint8_t>(crop_sensor(options, seed, step, sample, view));
  p.flip = random.chance(options.flip);
  p.jitter = random.chance(options.jitter);
  p.gray = random.chance(options.gray);
  p.blur = random.chance(options.blur);
  p.rotate = random.chance(options.rotate);
  p.color = draw_color_jitter(random, options.jitter_range);
  p.sigma = random.uniform(options.blur_sigma.low, options.blur_sigma.high) *
            static_cast<float>(group.size) / 224.0f;
  p.degrees = random.uniform(-options.rotate_degrees, options.rotate_degrees);
  p.box =
      draw_resized_box(random, height, width, group.scale, options.aspect);  // takes 2..22 draws
  return p;
}

/// Memory of one thread that makes views.
struct CropScratch {
  PlanarImage view, spare;
  CropResizeScratch resize;
  BlurScratch blur;
  SampleScratch sample;
};

/// Makes the view that `p` describes: (size, size, 3) normalised floats at `out`, interleaved.
/// @throws ShapeError  the box leaves the image.
inline void apply_crop(const ByteImage& image, const CropParameters& p,
                       const Normalisation& normalisation, float* out, CropScratch& scratch) {
  PlanarImage& view = scratch.view;
  crop_resize(image, p.box, p.size, p.size, p.flip, view, scratch.resize);
  if (p.jitter) apply_color_jitter(view, p.color);
  if (p.gray) to_gray(view);
  if (p.blur) gaussian_blur(view, gaussian_kernel(p.sigma, gaussian_radius(p.sigma)), scratch.blur);
  if (p.rotate) rotate(view, p.degrees, scratch.spare, scratch.sample);
  write_normalised(view, normalisation, out);
}

/// Makes all views of one sample and writes them into the step's batch.
///
/// @param first, second  the sample's two sensors; without pairs only `first` is read. Extents may
/// differ.
/// @param row, batch     the sample's row, 0 <= row < batch
/// @param groups         one block a group, (count * batch, size, size, 3): view-major, so that
/// view v of
///                       sample b is image v * batch + b, as the loss wants its rows
/// @throws ShapeError    an empty image, or another number of blocks than groups.
inline void multi_crop(const MultiCropOptions& options, std::uint64_t seed, std::uint64_t step,
                       std::uint64_t sample, const ByteImage& first, const ByteImage& second,
                       std::int64_t row, std::int64_t batch, std::span<float* const> groups,
                       CropScratch& scratch) {
  require<ShapeError>(groups.size() == options.groups.size(), "multi_crop: want ",
                      options.groups.size(), " blocks of memory, one a group, got ", groups.size());
  require<ShapeError>(row >= 0 && row < batch, "multi_crop: want a row in 0..", batch - 1, ", got ",
                      row);
  for (int view = 0; view < options.views(); ++view) {
    const auto [group, index] = options.position(view);
    const bool other = crop_sensor(options, seed, step, sample, view) == 1;
    const ByteImage& image = other ? second : first;
    detail::require_pixels("multi_crop", image);
    const CropParameters p =
        draw_crop(options, seed, step, sample, view, image.height, image.width);
    const std::int64_t values = std::int64_t{p.size} * p.size * 3;
    apply_crop(image, p, options.normalisation,
               groups[static_cast<std::size_t>(group)] + (index * batch + row) * values, scratch);
  }
}

}  // namespace mwalimu::data
