// kernels/optimizer: one step of an optimiser over all parameters at once.
//
// Computes   the rules of optim/momentum_rules.hpp and optim/adaptive_rules.hpp, whose functions these
//            kernels call: the same operations in the same order as on the host. Also the parameters
//            rounded to half or bfloat16, where the arena keeps them.
// Shapes     values, gradients and running averages (n) in float; segments of any length that start at
//            multiples of four elements; padding between them is neither read nor written.
// Mapping    advance: one warp a segment: its step counter, its coefficients from the numbers that the
//            host left on the device and, for LARC and LARS, from the sums over its chunks.
//            The rest: one block of 256 a chunk of up to kDeviceChunk elements of one segment, packs of
//            16 bytes a thread, so a warp moves 512 neighbouring bytes of each array.
//            Launches a step, whatever the number of parameters: SGD, Adam, RAdam, ranger: advance and
//            update; LARC, LARS: norms, advance, update; LAMB: advance, moments, trust, move.
// Moves      bytes an element: SGD 20; LARC, LARS 28; Adam, RAdam 28; ranger 28, 36 on every
//            `period`-th step; LAMB 40; 2 more with a 16-bit copy. 24 a chunk beside.
// Roofline   xresnet34, 21.3 M parameters, on an H200 by its data sheet (4.8 TB/s): SGD 89 us, Adam
//            124 us, LAMB 178 us; 9 us more with a 16-bit copy. Memory-bound.
// Resources  sm_90, nvcc 13.0: momentum_update 32 registers, adaptive_update 46, norms 40, moments 43,
//            move 36, advance 26 to 60, trust 60; 128 bytes of shared memory where sums are; no spills.
// Measured   not yet.
// Numerics   arithmetic in float, norms and coefficients in double. No atomics: sums are added in an
//            order that the extents fix, so the same input gives the same bits. The host's bits differ
//            by the contraction of a * b + c and the order of the norms' sums.
// Requires   1 <= segments and chunks < 2^31.
// Source     optim/options.hpp names the paper of each rule.
#pragma once

#include <type_traits>

#include "launch.cuh"
#include "mwalimu/optim/adaptive_rules.hpp"
#include "mwalimu/optim/device_step.hpp"
#include "mwalimu/optim/momentum_rules.hpp"
#include "numeric.cuh"
#include "reduce.cuh"

namespace mwalimu::optim::detail {

inline constexpr int kOptimizerThreads = 256;

template <class Options>
inline constexpr bool kNeedsNorms =
    std::is_same_v<Options, LarcOptions> || std::is_same_v<Options, LarsOptions>;

/// What advance leaves for the chunks of a segment.
template <class Update>
struct SegmentUpdate {
  Update rule;
  std::int32_t active;      ///< 0: frozen, or the step is skipped
  std::int32_t copy_slow;   ///< ranger's first step: slow <- p before it
  std::int32_t blend_slow;  ///< ranger's every period-th step
  float blend;
};
template <class Options>
using update_t = std::conditional_t<HasSquaredMomentum<Options>, AdaptiveUpdate, MomentumUpdate>;

template <class Update>
__device__ __forceinline__ SegmentUpdate<Update>* updates_of(const DeviceStep& step) {
  static_assert(sizeof(SegmentUpdate<Update>) <= DeviceStep::kUpdateBytes);
  return static_cast<SegmentUpdate<Update>*>(step.updates);
}

/// A block's chunk.
struct DeviceChunk {
  index_t begin;
  int count, segment, index;
};
__device__ __forceinline__ DeviceChunk this_chunk(const DeviceStep& step) {
  const std::int64_t* row = step.chunks + index_t{3} * blockIdx.x;
  return {row[0], static_cast<int>(row[1]), static_cast<int>(row[2]),
          static_cast<int>(blockIdx.x)};
}

/// Calls f.operator()<N>(offset) for all elements [0, count): packs of N = 4, then single ones.
template <class F>
__device__ __forceinline__ void for_each_pack(int count, F&& f) {
  const int packs = count / 4;
  for (int i = static_cast<int>(threadIdx.x); i < packs; i += kOptimizerThreads) {
    f.template operator()<4>(i * 4);
  }
  for (int i = packs * 4 + static_cast<int>(threadIdx.x); i < count; i += kOptimizerThreads) {
    f.template operator()<1>(i);
  }
}

struct AddSums {
  __device__ __forceinline__ NormSums operator()(const NormSums& a, const NormSums& b) const {
    return {a.parameter + b.parameter, a.other + b.other};
  }
};

/// The sums over the chunks of a segment, in lane 0 of the calling warp.
__device__ __forceinline__ NormSums segment_sums(const DeviceStep& step, int s) {
  NormSums total{0, 0};
  for (std::int64_t c = step.first_chunk[s] + threadIdx.x; c < step.first_chunk[s + 1]; c += 32) {
    total = AddSums{}(total, step.sums[c]);
  }
  return kernels::warp_reduce(total, AddSums{});
}

template <class T, int N>
__device__ __forceinline__ void store_rounded(void* to, index_t at,
                                              const kernels::Pack<float, N>& values) {
  kernels::Pack<T, N> rounded;
#pragma unroll
  for (int i = 0; i < N; ++i) rounded[i] = kernels::narrow<T>(values[i]);
  kernels::store_pack<N>(static_cast<T*>(to) + at, rounded);
}
/// Writes parameters, and their copy where there is one.
template <int N>
__device__ __forceinline__ void store_values(const DeviceStep& step, index_t at,
                                             const kernels::Pack<float, N>& values) {
  kernels::store_pack<N>(step.values + at, values);
  if (step.copy_type == ElementType::bfloat16) {
    store_rounded<bfloat16>(step.copy, at, values);
  } else if (step.copy_type == ElementType::float16) {
    store_rounded<half>(step.copy, at, values);
  }
}

template <class Options>
__global__ void __launch_bounds__(32) optimizer_advance_kernel(Options options, DeviceStep step) {
  const int s = static_cast<int>(blockIdx.x);
  const bool active = step.is_active(s);  // the same for the whole warp
  [[maybe_unused]] NormSums sums{0, 0};
  if constexpr (kNeedsNorms<Options>) {
    if (active) sums = segment_sums(step, s);
  }
  if (threadIdx.x != 0) return;
  SegmentUpdate<update_t<Options>> update{};
  update.active = active;
  if (active) {
    const std::int64_t t = ++step.steps[s];
    if constexpr (kNeedsNorms<Options>) {
      update.rule = update_of(options, step.at(s, t), sums);
    } else {
      update.rule = update_of(options, step.at(s, t));
    }
    if constexpr (std::is_same_v<Options, RangerOptions>) {
      update.copy_slow = t == 1;
      update.blend_slow = t % options.period == 0;
      update.blend = static_cast<float>(options.blend);
    }
  }
  updates_of<update_t<Options>>(step)[s] = update;
}

/// The sums of p^2 and g^2 over a chunk.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) optimizer_norms_kernel(DeviceStep step) {
  __shared__ NormSums partial[kThreads / 32];
  const DeviceChunk chunk = this_chunk(step);
  if (!step.is_active(chunk.segment)) return;
  NormSums sums{0, 0};
  for_each_pack(chunk.count, [&]<int N>(int i) {
    const auto p = kernels::load_pack<N>(step.values + chunk.begin + i);
    const auto g = kernels::load_pack<N>(step.gradients + chunk.begin + i);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      sums.parameter += static_cast<double>(p[k]) * p[k];
      sums.other += static_cast<double>(g[k]) * g[k];
    }
  });
  sums = kernels::block_reduce<kThreads>(sums, AddSums{}, partial);
  if (threadIdx.x == 0) step.sums[chunk.index] = sums;
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads) momentum_update_kernel(DeviceStep step) {
  const DeviceChunk chunk = this_chunk(step);
  const SegmentUpdate<MomentumUpdate> update = updates_of<MomentumUpdate>(step)[chunk.segment];
  if (!update.active) return;
  for_each_pack(chunk.count, [&]<int N>(int i) {
    const index_t at = chunk.begin + i;
    auto p = kernels::load_pack<N>(step.values + at);
    const auto g = kernels::load_pack<N>(step.gradients + at);
    auto m = kernels::load_pack<N>(step.momentum + at);
#pragma unroll
    for (int k = 0; k < N; ++k) update.rule.apply(p[k], g[k], m[k]);
    kernels::store_pack<N>(step.momentum + at, m);
    store_values<N>(step, at, p);
  });
}

template <Denominator kind>
__device__ __forceinline__ void adaptive_update_chunk(const DeviceStep& step,
                                                      const DeviceChunk& chunk,
                                                      const SegmentUpdate<AdaptiveUpdate>& update) {
  for_each_pack(chunk.count, [&]<int N>(int i) {
    const index_t at = chunk.begin + i;
    auto p = kernels::load_pack<N>(step.values + at);
    const auto g = kernels::load_pack<N>(step.gradients + at);
    auto m = kernels::load_pack<N>(step.momentum + at), v = kernels::load_pack<N>(step.squared + at);
    kernels::Pack<float, N> slow{};
    if (update.copy_slow) {
      slow = p;
    } else if (update.blend_slow) {
      slow = kernels::load_pack<N>(step.slow + at);
    }
#pragma unroll
    for (int k = 0; k < N; ++k) {
      update.rule.moments(g[k], m[k], v[k]);
      update.rule.template move<kind>(p[k], m[k], v[k]);
    }
    if (update.blend_slow) {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        slow[k] += update.blend * (p[k] - slow[k]);
        p[k] = slow[k];
      }
    }
    if (update.copy_slow || update.blend_slow) kernels::store_pack<N>(step.slow + at, slow);
    kernels::store_pack<N>(step.momentum + at, m);
    kernels::store_pack<N>(step.squared + at, v);
    store_values<N>(step, at, p);
  });
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads) adaptive_update_kernel(DeviceStep step) {
  const DeviceChunk chunk = this_chunk(step);
  const SegmentUpdate<AdaptiveUpdate> update = updates_of<AdaptiveUpdate>(step)[chunk.segment];
  if (!update.active) return;
  switch (update.rule.denominator) {
    case Denominator::one:
      return adaptive_update_chunk<Denominator::one>(step, chunk, update);
    case Denominator::root:
      return adaptive_update_chunk<Denominator::root>(step, chunk, update);
    case Denominator::softplus:
      return adaptive_update_chunk<Denominator::softplus>(step, chunk, update);
  }
}

/// LAMB's first pass: the moments, and the sums of p^2 and (m / x)^2.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) lamb_moments_kernel(DeviceStep step) {
  __shared__ NormSums partial[kThreads / 32];
  const DeviceChunk chunk = this_chunk(step);
  const SegmentUpdate<AdaptiveUpdate> update = updates_of<AdaptiveUpdate>(step)[chunk.segment];
  if (!update.active) return;
  NormSums sums{0, 0};
  for_each_pack(chunk.count, [&]<int N>(int i) {
    const index_t at = chunk.begin + i;
    const auto p = kernels::load_pack<N>(step.values + at);
    const auto g = kernels::load_pack<N>(step.gradients + at);
    auto m = kernels::load_pack<N>(step.momentum + at), v = kernels::load_pack<N>(step.squared + at);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      update.rule.moments(g[k], m[k], v[k]);
      const double u = m[k] / update.rule.template x<Denominator::root>(v[k]);
      sums.parameter += static_cast<double>(p[k]) * p[k];
      sums.other += u * u;
    }
    kernels::store_pack<N>(step.momentum + at, m);
    kernels::store_pack<N>(step.squared + at, v);
  });
  sums = kernels::block_reduce<kThreads>(sums, AddSums{}, partial);
  if (threadIdx.x == 0) step.sums[chunk.index] = sums;
}

/// The size of a segment's step from the two norms.
template <class Options>
__global__ void __launch_bounds__(32) lamb_trust_kernel(Options options, DeviceStep step) {
  const int s = static_cast<int>(blockIdx.x);
  if (!step.is_active(s)) return;
  const NormSums sums = segment_sums(step, s);
  if (threadIdx.x != 0) return;
  updates_of<AdaptiveUpdate>(step)[s].rule.step =
      lamb_step_size(options, step.at(s, step.steps[s]), sums);
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads) lamb_move_kernel(DeviceStep step) {
  const DeviceChunk chunk = this_chunk(step);
  const SegmentUpdate<AdaptiveUpdate> update = updates_of<AdaptiveUpdate>(step)[chunk.segment];
  if (!update.active) return;
  for_each_pack(chunk.count, [&]<int N>(int i) {
    const index_t at = chunk.begin + i;
    auto p = kernels::load_pack<N>(step.values + at);
    const auto m = kernels::load_pack<N>(step.momentum + at);
    const auto v = kernels::load_pack<N>(step.squared + at);
#pragma unroll
    for (int k = 0; k < N; ++k) update.rule.template move<Denominator::root>(p[k], m[k], v[k]);
    store_values<N>(step, at, p);
  });
}

/// Queues one step; nothing is waited for.
/// @throws ShapeError  more segments or chunks than a grid has blocks.
template <class Options>
void apply(Gpu on, const Options& options, const DeviceStep& step) {
  constexpr int kThreads = kOptimizerThreads;
  if (step.chunk_count == 0) return;
  require<ShapeError>(step.chunk_count < (index_t{1} << 31), "optimizer: ", step.chunk_count,
                      " chunks are too many for a grid");
  const kernels::LaunchConfig by_segment{.grid = dim3(static_cast<unsigned>(step.segment_count)),
                                         .block = dim3(32)};
  const kernels::LaunchConfig by_chunk{.grid = dim3(static_cast<unsigned>(step.chunk_count)),
                                       .block = dim3(kThreads)};
  if constexpr (kNeedsNorms<Options>) {
    kernels::launch(on, "optimizer_norms", optimizer_norms_kernel<kThreads>, by_chunk, step);
  }
  kernels::launch(on, "optimizer_advance", optimizer_advance_kernel<Options>, by_segment, options,
                  step);
  if constexpr (std::is_same_v<Options, LambOptions>) {
    kernels::launch(on, "lamb_moments", lamb_moments_kernel<kThreads>, by_chunk, step);
    kernels::launch(on, "lamb_trust", lamb_trust_kernel<Options>, by_segment, options, step);
    kernels::launch(on, "lamb_move", lamb_move_kernel<kThreads>, by_chunk, step);
  } else if constexpr (HasSquaredMomentum<Options>) {
    kernels::launch(on, "adaptive_update", adaptive_update_kernel<kThreads>, by_chunk, step);
  } else {
    kernels::launch(on, "momentum_update", momentum_update_kernel<kThreads>, by_chunk, step);
  }
}

}  // namespace mwalimu::optim::detail
