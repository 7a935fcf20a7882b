// kernels/tsne_forces: one iteration of t-SNE by exact sums, and what its objective needs.
//
// Computes   attraction: A_i = sum_j p_ij w_ij (y_i - y_j), w_ij = 1 / (1 + |y_i - y_j|^2).
//            repulsion:  R_i = sum_j w_ij^2 (y_i - y_j), Z = sum_{i != j} w_ij.
//            stretch:    sum_ij p_ij ln(1 + |y_i - y_j|^2).
//            step:       F = e A - R / Z; gains, momentum, limit, y <- y + u; finish: its sums;
//                        centre: y <- y - mean.
// Shapes     maps (n, S), S = 1, 2, 4 floats for 1, 2, 3 dimensions; P in compressed rows.
// Mapping    attraction, stretch: a warp a row of P, lanes along its edges. repulsion: a block of
//            128 has 128 points in registers and goes over tiles of 128 points in shared memory;
//            where points are few, several blocks share out the tiles, and their sums are added in
//            the order of the tiles. step: a thread a point. finish and the sums of Z: one block.
// Moves      attraction, stretch: 8 bytes an edge, and a point of 4 S bytes, from cache; a row's
//            16 bytes of bounds, its point, and its result of 4 S bytes or a double. repulsion:
//            n^2 / 128 points through shared memory, and a slice n points in, (D + 1) n doubles
//            out, which gather_slices reads to write n points and a double a block of 256. total:
//            its doubles once. step: 32 S bytes a point and D + 1 doubles a block, that finish
//            reads; centre: 8 S.
// Roofline   n = 10^4, k = 90, D = 2 on an H200 by its data sheet: repulsion 10^8 pairs at about 12
//            instructions, 132 x 128 lanes at 1.8 GHz: 40 us; attraction 1.2 x 10^6 edges, 10 MB of
//            P from cache: 3 us. The six launches are replayed as one graph.
// Resources  nvcc 13.0, sm_90, D = 2: attraction 32 registers, repulsion 32 and 1 KB shared, step
//            48; D = 3: 40, 40 and 2 KB, 55; no spills.
// Measured   not yet.
// Numerics   a pair in float; sums in float over a lane's edges or a tile of 128 points, in double
//            beyond. The point's own pair is left out, not subtracted: of far-apart points the rest
//            is far below the 1 that it would add. Every sum has an order that depends on n alone:
//            the same bits on every run and device.
// Requires   n < 2^31; maps aligned to their points.
// Source     van der Maaten and Hinton 2008, eq. (5); tiles of interacting particles: Nyland,
//            Harris and Prins 2007 (GPU Gems 3, chapter 31).
#pragma once

#include "launch.cuh"
#include "mwalimu/embedding/device_forces.hpp"
#include "numeric.cuh"
#include "reduce.cuh"

namespace mwalimu {
namespace kernels {

/// A point of a map of D dimensions.
template <int D>
using MapPoint = Pack<float, static_cast<int>(embedding::point_stride(D))>;

inline constexpr int kMapTile = 128;     // points in registers, and in shared memory
inline constexpr int kMapThreads = 256;  // of the kernels that go over points or edges once

/// difference <- a - b; returns its square.
template <int D>
__device__ __forceinline__ float square_difference(MapPoint<D> a, MapPoint<D> b,
                                                   float (&difference)[D]) {
  float sum = 0;
#pragma unroll
  for (int c = 0; c < D; ++c) {
    difference[c] = a[c] - b[c];
    sum += difference[c] * difference[c];
  }
  return sum;
}

template <int D>
__device__ __forceinline__ MapPoint<D> map_point(const float (&value)[D]) {
  MapPoint<D> point{};
#pragma unroll
  for (int c = 0; c < D; ++c) point[c] = value[c];
  return point;
}

template <int D>
__global__ void __launch_bounds__(kMapThreads)
    tsne_attraction_kernel(embedding::DeviceEdges p, const MapPoint<D>* __restrict__ y,
                           MapPoint<D>* __restrict__ a) {
  constexpr int kWarps = kMapThreads / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const index_t step = static_cast<index_t>(gridDim.x) * kWarps;
  for (index_t i = static_cast<index_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp; i < p.n;
       i += step) {
    const MapPoint<D> here = y[i];
    const index_t end = p.row_begin[i + 1];
    float force[D] = {};
    for (index_t e = p.row_begin[i] + lane; e < end; e += kWarp) {
      float difference[D];
      const float square = square_difference<D>(here, y[p.column[e]], difference);
      const float weight = __fdividef(p.value[e], 1.0f + square);
#pragma unroll
      for (int c = 0; c < D; ++c) force[c] += weight * difference[c];
    }
#pragma unroll
    for (int c = 0; c < D; ++c) force[c] = warp_reduce(force[c], Sum{});
    if (lane == 0) a[i] = map_point(force);
  }
}

/// parts[slice][c][i] <- the sums of point i over the tiles of the slice: D components of R, then
/// of the weights.
template <int D>
__global__ void __launch_bounds__(kMapTile)
    tsne_repulsion_kernel(const MapPoint<D>* __restrict__ y, index_t n, index_t tiles_a_slice,
                          double* __restrict__ parts) {
  __shared__ MapPoint<D> tile[kMapTile];
  const int thread = static_cast<int>(threadIdx.x);
  const index_t own = blockIdx.x, i = own * kMapTile + thread;
  const index_t tiles = (n + kMapTile - 1) / kMapTile;
  const index_t first = blockIdx.y * tiles_a_slice;
  const index_t last = first + tiles_a_slice < tiles ? first + tiles_a_slice : tiles;
  const MapPoint<D> here = y[i < n ? i : n - 1];
  double total[D + 1] = {};
  for (index_t t = first; t < last; ++t) {
    const index_t begin = t * kMapTile;
    const int count = n - begin < kMapTile ? static_cast<int>(n - begin) : kMapTile;
    if (t > first) __syncthreads();  // the last tile has been read
    if (thread < count) tile[thread] = y[begin + thread];
    __syncthreads();
    float weights = 0, force[D] = {};
    const auto add = [&](int k) {
      float difference[D];
      const float w = __fdividef(1.0f, 1.0f + square_difference<D>(here, tile[k], difference));
      weights += w;
#pragma unroll
      for (int c = 0; c < D; ++c) force[c] += w * w * difference[c];
    };
    if (t == own) {
      for (int k = 0; k < count; ++k) {
        if (k != thread) add(k);
      }
    } else {
#pragma unroll 8
      for (int k = 0; k < count; ++k) add(k);
    }
#pragma unroll
    for (int c = 0; c < D; ++c) total[c] += static_cast<double>(force[c]);
    total[D] += static_cast<double>(weights);
  }
  if (i >= n) return;
  double* to = parts + static_cast<index_t>(blockIdx.y) * (D + 1) * n + i;
#pragma unroll
  for (int c = 0; c <= D; ++c) to[c * n] = total[c];
}

/// r <- the sums over the slices; weights[block] <- the block's share of Z.
template <int D>
__global__ void __launch_bounds__(kMapThreads)
    tsne_gather_slices_kernel(const double* __restrict__ parts, index_t n, index_t slices,
                              MapPoint<D>* __restrict__ r, double* __restrict__ weights) {
  __shared__ double scratch[kMapThreads / kWarp];
  const index_t i = static_cast<index_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  double total[D + 1] = {};
  if (i < n) {
    for (index_t s = 0; s < slices; ++s) {
#pragma unroll
      for (int c = 0; c <= D; ++c) total[c] += parts[(s * (D + 1) + c) * n + i];
    }
    float force[D];
#pragma unroll
    for (int c = 0; c < D; ++c) force[c] = static_cast<float>(total[c]);
    r[i] = map_point(force);
  }
  const double sum = block_reduce<kMapThreads>(total[D], Sum{}, scratch);
  if (threadIdx.x == 0) weights[blockIdx.x] = sum;
}

/// *to <- sum of parts. One block.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
    tsne_total_kernel(const T* __restrict__ parts, index_t count, T* __restrict__ to) {
  __shared__ T scratch[kMapThreads / kWarp];
  T sum = 0;
  for (index_t i = threadIdx.x; i < count; i += kMapThreads) sum += parts[i];
  sum = block_reduce<kMapThreads>(sum, Sum{}, scratch);
  if (threadIdx.x == 0) *to = sum;
}

/// row[i] <- sum_j p_ij ln(1 + |y_i - y_j|^2).
template <int D>
__global__ void __launch_bounds__(kMapThreads)
    tsne_stretch_kernel(embedding::DeviceEdges p, const MapPoint<D>* __restrict__ y,
                        double* __restrict__ row) {
  constexpr int kWarps = kMapThreads / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const index_t step = static_cast<index_t>(gridDim.x) * kWarps;
  for (index_t i = static_cast<index_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp; i < p.n;
       i += step) {
    const MapPoint<D> here = y[i];
    const index_t end = p.row_begin[i + 1];
    double sum = 0;
    for (index_t e = p.row_begin[i] + lane; e < end; e += kWarp) {
      float difference[D];
      const float square = square_difference<D>(here, y[p.column[e]], difference);
      sum += static_cast<double>(p.value[e] * log1pf(square));
    }
    sum = warp_reduce(sum, Sum{});
    if (lane == 0) row[i] = sum;
  }
}

/// What the blocks of a step add up. Trivial, so that it may lie in shared memory.
template <int D>
struct StepSums {
  double force_square, next[D];
};
template <int D>
struct AddStepSums {
  __device__ __forceinline__ StepSums<D> operator()(StepSums<D> a, const StepSums<D>& b) const {
    a.force_square += b.force_square;
#pragma unroll
    for (int c = 0; c < D; ++c) a.next[c] += b.next[c];
    return a;
  }
};

template <int D>
__global__ void __launch_bounds__(kMapThreads)
    tsne_step_kernel(embedding::DescentSchedule schedule, index_t n,
                     const MapPoint<D>* __restrict__ a, const MapPoint<D>* __restrict__ r,
                     const MapPoint<D>* __restrict__ y, MapPoint<D>* __restrict__ update,
                     MapPoint<D>* __restrict__ gain, MapPoint<D>* __restrict__ next,
                     const embedding::DescentProgress* __restrict__ progress,
                     StepSums<D>* __restrict__ parts) {
  __shared__ StepSums<D> scratch[kMapThreads / kWarp];
  if (progress->failed != 0 || progress->waiting != 0) return;
  const double done = progress->iteration;
  embedding::DescentSchedule::Phase phase = schedule.phase[2];
  if (done < schedule.phase[1].end) phase = schedule.phase[1];
  if (done < schedule.phase[0].end) phase = schedule.phase[0];
  const double z = progress->z;
  const index_t i = static_cast<index_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  StepSums<D> sums{};
  if (i < n) {
    const MapPoint<D> pull = a[i], push = r[i], here = y[i];
    MapPoint<D> u = update[i], g = gain[i], there{};
    double step_square = 0;
#pragma unroll
    for (int c = 0; c < D; ++c) {
      const float force =
          phase.exaggeration * pull[c] - static_cast<float>(static_cast<double>(push[c]) / z);
      const bool same = ((u[c] > 0) - (u[c] < 0)) == ((force > 0) - (force < 0));
      g[c] = fmaxf(same ? g[c] * 0.8f : g[c] + 0.2f, 0.01f);
      u[c] = phase.momentum * u[c] - phase.rate * g[c] * force;
      sums.force_square += static_cast<double>(force) * static_cast<double>(force);
      step_square += static_cast<double>(u[c]) * static_cast<double>(u[c]);
    }
    const double length = sqrt(step_square);
    const float scale =
        length > schedule.max_step ? static_cast<float>(schedule.max_step / length) : 1.0f;
#pragma unroll
    for (int c = 0; c < D; ++c) {
      u[c] *= scale;
      there[c] = here[c] + u[c];
      sums.next[c] = static_cast<double>(there[c]);
    }
    update[i] = u;
    gain[i] = g;
    next[i] = there;
  }
  sums = block_reduce<kMapThreads>(sums, AddStepSums<D>{}, scratch);
  if (threadIdx.x == 0) parts[blockIdx.x] = sums;
}

/// progress <- the step's sums; the step counts as done if all of them are finite. One block.
template <int D>
__global__ void __launch_bounds__(kMapThreads)
    tsne_finish_kernel(const StepSums<D>* __restrict__ parts, index_t count, index_t n,
                       embedding::DescentProgress* progress) {
  __shared__ StepSums<D> scratch[kMapThreads / kWarp];
  if (progress->failed != 0 || progress->waiting != 0) return;
  StepSums<D> sums{};
  for (index_t i = threadIdx.x; i < count; i += kMapThreads) {
    sums = AddStepSums<D>{}(sums, parts[i]);
  }
  // Nobody may see failed change before all have read it: the reduction has a barrier.
  sums = block_reduce<kMapThreads>(sums, AddStepSums<D>{}, scratch);
  if (threadIdx.x != 0) return;
  bool finite = isfinite(sums.force_square);
#pragma unroll
  for (int c = 0; c < D; ++c) {
    progress->mean[c] = sums.next[c] / static_cast<double>(n);
    finite = finite && isfinite(progress->mean[c]);
  }
  progress->force_square = sums.force_square;
  if (finite) {
    progress->iteration += 1;
  } else {
    progress->failed = progress->iteration + 1;
  }
}

template <int D>
__global__ void __launch_bounds__(kMapThreads)
    tsne_centre_kernel(const embedding::DescentProgress* __restrict__ progress, index_t n,
                       const MapPoint<D>* __restrict__ next, MapPoint<D>* __restrict__ y) {
  if (progress->failed != 0 || progress->waiting != 0) return;
  const index_t i = static_cast<index_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= n) return;
  MapPoint<D> point = next[i];
#pragma unroll
  for (int c = 0; c < D; ++c) {
    point[c] = static_cast<float>(static_cast<double>(point[c]) - progress->mean[c]);
  }
  y[i] = point;
}

/// Slices of the repulsion's tiles. A function of n alone, so that the order of the sums is one.
inline index_t repulsion_slices(index_t n) {
  constexpr index_t kEnough = 1024;  // blocks: several on each of an H200's 132 multiprocessors
  const index_t tiles = (n + kMapTile - 1) / kMapTile;
  return std::clamp<index_t>(kEnough / tiles, 1, tiles);
}

inline unsigned map_blocks(index_t n) {
  return static_cast<unsigned>((n + kMapThreads - 1) / kMapThreads);
}

/// Calls body(std::integral_constant<int, D>) with the dimensions of a map of `stride` floats a
/// point.
template <class Body>
void with_map_dimensions(index_t stride, Body&& body) {
  if (stride == 1) return body(std::integral_constant<int, 1>{});
  if (stride == 2) return body(std::integral_constant<int, 2>{});
  require<ShapeError>(stride == 4, "t-SNE: want 1, 2 or 4 floats a point, got ", stride);
  body(std::integral_constant<int, 3>{});
}

template <int D>
const MapPoint<D>* map_points(View<const float, 2> map) {
  return reinterpret_cast<const MapPoint<D>*>(map.data());
}
template <int D>
MapPoint<D>* map_points(View<float, 2> map) {
  return reinterpret_cast<MapPoint<D>*>(map.data());
}

/// *to <- the sum of `parts`.
inline void add_up(Gpu on, const Tensor<double>& parts, double* to) {
  launch(on, "tsne_total", tsne_total_kernel<double>, {.grid = 1, .block = kMapThreads},
         parts.data(), parts.count(), to);
}

}  // namespace kernels

namespace embedding {

template <class Place>
void map_attraction(Place on, const DeviceEdges& p, View<const float, 2> y, View<float, 2> a) {
  kernels::with_map_dimensions(y.dim(1), [&](auto dimensions) {
    constexpr int D = dimensions;
    kernels::launch(on, "tsne_attraction", kernels::tsne_attraction_kernel<D>,
                    {.grid = kernels::grid_blocks(on, p.n, kernels::kMapThreads / kernels::kWarp),
                     .block = kernels::kMapThreads},
                    p, kernels::map_points<D>(y), kernels::map_points<D>(a));
  });
}

template <class Place>
void map_repulsion(Place on, View<const float, 2> y, View<float, 2> r, double* z) {
  const index_t n = y.dim(0), slices = kernels::repulsion_slices(n);
  const index_t tiles = (n + kernels::kMapTile - 1) / kernels::kMapTile;
  const Device device = Device::cuda(on.device);
  kernels::with_map_dimensions(y.dim(1), [&](auto dimensions) {
    constexpr int D = dimensions;
    auto parts = Tensor<double>::empty({slices, D + 1, n}, device);
    auto weights = Tensor<double>::empty({kernels::map_blocks(n)}, device);
    kernels::launch(on, "tsne_repulsion", kernels::tsne_repulsion_kernel<D>,
                    {.grid = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(slices)),
                     .block = kernels::kMapTile},
                    kernels::map_points<D>(y), n, (tiles + slices - 1) / slices, parts.data());
    kernels::launch(on, "tsne_gather_slices", kernels::tsne_gather_slices_kernel<D>,
                    {.grid = kernels::map_blocks(n), .block = kernels::kMapThreads},
                    static_cast<const double*>(parts.data()), n, slices, kernels::map_points<D>(r),
                    weights.data());
    kernels::add_up(on, weights, z);
  });
}

template <class Place>
void map_stretch(Place on, const DeviceEdges& p, View<const float, 2> y, double* to) {
  auto row = Tensor<double>::empty({p.n}, Device::cuda(on.device));
  kernels::with_map_dimensions(y.dim(1), [&](auto dimensions) {
    constexpr int D = dimensions;
    kernels::launch(on, "tsne_stretch", kernels::tsne_stretch_kernel<D>,
                    {.grid = kernels::grid_blocks(on, p.n, kernels::kMapThreads / kernels::kWarp),
                     .block = kernels::kMapThreads},
                    p, kernels::map_points<D>(y), row.data());
  });
  kernels::add_up(on, row, to);
}

template <class Place>
void map_step(Place on, const DescentSchedule& schedule, View<const float, 2> a,
              View<const float, 2> r, const DeviceMap& map, DescentProgress* progress) {
  const index_t n = a.dim(0);
  const unsigned blocks = kernels::map_blocks(n);
  const kernels::LaunchConfig config{.grid = blocks, .block = kernels::kMapThreads};
  kernels::with_map_dimensions(a.dim(1), [&](auto dimensions) {
    constexpr int D = dimensions;
    using Sums = kernels::StepSums<D>;
    auto parts = Tensor<double>::empty({blocks, D + 1}, Device::cuda(on.device));
    Sums* sums = reinterpret_cast<Sums*>(parts.data());
    kernels::launch(on, "tsne_step", kernels::tsne_step_kernel<D>, config, schedule, n,
                    kernels::map_points<D>(a), kernels::map_points<D>(r),
                    kernels::map_points<D>(View<const float, 2>(map.y)),
                    kernels::map_points<D>(map.update), kernels::map_points<D>(map.gain),
                    kernels::map_points<D>(map.next), progress, sums);
    kernels::launch(on, "tsne_finish", kernels::tsne_finish_kernel<D>,
                    {.grid = 1, .block = kernels::kMapThreads}, sums, index_t{blocks}, n, progress);
    kernels::launch(on, "tsne_centre", kernels::tsne_centre_kernel<D>, config, progress, n,
                    kernels::map_points<D>(View<const float, 2>(map.next)),
                    kernels::map_points<D>(map.y));
  });
}

}  // namespace embedding
}  // namespace mwalimu
