// kernels/multi_crop: SwAV's crops from bytes, drawn and made on the device.
//
// Computes   draw_crops: the parameters of every view of a group, by data::draw_crop itself.
//            crop: box -> bilinear resize with flip -> jitter -> gray -> blur -> rotation ->
//            (x - mean) / std, as data::apply_crop.
// Shapes     images (N, H, W, 3) bytes; views (count B, S, S, 3) of T, view-major. In between pixels
//            are floats, interleaved, on a canvas of S x S x 3.
// Mapping    draw_crops: one thread a view. crop: one block a view, 1024 threads (256 for S <= 64).
//            The canvas lies in shared memory where it fits (S <= 138 with 227 KB), else in scratch
//            that few blocks share, each making one view after another. Thread t makes pixels t,
//            t + blockDim, ...; a contrast step needs the mean luma first and costs one reduction
//            over the block. The blur is in place: a chunk of whole rows (then of whole columns) is
//            read into registers, 6 values a thread, and written after a barrier.
// Moves      reads the box's bytes once from DRAM (four taps a pixel come from L1), writes
//            3 S^2 sizeof(T) bytes a view, 16 bytes a lane where S^2 allows.
// Roofline   B = 256, 2x128 and 6x96 of bfloat16 from 128 x 128 bytes on an H200 by its data sheet:
//            25 MB read, 135 MB written: 33 us at 4.8 TB/s. The kernel issues more instructions
//            than that hides; it is to be measured.
// Resources  nvcc 13.0, sm_90: crop 64 registers, the most that 1024 threads may have; draw_crops 78
//            and a stack frame of 112 bytes (the stream's block of four numbers, indexed); no
//            spills. Shared: 12 S^2 bytes and the blur's weights; one block an SM.
// Measured   not yet.
// Numerics   parameters are the host's: Philox and its scalings are exact; boxes round doubles whose
//            last bit may differ between exp() of two libraries, which moves a box once in 10^12.
//            Pixels as on the host up to the order of the luma's sum and fused products: 1e-6.
// Requires   1 <= S <= 2048; rows of `pairs` inside `images`; fewer than 2^31 views.
// Source     Caron et al. 2020, arXiv:2006.09882, section 3.3 and its appendix.
#pragma once

#include "launch.cuh"
#include "mwalimu/data/multi_crop.hpp"
#include "numeric.cuh"
#include "pixels.cuh"
#include "reduce.cuh"

namespace mwalimu {
namespace kernels {

/// One thread a view; view i of the group's output is view i / B of sample i % B.
template <class Place>
__global__ void __launch_bounds__(64)
    draw_crops_kernel(data::CropRule rule, std::uint64_t seed, Scalar step, index_t first_sample,
                      int B, int height, int width, data::CropPlan* __restrict__ plans) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= rule.count * B) return;
  plans[i] =
      data::plan_crop(rule, seed, static_cast<std::uint64_t>(step.load()),
                      static_cast<std::uint64_t>(first_sample + i % B), i / B, height, width);
}

/// What the blocks of one launch have in common.
struct CropLaunch {
  const data::CropPlan* plans;
  const std::uint8_t* images;
  const index_t* pairs;
  index_t image_stride, pair_stride, sensor_stride;
  float* scratch;  ///< a canvas a block, or null: the canvas is shared memory
  int views, batch, size, width;
  int max_radius;  ///< of the blur
  RgbNormalisation normalisation;  ///< of what is written
  bool normalise_first;
  RgbNormalisation first;  ///< where normalise_first: of what is resized
};

/// The sum of `value` over the block, in a fixed order; every thread gets it.
__device__ __forceinline__ double sum_over_block(double value, double* partial) {
  value = warp_reduce(value, Sum{});
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  double sum = 0;
  for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += partial[w];
  return sum;
}

/// The operations of the jitter from position `first` on, up to and without contrast.
__device__ __forceinline__ void jitter_until_contrast(const data::ColorJitter& jitter, int first,
                                                      float hue_shift, data::detail::Rgb& p) {
  using namespace data::detail;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < first) continue;
    switch (jitter.order[static_cast<std::size_t>(i)]) {
      case 0:
        p = {clamp01(p.r * jitter.brightness), clamp01(p.g * jitter.brightness),
             clamp01(p.b * jitter.brightness)};
        break;
      case 1:
        return;
      case 2:
        p = saturate(p, jitter.saturation);
        break;
      default:
        p = turn_hue(p, hue_shift);
        break;
    }
  }
}

/// Bilinear taps of one output pixel in the image's bytes, channel by channel, in [0, 1].
__device__ __forceinline__ data::detail::Rgb resized_pixel(const std::uint8_t* __restrict__ image,
                                                           const data::CropParameters& p, int width,
                                                           double scale_y, double scale_x, int y,
                                                           int x) {
  using data::detail::bilinear_tap;
  const auto rows = bilinear_tap(y, scale_y, p.box.height);
  const auto columns = bilinear_tap(p.flip ? p.size - 1 - x : x, scale_x, p.box.width);
  const index_t upper = static_cast<index_t>(p.box.top + rows.first) * width + p.box.left;
  const index_t lower = static_cast<index_t>(p.box.top + rows.second) * width + p.box.left;
  float rgb[3];
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const auto byte = [&](index_t row, int column) {
      return static_cast<float>(image[3 * (row + column) + c]);
    };
    const float a = byte(upper, columns.first), z = byte(upper, columns.second);
    const float d = byte(lower, columns.first), e = byte(lower, columns.second);
    const float top = a + columns.weight * (z - a), bottom = d + columns.weight * (e - d);
    rgb[c] = (top + rows.weight * (bottom - top)) / 255.0f;
  }
  return {rgb[0], rgb[1], rgb[2]};
}

/// Values a thread holds while a chunk of the canvas is blurred in place.
inline constexpr int kBlurValues = 6;

/// Convolves along one axis of the S x S x 3 canvas, in place. A line is S values, `tap` apart; the
/// chunk's lines lie side by side: value i of a chunk is at position i / lines of line i % lines
/// where lines are columns, and the other way round where they are rows.
template <bool kRows>
__device__ __forceinline__ void blur_axis(float* canvas, int S, const float* weights, int radius) {
  const int threads = static_cast<int>(blockDim.x);
  const int across = kRows ? S : 3 * S;        // lines: rows of pixels, or columns of values
  const int length = kRows ? 3 * S : S;        // values that a line adds to a chunk
  int lines = kBlurValues * threads / length;  // at least 1: 3 S <= 6 threads
  if (!kRows && lines >= 32) lines = lines / 32 * 32;
  for (int first = 0; first < across; first += lines) {
    const int now = min(lines, across - first), count = now * length;
    float values[kBlurValues];
#pragma unroll
    for (int v = 0; v < kBlurValues; ++v) {
      const int i = static_cast<int>(threadIdx.x) + v * threads;
      if (i >= count) continue;
      const int line = first + (kRows ? i / length : i % now), at = kRows ? i % length : i / now;
      // The value's position along the line, in pixels, and where position 0 lies.
      const int position = kRows ? at / 3 : at;
      const float* base = canvas + (kRows ? line * length + at % 3 : line);
      const int tap = kRows ? 3 : 3 * S;
      float sum = 0;
      for (int k = -radius; k <= radius; ++k) {
        int from = position + k;
        if (from < 0 || from >= S) from = data::detail::reflect_index(from, S);
        sum += weights[k < 0 ? -k : k] * base[from * tap];
      }
      values[v] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int v = 0; v < kBlurValues; ++v) {
      const int i = static_cast<int>(threadIdx.x) + v * threads;
      if (i >= count) continue;
      canvas[kRows ? first * length + i : i / now * 3 * S + first + i % now] = values[v];
    }
  }
  __syncthreads();
}

/// The blur's weights at distances 0..radius, normalised; exact[] is room for as many doubles.
__device__ __forceinline__ void make_gaussian(float sigma, int radius, double* exact,
                                              float* weights) {
  for (int k = static_cast<int>(threadIdx.x); k <= radius; k += static_cast<int>(blockDim.x)) {
    exact[k] = data::detail::gaussian(k, sigma);
  }
  __syncthreads();
  for (int k = static_cast<int>(threadIdx.x); k <= radius; k += static_cast<int>(blockDim.x)) {
    double sum = 0;
    for (int x = -radius; x <= radius; ++x) sum += exact[x < 0 ? -x : x];
    weights[k] = static_cast<float>(exact[k] / sum);
  }
  __syncthreads();
}

/// The canvas rotated about its centre: N pixels a thread, which are three packs (of 16 bytes in
/// float, of 8 in 16 bits, where eight pixels would not fit the registers).
template <int N, class T>
__device__ __forceinline__ void write_rotated(const float* canvas, int S,
                                              const data::Projective& map,
                                              const RgbNormalisation& normalisation, T* out) {
  const int groups = S * S / N;
  for (int i = static_cast<int>(threadIdx.x); i < groups; i += static_cast<int>(blockDim.x)) {
    Pack<T, N> packs[3];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int pixel = i * N + j;
      const BilinearSource source = bilinear_source(map, true, pixel % S, pixel / S, S, S);
      const auto value = [&](int row, int column, int c) {
        return canvas[(row * S + column) * 3 + c];
      };
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        const float x =
            source.mix(value(source.upper, source.left, c), value(source.upper, source.right, c),
                       value(source.lower, source.left, c), value(source.lower, source.right, c));
        packs[(3 * j + c) / N][(3 * j + c) % N] = normalised<T>(x, c, normalisation);
      }
    }
#pragma unroll
    for (int k = 0; k < 3; ++k)
      store_pack<N>(out + (static_cast<index_t>(i) * 3 + k) * N, packs[k]);
  }
}

/// Bytes in front of the canvas in shared memory: the blur's weights, rounded up to 16.
MWALIMU_HOST_DEVICE constexpr int canvas_offset(int max_radius) {
  return (12 * (max_radius + 1) + 15) / 16 * 16;
}

template <class T>
__global__ void __launch_bounds__(1024)
    crop_kernel(CropLaunch launch, bool packs, T* __restrict__ out) {
  MWALIMU_DYNAMIC_SHARED(double, exact);  // max_radius + 1 doubles, as many floats, the canvas
  __shared__ double partial[32];
  float* weights = reinterpret_cast<float*>(exact + launch.max_radius + 1);
  const int S = launch.size, pixels = S * S, threads = static_cast<int>(blockDim.x);
  float* canvas = launch.scratch != nullptr
                      ? launch.scratch + static_cast<index_t>(blockIdx.x) * 3 * pixels
                      : reinterpret_cast<float*>(exact) + canvas_offset(launch.max_radius) / 4;

  for (int view = static_cast<int>(blockIdx.x); view < launch.views;
       view += static_cast<int>(gridDim.x)) {
    const data::CropPlan& plan = launch.plans[view];
    const data::CropParameters& p = plan.parameters;
    const index_t row =
        launch.pairs[view % launch.batch * launch.pair_stride + p.sensor * launch.sensor_stride];
    const std::uint8_t* image = launch.images + row * launch.image_stride;
    const double scale_y = static_cast<double>(p.box.height) / S;
    const double scale_x = static_cast<double>(p.box.width) / S;
    const float hue_shift = data::detail::hue_shift(p.color.hue);

    // Colour. Contrast needs the mean over the whole view as the operations before it left it.
    float luma_sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < pixels; i += threads) {
      data::detail::Rgb rgb = resized_pixel(image, p, launch.width, scale_y, scale_x, i / S, i % S);
      if (launch.normalise_first) {
        rgb = {(rgb.r - launch.first.mean[0]) / launch.first.std[0],
               (rgb.g - launch.first.mean[1]) / launch.first.std[1],
               (rgb.b - launch.first.mean[2]) / launch.first.std[2]};
      }
      if (p.jitter) {
        jitter_until_contrast(p.color, 0, hue_shift, rgb);
        luma_sum += data::detail::luma(rgb);
      } else if (p.gray) {
        rgb.r = rgb.g = rgb.b = data::detail::luma(rgb);
      }
      canvas[3 * i] = rgb.r;
      canvas[3 * i + 1] = rgb.g;
      canvas[3 * i + 2] = rgb.b;
    }
    if (p.jitter) {
      const float mean = static_cast<float>(sum_over_block(luma_sum, partial) / pixels);
      const float factor = p.color.contrast, shift = mean * (1.0f - factor);
      int contrast_at = 0;
      while (p.color.order[static_cast<std::size_t>(contrast_at)] != 1) ++contrast_at;
      for (int i = static_cast<int>(threadIdx.x); i < pixels; i += threads) {
        using data::detail::clamp01;
        data::detail::Rgb rgb{clamp01(canvas[3 * i] * factor + shift),
                              clamp01(canvas[3 * i + 1] * factor + shift),
                              clamp01(canvas[3 * i + 2] * factor + shift)};
        jitter_until_contrast(p.color, contrast_at + 1, hue_shift, rgb);
        if (p.gray) rgb.r = rgb.g = rgb.b = data::detail::luma(rgb);
        canvas[3 * i] = rgb.r;
        canvas[3 * i + 1] = rgb.g;
        canvas[3 * i + 2] = rgb.b;
      }
    }
    __syncthreads();

    if (p.blur) {
      const int radius = min(data::gaussian_radius(p.sigma), launch.max_radius);
      make_gaussian(p.sigma, radius, exact, weights);
      blur_axis<true>(canvas, S, weights, radius);
      blur_axis<false>(canvas, S, weights, radius);
    }

    T* to = out + static_cast<index_t>(view) * 3 * pixels;
    constexpr int N = kPack<T>;
    if (p.rotate) {
      packs ? write_rotated<4>(canvas, S, plan.rotation, launch.normalisation, to)
            : write_rotated<1>(canvas, S, plan.rotation, launch.normalisation, to);
    } else {
      packs ? write_normalised<N>(canvas, 0, 3 * pixels, launch.normalisation, to)
            : write_normalised<1>(canvas, 0, 3 * pixels, launch.normalisation, to);
    }
    __syncthreads();  // the next view overwrites the canvas
  }
}

/// Shared memory that one block may ask for, bytes: CUDA C++ Programming Guide, technical
/// specifications by compute capability.
inline std::size_t shared_memory_per_block(const gpu::DeviceInfo& info) {
  const int version = 10 * info.major + info.minor;
  if (version == 90 || version / 10 == 10 || version / 10 == 11) return 227 << 10;
  if (version == 80 || version == 87) return 163 << 10;
  if (version >= 86) return 99 << 10;
  return 48 << 10;
}

}  // namespace kernels

namespace data {

template <class Place>
void draw_crops(Place on, const CropRule& rule, std::uint64_t seed, Scalar step,
                index_t first_sample, index_t B, int height, int width, CropPlan* plans) {
  const index_t views = rule.count * B;
  kernels::launch(on, "draw_crops", kernels::draw_crops_kernel<Place>,
                  {.grid = static_cast<unsigned>((views + 63) / 64), .block = 64}, rule, seed, step,
                  first_sample, static_cast<int>(B), height, width, plans);
}

/// Queued on on.stream and not waited for. The head of this file has the rest.
/// @throws ShapeError  extents disagree or pass the limits above.
template <Real T>
void crop_group(Gpu on, const CropRule& rule, const Normalisation& normalisation,
                std::uint64_t seed, Scalar step, View<const std::uint8_t, 4> images,
                View<const index_t, 2> pairs, index_t first_sample, View<T, 4> views) {
  detail::check_crop_group(rule, images, pairs, views);
  const index_t B = pairs.dim(0), count = rule.count * B, S = rule.size;
  if (count == 0) return;
  require<ShapeError>(S <= 2048 && count < index_t{1} << 30 &&
                          std::max(images.dim(1), images.dim(2)) < index_t{1} << 30,
                      "crops: want views of at most 2048 pixels a side, got ", S,
                      ", and fewer than 2^30 of them, got ", count);
  const auto drawn = gpu::allocate(on.device, static_cast<std::size_t>(count) * sizeof(CropPlan));
  auto* plans = reinterpret_cast<CropPlan*>(drawn.get());
  draw_crops(on, rule, seed, step, first_sample, B, static_cast<int>(images.dim(1)),
             static_cast<int>(images.dim(2)), plans);

  kernels::CropLaunch launch{.plans = plans,
                             .images = images.data(),
                             .pairs = pairs.data(),
                             .image_stride = images.stride(0),
                             .pair_stride = pairs.stride(0),
                             .sensor_stride = pairs.stride(1),
                             .scratch = nullptr,
                             .views = static_cast<int>(count),
                             .batch = static_cast<int>(B),
                             .size = rule.size,
                             .width = static_cast<int>(images.dim(2)),
                             .max_radius = 0,
                             .normalisation = rule.normalise_first ? Normalisation::none()
                                                                   : normalisation,
                             .normalise_first = rule.normalise_first,
                             .first = normalisation};
  // A drawn sigma lies below the bound; one more pixel than that needs covers its rounding.
  if (rule.blur > 0) {
    launch.max_radius =
        gaussian_radius(rule.blur_sigma.high * static_cast<float>(rule.size) / 224.0f) + 1;
  }
  const auto weights = static_cast<std::size_t>(kernels::canvas_offset(launch.max_radius));
  const std::size_t canvas = static_cast<std::size_t>(S * S) * 3 * sizeof(float);
  const std::size_t fixed = 512;  // static shared memory, rounded up
  const auto& info = gpu::Driver::info(on.device);
  index_t blocks = count;
  std::shared_ptr<std::byte> scratch;
  if (weights + canvas + fixed > kernels::shared_memory_per_block(info)) {
    blocks = std::min<index_t>(count, 2 * info.multiprocessors);
    scratch = gpu::allocate(on.device, static_cast<std::size_t>(blocks) * canvas);
    launch.scratch = reinterpret_cast<float*>(scratch.get());
  }
  constexpr int N = kernels::kPack<T>;
  const bool packs = kernels::packs_fit(views.data(), 3 * S * S) && S * S % N == 0;
  kernels::launch(on, "crop", kernels::crop_kernel<T>,
                  {.grid = static_cast<unsigned>(blocks),
                   .block = S <= 64 ? 256u : 1024u,
                   .shared_bytes = weights + (launch.scratch == nullptr ? canvas : 0)},
                  launch, packs, views.data());
}

}  // namespace data
}  // namespace mwalimu
