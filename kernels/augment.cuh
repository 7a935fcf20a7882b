// kernels/augment: the classifier's inputs from bytes: training, evaluation and test-time passes.
//
// Computes   plan_inputs: the parameters of every input, by the host's own functions, and from them
//            the one map that takes an output pixel to the image. augment: bilinear resampling under
//            that map (of areas, where the box is much larger than the input) -> lighting ->
//            (x - mean) / std, as data::apply_augment.
// Shapes     images (N, H, W, C) bytes; inputs (B, S, S, C) of T; C = 3 or 4.
// Mapping    plan_inputs: one thread an input. augment: one thread a pixel of the whole batch, 256
//            a block; the block's 256 C values lie in shared memory on their way out, so that lanes
//            write 16 neighbouring bytes whatever S is.
// Moves      reads each byte of a box about once from DRAM (four taps a pixel come from L1; areas
//            read it once), writes C B S^2 sizeof(T) bytes. A tap is three loads of a byte, or one
//            of four.
// Roofline   B = 128, S = 128 of bfloat16 from 128 x 128 bytes on an H200 by its data sheet: 6.3 MB
//            read, 12.6 MB written: 4 us at 4.8 TB/s.
// Resources  nvcc 13.0, sm_90: augment 48 registers and C KB of shared memory; plan_inputs 64 and a
//            stack frame of 88 bytes (the stream's block of four numbers, indexed); no spills.
// Measured   not yet.
// Numerics   parameters are the host's but for the contrast, whose exp and log1p are a library's (2
//            ulp), and for sine and cosine of the angle. Pixels as on the host to 1e-6; lighting
//            turns an ulp of a pixel near black or white into up to 1e-6 of the range.
// Requires   rows inside `images`, which of four channels are aligned to 4 bytes; fewer than 2^31
//            blocks of 256 pixels.
// Source     fastai.vision.augment (Flip, Rotate, Zoom, Warp, Brightness, Contrast).
#pragma once

#include "launch.cuh"
#include "mwalimu/data/augment.hpp"
#include "numeric.cuh"
#include "pixels.cuh"

namespace mwalimu {
namespace kernels {

/// What the pixels of one input have in common.
struct InputPlan {
  data::CropBox box;
  int shrunk_height, shrunk_width;  ///< the box is first shrunk to this; 0: it is not
  data::Projective map;             ///< output pixels to pixels of the image, or of the shrunk box
  bool affine, lit;
  float bias, contrast;
};

/// One thread an input. `samples` may be null.
template <class Place>
__global__ void __launch_bounds__(64)
    plan_inputs_kernel(data::AugmentOptions options, data::AugmentDraws draws,
                       const index_t* __restrict__ samples, index_t samples_stride, int B,
                       int height, int width, int size, InputPlan* __restrict__ plans) {
  const int r = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (r >= B) return;
  const index_t sample = samples == nullptr ? draws.first_sample + r : samples[r * samples_stride];
  const data::AugmentParameters p =
      data::detail::draw_input(options, draws, static_cast<std::uint64_t>(sample), height, width);
  InputPlan& plan = plans[r];
  plan.box = p.box;
  plan.lit = !(p.brightness == 0.5f && p.contrast == 1.0f);
  plan.bias = data::detail::lighting_bias(p.brightness);
  plan.contrast = p.contrast;
  const data::Projective map = data::augment_map(p);
  const auto shrunk = data::detail::shrunk_extents(p, map, size);
  plan.shrunk_height = shrunk[0];
  plan.shrunk_width = shrunk[1];
  const data::Projective to_source = data::detail::pixel_map(
      shrunk[0] > 0 ? data::CropBox{0, 0, shrunk[0], shrunk[1]} : p.box, map, size, size);
  plan.map = to_source;
  plan.affine = to_source.affine();
}

template <int C>
struct AugmentLaunch {
  const InputPlan* plans;
  const std::uint8_t* images;
  const index_t* rows;
  index_t image_stride, rows_stride, pixels;  ///< pixels of all inputs
  int size, height, width;
  ChannelNormalisation<C> normalisation;
};

/// Pixel (row, column) of the box shrunk by areas, in [0, 1].
template <int C>
__device__ __forceinline__ Pixel<C> area_pixel(const std::uint8_t* __restrict__ image, int width,
                                               const InputPlan& plan, int row, int column) {
  using data::detail::area_first, data::detail::area_last;
  const int y0 = area_first(row, plan.box.height, plan.shrunk_height);
  const int y1 = area_last(row, plan.box.height, plan.shrunk_height);
  const int x0 = area_first(column, plan.box.width, plan.shrunk_width);
  const int x1 = area_last(column, plan.box.width, plan.shrunk_width);
  Pixel<C> sum{};  // whole numbers: exact in any order
  for (int y = y0; y < y1; ++y) {
    const std::uint8_t* p =
        image + C * (static_cast<index_t>(plan.box.top + y) * width + plan.box.left + x0);
    for (int x = x0; x < x1; ++x, p += C) {
      const auto pixel = load_pixel<C>(p);
      sum.each([&](float value, int c) { return value + pixel.values[c]; });
    }
  }
  const float count = static_cast<float>((y1 - y0) * (x1 - x0));
  sum.each([&](float value, int) { return value / count / 255.0f; });
  return sum;
}

template <int C, class T>
__global__ void __launch_bounds__(256)
    augment_kernel(AugmentLaunch<C> launch, bool packs, T* __restrict__ out) {
  alignas(16) __shared__ float canvas[C * 256];
  const index_t first = static_cast<index_t>(blockIdx.x) * 256;
  const index_t i = first + threadIdx.x;
  if (i < launch.pixels) {
    const index_t area = static_cast<index_t>(launch.size) * launch.size;
    const index_t r = i / area;
    const int at = static_cast<int>(i - r * area);
    const InputPlan& plan = launch.plans[r];
    const std::uint8_t* image =
        launch.images + launch.rows[r * launch.rows_stride] * launch.image_stride;
    const bool shrunk = plan.shrunk_height > 0;
    const BilinearSource source = bilinear_source(
        plan.map, plan.affine, at % launch.size, at / launch.size,
        shrunk ? plan.shrunk_height : launch.height, shrunk ? plan.shrunk_width : launch.width);
    Pixel<C> pixel;
    if (shrunk) {
      pixel = source([&](int row, int column) {
        return area_pixel<C>(image, launch.width, plan, row, column);
      });
    } else {
      pixel = source([&](int row, int column) {
        return load_pixel<C>(image + C * (static_cast<index_t>(row) * launch.width + column));
      });
      pixel.each([](float x, int) { return x / 255.0f; });
    }
    if (plan.lit) {
      pixel.each([&](float x, int) { return data::detail::light(x, plan.bias, plan.contrast); });
    }
    store_pixel(canvas + C * threadIdx.x, pixel);
  }
  __syncthreads();
  const index_t left = launch.pixels - first;
  const int count = C * (left < 256 ? static_cast<int>(left) : 256);
  constexpr int N = kPack<T>;
  const int whole = packs ? count / N * N : 0;
  write_normalised<N>(canvas, 0, whole, launch.normalisation, out + C * first);
  write_normalised<1>(canvas, whole, count, launch.normalisation, out + C * first);
}

}  // namespace kernels

namespace data {

/// Queued on on.stream and not waited for. The head of this file has the rest.
/// @throws ShapeError  extents disagree or pass the limits above.
template <Real T>
void augment(Gpu on, const AugmentOptions& options, const AugmentDraws& draws,
             View<const std::uint8_t, 4> images, View<const index_t, 1> rows,
             View<const index_t, 1> samples, View<T, 4> inputs) {
  detail::check_augment(draws, images, rows, samples, inputs);
  kernels::require_whole_pixels("augment", images);
  const index_t B = rows.dim(0), S = inputs.dim(1), blocks = (B * S * S + 255) / 256;
  if (B == 0) return;
  require<ShapeError>(blocks < index_t{1} << 31 && S < index_t{1} << 15 &&
                          images.dim(1) * images.dim(2) < index_t{1} << 31,
                      "augment: too many pixels: ", B, " inputs of ", S, " x ", S);
  const int H = static_cast<int>(images.dim(1)), W = static_cast<int>(images.dim(2));
  const auto planned =
      gpu::allocate(on.device, static_cast<std::size_t>(B) * sizeof(kernels::InputPlan));
  auto* plans = reinterpret_cast<kernels::InputPlan*>(planned.get());
  kernels::launch(on, "plan_inputs", kernels::plan_inputs_kernel<Gpu>,
                  {.grid = static_cast<unsigned>((B + 63) / 64), .block = 64}, options, draws,
                  samples.dim(0) == 0 ? nullptr : samples.data(), samples.stride(0),
                  static_cast<int>(B), H, W, static_cast<int>(S), plans);
  detail::with_channels(images.dim(3), [&](auto C) {
    const kernels::AugmentLaunch<C> launch{.plans = plans,
                                           .images = images.data(),
                                           .rows = rows.data(),
                                           .image_stride = images.stride(0),
                                           .rows_stride = rows.stride(0),
                                           .pixels = B * S * S,
                                           .size = static_cast<int>(S),
                                           .height = H,
                                           .width = W,
                                           .normalisation = options.normalisation};
    // 256 pixels of any type are whole packs: all blocks begin where the first one does.
    kernels::launch(on, "augment", kernels::augment_kernel<C, T>,
                    {.grid = static_cast<unsigned>(blocks), .block = 256}, launch,
                    kernels::packs_fit(inputs.data(), kernels::kPack<T>), inputs.data());
  });
}

}  // namespace data
}  // namespace mwalimu
