// cpu/batch_norm: the loops of batch norm over (rows, C), channels densest.
//
// All are memory-bound: one pass reads each element once, in memory order, and works on tiles of
// channels whose coefficients and accumulators stay in the first-level cache.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/cpu/keep_if.hpp"
#include "mwalimu/ops/batch_norm.hpp"

namespace mwalimu::ops {
namespace detail {

inline constexpr index_t kChannelTile = 128;  // 512 bytes of float: accumulators stay in L1
inline constexpr index_t kRun = 64;           // rows summed in float before the sum goes to double

// Rows a chunk: 16384 elements or more, and never more than 256 chunks, so that what is done per
// chunk and channel is small beside the chunk.
constexpr index_t batch_norm_chunk_rows(index_t rows, index_t C) {
  return std::max({kRun, kGrain / std::max<index_t>(C, 1), (rows + 255) / 256});
}

static_assert(std::endian::native == std::endian::little, "byte j of a word is lane j below");

// Eight bytes of 0 or 1 to eight bits, the first lowest: no two products share a bit, and the
// wanted ones lie in the top byte.
inline std::uint8_t pack_bits(const std::uint8_t* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, 8);
  return static_cast<std::uint8_t>((word * 0x0102040810204080u) >> 56);
}
// Eight bits to eight bytes, nonzero where the bit is set.
inline void unpack_bits(std::uint8_t bits, std::uint8_t* bytes) {
  const std::uint64_t word = (bits * 0x0101010101010101u) & 0x8040201008040201u;
  std::memcpy(bytes, &word, 8);
}

// mean[c] and m2[c] = sum (x - mean)^2 of `rows` rows.
template <class T>
void channel_moments(const T* x, index_t stride, index_t rows, index_t C, double* mean,
                     double* m2) {
  using A = accumulate_t<T>;
  for (index_t c0 = 0; c0 < C; c0 += kChannelTile) {
    const index_t width = std::min(kChannelTile, C - c0);
    const T* tile = x + c0;
    // Differences from the first row: as small as the data's spread, whatever its mean.
    alignas(64) A pivot[kChannelTile], s1[kChannelTile], s2[kChannelTile];
    alignas(64) double d1[kChannelTile] = {}, d2[kChannelTile] = {};
    for (index_t c = 0; c < width; ++c) pivot[c] = convert<A>(tile[c]);
    for (index_t r0 = 0; r0 < rows; r0 += kRun) {
      const index_t r1 = std::min(rows, r0 + kRun);
      std::fill_n(s1, width, A{0});
      std::fill_n(s2, width, A{0});
      index_t r = r0;
      for (; r + 4 <= r1; r += 4) {  // four rows for one visit to the accumulators
        const T *x0 = tile + r * stride, *x1 = x0 + stride, *x2 = x1 + stride, *x3 = x2 + stride;
#pragma omp simd
        for (index_t c = 0; c < width; ++c) {
          const A a0 = convert<A>(x0[c]) - pivot[c], a1 = convert<A>(x1[c]) - pivot[c];
          const A a2 = convert<A>(x2[c]) - pivot[c], a3 = convert<A>(x3[c]) - pivot[c];
          s1[c] += (a0 + a1) + (a2 + a3);
          s2[c] += (a0 * a0 + a1 * a1) + (a2 * a2 + a3 * a3);
        }
      }
      for (; r < r1; ++r) {
        const T* x0 = tile + r * stride;
#pragma omp simd
        for (index_t c = 0; c < width; ++c) {
          const A a0 = convert<A>(x0[c]) - pivot[c];
          s1[c] += a0;
          s2[c] += a0 * a0;
        }
      }
#pragma omp simd
      for (index_t c = 0; c < width; ++c) {
        d1[c] += static_cast<double>(s1[c]);
        d2[c] += static_cast<double>(s2[c]);
      }
    }
    const double n = static_cast<double>(rows);
    for (index_t c = 0; c < width; ++c) {
      mean[c0 + c] = static_cast<double>(pivot[c]) + d1[c] / n;
      m2[c0 + c] = std::max(0.0, d2[c] - d1[c] * d1[c] / n);
    }
  }
}

// One row: y and, a byte an element, whether it passed.
template <bool kResidual, class T, class A>
void apply_row(const T* x, const T* residual, const A* center, const A* scale, const A* shift,
               bool relu, index_t width, std::uint8_t* pass, T* y) {
  const auto value = [&](index_t c) {
    A v = (convert<A>(x[c]) - center[c]) * scale[c] + shift[c];
    if constexpr (kResidual) v += convert<A>(residual[c]);
    return v;
  };
  if (!relu) {
#pragma omp simd
    for (index_t c = 0; c < width; ++c) y[c] = convert<T>(value(c));
  } else if (pass == nullptr) {
#pragma omp simd
    for (index_t c = 0; c < width; ++c) {
      const A v = value(c);
      y[c] = convert<T>(v <= A{0} ? A{0} : v);  // NaN stays NaN
    }
  } else {
#pragma omp simd
    for (index_t c = 0; c < width; ++c) {
      const A v = value(c);
      y[c] = convert<T>(v <= A{0} ? A{0} : v);
      pass[c] = v <= A{0} ? 0 : 1;
    }
  }
}

// The pass bytes of a tile from its bits.
inline void unpack_row(const std::uint8_t* bits, index_t width, std::uint8_t* pass) {
  for (index_t c = 0; c < width; c += 8) unpack_bits(bits[c / 8], pass + c);
}

// mean[c] and the biased variance[c] over the rows.
template <Real T>
void batch_norm_statistics(View<const T, 2> x, View<double, 1> mean, View<double, 1> variance) {
  const index_t rows = x.dim(0), C = x.dim(1), size = detail::batch_norm_chunk_rows(rows, C);
  const index_t chunks = detail::chunk_count(rows, size);
  auto partial = Tensor<double>::empty({chunks, 2, C});
  double* parts = partial.data();
  detail::for_each_chunk(rows, size, C, [&](index_t chunk, index_t begin, index_t end) {
    double* part = parts + chunk * 2 * C;
    detail::channel_moments(x.data() + begin * x.stride(0), x.stride(0), end - begin, C, part,
                            part + C);
  });
  double *m = mean.data(), *m2 = variance.data();
  const index_t grain = std::max<index_t>(16, detail::kGrain / std::max<index_t>(chunks, 1));
  parallel_for(C, grain, [&](index_t c0, index_t c1) {
    std::fill(m + c0, m + c1, 0.0);
    std::fill(m2 + c0, m2 + c1, 0.0);
    double n = 0;
    for (index_t chunk = 0; chunk < chunks; ++chunk) {
      const double* part = parts + chunk * 2 * C;
      const double added = static_cast<double>(std::min(size, rows - chunk * size));
      const double weight = added / (n + added), cross = n * weight;
#pragma omp simd
      for (index_t c = c0; c < c1; ++c) {
        const double delta = part[c] - m[c];
        m[c] += weight * delta;
        m2[c] += part[C + c] + cross * delta * delta;
      }
      n += added;
    }
    for (index_t c = c0; c < c1; ++c) m2[c] /= n;
  });
}

template <Real A>
void batch_norm_track(View<const double, 1> mean, View<const double, 1> variance, index_t rows,
                      const BatchNormTracked<A>& to) {
  const double n = static_cast<double>(rows), unbiased = n / (n - 1);
  const auto mix = [&](A& running, double batch) {
    running = convert<A>((1 - to.momentum) * static_cast<double>(running) + to.momentum * batch);
  };
  for (index_t c = 0; c < mean.dim(0); ++c) {
    mix(to.mean(c), mean(c));
    mix(to.var(c), variance(c) * unbiased);
  }
  ++to.num_batches(0);
}

// All coefficients from to.mean and, in to.inv_std, the variance.
template <Real A>
void batch_norm_coefficients(const BatchNormParameters<A>& parameters,
                             const BatchNormCoefficients<A>& to) {
  for (index_t c = 0; c < to.mean.dim(0); ++c) {
    const double mean = to.mean(c), inv_std = 1.0 / std::sqrt(to.inv_std(c) + parameters.eps);
    const double s = static_cast<double>(parameters.gamma(c)) * inv_std;
    to.inv_std(c) = inv_std;
    to.center(c) = convert<A>(mean);
    to.scale(c) = convert<A>(s);
    // What rounding took from the mean goes into the shift.
    to.shift(c) = convert<A>(static_cast<double>(parameters.beta(c)) -
                             (mean - static_cast<double>(to.center(c))) * s);
  }
}

}  // namespace detail

template <Real T, Real A>
void batch_norm_train(Cpu, View<const T, 2> x, const BatchNormParameters<A>& parameters,
                      const BatchNormTracked<A>& tracked, const BatchNormCoefficients<A>& to) {
  detail::batch_norm_statistics<T>(x, to.mean, to.inv_std);
  detail::batch_norm_track<A>(to.mean, to.inv_std, x.dim(0), tracked);
  detail::batch_norm_coefficients(parameters, to);
}

template <Real A>
void batch_norm_evaluate(Cpu, View<const A, 1> running_mean, View<const A, 1> running_var,
                         const BatchNormParameters<A>& parameters,
                         const BatchNormCoefficients<A>& to) {
  for (index_t c = 0; c < to.mean.dim(0); ++c) {
    to.mean(c) = static_cast<double>(running_mean(c));
    to.inv_std(c) = static_cast<double>(running_var(c));
  }
  detail::batch_norm_coefficients(parameters, to);
}

template <Real T, Real A>
void batch_norm_apply(Cpu, View<const T, 2> x, std::optional<View<const T, 2>> residual,
                      View<const A, 1> center, View<const A, 1> scale, View<const A, 1> shift,
                      Activation activation, std::optional<View<std::uint8_t, 2>> keep,
                      View<T, 2> y) {
  const index_t C = x.dim(1);
  const bool relu = activation == Activation::relu;
  detail::with_flag(residual.has_value(), [&](auto has_residual) {
    detail::for_each_row_range(x.dim(0), C, [&](index_t begin, index_t end) {
      alignas(64) std::uint8_t pass[detail::kChannelTile];
      for (index_t r = begin; r < end; ++r) {
        for (index_t c = 0; c < C; c += detail::kChannelTile) {
          const index_t width = std::min(detail::kChannelTile, C - c);
          const T* added = has_residual ? residual->data() + r * residual->stride(0) + c : nullptr;
          detail::apply_row<has_residual.value>(
              x.data() + r * x.stride(0) + c, added, center.data() + c, scale.data() + c,
              shift.data() + c, relu, width, keep ? pass : nullptr, y.data() + r * y.stride(0) + c);
          if (!keep) continue;
          std::fill(pass + width, pass + (width + 7) / 8 * 8, std::uint8_t{0});
          std::uint8_t* bits = keep->data() + r * keep->stride(0) + c / 8;
          for (index_t j = 0; j < width; j += 8) bits[j / 8] = detail::pack_bits(pass + j);
        }
      }
    });
  });
}

namespace detail {

// sum[c] <- sum g, dot[c] <- sum g (x - center), with g = dy where kept, else 0.
template <Real T, Real A>
void batch_norm_gradient_sums(View<const T, 2> dy, View<const T, 2> x,
                              std::optional<View<const std::uint8_t, 2>> keep,
                              View<const A, 1> center, View<double, 1> sum, View<double, 1> dot) {
  const index_t rows = x.dim(0), C = x.dim(1), size = batch_norm_chunk_rows(rows, C);
  const index_t chunks = chunk_count(rows, size);
  auto partial = Tensor<double>::empty({chunks, 2, C});
  double* parts = partial.data();
  with_flag(keep.has_value(), [&](auto masked) {
    for_each_chunk(rows, size, C, [&](index_t chunk, index_t begin, index_t end) {
      alignas(64) A s1[kChannelTile], s2[kChannelTile];
      alignas(64) double d1[kChannelTile], d2[kChannelTile];
      alignas(64) std::uint8_t pass[kChannelTile];
      for (index_t c0 = 0; c0 < C; c0 += kChannelTile) {
        const index_t width = std::min(kChannelTile, C - c0);
        const A* middle = center.data() + c0;
        std::fill_n(d1, width, 0.0);
        std::fill_n(d2, width, 0.0);
        for (index_t r0 = begin; r0 < end; r0 += kRun) {
          std::fill_n(s1, width, A{0});
          std::fill_n(s2, width, A{0});
          for (index_t r = r0; r < std::min(end, r0 + kRun); ++r) {
            const T* dy_row = dy.data() + r * dy.stride(0) + c0;
            const T* x_row = x.data() + r * x.stride(0) + c0;
            if constexpr (masked.value) {
              unpack_row(keep->data() + r * keep->stride(0) + c0 / 8, width, pass);
            }
#pragma omp simd
            for (index_t c = 0; c < width; ++c) {
              const A g = keep_if(!masked.value || pass[c] != 0, dy_row[c]);
              s1[c] += g;
              s2[c] += g * (convert<A>(x_row[c]) - middle[c]);
            }
          }
#pragma omp simd
          for (index_t c = 0; c < width; ++c) {
            d1[c] += static_cast<double>(s1[c]);
            d2[c] += static_cast<double>(s2[c]);
          }
        }
        std::copy_n(d1, width, parts + chunk * 2 * C + c0);
        std::copy_n(d2, width, parts + chunk * 2 * C + C + c0);
      }
    });
  });
  for (index_t c = 0; c < C; ++c) sum(c) = dot(c) = 0;
  for (index_t chunk = 0; chunk < chunks; ++chunk) {
    const double* part = parts + chunk * 2 * C;
    for (index_t c = 0; c < C; ++c) {
      sum(c) += part[c];
      dot(c) += part[C + c];
    }
  }
}

}  // namespace detail

template <Real T, Real A>
void batch_norm_parameter_gradients(Cpu, View<const T, 2> dy, View<const T, 2> x,
                                    std::optional<View<const std::uint8_t, 2>> keep,
                                    View<const double, 1> mean, View<const double, 1> inv_std,
                                    View<const A, 1> center, bool training,
                                    const BatchNormGradients<A>& to) {
  const index_t C = x.dim(1);
  auto sums = Tensor<double>::empty({2, C});
  const View<double, 1> sum(sums.data(), {C}, {1}), dot(sums.data() + C, {C}, {1});
  detail::batch_norm_gradient_sums<T, A>(dy, x, keep, center, sum, dot);
  const double n = static_cast<double>(x.dim(0));
  const auto put = [](A& at, bool add, double value) {
    at = convert<A>(value + (add ? static_cast<double>(at) : 0.0));
  };
  for (index_t c = 0; c < C; ++c) {
    const double lost = mean(c) - static_cast<double>(center(c));  // by rounding the mean
    const double exact_dot = dot(c) - lost * sum(c);               // sum g (x - mean)
    if (to.dgamma.data() != nullptr) put(to.dgamma(c), to.add_gamma, exact_dot * inv_std(c));
    if (to.dbeta.data() != nullptr) put(to.dbeta(c), to.add_beta, sum(c));
    const double slope = training ? exact_dot * inv_std(c) * inv_std(c) / n : 0.0;
    to.b(c) = convert<A>(slope);
    to.a(c) = convert<A>(training ? sum(c) / n - lost * slope : 0.0);
  }
}

template <Real T, Real A>
void batch_norm_input_gradient(Cpu, View<const T, 2> dy, View<const T, 2> x,
                               std::optional<View<const std::uint8_t, 2>> keep,
                               View<const A, 1> center, View<const A, 1> scale, View<const A, 1> a,
                               View<const A, 1> b, View<T, 2> dx,
                               std::optional<View<T, 2>> dresidual) {
  const index_t C = x.dim(1);
  const auto all_rows = [&](auto masked, auto has_residual) {
    detail::for_each_row_range(x.dim(0), C, [&](index_t begin, index_t end) {
      alignas(64) std::uint8_t pass[detail::kChannelTile];
      for (index_t r = begin; r < end; ++r) {
        for (index_t c0 = 0; c0 < C; c0 += detail::kChannelTile) {
          const index_t width = std::min(detail::kChannelTile, C - c0);
          const T* dy_row = dy.data() + r * dy.stride(0) + c0;
          const T* x_row = x.data() + r * x.stride(0) + c0;
          const A *middle = center.data() + c0, *factor = scale.data() + c0;
          const A *offset = a.data() + c0, *slope = b.data() + c0;
          T* dx_row = dx.data() + r * dx.stride(0) + c0;
          T* dresidual_row =
              has_residual ? dresidual->data() + r * dresidual->stride(0) + c0 : nullptr;
          if constexpr (masked.value) {
            detail::unpack_row(keep->data() + r * keep->stride(0) + c0 / 8, width, pass);
          }
#pragma omp simd
          for (index_t c = 0; c < width; ++c) {
            const A g = detail::keep_if(!masked.value || pass[c] != 0, dy_row[c]);
            if constexpr (has_residual.value) dresidual_row[c] = convert<T>(g);
            const A xc = convert<A>(x_row[c]) - middle[c];
            dx_row[c] = convert<T>(factor[c] * (g - offset[c] - xc * slope[c]));
          }
        }
      }
    });
  };
  detail::with_flag(keep.has_value(), [&](auto masked) {
    detail::with_flag(dresidual.has_value(),
                      [&](auto has_residual) { all_rows(masked, has_residual); });
  });
}

}  // namespace mwalimu::ops
