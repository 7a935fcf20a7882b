// kernels/pixels: what the kernels of images share: a pixel in registers, where an output pixel
// reads its image, and the way out of a canvas of floats, normalised.
//
// C is the number of channels: 3, or 4 where a pair of sensors is stacked. It is part of a kernel's
// type: strides are constants, and a pixel of four channels is read and written as one.
#pragma once

#include <array>

#include "mwalimu/data/affine.hpp"
#include "mwalimu/data/color.hpp"
#include "numeric.cuh"
#include "simt.cuh"

namespace mwalimu::kernels {

/// R, G, B and, of four, near infra-red.
template <int C>
struct Pixel {
  float values[C];

  __device__ __forceinline__ data::detail::Rgb rgb() const {
    return {values[0], values[1], values[2]};
  }
  /// What an eye sees is replaced.
  __device__ __forceinline__ void set(data::detail::Rgb p) {
    values[0] = p.r;
    values[1] = p.g;
    values[2] = p.b;
  }
  /// x <- f(x, channel) of every channel.
  template <class F>
  __device__ __forceinline__ void each(F&& f) {
#pragma unroll
    for (int c = 0; c < C; ++c) values[c] = f(values[c], c);
  }
};

/// The interleaved pixel at p, which of four channels is aligned as a whole.
template <int C, class T>
__device__ __forceinline__ Pixel<C> load_pixel(const T* p) {
  Pixel<C> pixel;
  if constexpr (C == 4) {
    const auto pack = load_pack<4>(p);
    pixel.each([&](float, int c) { return static_cast<float>(pack[c]); });
  } else {
    pixel.each([&](float, int c) { return static_cast<float>(p[c]); });
  }
  return pixel;
}
template <int C>
__device__ __forceinline__ void store_pixel(float* p, const Pixel<C>& pixel) {
  const auto& x = pixel.values;
  if constexpr (C == 4) {
    store_pack<4>(p, {x[0], x[1], x[2], x[3]});
  } else {
#pragma unroll
    for (int c = 0; c < C; ++c) p[c] = x[c];
  }
}

/// Four neighbouring pixels and the weights between them.
struct BilinearSource {
  int left, right, upper, lower;
  float x, y;  ///< weights of right and lower

  __device__ __forceinline__ float mix(float a, float b, float d, float e) const {
    const float top = a + x * (b - a), bottom = d + x * (e - d);
    return top + y * (bottom - top);
  }
  /// `at(row, column)` is a pixel.
  template <class At>
  __device__ __forceinline__ auto operator()(At&& at) const {
    auto a = at(upper, left);
    const auto b = at(upper, right), d = at(lower, left), e = at(lower, right);
    a.each([&](float x, int c) { return mix(x, b.values[c], d.values[c], e.values[c]); });
    return a;
  }
};

/// What pixel (x, y) of the output reads of an H x W image under the matrix of
/// data::detail::pixel_map, mirrored at the border. The arithmetic is data::sample_projective's.
__device__ __forceinline__ BilinearSource bilinear_source(const data::Projective& map, bool affine,
                                                          int x, int y, int H, int W) {
  float sx = static_cast<float>(map.m[0]) * static_cast<float>(x) +
             static_cast<float>(map.m[1] * y + map.m[2]);
  float sy = static_cast<float>(map.m[3]) * static_cast<float>(x) +
             static_cast<float>(map.m[4] * y + map.m[5]);
  if (!affine) {
    const float w = static_cast<float>(map.m[6]) * static_cast<float>(x) +
                    static_cast<float>(map.m[7] * y + map.m[8]);
    sx /= w;
    sy /= w;
  }
  const float px = W > 1 ? data::detail::reflect_coordinate(sx, static_cast<float>(W - 1)) : 0.0f;
  const float py = H > 1 ? data::detail::reflect_coordinate(sy, static_cast<float>(H - 1)) : 0.0f;
  BilinearSource source;
  source.left = static_cast<int>(px);
  source.upper = static_cast<int>(py);
  source.right = source.left + 1 < W ? source.left + 1 : source.left;
  source.lower = source.upper + 1 < H ? source.upper + 1 : source.upper;
  source.x = px - static_cast<float>(source.left);
  source.y = py - static_cast<float>(source.upper);
  return source;
}

/// What a kernel takes of a data::Normalisation: the numbers of its channels. (Two more floats in a
/// launch's parameters made the crop kernel of three channels spill registers.)
template <int C>
struct ChannelNormalisation {
  std::array<float, C> mean, std;

  ChannelNormalisation(const data::Normalisation& n) {
    for (int c = 0; c < C; ++c) {
      mean[static_cast<std::size_t>(c)] = n.mean_of(c);
      std[static_cast<std::size_t>(c)] = n.std_of(c);
    }
  }
};

/// Channel `channel` of a finished pixel.
template <class T, int C>
__device__ __forceinline__ T normalised(float x, int channel, const ChannelNormalisation<C>& n) {
  const auto of_channel = [&](const std::array<float, C>& numbers) {
    if (C == 4 && channel == 3) return numbers[C - 1];
    return channel == 0 ? numbers[0] : channel == 1 ? numbers[1] : numbers[2];
  };
  return narrow<T>((x - of_channel(n.mean)) / of_channel(n.std));
}

/// N values at index i N of the canvas. Eight of them are two reads of 16 bytes, and every second
/// four lanes do the later one first: eight lanes then touch all 32 banks.
template <int N>
__device__ __forceinline__ void load_values(const float* canvas, int i, float (&values)[N]) {
  if constexpr (N == 8) {
    const bool swapped = i / 4 % 2 != 0;
    const auto a = load_pack<4>(canvas + i * 8 + (swapped ? 4 : 0));
    const auto b = load_pack<4>(canvas + i * 8 + (swapped ? 0 : 4));
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      values[j] = swapped ? b[j] : a[j];
      values[4 + j] = swapped ? a[j] : b[j];
    }
  } else {
    const auto a = load_pack<N>(canvas + i * N);
#pragma unroll
    for (int j = 0; j < N; ++j) values[j] = a[j];
  }
}

/// The interleaved values [begin, end) of a canvas, whose first is red, to the same places of
/// `out`, N at a time; by the whole block. Both ends are multiples of N, the canvas is aligned to
/// 16 bytes, `out` to a pack.
template <int N, class T, int C>
__device__ __forceinline__ void write_normalised(const float* canvas, int begin, int end,
                                                 const ChannelNormalisation<C>& normalisation,
                                                 T* out) {
  for (int i = begin / N + static_cast<int>(threadIdx.x); i < end / N;
       i += static_cast<int>(blockDim.x)) {
    float values[N];
    load_values<N>(canvas, i, values);
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      pack[j] = normalised<T>(values[j], (i * N + j) % C, normalisation);
    }
    store_pack<N>(out + i * N, pack);
  }
}

/// @throws ShapeError  a pixel of four bytes cannot be read as one.
inline void require_whole_pixels(const char* where, const View<const std::uint8_t, 4>& images) {
  require<ShapeError>(images.dim(3) != 4 ||
                          (reinterpret_cast<std::uintptr_t>(images.data()) % 4 == 0 &&
                           images.stride(0) % 4 == 0),
                      where, ": want images of four channels aligned to 4 bytes");
}

}  // namespace mwalimu::kernels
