// data/multi_crop: SwAV's crops. One sample, an image or a pair of sensors, becomes a few large and
// several small random views; each view's parameters are drawn first and applied afterwards.
//
// Order of a view: crop and resize, flip, colour jitter, gray, blur, rotation, all on [0, 1]
// pixels; then one normalisation, written interleaved into the batch. (With normalise_first, which
// repeats what another program does, it comes after the flip.)
//
// Source  Caron et al. 2020, arXiv:2006.09882, section 3.3 and its appendix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/core/tensor.hpp"
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

/// The image of the pair that view `index` of its group is taken from: the views of a group come
/// alternately from the one and the other sensor, and a coin of the sample's own says which sensor
/// is first.
constexpr int crop_sensor(const CropRule& rule, std::uint64_t seed, std::uint64_t step,
                          std::uint64_t sample, int index) {
  if (!rule.pairs) return 0;
  const int swapped =
      static_cast<int>(RandomStream(seed, Purpose::pairs, step, sample).bits() >> 31);
  return (index + swapped) % 2;
}

/// Draws view `index` of a group: a function of (seed, step, sample, view), the rule and the
/// image's extents. Everything is drawn whether it will be applied or not, so one option never
/// moves another's draw.
///
/// @param sample         row in the step's batch (over all ranks, if several share a step)
/// @param index          0 <= index < rule.count
/// @param height, width  extents of the image the view is taken from
MWALIMU_HOST_DEVICE inline CropParameters draw_crop(const CropRule& rule, std::uint64_t seed,
                                                    std::uint64_t step, std::uint64_t sample,
                                                    int index, int height, int width) {
  RandomStream random(seed, Purpose::crops, step,
                      sample * static_cast<std::uint64_t>(rule.views) +
                          static_cast<std::uint64_t>(rule.first_view + index));
  CropParameters p;
  p.size = rule.size;
  p.sensor = static_cast<std::uint8_t>(crop_sensor(rule, seed, step, sample, index));
  p.flip = random.chance(rule.flip);
  p.jitter = random.chance(rule.jitter);
  p.gray = random.chance(rule.gray);
  p.blur = random.chance(rule.blur);
  p.rotate = random.chance(rule.rotate);
  p.color = draw_color_jitter(random, rule.jitter_range);
  p.sigma = random.uniform(rule.blur_sigma.low, rule.blur_sigma.high) *
            static_cast<float>(rule.size) / 224.0f;
  p.degrees = random.uniform(-rule.rotate_degrees, rule.rotate_degrees);
  p.box = draw_resized_box(random, height, width, rule.scale, rule.aspect);  // takes 2..22 draws
  if (rule.shared_box) {
    // A stream of the view's own, behind those of all samples.
    RandomStream batch(seed, Purpose::crops, step,
                       (std::uint64_t{1} << 39) + static_cast<std::uint64_t>(rule.first_view + index));
    p.color.order = draw_color_jitter(batch, rule.jitter_range).order;
    p.box = draw_resized_box(batch, height, width, rule.scale, rule.aspect);
  }
  return p;
}

/// The same by a view's number over all groups.
inline int crop_sensor(const MultiCropOptions& options, std::uint64_t seed, std::uint64_t step,
                       std::uint64_t sample, int view) {
  const auto [group, index] = options.position(view);
  return crop_sensor(crop_rule(options, static_cast<std::size_t>(group)), seed, step, sample,
                     index);
}
/// @throws ValueError  no such view.
inline CropParameters draw_crop(const MultiCropOptions& options, std::uint64_t seed,
                                std::uint64_t step, std::uint64_t sample, int view, int height,
                                int width) {
  require<ValueError>(view >= 0 && view < options.views(), "draw_crop: want a view in 0..",
                      options.views() - 1, ", got ", view);
  const auto [group, index] = options.position(view);
  return draw_crop(crop_rule(options, static_cast<std::size_t>(group)), seed, step, sample, index,
                   height, width);
}

/// Memory of one thread that makes views.
struct CropScratch {
  PlanarImage view, spare;
  CropResizeScratch resize;
  BlurScratch blur;
  SampleScratch sample;
};

/// Makes the view that `p` describes: (size, size, C) normalised floats at `out`, interleaved.
/// @param normalise_first  see MultiCropOptions.
/// @throws ShapeError  the box leaves the image.
template <int C>
void apply_crop(const BasicByteImage<C>& image, const CropParameters& p,
                const Normalisation& normalisation, float* out, CropScratch& scratch,
                bool normalise_first = false) {
  PlanarImage& view = scratch.view;
  crop_resize(image, p.box, p.size, p.size, p.flip, view, scratch.resize);
  if (normalise_first) {
    for (int c = 0; c < C; ++c) {
      const float mean = normalisation.mean_of(c), std = normalisation.std_of(c);
      float* plane = view.plane(c);
      for (std::size_t i = 0; i < view.plane_size(); ++i) plane[i] = (plane[i] - mean) / std;
    }
  }
  if (p.jitter) apply_color_jitter(view, p.color);
  if (p.gray) to_gray(view);
  if (p.blur) gaussian_blur(view, gaussian_kernel(p.sigma, gaussian_radius(p.sigma)), scratch.blur);
  if (p.rotate) rotate(view, p.degrees, scratch.spare, scratch.sample);
  write_normalised(view, normalise_first ? Normalisation::none() : normalisation, out);
}

/// Makes all views of one sample and writes them into the step's batch.
///
/// @param first, second  the sample's two sensors; without pairs only `first` is read. Extents may
/// differ.
/// @param row, batch     the sample's row, 0 <= row < batch
/// @param groups         one block a group, (count * batch, size, size, C): view-major, so that
///                       view v of sample b is image v * batch + b, as the loss wants its rows
/// @throws ShapeError    an empty image, or another number of blocks than groups.
template <int C>
void multi_crop(const MultiCropOptions& options, std::uint64_t seed, std::uint64_t step,
                std::uint64_t sample, const BasicByteImage<C>& first,
                const std::type_identity_t<BasicByteImage<C>>& second, std::int64_t row,
                std::int64_t batch, std::span<float* const> groups, CropScratch& scratch) {
  require<ShapeError>(groups.size() == options.groups.size(), "multi_crop: want ",
                      options.groups.size(), " blocks of memory, one a group, got ", groups.size());
  require<ShapeError>(row >= 0 && row < batch, "multi_crop: want a row in 0..", batch - 1, ", got ",
                      row);
  for (int view = 0; view < options.views(); ++view) {
    const auto [group, index] = options.position(view);
    const bool other = crop_sensor(options, seed, step, sample, view) == 1;
    const BasicByteImage<C>& image = other ? second : first;
    detail::require_pixels("multi_crop", image);
    const CropParameters p =
        draw_crop(options, seed, step, sample, view, image.height, image.width);
    const std::int64_t values = std::int64_t{p.size} * p.size * C;
    apply_crop(image, p, options.normalisation,
               groups[static_cast<std::size_t>(group)] + (index * batch + row) * values, scratch,
               options.normalise_first);
  }
}

/// A drawn view, and what each of its pixels reads of the unrotated one.
struct CropPlan {
  CropParameters parameters;
  Projective rotation;
};
static_assert(std::is_trivially_copyable_v<CropPlan>);

MWALIMU_HOST_DEVICE inline CropPlan plan_crop(const CropRule& rule, std::uint64_t seed,
                                              std::uint64_t step, std::uint64_t sample, int index,
                                              int height, int width) {
  CropPlan plan{draw_crop(rule, seed, step, sample, index, height, width), {}};
  plan.rotation = detail::pixel_map({0, 0, rule.size, rule.size},
                                    rotation(static_cast<double>(plan.parameters.degrees)),
                                    rule.size, rule.size);
  return plan;
}

// Backends: one group's views of a whole batch. Cpu is defined below, Gpu in
// kernels/multi_crop.cuh.

/// plans[v * B + b] <- view v of sample first_sample + b, for images of height x width: the first
/// half of crop_group, for whoever wants to see what is drawn. `plans` lies on the place's device.
template <class Place>
void draw_crops(Place on, const CropRule& rule, std::uint64_t seed, Scalar step,
                index_t first_sample, index_t B, int height, int width, CropPlan* plans);

/// Draws and makes all views of a group: image v * B + b of `views` is view v of sample b.
///
/// @param step          of the run; may lie on the device, so that a captured graph draws anew at
///                      every replay
/// @param images        (N, height, width, C) bytes, C = 3 or 4
/// @param pairs         (B, 2) rows of `images`: each sample's two sensors, 0 <= row < N (whoever
///                      fills them checks: a kernel cannot). Strides may be 0: one sensor.
/// @param first_sample  the draws' number of row 0
/// @param views         (count B, size, size, C) normalised, overwritten
/// @throws ShapeError   extents disagree.
template <Real T>
void crop_group(Cpu, const CropRule& rule, const Normalisation& normalisation, std::uint64_t seed,
                Scalar step, View<const std::uint8_t, 4> images, View<const index_t, 2> pairs,
                index_t first_sample, View<T, 4> views);
template <Real T>
void crop_group(Gpu, const CropRule& rule, const Normalisation& normalisation, std::uint64_t seed,
                Scalar step, View<const std::uint8_t, 4> images, View<const index_t, 2> pairs,
                index_t first_sample, View<T, 4> views);

namespace detail {

template <Real T>
void check_crop_group(const CropRule& rule, View<const std::uint8_t, 4> images,
                      View<const index_t, 2> pairs, View<T, 4> views) {
  const index_t S = rule.size, B = pairs.dim(0), C = images.dim(3);
  require_images("crops", images);
  require<ShapeError>(pairs.dim(1) == 2 && views.dim(0) == rule.count * B && views.dim(1) == S &&
                          views.dim(2) == S && views.dim(3) == C && views.stride(3) == 1 &&
                          views.stride(2) == C && views.stride(1) == C * S &&
                          views.stride(0) == C * S * S,
                      "crops: want dense views (", rule.count, " B, ", S, ", ", S, ", ", C,
                      ") of pairs (B, 2), got (", views.dim(0), ", ", views.dim(1), ", ",
                      views.dim(2), ", ", views.dim(3), ") and (", B, ", ", pairs.dim(1), ")");
}

}  // namespace detail

template <Real T>
void crop_group(Cpu, const CropRule& rule, const Normalisation& normalisation, std::uint64_t seed,
                Scalar step, View<const std::uint8_t, 4> images, View<const index_t, 2> pairs,
                index_t first_sample, View<T, 4> views) {
  detail::check_crop_group(rule, images, pairs, views);
  const auto H = static_cast<int>(images.dim(1)), W = static_cast<int>(images.dim(2));
  const index_t B = pairs.dim(0), values = views.stride(0);
  parallel_for(rule.count * B, 1, [&](index_t begin, index_t end) {
    CropScratch scratch;
    std::vector<float> made(std::is_same_v<T, float> ? 0 : static_cast<std::size_t>(values));
    for (index_t i = begin; i < end; ++i) {
      const index_t row = i % B;
      const CropParameters p =
          draw_crop(rule, seed, static_cast<std::uint64_t>(step.load()),
                    static_cast<std::uint64_t>(first_sample + row), static_cast<int>(i / B), H, W);
      T* out = views.data() + i * values;
      detail::with_channels(images.dim(3), [&](auto C) {
        const BasicByteImage<C> image{images.data() + pairs(row, p.sensor) * images.stride(0), H,
                                      W};
        if constexpr (std::is_same_v<T, float>) {
          apply_crop(image, p, normalisation, out, scratch, rule.normalise_first);
        } else {
          apply_crop(image, p, normalisation, made.data(), scratch, rule.normalise_first);
          for (const float x : made) *out++ = convert<T>(x);
        }
      });
    }
  });
}

/// All views of a batch, a tensor a group, on the images' device: what a trainer calls. Tensors of
/// `groups` that have the right shape and device are overwritten, others are made anew.
///
/// @param images  (N, height, width, C); pairs (B, 2) or, for one sensor, (B, 1); see crop_group.
template <Real T>
void multi_crop(const MultiCropOptions& options, std::uint64_t seed, Scalar step,
                const Tensor<std::uint8_t>& images, const Tensor<index_t>& pairs,
                std::vector<Tensor<T>>& groups, index_t first_sample = 0) {
  require<ShapeError>(pairs.rank() == 2 && (pairs.dim(1) == 2 || pairs.dim(1) == 1),
                      "multi_crop: want pairs (B, 2) or (B, 1), got ", pairs.shape());
  require<DeviceError>(images.device() == pairs.device(), "multi_crop: images on ", images.device(),
                       ", but pairs on ", pairs.device());
  const View<const index_t, 2> rows(
      pairs.data(), {pairs.dim(0), 2},
      {pairs.strides()[0], pairs.dim(1) == 2 ? pairs.strides()[1] : 0});
  groups.resize(options.groups.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const CropRule rule = crop_rule(options, g);
    const Shape shape{rule.count * pairs.dim(0), rule.size, rule.size, images.dim(3)};
    if (!(groups[g].shape() == shape && groups[g].device() == images.device())) {
      groups[g] = Tensor<T>::empty(shape, images.device());
    }
    on_device(images.device(), [&](auto place) {
      crop_group<T>(place, rule, options.normalisation, seed, step, images.template view<4>(), rows,
                    first_sample, groups[g].template view<4>());
    });
  }
}

}  // namespace mwalimu::data
