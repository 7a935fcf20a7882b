// kernels/tsne_grid: t-SNE's repulsion from one potential on a grid, as embedding/field_grid.
//
// Computes   place:   the map's bounds, and whether the grid serves it.
//            spread:  density[g] += b(y_i - g), cubic B-splines, 4 x 4 nodes a point.
//            rows, columns, rows: transform, times the kernel's spectrum, and back.
//            gather:  S(y_i) and its gradient with the same weights, less the point's own part;
//                     R_i = -1/2 grad S, and the block's share of Z.
//            kernel_rows, kernel_columns, own: what a grid of another shape needs once.
// Shapes     map (n, 2); grid (M, N) nodes; transforms of H > 2 M rows and L > 2 N columns.
// Mapping    place: blocks of 256 points, then one block. spread, gather: a thread a point. rows: a
//            block of 256 two rows of real numbers, as real and imaginary part of one transform;
//            only the M rows that are not zero. columns: a block a column of the half spectrum,
//            forward, product and back without leaving shared memory.
// Moves      bounds, spread, gather: 8 bytes a point; 16 and 8 a block of 256, that place and total
//            read. spread adds to 16 nodes of 8 bytes a point, gather reads 16 of 4, from cache,
//            and writes 8. rows: 8 M N bytes of density read and as many of zeros written. 8 M
//            (L / 2 + 1) of the spectrum, written and read twice, by the rows half a sector at a
//            time; the kernel's 4 (L / 2 + 1) (H / 2 + 1), most of it once more from cache; 4 M N
//            of potential. Twiddles from cache; a transform's first stages write shared memory
//            with strides of its radices, which conflict. Once a grid: kernel_rows writes the
//            kernel's half, 8 bytes a lane, a sector each; kernel_columns reads it twice.
// Roofline   n = 10^6, M = N = 1000, L = H = 2025 on an H200 by its data sheet: 60 MB, 12 us at 4.8
//            TB/s and less from cache; the 1.6 x 10^7 atomics of spread are most of it.
// Resources  nvcc 13.0, sm_90: gather 40 registers, spread 32, rows 32 and 40, columns 32;
//            16 max(L, H) bytes of shared memory for transforms; no spills. kernel_columns has 40
//            bytes of stack, of the double cosine.
// Measured   not yet.
// Numerics   transforms in float. The density is counted in integers of 2^-32, which no order of
//            the atomics changes: the same bits on every run and device. Else as FieldGrid.
// Requires   n < 2^31; max(L, H) <= 14000 (227 KB of shared memory).
// Source     see embedding/field_grid.hpp.
#pragma once

#include "block_fft.cuh"
#include "launch.cuh"
#include "mwalimu/embedding/device_grid.hpp"
#include "numeric.cuh"
#include "reduce.cuh"
#include "tsne_forces.cuh"

namespace mwalimu {
namespace kernels {

inline constexpr int kGridThreads = 256;
inline constexpr int kSpline = embedding::detail::kSplineOrder;
inline constexpr float kDensityUnit = 4294967296.0f;  // 2^32 a point

/// Weights of the four nodes around a point, and their slopes, per unit of the spacing.
struct NodeWeights {
  float value[kSpline], slope[kSpline];
};

/// @param t  position after the second of the four nodes, in [0, 1].
__device__ __forceinline__ NodeWeights node_weights(float t) {
  const float s = 1 - t, tt = t * t, ss = s * s;
  return {{ss * s / 6, (4 - 6 * tt + 3 * tt * t) / 6, (4 - 6 * ss + 3 * ss * s) / 6, tt * t / 6},
          {-ss / 2, (3 * tt - 4 * t) / 2, (4 * s - 3 * ss) / 2, tt / 2}};
}

/// A coordinate's first node of four, and where it lies after the second.
struct NodePlace {
  int node;
  float t;
};
__device__ __forceinline__ NodePlace node_place(float y, double low,
                                                const embedding::DeviceGrid& grid, index_t nodes) {
  const float origin = static_cast<float>(floor(low / grid.spacing) * grid.spacing);
  const float u = (y - origin) * static_cast<float>(1 / grid.spacing);
  // Rounding may lift the largest one node too high, or the smallest below the first.
  const int last = static_cast<int>(nodes) - kSpline;
  int node = static_cast<int>(u);
  node = node < 0 ? 0 : node > last ? last : node;
  return {node, u - static_cast<float>(node)};
}

struct alignas(16) MapBounds {  // moves as one
  float low[2], high[2];
};
struct JoinBounds {
  __device__ __forceinline__ MapBounds operator()(const MapBounds& a, const MapBounds& b) const {
    return {{fminf(a.low[0], b.low[0]), fminf(a.low[1], b.low[1])},
            {fmaxf(a.high[0], b.high[0]), fmaxf(a.high[1], b.high[1])}};
  }
};

/// parts[block] <- the bounds of its points.
template <class Point>
__global__ void __launch_bounds__(kMapThreads)
    tsne_bounds_kernel(const Point* __restrict__ y, index_t n, MapBounds* __restrict__ parts) {
  __shared__ MapBounds scratch[kMapThreads / kWarp];
  const index_t i = static_cast<index_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  const Point point = y[i < n ? i : n - 1];
  MapBounds bounds{{point[0], point[1]}, {point[0], point[1]}};
  bounds = block_reduce<kMapThreads>(bounds, JoinBounds{}, scratch);
  if (threadIdx.x == 0) parts[blockIdx.x] = bounds;
}

/// progress->low, high, waiting <- the map's bounds, and whether the grid does not serve it.
template <class Grid>
__global__ void __launch_bounds__(kMapThreads)
    tsne_place_kernel(const MapBounds* __restrict__ parts, index_t count, Grid grid,
                      embedding::DescentProgress* progress) {
  __shared__ MapBounds scratch[kMapThreads / kWarp];
  MapBounds bounds = parts[0];
  for (index_t i = threadIdx.x; i < count; i += kMapThreads) {
    bounds = JoinBounds{}(bounds, parts[i]);
  }
  bounds = block_reduce<kMapThreads>(bounds, JoinBounds{}, scratch);
  if (threadIdx.x != 0) return;
  for (int c = 0; c < 2; ++c) {
    progress->low[c] = static_cast<double>(bounds.low[c]);
    progress->high[c] = static_cast<double>(bounds.high[c]);
  }
  const auto need = embedding::detail::grid_need(progress->high[0] - progress->low[0],
                                                 progress->high[1] - progress->low[1], grid.widest);
  const bool serves = embedding::detail::grid_serves(grid.spacing, grid.rows, grid.columns, need);
  progress->waiting = serves ? 0 : 1;
}

template <class Grid>
__global__ void __launch_bounds__(kGridThreads)
    tsne_spread_kernel(Grid grid, const Complex* __restrict__ y, index_t n,
                       const embedding::DescentProgress* __restrict__ progress) {
  if (progress->waiting != 0) return;
  const index_t i = static_cast<index_t>(blockIdx.x) * kGridThreads + threadIdx.x;
  if (i >= n) return;
  const Complex point = y[i];
  const NodePlace at_x = node_place(point[0], progress->low[0], grid, grid.rows);
  const NodePlace at_y = node_place(point[1], progress->low[1], grid, grid.columns);
  const NodeWeights wx = node_weights(at_x.t), wy = node_weights(at_y.t);
#pragma unroll
  for (int a = 0; a < kSpline; ++a) {
    long long* row = grid.density + (at_x.node + a) * grid.columns + at_y.node;
#pragma unroll
    for (int b = 0; b < kSpline; ++b) {
      const float weight = wx.value[a] * wy.value[b] * kDensityUnit;
      atomicAdd(reinterpret_cast<unsigned long long*>(row + b),
                static_cast<unsigned long long>(static_cast<long long>(weight)));
    }
  }
}

/// Stores the half spectra of the two real rows 2 b and 2 b + 1 whose transform as one complex row
/// is `line`.
template <class Grid>
__device__ __forceinline__ void store_two_rows(const Grid& grid, const Complex* line,
                                               index_t pair) {
  const int length = grid.across.length;
  const index_t pairs = (grid.rows + 1) / 2;
  auto* to = reinterpret_cast<Pack<float, 4>*>(grid.spectrum) + pair;
  for (int k = static_cast<int>(threadIdx.x); k <= length / 2; k += kGridThreads) {
    const Complex z = line[k], w = line[k == 0 ? 0 : length - k];
    const Pack<float, 4> both{{0.5f * (z[0] + w[0]), 0.5f * (z[1] - w[1]),    // (z + conj w) / 2
                               0.5f * (z[1] + w[1]), 0.5f * (w[0] - z[0])}};  // (z - conj w) / 2i
    to[k * pairs] = both;
  }
}

/// spectrum <- the transforms of the density's rows; density <- 0.
template <class Grid>
__global__ void __launch_bounds__(kGridThreads)
    tsne_rows_forward_kernel(Grid grid, const embedding::DescentProgress* __restrict__ progress) {
  MWALIMU_DYNAMIC_SHARED(Complex, line);
  if (progress->waiting != 0) return;
  const int length = grid.across.length;
  const index_t first = 2 * static_cast<index_t>(blockIdx.x);
  const auto take = [&](index_t row, int c) {
    if (row >= grid.rows || c >= grid.columns) return 0.0f;
    long long& node = grid.density[row * grid.columns + c];
    const float value = static_cast<float>(node) * (1 / kDensityUnit);
    node = 0;
    return value;
  };
  for (int c = static_cast<int>(threadIdx.x); c < length; c += kGridThreads) {
    line[c] = {{take(first, c), take(first + 1, c)}};
  }
  store_two_rows(grid, block_fft<false>(grid.across, line, line + length), blockIdx.x);
}

/// spectrum <- times the kernel's, along the columns.
template <class Grid>
__global__ void __launch_bounds__(kGridThreads)
    tsne_columns_kernel(Grid grid, const embedding::DescentProgress* __restrict__ progress) {
  MWALIMU_DYNAMIC_SHARED(Complex, line);
  if (progress->waiting != 0) return;
  const int length = grid.along.length, thread = static_cast<int>(threadIdx.x);
  const index_t stride = (grid.rows + 1) / 2 * 2, k = blockIdx.x;
  Complex* column = reinterpret_cast<Complex*>(grid.spectrum) + k * stride;
  const float* kernel = grid.kernel + k * (length / 2 + 1);
  for (int r = thread; r < length; r += kGridThreads) {
    line[r] = r < grid.rows ? column[r] : Complex{{0, 0}};
  }
  Complex* at = block_fft<false>(grid.along, line, line + length);
  for (int r = thread; r < length; r += kGridThreads) {
    at[r] = scaled(kernel[r < length - r ? r : length - r], at[r]);
  }
  at = block_fft<true>(grid.along, at, at == line ? line + length : line);
  for (int r = thread; r < grid.rows; r += kGridThreads) column[r] = at[r];
}

/// potential <- the rows of spectrum, transformed back.
template <class Grid>
__global__ void __launch_bounds__(kGridThreads)
    tsne_rows_back_kernel(Grid grid, const embedding::DescentProgress* __restrict__ progress) {
  MWALIMU_DYNAMIC_SHARED(Complex, line);
  if (progress->waiting != 0) return;
  const int length = grid.across.length, thread = static_cast<int>(threadIdx.x);
  const index_t first = 2 * static_cast<index_t>(blockIdx.x), pairs = (grid.rows + 1) / 2;
  const auto* from = reinterpret_cast<const Pack<float, 4>*>(grid.spectrum) + blockIdx.x;
  for (int k = thread; k <= length / 2; k += kGridThreads) {
    const Pack<float, 4> v = from[k * pairs];  // A and B of the rows: their sum is A + i B
    line[k] = {{v[0] - v[3], v[1] + v[2]}};
    if (k > 0 && k < length - k) line[length - k] = {{v[0] + v[3], v[2] - v[1]}};
  }
  const Complex* at = block_fft<true>(grid.across, line, line + length);
  for (int c = thread; c < grid.columns; c += kGridThreads) {
    grid.potential[first * grid.columns + c] = at[c][0];
    if (first + 1 < grid.rows) grid.potential[(first + 1) * grid.columns + c] = at[c][1];
  }
}

/// r <- R; weights[block] <- the block's share of Z.
template <class Grid>
__global__ void __launch_bounds__(kMapThreads)
    tsne_gather_kernel(Grid grid, const Complex* __restrict__ y, index_t n,
                       const embedding::DescentProgress* __restrict__ progress,
                       Complex* __restrict__ r, double* __restrict__ weights) {
  __shared__ double scratch[kMapThreads / kWarp];
  if (progress->waiting != 0) return;
  const index_t i = static_cast<index_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  double weight = 0;
  if (i < n) {
    const Complex point = y[i];
    const NodePlace at_x = node_place(point[0], progress->low[0], grid, grid.rows);
    const NodePlace at_y = node_place(point[1], progress->low[1], grid, grid.columns);
    const NodeWeights wx = node_weights(at_x.t), wy = node_weights(at_y.t);
    float s = 0, sx = 0, sy = 0;
#pragma unroll
    for (int b = 0; b < kSpline; ++b) {
      float along = 0, across = 0;
#pragma unroll
      for (int a = 0; a < kSpline; ++a) {
        const float v = grid.potential[(at_x.node + a) * grid.columns + at_y.node + b];
        along += wx.value[a] * v;
        across += wx.slope[a] * v;
      }
      s += along * wy.value[b];
      sx += across * wy.value[b];
      sy += along * wy.slope[b];
    }
    // The point's own part, by the autocorrelations of its weights; see FieldGrid::self().
    float own = 0, own_x = 0, own_y = 0;
#pragma unroll
    for (int b = 0; b < kSpline; ++b) {
      float cy = 0, dy = 0, row = 0, row_x = 0;
#pragma unroll
      for (int m = 0; m + b < kSpline; ++m) {
        cy += wy.value[m] * wy.value[m + b];
        dy += 0.5f * (wy.slope[m] * wy.value[m + b] + wy.value[m] * wy.slope[m + b]);
      }
#pragma unroll
      for (int a = 0; a < kSpline; ++a) {
        float cx = 0, dx = 0;
#pragma unroll
        for (int m = 0; m + a < kSpline; ++m) {
          cx += wx.value[m] * wx.value[m + a];
          dx += 0.5f * (wx.slope[m] * wx.value[m + a] + wx.value[m] * wx.slope[m + a]);
        }
        const float v = grid.own[a * kSpline + b];
        row += v * cx;
        row_x += v * dx;
      }
      own += row * cy;
      own_x += row_x * cy;
      own_y += row * dy;
    }
    const float scale = -0.5f * static_cast<float>(1 / grid.spacing);
    const Complex force{{(sx - own_x) * scale, (sy - own_y) * scale}};
    r[i] = force;
    weight = static_cast<double>(s - own);
  }
  weight = block_reduce<kMapThreads>(weight, Sum{}, scratch);
  if (threadIdx.x == 0) weights[blockIdx.x] = weight;
}

/// progress->z <- the sum of parts and what the shifted kernel left out. One block.
template <class Grid>
__global__ void __launch_bounds__(kMapThreads)
    tsne_grid_total_kernel(Grid grid, const double* __restrict__ parts, index_t count, index_t n,
                           embedding::DescentProgress* progress) {
  __shared__ double scratch[kMapThreads / kWarp];
  if (progress->waiting != 0) return;
  double sum = 0;
  for (index_t i = threadIdx.x; i < count; i += kMapThreads) sum += parts[i];
  sum = block_reduce<kMapThreads>(sum, Sum{}, scratch);
  const double pairs = static_cast<double>(n) * static_cast<double>(n - 1);
  if (threadIdx.x == 0) progress->z = grid.shifted ? sum + pairs : sum;
}

/// half[k][r] <- the transform along row r of the kernel on the grid, real since it is even;
/// r = 0 ... along.length / 2, in rows of that made even.
template <class Grid>
__global__ void __launch_bounds__(kGridThreads)
    tsne_kernel_rows_kernel(Grid grid, float* __restrict__ half) {
  MWALIMU_DYNAMIC_SHARED(Complex, line);
  const int length = grid.across.length, thread = static_cast<int>(threadIdx.x);
  const int first = 2 * static_cast<int>(blockIdx.x);
  const index_t pairs = gridDim.x;
  const auto kernel = [&](int row, int column) {
    const double x = row * grid.spacing, y = column * grid.spacing, square = x * x + y * y;
    return static_cast<float>((grid.shifted ? -square : 1.0) / (1 + square));
  };
  for (int c = thread; c < length; c += kGridThreads) {
    const int column = c < length - c ? c : length - c;
    line[c] = {{kernel(first, column), kernel(first + 1, column)}};
  }
  const Complex* at = block_fft<false>(grid.across, line, line + length);
  for (int k = thread; k <= length / 2; k += kGridThreads) {
    reinterpret_cast<Complex*>(half)[k * pairs + blockIdx.x] = at[k];
  }
}

/// kernel[k] <- the transform of the columns, over the B-splines' spectrum and the lengths.
template <class Grid>
__global__ void __launch_bounds__(kGridThreads)
    tsne_kernel_columns_kernel(Grid grid, const float* __restrict__ half, index_t stride) {
  MWALIMU_DYNAMIC_SHARED(Complex, line);
  const int length = grid.along.length, thread = static_cast<int>(threadIdx.x);
  const index_t k = blockIdx.x;
  for (int r = thread; r < length; r += kGridThreads) {
    line[r] = {{half[k * stride + (r < length - r ? r : length - r)], 0}};
  }
  const Complex* at = block_fft<false>(grid.along, line, line + length);
  const auto filter = [](double turn) {  // (1, 4, 1) / 6, squared
    const double b = (4 + 2 * cos(6.283185307179586477 * turn)) / 6;
    return b * b;
  };
  const double across = static_cast<double>(grid.across.length), along = length;
  const double scale = 1 / (across * along * filter(static_cast<double>(k) / across));
  for (int r = thread; r <= length / 2; r += kGridThreads) {
    grid.kernel[k * (length / 2 + 1) + r] =
        at[r][0] * static_cast<float>(scale / filter(static_cast<double>(r) / along));
  }
}

/// One point at the first node, into a density of zeros.
template <class Grid>
__global__ void __launch_bounds__(32) tsne_unit_kernel(Grid grid) {
  if (threadIdx.x == 0) grid.density[0] = static_cast<long long>(kDensityUnit);
}

/// own <- the potential of that point, twice where a node stands for both of its sides.
template <class Grid>
__global__ void __launch_bounds__(32) tsne_own_kernel(Grid grid) {
  const int a = static_cast<int>(threadIdx.x) / kSpline,
            b = static_cast<int>(threadIdx.x) % kSpline;
  if (a >= kSpline) return;
  grid.own[a * kSpline + b] =
      grid.potential[a * grid.columns + b] * (a > 0 ? 2.0f : 1.0f) * (b > 0 ? 2.0f : 1.0f);
}

/// Transform, product, transform: density to potential.
inline void convolve_grid(Gpu on, const embedding::DeviceGrid& grid,
                          const embedding::DescentProgress* progress) {
  const auto pairs = static_cast<unsigned>((grid.rows + 1) / 2);
  const auto shared = [](const embedding::FftPlan& plan) {
    return 2 * sizeof(Complex) * static_cast<std::size_t>(plan.length);
  };
  const LaunchConfig rows{
      .grid = pairs, .block = kGridThreads, .shared_bytes = shared(grid.across)};
  launch(on, "tsne_rows_forward", tsne_rows_forward_kernel<embedding::DeviceGrid>, rows, grid,
         progress);
  launch(on, "tsne_columns", tsne_columns_kernel<embedding::DeviceGrid>,
         {.grid = static_cast<unsigned>(grid.across.length / 2 + 1),
          .block = kGridThreads,
          .shared_bytes = shared(grid.along)},
         grid, progress);
  launch(on, "tsne_rows_back", tsne_rows_back_kernel<embedding::DeviceGrid>, rows, grid, progress);
}

}  // namespace kernels

namespace embedding {

template <class Place>
void prepare_grid(Place on, const DeviceGrid& grid) {
  using kernels::launch;
  const Device device = Device::cuda(on.device);
  const index_t half_width = grid.across.length / 2 + 1;
  const index_t pairs = (grid.along.length / 2 + 2) / 2;  // of rows 0 ... length / 2
  auto half = Tensor<float>::empty({half_width, 2 * pairs}, device);
  const auto shared = [](const FftPlan& plan) {
    return 2 * sizeof(kernels::Complex) * static_cast<std::size_t>(plan.length);
  };
  launch(on, "tsne_kernel_rows", kernels::tsne_kernel_rows_kernel<DeviceGrid>,
         {.grid = static_cast<unsigned>(pairs),
          .block = kernels::kGridThreads,
          .shared_bytes = shared(grid.across)},
         grid, half.data());
  launch(on, "tsne_kernel_columns", kernels::tsne_kernel_columns_kernel<DeviceGrid>,
         {.grid = static_cast<unsigned>(half_width),
          .block = kernels::kGridThreads,
          .shared_bytes = shared(grid.along)},
         grid, static_cast<const float*>(half.data()), 2 * pairs);
  auto serving = Tensor<double>::zeros({kDescentProgress}, device);  // waiting == 0
  gpu::Driver::fill_bytes(grid.density, 0,
                          sizeof(long long) * static_cast<std::size_t>(grid.rows * grid.columns),
                          on.stream);
  launch(on, "tsne_unit", kernels::tsne_unit_kernel<DeviceGrid>, {.grid = 1, .block = 32}, grid);
  kernels::convolve_grid(on, grid, reinterpret_cast<const DescentProgress*>(serving.data()));
  launch(on, "tsne_own", kernels::tsne_own_kernel<DeviceGrid>, {.grid = 1, .block = 32}, grid);
}

template <class Place>
void measure_map(Place on, const DeviceGrid& grid, View<const float, 2> y,
                 DescentProgress* progress) {
  const index_t n = y.dim(0);
  const unsigned blocks = kernels::map_blocks(n);
  auto parts = Tensor<float>::empty({blocks, 4}, Device::cuda(on.device));
  auto* bounds = reinterpret_cast<kernels::MapBounds*>(parts.data());
  kernels::launch(on, "tsne_bounds", kernels::tsne_bounds_kernel<kernels::Complex>,
                  {.grid = blocks, .block = kernels::kMapThreads}, kernels::map_points<2>(y), n,
                  bounds);
  kernels::launch(on, "tsne_place", kernels::tsne_place_kernel<DeviceGrid>,
                  {.grid = 1, .block = kernels::kMapThreads}, bounds, index_t{blocks}, grid,
                  progress);
}

template <class Place>
void grid_repulsion(Place on, const DeviceGrid& grid, View<const float, 2> y, View<float, 2> r,
                    DescentProgress* progress) {
  require<ShapeError>(y.dim(1) == 2, "grid_repulsion: want a map of 2 components");
  const index_t n = y.dim(0);
  const unsigned blocks = kernels::map_blocks(n);
  const kernels::Complex* points = kernels::map_points<2>(y);
  measure_map(on, grid, y, progress);
  const kernels::LaunchConfig config{.grid = blocks, .block = kernels::kMapThreads};
  kernels::launch(on, "tsne_spread", kernels::tsne_spread_kernel<DeviceGrid>, config, grid, points,
                  n, progress);
  kernels::convolve_grid(on, grid, progress);
  auto weights = Tensor<double>::empty({blocks}, Device::cuda(on.device));
  kernels::launch(on, "tsne_gather", kernels::tsne_gather_kernel<DeviceGrid>, config, grid, points,
                  n, progress, kernels::map_points<2>(r), weights.data());
  kernels::launch(on, "tsne_grid_total", kernels::tsne_grid_total_kernel<DeviceGrid>,
                  {.grid = 1, .block = kernels::kMapThreads}, grid,
                  static_cast<const double*>(weights.data()), index_t{blocks}, n, progress);
}

}  // namespace embedding
}  // namespace mwalimu
