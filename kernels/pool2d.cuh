// kernels/pool2d: how threads cover the pixels of (N, H, W, C), and pooling windows in 32 bits.
//
// A thread holds N neighbouring channels of one pixel. blockIdx.y is a row of pixels (a sample and a
// height), so the divisions that find it are the same for the whole block; along the row threads go
// over pixels and channels, channels first: a warp moves 512 neighbouring bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "launch.cuh"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/pool2d.hpp"
#include "numeric.cuh"

namespace mwalimu::kernels {

/// Windows along one side: ops::detail::PoolAxis in 32 bits, since each thread divides by the stride.
struct PoolSide {
  int extent, kernel, stride, padding, count;

  explicit PoolSide(const ops::detail::PoolAxis& axis)
      : extent(static_cast<int>(axis.extent)),
        kernel(static_cast<int>(axis.kernel)),
        stride(static_cast<int>(axis.stride)),
        padding(static_cast<int>(axis.padding)),
        count(static_cast<int>(axis.count)) {
    constexpr index_t kMost = index_t{1} << 30;  // sums of two stay in 32 bits
    require<ShapeError>(axis.extent < kMost && axis.stride < kMost, "pool: an extent of ",
                        axis.extent, " or a stride of ", axis.stride, " is too large");
  }
  __device__ __forceinline__ int start(int o) const { return o * stride - padding; }
  __device__ __forceinline__ int begin(int o) const { return max(0, start(o)); }
  __device__ __forceinline__ int end(int o) const { return min(extent, start(o) + kernel); }
  __device__ __forceinline__ int padded_length(int o) const {
    return min(extent + padding, start(o) + kernel) - start(o);
  }
  __device__ __forceinline__ int first(int i) const {
    return i + padding < kernel ? 0 : (i + padding - kernel) / stride + 1;
  }
  __device__ __forceinline__ int last(int i) const {
    return min(count, (i + padding) / stride + 1);
  }
};

/// Pixels (rows, width) of C channels each, `packs` threads a pixel.
struct PixelGrid {
  index_t rows;
  int height, width, packs;
  index_t C;

  PixelGrid(index_t samples, index_t height_, index_t width_, index_t C_, int N)
      : rows(samples * height_), height(static_cast<int>(height_)),
        width(static_cast<int>(width_)), packs(static_cast<int>(C_ / N)), C(C_) {
    require<ShapeError>(width_ * C_ < index_t{1} << 30, "pool: rows of ", width_, " pixels with ",
                        C_, " channels are too long");
  }
  LaunchConfig launch() const {
    const unsigned across = static_cast<unsigned>(width) * static_cast<unsigned>(packs);
    const unsigned threads = std::min(256u, (across + 31) / 32 * 32);
    return {.grid = dim3((across + threads - 1) / threads,
                         static_cast<unsigned>(std::min<index_t>(rows, 65535))),
            .block = dim3(threads)};
  }
  /// body(n, h, w, pixel, pack) for the pixels of this thread; `pixel` counts all of them.
  template <class Body>
  __device__ __forceinline__ void for_each(Body&& body) const {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const int w = i / packs, pack = i - w * packs;
    if (w >= width) return;
    for (index_t row = blockIdx.y; row < rows; row += gridDim.y) {
      const index_t n = row / height;
      body(n, static_cast<int>(row - n * height), w, row * width + w, pack);
    }
  }
};

/// Whether packs of T, and as many bytes, fit all rows of C channels.
template <class T>
bool pixels_in_packs(index_t C, const T* a, const T* b, const std::uint8_t* bytes = nullptr) {
  return packs_fit(a, C) && packs_fit(b, C) &&
         reinterpret_cast<std::uintptr_t>(bytes) % kPack<T> == 0;
}

}  // namespace mwalimu::kernels
