// kernels/batch_norm: batch normalisation with residual sum and ReLU, forward and backward.
//
// Computes   train: mean, variance -> coefficients; running statistics; one count.
//            apply: y = act((x - center) scale + shift + residual), one bit an element for ReLU.
//            gradients: sum g, sum g (x - mean), g = dy where the bit is set -> dgamma, dbeta, a, b.
//            input: dx = scale (g - a - (x - center) b), dresidual = g.
// Shapes     x, residual, y, dy, dx, dresidual (rows, C), channels densest, rows any distance apart;
//            bits (rows, ceil(C / 8)); all else (C).
// Mapping    channel_grid.cuh: 256 threads, 16 bytes of neighbouring channels each, rows in steps. A
//            warp reads whole rows of a tile: 512 neighbouring bytes where rows are dense. The two
//            passes that sum sweep from the first row to the last and end with one launch of a few
//            blocks (none where the tensor is small); the two that write sweep back, so they begin
//            with what the sums have left in the second-level cache, and leave the first rows there
//            for the next operation. Channels that fill no pack go one element a thread.
// Moves      bytes for n = rows C elements of size s. train: n s. apply: 2 n s, n s more with a
//            residual, n / 8 for bits. gradients: 2 n s + n / 8. input: 3 n s + n / 8, n s more with
//            dresidual. Chunk sums: 16 C a chunk, at most 528 chunks, written and read once.
//            evaluate: 16 C of parameters and statistics in, 28 C of coefficients out (float).
// Roofline   rows = 2^20, C = 64, bfloat16 on an H200 by its data sheet, 4.8 TB/s: 134 MB a tensor;
//            train 28 us, apply with residual and bits 88 us, gradients 59 us, input with dresidual
//            and bits 116 us.
// Resources  ptxas for sm_90, no spills. Registers of bfloat16: train 102, apply 60, gradients 111,
//            input 78; float 62, 48, 63, 58. Shared memory: 32 KiB a block for 16-bit types in the
//            two sums, none in the others.
// Measured   not yet.
// Numerics   differences from each thread's first row, in runs of 64 in float, then in double, so
//            |mean| >> deviation costs no digits; the runs' sums are moved to one origin, the
//            first row of x, in double, where that loses n 2^-53 at worst. The order of every sum is
//            a function of the shape: the same bits on every run and every device.
// Requires   rows < 2^40, C < 2^30; parameters and coefficients dense.
// Source     Ioffe and Szegedy 2015, arXiv:1502.03167; shifted sums: Chan, Golub and LeVeque 1983.
#pragma once

#include <optional>

#include "channel_grid.cuh"
#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/batch_norm.hpp"

namespace mwalimu {
namespace kernels {

// Rows that a thread has under way: about 64 bytes, of one tensor or of two.
inline constexpr int kStatisticsUnroll = 4, kBatchNormUnroll = 2;

/// From a channel's mean and variance: its coefficients.
template <class A>
struct BatchNormFold {
  const A *gamma, *beta;
  double eps;
  double *mean, *inv_std;
  A *center, *scale, *shift;

  __device__ __forceinline__ void operator()(index_t c, double m, double variance) const {
    const double r = 1.0 / sqrt(variance + eps), s = static_cast<double>(gamma[c]) * r;
    const A middle = static_cast<A>(m);
    mean[c] = m;
    inv_std[c] = r;
    center[c] = middle;
    scale[c] = static_cast<A>(s);
    // What rounding took from the mean goes into the shift.
    shift[c] = static_cast<A>(static_cast<double>(beta[c]) - (m - static_cast<double>(middle)) * s);
  }
};

/// From sum (x - x[0]) and sum (x - x[0])^2 of a channel: all that a training step wants of it.
template <class T>
struct BatchNormTrain {
  using A = accumulate_t<T>;
  const T* origin;  ///< the first row of x
  double rows, momentum;
  A *running_mean, *running_var;
  std::int64_t* num_batches;
  BatchNormFold<A> fold;

  __device__ __forceinline__ void operator()(index_t c, double sum, double square) const {
    const double shift = sum / rows, spread = square - sum * shift;
    const double mean = static_cast<double>(widen(origin[c])) + shift;
    const double variance = (spread > 0 ? spread : 0.0) / rows;
    mix(running_mean[c], mean);
    mix(running_var[c], variance * (rows / (rows - 1)));
    if (c == 0) ++*num_batches;
    fold(c, mean, variance);
  }
  __device__ __forceinline__ void mix(A& running, double batch) const {
    running = static_cast<A>((1 - momentum) * static_cast<double>(running) + momentum * batch);
  }
};

template <class T, int N>
__global__ void __launch_bounds__(256)
    batch_norm_statistics_kernel(RowsOf<const T> x, index_t rows, index_t C, ChannelGrid grid,
                                 double* __restrict__ partial, BatchNormTrain<T> finish) {
  using A = accumulate_t<T>;
  constexpr int kUnroll = kStatisticsUnroll, kRun = 64 / kUnroll;
  __shared__ double scratch[ThreadSums<N>::kSize];
  const index_t c = grid.channel<N>(), begin = grid.first_row(blockIdx.y);
  const ThreadSums<N> sums(scratch);
  if (grid.row() < grid.depth && c < C && begin < rows) {
    const auto first = hold<N>(x.at(begin, c));
    A pivot[N], s1[N] = {}, s2[N] = {};
#pragma unroll
    for (int i = 0; i < N; ++i) pivot[i] = widen(first[i]);
    index_t count = 0;
    int run = 0;
    for (index_t step = blockIdx.y; step < grid.steps; step += gridDim.y) {
      const index_t r = grid.first_row(step);
      Held<T, N> in[kUnroll] = {};
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (r + u * grid.depth < rows) in[u] = hold<N>(x.at(r + u * grid.depth, c));
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const bool there = r + u * grid.depth < rows;
        count += there ? 1 : 0;
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const A d = there ? widen(in[u][i]) - pivot[i] : A{0};
          s1[i] += d;
          s2[i] += d * d;
        }
      }
      if (++run == kRun) {
        sums.take(s1, s2);
        run = 0;
      }
    }
    sums.take(s1, s2);
    // From this thread's origin to the common one.
    const auto origin = hold<N>(x.at(0, c));
    const double n = static_cast<double>(count);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const double apart = static_cast<double>(pivot[i]) - static_cast<double>(widen(origin[i]));
      sums[N + i] += apart * (2 * sums[i] + n * apart);
      sums[i] += n * apart;
    }
  }
  hand_over(grid, C, sums, partial, finish);
}

template <class A>
__global__ void __launch_bounds__(256)
    batch_norm_evaluate_kernel(const A* __restrict__ running_mean,
                               const A* __restrict__ running_var, index_t C,
                               BatchNormFold<A> fold) {
  const index_t c = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= C) return;
  fold(c, static_cast<double>(running_mean[c]), static_cast<double>(running_var[c]));
}

/// N of this thread's coefficients; those of a channel that is not there are 0.
template <int N, class A>
__device__ __forceinline__ void load_channels(const A* from, index_t c, index_t C, A (&to)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = c + i < C ? from[c + i] : A{0};
}

template <class T>
struct BatchNormApply {
  using A = accumulate_t<T>;
  RowsOf<const T> x, residual;
  const A *center, *scale, *shift;
  bool relu;
  RowsOf<std::uint8_t> keep;
  RowsOf<T> y;
};

template <class T, int N>
__global__ void __launch_bounds__(256)
    batch_norm_apply_kernel(BatchNormApply<T> to, index_t rows, index_t C, ChannelGrid grid) {
  using A = accumulate_t<T>;
  constexpr int kUnroll = kBatchNormUnroll, kGroup = 8 / N;
  const index_t c = grid.channel<N>();
  const bool works = grid.row() < grid.depth && c < C;
  A center[N], scale[N], shift[N];
  load_channels<N>(to.center, c, C, center);
  load_channels<N>(to.scale, c, C, scale);
  load_channels<N>(to.shift, c, C, shift);
  for (index_t step = blockIdx.y; step < grid.steps; step += gridDim.y) {
    const index_t r = grid.first_row(grid.steps - 1 - step);
    Held<T, N> in[kUnroll] = {}, added[kUnroll] = {};
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const index_t row = r + u * grid.depth;
      if (!works || row >= rows) continue;
      in[u] = hold<N>(to.x.at(row, c));
      if (to.residual.data != nullptr) added[u] = hold<N>(to.residual.at(row, c));
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const index_t row = r + u * grid.depth;
      const bool there = works && row < rows;
      Pack<T, N> out;
      unsigned bits = 0;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        A v = (widen(in[u][i]) - center[i]) * scale[i] + shift[i];
        if (to.residual.data != nullptr) v += widen(added[u][i]);
        const bool pass = !to.relu || !(v <= A{0});  // NaN stays NaN
        out[i] = narrow<T>(pass ? v : A{0});
        bits |= (pass ? 1u : 0u) << i;
      }
      if (there) store_pack<N>(to.y.at(row, c), out);
      if (to.keep.data == nullptr) continue;
      if constexpr (kGroup > 1) {  // kGroup threads make a byte
        bits = (there ? bits : 0u) << (grid.lane() % kGroup * N);
#pragma unroll
        for (int d = 1; d < kGroup; d *= 2) bits |= __shfl_xor_sync(0xFFFFFFFFu, bits, d);
      }
      if (there && grid.lane() % kGroup == 0) {
        *to.keep.at(row, c / 8) = static_cast<std::uint8_t>(bits);
      }
    }
  }
}

/// From sum g and sum g (x - center) of a channel: its gradients.
template <class A>
struct BatchNormGradientFinish {
  const double *mean, *inv_std;
  const A* center;
  double rows;
  bool training, add_gamma, add_beta;
  A *dgamma, *dbeta;  ///< null: not wanted
  A *a, *b;

  __device__ __forceinline__ void operator()(index_t c, double sum, double dot) const {
    const double lost = mean[c] - static_cast<double>(center[c]);  // by rounding the mean
    const double exact = dot - lost * sum, r = inv_std[c];         // sum g (x - mean)
    if (dgamma != nullptr) {
      dgamma[c] = static_cast<A>(exact * r + (add_gamma ? static_cast<double>(dgamma[c]) : 0.0));
    }
    if (dbeta != nullptr) {
      dbeta[c] = static_cast<A>(sum + (add_beta ? static_cast<double>(dbeta[c]) : 0.0));
    }
    const double slope = training ? exact * r * r / rows : 0.0;
    b[c] = static_cast<A>(slope);
    a[c] = static_cast<A>(training ? sum / rows - lost * slope : 0.0);
  }
};

/// The bits of N channels from c on; all set where there is no ReLU.
__device__ __forceinline__ unsigned kept_bits(const RowsOf<const std::uint8_t>& keep, index_t row,
                                              index_t c) {
  return keep.data == nullptr ? 0xFFu : unsigned{*keep.at(row, c / 8)} >> (c % 8);
}

template <class T>
struct BatchNormIncoming {
  RowsOf<const T> dy, x;
  RowsOf<const std::uint8_t> keep;
};

template <class T, int N>
__global__ void __launch_bounds__(256)
    batch_norm_gradient_sums_kernel(BatchNormIncoming<T> from,
                                    const accumulate_t<T>* __restrict__ center, index_t rows,
                                    index_t C, ChannelGrid grid, double* __restrict__ partial,
                                    BatchNormGradientFinish<accumulate_t<T>> finish) {
  using A = accumulate_t<T>;
  constexpr int kUnroll = kBatchNormUnroll, kRun = 64 / kUnroll;
  __shared__ double scratch[ThreadSums<N>::kSize];
  const index_t c = grid.channel<N>();
  const ThreadSums<N> sums(scratch);
  if (grid.row() < grid.depth && c < C) {
    A middle[N], s1[N] = {}, s2[N] = {};
    load_channels<N>(center, c, C, middle);
    int run = 0;
    for (index_t step = blockIdx.y; step < grid.steps; step += gridDim.y) {
      const index_t r = grid.first_row(step);
      Held<T, N> gradient[kUnroll] = {}, value[kUnroll] = {};
      unsigned bits[kUnroll] = {};
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const index_t row = r + u * grid.depth;
        if (row >= rows) continue;
        gradient[u] = hold<N>(from.dy.at(row, c));
        value[u] = hold<N>(from.x.at(row, c));
        bits[u] = kept_bits(from.keep, row, c);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const A g = (bits[u] >> i & 1u) != 0 ? widen(gradient[u][i]) : A{0};
          s1[i] += g;
          s2[i] += g * (widen(value[u][i]) - middle[i]);
        }
      }
      if (++run == kRun) {
        sums.take(s1, s2);
        run = 0;
      }
    }
    sums.take(s1, s2);
  }
  hand_over(grid, C, sums, partial, finish);
}

template <class T>
struct BatchNormOutgoing {
  using A = accumulate_t<T>;
  const A *center, *scale, *a, *b;
  RowsOf<T> dx, dresidual;
};

template <class T, int N>
__global__ void __launch_bounds__(256)
    batch_norm_input_gradient_kernel(BatchNormIncoming<T> from, BatchNormOutgoing<T> to,
                                     index_t rows, index_t C, ChannelGrid grid) {
  using A = accumulate_t<T>;
  constexpr int kUnroll = kBatchNormUnroll;
  const index_t c = grid.channel<N>();
  if (grid.row() >= grid.depth || c >= C) return;
  A center[N], scale[N], a[N], b[N];
  load_channels<N>(to.center, c, C, center);
  load_channels<N>(to.scale, c, C, scale);
  load_channels<N>(to.a, c, C, a);
  load_channels<N>(to.b, c, C, b);
  for (index_t step = blockIdx.y; step < grid.steps; step += gridDim.y) {
    const index_t r = grid.first_row(grid.steps - 1 - step);
    Held<T, N> gradient[kUnroll] = {}, value[kUnroll] = {};
    unsigned bits[kUnroll] = {};
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const index_t row = r + u * grid.depth;
      if (row >= rows) continue;
      gradient[u] = hold<N>(from.dy.at(row, c));
      value[u] = hold<N>(from.x.at(row, c));
      bits[u] = kept_bits(from.keep, row, c);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const index_t row = r + u * grid.depth;
      if (row >= rows) continue;
      Pack<T, N> dx, dresidual;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const bool pass = (bits[u] >> i & 1u) != 0;
        dresidual[i] = pass ? gradient[u][i] : narrow<T>(A{0});
        const A g = widen(dresidual[i]);
        dx[i] = narrow<T>(scale[i] * (g - a[i] - (widen(value[u][i]) - center[i]) * b[i]));
      }
      store_pack<N>(to.dx.at(row, c), dx);
      if (to.dresidual.data != nullptr) store_pack<N>(to.dresidual.at(row, c), dresidual);
    }
  }
}

/// The pointer of a vector of C numbers without gaps.
template <class T>
T* dense(const char* op, const View<T, 1>& view, index_t C) {
  require<ShapeError>(view.dim(0) == C && (C <= 1 || view.stride(0) == 1), op, ": want ", C,
                      " neighbouring numbers, got ", view.dim(0), " with a stride of ",
                      view.stride(0));
  return view.data();
}

/// Whether all these rows may be read and written in packs of 16 bytes; absent ones do not matter.
template <class T, class... Rows>
bool rows_in_packs(index_t C, const Rows&... all) {
  return C % kPack<T> == 0 && (packs_fit(all.data, all.stride) && ...);
}

template <class A>
BatchNormFold<A> batch_norm_fold(index_t C, const ops::BatchNormParameters<A>& parameters,
                                 const ops::BatchNormCoefficients<A>& to) {
  const char* op = "batch_norm";
  return {.gamma = dense(op, parameters.gamma, C),
          .beta = dense(op, parameters.beta, C),
          .eps = parameters.eps,
          .mean = dense(op, to.mean, C),
          .inv_std = dense(op, to.inv_std, C),
          .center = dense(op, to.center, C),
          .scale = dense(op, to.scale, C),
          .shift = dense(op, to.shift, C)};
}

/// Runs a pass that sums: `kernel` over the chunks, and a second launch where there are several.
template <class Finish, class Kernel, class... Args>
void sum_channels(Gpu on, const char* name, const ChannelGrid& grid, index_t C,
                  const Finish& finish, Kernel kernel, const Args&... args) {
  auto partial = Tensor<double>::empty({grid.chunks > 1 ? grid.chunks : 0, 2, C},
                                       Device::cuda(on.device));
  launch(on, name, kernel, grid.launch(), args..., grid, partial.data(), finish);
  if (grid.chunks == 1) return;
  launch(on, "finish_channels", finish_channels_kernel<Finish>,
         {.grid = static_cast<unsigned>((C + 7) / 8), .block = 256},
         static_cast<const double*>(partial.data()), grid.chunks, C, finish);
}

template <class T>
BatchNormIncoming<T> incoming(const View<const T, 2>& dy, const View<const T, 2>& x,
                              const std::optional<View<const std::uint8_t, 2>>& keep) {
  BatchNormIncoming<T> from{.dy = dy, .x = x, .keep = {}};
  if (keep) from.keep = *keep;
  return from;
}

}  // namespace kernels

namespace ops {

template <Real T, Real A>
void batch_norm_train(Gpu on, View<const T, 2> x, const BatchNormParameters<A>& parameters,
                      const BatchNormTracked<A>& tracked, const BatchNormCoefficients<A>& to) {
  const index_t rows = x.dim(0), C = x.dim(1);
  if (C == 0) return;
  const kernels::RowsOf<const T> from(x);
  const kernels::BatchNormTrain<T> finish{
      .origin = x.data(),
      .rows = static_cast<double>(rows),
      .momentum = tracked.momentum,
      .running_mean = kernels::dense("batch_norm", tracked.mean, C),
      .running_var = kernels::dense("batch_norm", tracked.var, C),
      .num_batches = tracked.num_batches.data(),
      .fold = kernels::batch_norm_fold(C, parameters, to)};
  kernels::with_pack<T>(kernels::rows_in_packs<T>(C, from), [&](auto n) {
    constexpr int N = decltype(n)::value;
    kernels::sum_channels(on, "batch_norm_statistics", kernels::summing_grid(rows, C, N, kernels::kStatisticsUnroll), C, finish,
                          kernels::batch_norm_statistics_kernel<T, N>, from, rows, C);
  });
}

template <Real A>
void batch_norm_evaluate(Gpu on, View<const A, 1> running_mean, View<const A, 1> running_var,
                         const BatchNormParameters<A>& parameters,
                         const BatchNormCoefficients<A>& to) {
  const index_t C = to.mean.dim(0);
  if (C == 0) return;
  kernels::launch(on, "batch_norm_evaluate", kernels::batch_norm_evaluate_kernel<A>,
                  {.grid = static_cast<unsigned>((C + 255) / 256), .block = 256},
                  kernels::dense("batch_norm", running_mean, C),
                  kernels::dense("batch_norm", running_var, C), C,
                  kernels::batch_norm_fold(C, parameters, to));
}

template <Real T, Real A>
void batch_norm_apply(Gpu on, View<const T, 2> x, std::optional<View<const T, 2>> residual,
                      View<const A, 1> center, View<const A, 1> scale, View<const A, 1> shift,
                      Activation activation, std::optional<View<std::uint8_t, 2>> keep,
                      View<T, 2> y) {
  const index_t rows = x.dim(0), C = x.dim(1);
  if (rows == 0 || C == 0) return;
  kernels::BatchNormApply<T> to{.x = x,
                                .residual = {},
                                .center = kernels::dense("batch_norm", center, C),
                                .scale = kernels::dense("batch_norm", scale, C),
                                .shift = kernels::dense("batch_norm", shift, C),
                                .relu = activation == Activation::relu,
                                .keep = {},
                                .y = y};
  if (residual) to.residual = *residual;
  if (keep) to.keep = *keep;
  kernels::with_pack<T>(kernels::rows_in_packs<T>(C, to.x, to.residual, to.y), [&](auto n) {
    constexpr int N = decltype(n)::value;
    const auto grid = kernels::writing_grid(rows, C, N, kernels::kBatchNormUnroll);
    kernels::launch(on, "batch_norm_apply", kernels::batch_norm_apply_kernel<T, N>, grid.launch(),
                    to, rows, C, grid);
  });
}

template <Real T, Real A>
void batch_norm_parameter_gradients(Gpu on, View<const T, 2> dy, View<const T, 2> x,
                                    std::optional<View<const std::uint8_t, 2>> keep,
                                    View<const double, 1> mean, View<const double, 1> inv_std,
                                    View<const A, 1> center, bool training,
                                    const BatchNormGradients<A>& to) {
  const index_t rows = x.dim(0), C = x.dim(1);
  if (C == 0) return;
  const char* op = "batch_norm";
  const auto from = kernels::incoming<T>(dy, x, keep);
  const kernels::BatchNormGradientFinish<A> finish{
      .mean = kernels::dense(op, mean, C),
      .inv_std = kernels::dense(op, inv_std, C),
      .center = kernels::dense(op, center, C),
      .rows = static_cast<double>(rows),
      .training = training,
      .add_gamma = to.add_gamma,
      .add_beta = to.add_beta,
      .dgamma = kernels::dense(op, to.dgamma, C),
      .dbeta = kernels::dense(op, to.dbeta, C),
      .a = kernels::dense(op, to.a, C),
      .b = kernels::dense(op, to.b, C)};
  kernels::with_pack<T>(kernels::rows_in_packs<T>(C, from.dy, from.x), [&](auto n) {
    constexpr int N = decltype(n)::value;
    kernels::sum_channels(on, "batch_norm_gradient_sums", kernels::summing_grid(rows, C, N, kernels::kBatchNormUnroll), C,
                          finish, kernels::batch_norm_gradient_sums_kernel<T, N>, from,
                          finish.center, rows, C);
  });
}

template <Real T, Real A>
void batch_norm_input_gradient(Gpu on, View<const T, 2> dy, View<const T, 2> x,
                               std::optional<View<const std::uint8_t, 2>> keep,
                               View<const A, 1> center, View<const A, 1> scale, View<const A, 1> a,
                               View<const A, 1> b, View<T, 2> dx,
                               std::optional<View<T, 2>> dresidual) {
  const index_t rows = x.dim(0), C = x.dim(1);
  if (rows == 0 || C == 0) return;
  const auto from = kernels::incoming<T>(dy, x, keep);
  kernels::BatchNormOutgoing<T> to{.center = kernels::dense("batch_norm", center, C),
                                   .scale = kernels::dense("batch_norm", scale, C),
                                   .a = kernels::dense("batch_norm", a, C),
                                   .b = kernels::dense("batch_norm", b, C),
                                   .dx = dx,
                                   .dresidual = {}};
  if (dresidual) to.dresidual = *dresidual;
  const bool packs = kernels::rows_in_packs<T>(C, from.dy, from.x, to.dx, to.dresidual);
  kernels::with_pack<T>(packs, [&](auto n) {
    constexpr int N = decltype(n)::value;
    const auto grid = kernels::writing_grid(rows, C, N, kernels::kBatchNormUnroll);
    kernels::launch(on, "batch_norm_input_gradient",
                    kernels::batch_norm_input_gradient_kernel<T, N>, grid.launch(), from, to, rows,
                    C, grid);
  });
}

}  // namespace ops
}  // namespace mwalimu
