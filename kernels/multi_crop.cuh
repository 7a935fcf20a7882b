// kernels/multi_crop: SwAV's crops from bytes, drawn and made on the device.
//
// Computes   draw_crops: the parameters of every view of a group, by data::draw_crop itself.
//            crop: box -> bilinear resize with flip -> jitter -> gray -> blur -> rotation ->
//            (x - mean) / std, as data::apply_crop.
// Shapes     images (N, H, W, C) bytes; views (count B, S, S, C) of T, view-major; C = 3 or 4. In
//            between pixels are floats, interleaved, on a canvas of S x S x C.
// Mapping    draw_crops: one thread a view. crop: one block a view, 1024 threads (256 for S <= 64).
//            The canvas lies in shared memory where it fits (with 227 KB S <= 138, or 120 of four
//            channels), else in scratch that few blocks share, each making one view after another.
//            Thread t makes pixels t, t + blockDim, ...; a contrast step needs the mean luma first
//            (and near infra-red's own mean) and costs a reduction over the block. The blur is in
//            place: a chunk of whole rows (then of whole columns) is read into registers, 2 C
//            values a thread, and written after a barrier.
// Moves      reads the box's bytes once from DRAM (four taps a pixel come from L1; a tap is three
//            loads of a byte, or one of four), writes C S^2 sizeof(T) bytes a view, 16 bytes a lane
//            where S^2 allows.
// Roofline   B = 256, 2x128 and 6x96 of bfloat16 from 128 x 128 bytes on an H200 by its data sheet:
//            25 MB read, 135 MB written: 33 us at 4.8 TB/s; a third more of four channels. The
//            kernel issues more instructions than that hides; it is to be measured.
// Resources  nvcc 13.0, sm_90: crop 62 registers (of float 64, the most that 1024 threads may
//            have); draw_crops 78 and a stack frame of 112 bytes (the stream's block of four
//            numbers, indexed); no spills. Shared: 4 C S^2 bytes and the blur's weights; one block
//            an SM.
// Measured   not yet.
// Numerics   parameters are the host's: Philox and its scalings are exact; boxes round doubles whose
//            last bit may differ between exp() of two libraries, which moves a box once in 10^12.
//            Pixels as on the host up to the order of the luma's sum and fused products: 1e-6.
// Requires   1 <= S <= 2048; rows of `pairs` inside `images`, which of four channels are aligned to
//            4 bytes; fewer than 2^31 views.
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
template <int C>
struct CropLaunch {
  const data::CropPlan* plans;
  const std::uint8_t* images;
  const index_t* pairs;
  index_t image_stride, pair_stride, sensor_stride;
  float* scratch;  ///< a canvas a block, or null: the canvas is shared memory
  int views, batch, size, width;
  int max_radius;  ///< of the blur
  ChannelNormalisation<C> normalisation;  ///< of what is written
  bool normalise_first;
  ChannelNormalisation<C> first;  ///< where normalise_first: of what is resized
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

/// The operations of the jitter from position `first` on, up to and without contrast. Saturation
/// and hue are of what an eye sees.
template <int C>
__device__ __forceinline__ void jitter_until_contrast(const data::ColorJitter& jitter, int first,
                                                      float hue_shift, Pixel<C>& p) {
  using namespace data::detail;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < first) continue;
    switch (jitter.order[static_cast<std::size_t>(i)]) {
      case 0:
        p.each([&](float x, int) { return clamp01(x * jitter.brightness); });
        break;
      case 1:
        return;
      case 2:
        p.set(saturate(p.rgb(), jitter.saturation));
        break;
      default:
        p.set(turn_hue(p.rgb(), hue_shift));
        break;
    }
  }
}

/// R, G and B become the luma.
template <int C>
__device__ __forceinline__ void make_gray(Pixel<C>& p) {
  const float luma = data::detail::luma(p.rgb());
  p.set({luma, luma, luma});
}

/// Bilinear taps of one output pixel in the image's bytes, in [0, 1].
template <int C>
__device__ __forceinline__ Pixel<C> resized_pixel(const std::uint8_t* __restrict__ image,
                                                  const data::CropParameters& p, int width,
                                                  double scale_y, double scale_x, int y, int x) {
  using data::detail::bilinear_tap;
  const auto rows = bilinear_tap(y, scale_y, p.box.height);
  const auto columns = bilinear_tap(p.flip ? p.size - 1 - x : x, scale_x, p.box.width);
  const index_t upper = static_cast<index_t>(p.box.top + rows.first) * width + p.box.left;
  const index_t lower = static_cast<index_t>(p.box.top + rows.second) * width + p.box.left;
  auto a = load_pixel<C>(image + C * (upper + columns.first));
  const auto z = load_pixel<C>(image + C * (upper + columns.second));
  const auto d = load_pixel<C>(image + C * (lower + columns.first));
  const auto e = load_pixel<C>(image + C * (lower + columns.second));
  a.each([&](float x, int c) {
    const float top = x + columns.weight * (z.values[c] - x);
    const float bottom = d.values[c] + columns.weight * (e.values[c] - d.values[c]);
    return (top + rows.weight * (bottom - top)) / 255.0f;
  });
  return a;
}

/// Values a thread holds while a chunk of the canvas is blurred in place.
template <int C>
inline constexpr int kBlurValues = 2 * C;

/// Convolves along one axis of the S x S x C canvas, in place. A line is S values, `tap` apart; the
/// chunk's lines lie side by side: value i of a chunk is at position i / lines of line i % lines
/// where lines are columns, and the other way round where they are rows.
template <int C, bool kRows>
__device__ __forceinline__ void blur_axis(float* canvas, int S, const float* weights, int radius) {
  const int threads = static_cast<int>(blockDim.x);
  const int across = kRows ? S : C * S;           // lines: rows of pixels, or columns of values
  const int length = kRows ? C * S : S;           // values that a line adds to a chunk
  int lines = kBlurValues<C> * threads / length;  // at least 1: S <= 2 threads
  if (!kRows && lines >= 32) lines = lines / 32 * 32;
  for (int first = 0; first < across; first += lines) {
    const int now = min(lines, across - first), count = now * length;
    float values[kBlurValues<C>];
#pragma unroll
    for (int v = 0; v < kBlurValues<C>; ++v) {
      const int i = static_cast<int>(threadIdx.x) + v * threads;
      if (i >= count) continue;
      const int line = first + (kRows ? i / length : i % now), at = kRows ? i % length : i / now;
      // The value's position along the line, in pixels, and where position 0 lies.
      const int position = kRows ? at / C : at;
      const float* base = canvas + (kRows ? line * length + at % C : line);
      const int tap = kRows ? C : C * S;
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
    for (int v = 0; v < kBlurValues<C>; ++v) {
      const int i = static_cast<int>(threadIdx.x) + v * threads;
      if (i >= count) continue;
      canvas[kRows ? first * length + i : i / now * C * S + first + i % now] = values[v];
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

/// The canvas rotated about its centre: N pixels a thread, which are C packs (of 16 bytes in
/// float, of 8 in 16 bits, where eight pixels would not fit the registers).
template <int N, class T, int C>
__device__ __forceinline__ void write_rotated(const float* canvas, int S,
                                              const data::Projective& map,
                                              const ChannelNormalisation<C>& normalisation,
                                              T* out) {
  const int groups = S * S / N;
  for (int i = static_cast<int>(threadIdx.x); i < groups; i += static_cast<int>(blockDim.x)) {
    Pack<T, N> packs[C];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int pixel = i * N + j;
      const BilinearSource source = bilinear_source(map, true, pixel % S, pixel / S, S, S);
      const Pixel<C> x = source(
          [&](int row, int column) { return load_pixel<C>(canvas + (row * S + column) * C); });
#pragma unroll
      for (int c = 0; c < C; ++c) {
        packs[(C * j + c) / N][(C * j + c) % N] = normalised<T>(x.values[c], c, normalisation);
      }
    }
#pragma unroll
    for (int k = 0; k < C; ++k)
      store_pack<N>(out + (static_cast<index_t>(i) * C + k) * N, packs[k]);
  }
}

/// Bytes in front of the canvas in shared memory: the blur's weights, rounded up to 16.
MWALIMU_HOST_DEVICE constexpr int canvas_offset(int max_radius) {
  return (12 * (max_radius + 1) + 15) / 16 * 16;
}

template <int C, class T>
__global__ void __launch_bounds__(1024)
    crop_kernel(CropLaunch<C> launch, bool packs, T* __restrict__ out) {
  MWALIMU_DYNAMIC_SHARED(double, exact);  // max_radius + 1 doubles, as many floats, the canvas
  __shared__ double partial[C - 2][32];  // of the luma, and of near infra-red
  float* weights = reinterpret_cast<float*>(exact + launch.max_radius + 1);
  const int S = launch.size, pixels = S * S, threads = static_cast<int>(blockDim.x);
  float* canvas = launch.scratch != nullptr
                      ? launch.scratch + static_cast<index_t>(blockIdx.x) * C * pixels
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
    float luma_sum = 0, infrared_sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < pixels; i += threads) {
      auto pixel = resized_pixel<C>(image, p, launch.width, scale_y, scale_x, i / S, i % S);
      if (launch.normalise_first) {
        pixel.each([&](float x, int c) {
          return (x - launch.first.mean[static_cast<std::size_t>(c)]) /
                 launch.first.std[static_cast<std::size_t>(c)];
        });
      }
      if (p.jitter) {
        jitter_until_contrast(p.color, 0, hue_shift, pixel);
        luma_sum += data::detail::luma(pixel.rgb());
        if (C == 4) infrared_sum += pixel.values[C - 1];
      } else if (p.gray) {
        make_gray(pixel);
      }
      store_pixel(canvas + C * i, pixel);
    }
    if (p.jitter) {
      const float factor = p.color.contrast;
      const auto shift_of = [&](float sum, double* scratch) {
        return static_cast<float>(sum_over_block(sum, scratch) / pixels) * (1.0f - factor);
      };
      const float shift = shift_of(luma_sum, partial[0]);
      const float infrared_shift = C == 4 ? shift_of(infrared_sum, partial[C - 3]) : 0;
      int contrast_at = 0;
      while (p.color.order[static_cast<std::size_t>(contrast_at)] != 1) ++contrast_at;
      for (int i = static_cast<int>(threadIdx.x); i < pixels; i += threads) {
        auto pixel = load_pixel<C>(canvas + C * i);
        pixel.each([&](float x, int c) {
          return data::detail::clamp01(x * factor + (c == 3 ? infrared_shift : shift));
        });
        jitter_until_contrast(p.color, contrast_at + 1, hue_shift, pixel);
        if (p.gray) make_gray(pixel);
        store_pixel(canvas + C * i, pixel);
      }
    }
    __syncthreads();

    if (p.blur) {
      const int radius = min(data::gaussian_radius(p.sigma), launch.max_radius);
      make_gaussian(p.sigma, radius, exact, weights);
      blur_axis<C, true>(canvas, S, weights, radius);
      blur_axis<C, false>(canvas, S, weights, radius);
    }

    T* to = out + static_cast<index_t>(view) * C * pixels;
    constexpr int N = kPack<T>;
    if (p.rotate) {
      packs ? write_rotated<4>(canvas, S, plan.rotation, launch.normalisation, to)
            : write_rotated<1>(canvas, S, plan.rotation, launch.normalisation, to);
    } else {
      packs ? write_normalised<N>(canvas, 0, C * pixels, launch.normalisation, to)
            : write_normalised<1>(canvas, 0, C * pixels, launch.normalisation, to);
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
  kernels::require_whole_pixels("crops", images);
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

  // A drawn sigma lies below the bound; one more pixel than that needs covers its rounding.
  const int max_radius =
      rule.blur > 0
          ? gaussian_radius(rule.blur_sigma.high * static_cast<float>(rule.size) / 224.0f) + 1
          : 0;
  const auto weights = static_cast<std::size_t>(kernels::canvas_offset(max_radius));
  const std::size_t canvas = static_cast<std::size_t>(views.stride(0)) * sizeof(float);
  const std::size_t fixed = 512;  // static shared memory, at most
  const auto& info = gpu::Driver::info(on.device);
  index_t blocks = count;
  std::shared_ptr<std::byte> scratch;
  if (weights + canvas + fixed > kernels::shared_memory_per_block(info)) {
    blocks = std::min<index_t>(count, 2 * info.multiprocessors);
    scratch = gpu::allocate(on.device, static_cast<std::size_t>(blocks) * canvas);
  }
  constexpr int N = kernels::kPack<T>;
  const bool packs = kernels::packs_fit(views.data(), views.stride(0)) && S * S % N == 0;
  detail::with_channels(images.dim(3), [&](auto C) {
    const kernels::CropLaunch<C> launch{
        .plans = plans,
        .images = images.data(),
        .pairs = pairs.data(),
        .image_stride = images.stride(0),
        .pair_stride = pairs.stride(0),
        .sensor_stride = pairs.stride(1),
        .scratch = reinterpret_cast<float*>(scratch.get()),
        .views = static_cast<int>(count),
        .batch = static_cast<int>(B),
        .size = rule.size,
        .width = static_cast<int>(images.dim(2)),
        .max_radius = max_radius,
        .normalisation = rule.normalise_first ? Normalisation::none() : normalisation,
        .normalise_first = rule.normalise_first,
        .first = normalisation};
    kernels::launch(on, "crop", kernels::crop_kernel<C, T>,
                    {.grid = static_cast<unsigned>(blocks),
                     .block = S <= 64 ? 256u : 1024u,
                     .shared_bytes = weights + (scratch ? 0 : canvas)},
                    launch, packs, views.data());
  });
}

}  // namespace data
}  // namespace mwalimu
