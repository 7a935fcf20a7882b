// cpu/sinkhorn: scaling of a fixed kernel matrix, and the same in logarithms for extreme scores.
//
// Here rows are samples (N) and columns prototypes (P), as the scores lie in memory. One pass over
// the matrix does both halves of a step: a row's sum gives its v at once, and with it the row's
// share of the column sums that the next u needs, while the row is in the first-level cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/cpu/softmax_row.hpp"
#include "mwalimu/ops/sinkhorn.hpp"

namespace mwalimu::ops {
namespace detail {

// Rows a chunk: 16 at least, at most 64 chunks, each with column sums of its own.
constexpr index_t sinkhorn_chunk_rows(index_t N) { return std::max<index_t>(16, (N + 63) / 64); }

/// out[p] <- sum over chunks of parts[chunk, p].
inline void combine_columns(const std::vector<double>& parts, index_t P, double* out) {
  const index_t chunks = static_cast<index_t>(parts.size()) / P;
  parallel_for(P, std::max<index_t>(64, kGrain / chunks), [&](index_t begin, index_t end) {
    std::fill(out + begin, out + end, 0.0);
    for (index_t chunk = 0; chunk < chunks; ++chunk) {
      const double* part = parts.data() + chunk * P;
#pragma omp simd
      for (index_t p = begin; p < end; ++p) out[p] += part[p];
    }
  });
}

/// Scaling of K = exp((scores - row maximum) / eps). Q's columns start with v = exp((row maximum -
/// largest) / eps), which puts back what the subtraction took.
/// @return  false where numbers below float's range might have mattered; `codes` is then undefined.
template <class T>
bool sinkhorn_by_scaling(View<const T, 2> scores, double eps, int iterations,
                         View<accumulate_t<T>, 2> codes) {
  using A = accumulate_t<T>;
  const index_t N = scores.dim(0), P = scores.dim(1), B = codes.dim(0);
  const index_t size = sinkhorn_chunk_rows(N), chunks = chunk_count(N, size);
  const double rows = static_cast<double>(N), columns = static_cast<double>(P);
  // Below this, exp_nonpositive or a float's normal range may have made an entry zero.
  const double tiny = std::is_same_v<A, double> ? 1e-300 : std::exp(-87.0);
  constexpr double kLoss = 1e-8;  // of a sum: an eighth of a float's last digit

  std::vector<double> peak(static_cast<std::size_t>(N));
  std::vector<A> lowest(static_cast<std::size_t>(N));
  for_each_row_range(N, P, [&](index_t begin, index_t end) {
    for (index_t n = begin; n < end; ++n) {
      const T* x = scores.data() + n * scores.stride(0);
      A low = convert<A>(x[0]);
#pragma omp simd reduction(min : low)
      for (index_t p = 0; p < P; ++p) low = convert<A>(x[p]) < low ? convert<A>(x[p]) : low;
      peak[static_cast<std::size_t>(n)] = static_cast<double>(row_maximum(x, P));
      lowest[static_cast<std::size_t>(n)] = low;
    }
  });
  const double largest = *std::max_element(peak.begin(), peak.end());
  double range = 0;  // of exponents, over whole rows and over maxima
  for (std::size_t n = 0; n < peak.size(); ++n) {
    range = std::max(
        {range, (peak[n] - static_cast<double>(lowest[n])) / eps, (largest - peak[n]) / eps});
  }
  if (!(range < 600)) return false;  // also NaN: v would leave double's range
  const bool flushed = range > -std::log(tiny);

  std::vector<double> u(static_cast<std::size_t>(P), 1.0), v(static_cast<std::size_t>(N));
  std::vector<double> parts(static_cast<std::size_t>(chunks * P), 0.0);
  for (std::size_t n = 0; n < v.size(); ++n) v[n] = std::exp((peak[n] - largest) / eps);
  double v_largest = 1, u_largest = 1;
  auto kernel = Tensor<A>::empty({N, P});
  A* K = kernel.data();

  const auto add_to_columns = [&](index_t n, double* part) {
    const A* row = K + n * P;
    const double weight = v[static_cast<std::size_t>(n)];
#pragma omp simd
    for (index_t p = 0; p < P; ++p) part[p] += weight * static_cast<double>(row[p]);
  };
  const A f = static_cast<A>(1 / eps);
  for_each_chunk(N, size, P, [&](index_t chunk, index_t begin, index_t end) {
    for (index_t n = begin; n < end; ++n) {
      const T* x = scores.data() + n * scores.stride(0);
      const A top = static_cast<A>(peak[static_cast<std::size_t>(n)]);
      A* row = K + n * P;
#pragma omp simd
      for (index_t p = 0; p < P; ++p) row[p] = exp_nonpositive((convert<A>(x[p]) - top) * f);
      if (iterations > 0) add_to_columns(n, parts.data() + chunk * P);
    }
  });

  const auto row_sum = [&](index_t n) {
    const A* row = K + n * P;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (index_t p = 0; p < P; ++p)
      sum += u[static_cast<std::size_t>(p)] * static_cast<double>(row[p]);
    return sum;
  };
  for (int iteration = 0; iteration < iterations; ++iteration) {
    combine_columns(parts, P, u.data());
    double smallest = std::numeric_limits<double>::infinity();
    for (double& sum : u) {
      smallest = std::min(smallest, sum);
      sum = 1 / (columns * sum);
    }
    if (!(smallest > 1e-280) || (flushed && rows * tiny * v_largest > kLoss * smallest)) {
      return false;
    }
    u_largest = 1 / (columns * smallest);
    if (iteration + 1 == iterations) break;  // the last v scales whole codes: see below
    std::fill(parts.begin(), parts.end(), 0.0);
    for_each_chunk(N, size, P, [&](index_t chunk, index_t begin, index_t end) {
      for (index_t n = begin; n < end; ++n) {
        v[static_cast<std::size_t>(n)] = 1 / (rows * row_sum(n));
        add_to_columns(n, parts.data() + chunk * P);
      }
    });
    v_largest = *std::max_element(v.begin(), v.end());
    if (!(v_largest < 1e280) ||
        (flushed && columns * tiny * u_largest > kLoss / (rows * v_largest))) {
      return false;
    }
  }
  // A column that sums to 1 does not depend on v.
  bool sound = true;
  for (index_t b = 0; b < B; ++b) {
    const double sum = row_sum(b);
    sound = sound && sum > 0 && !(flushed && columns * tiny * u_largest > kLoss * sum);
    const A* row = K + b * P;
    A* to = codes.data() + b * codes.stride(0);
    const double factor = 1 / sum;
#pragma omp simd
    for (index_t p = 0; p < P; ++p) {
      to[p] = static_cast<A>(factor * u[static_cast<std::size_t>(p)] * static_cast<double>(row[p]));
    }
  }
  return sound;
}

/// The same steps on log u and log v: two exponentials an element and iteration. Exponents and sums
/// are double; the largest exponent of a sum is taken from the others before they are rounded to A,
/// whose exponentials run in vector lanes.
template <class T>
void sinkhorn_by_logarithms(View<const T, 2> scores, double eps, int iterations,
                            View<accumulate_t<T>, 2> codes) {
  using A = accumulate_t<T>;
  const index_t N = scores.dim(0), P = scores.dim(1), B = codes.dim(0);
  const double f = 1 / eps;
  std::vector<double> log_u(static_cast<std::size_t>(P), 0.0);
  std::vector<double> log_v(static_cast<std::size_t>(N), 0.0);
  const auto row = [&](index_t n) { return scores.data() + n * scores.stride(0); };

  // log sum_p exp(score / eps + log u), as (largest exponent, sum of the exponentials below it).
  const auto row_sum = [&](index_t n) -> std::pair<double, double> {
    const T* x = row(n);
    const double* u = log_u.data();
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
#pragma omp simd reduction(max : top)
    for (index_t p = 0; p < P; ++p) {
      const double e = convert<double>(x[p]) * f + u[p];
      top = e > top ? e : top;
    }
#pragma omp simd reduction(+ : sum)
    for (index_t p = 0; p < P; ++p) {
      const double e = convert<double>(x[p]) * f + u[p] - top;
      sum += static_cast<double>(exp_nonpositive(static_cast<A>(e)));
    }
    return {top, sum};
  };
  for (int iteration = 0; iteration < iterations; ++iteration) {
    parallel_for(P, std::max<index_t>(16, kGrain / N), [&](index_t begin, index_t end) {
      // Rows outside, columns inside: memory order.
      const index_t width = end - begin;
      std::vector<double> tops(static_cast<std::size_t>(width),
                               -std::numeric_limits<double>::infinity());
      std::vector<double> sums(static_cast<std::size_t>(width), 0.0);
      double *top = tops.data(), *sum = sums.data();
      for (index_t n = 0; n < N; ++n) {
        const T* x = row(n) + begin;
        const double v = log_v[static_cast<std::size_t>(n)];
#pragma omp simd
        for (index_t i = 0; i < width; ++i) {
          const double e = convert<double>(x[i]) * f + v;
          top[i] = e > top[i] ? e : top[i];
        }
      }
      for (index_t n = 0; n < N; ++n) {
        const T* x = row(n) + begin;
        const double v = log_v[static_cast<std::size_t>(n)];
#pragma omp simd
        for (index_t i = 0; i < width; ++i) {
          const double e = convert<double>(x[i]) * f + v - top[i];
          sum[i] += static_cast<double>(exp_nonpositive(static_cast<A>(e)));
        }
      }
      for (index_t i = 0; i < width; ++i) {
        log_u[static_cast<std::size_t>(begin + i)] =
            -std::log(static_cast<double>(P)) - top[i] - std::log(sum[i]);
      }
    });
    if (iteration + 1 == iterations) break;
    for_each_row_range(N, P, [&](index_t begin, index_t end) {
      for (index_t n = begin; n < end; ++n) {
        const auto [top, sum] = row_sum(n);
        log_v[static_cast<std::size_t>(n)] = -std::log(static_cast<double>(N)) - top - std::log(sum);
      }
    });
  }
  for_each_row_range(B, P, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b) {
      const auto [top, sum] = row_sum(b);
      const T* x = row(b);
      const double* u = log_u.data();
      A* to = codes.data() + b * codes.stride(0);
      const A scale = static_cast<A>(1 / sum);
      const double largest = top;
#pragma omp simd
      for (index_t p = 0; p < P; ++p) {
        const double e = convert<double>(x[p]) * f + u[p] - largest;
        to[p] = exp_nonpositive(static_cast<A>(e)) * scale;
      }
    }
  });
}

template <class T>
void copy_rows(View<const T, 2> from, T* to) {
  const index_t P = from.dim(1);
  for_each_row_range(from.dim(0), P, [&](index_t begin, index_t end) {
    for (index_t n = begin; n < end; ++n) {
      std::copy_n(from.data() + n * from.stride(0), P, to + n * P);
    }
  });
}

}  // namespace detail

template <Real T>
void sinkhorn_codes(Cpu, View<const T, 3> scores, View<const T, 2> queue, Scalar queue_rows,
                    double eps, int iterations, View<accumulate_t<T>, 3> codes) {
  const index_t B = scores.dim(1), P = scores.dim(2), step = scores.stride(1);
  const index_t L = detail::queue_rows_in_use(queue_rows.load(), queue.dim(0));
  Tensor<T> joined;
  for (index_t a = 0; a < scores.dim(0); ++a) {
    const T* batch = scores.data() + a * scores.stride(0);
    View<const T, 2> all{batch, {B + L, P}, {step, 1}};
    const bool adjacent = queue.data() == batch + B * step && queue.stride(0) == step;
    if (L > 0 && !adjacent) {
      if (joined.count() != (B + L) * P) joined = Tensor<T>::empty({B + L, P});
      detail::copy_rows<T>({batch, {B, P}, {step, 1}}, joined.data());
      if (a == 0) detail::copy_rows<T>({queue.data(), {L, P}, queue.strides()}, joined.data() + B * P);
      all = {joined.data(), {B + L, P}, {P, 1}};
    }
    const View<accumulate_t<T>, 2> to{
        codes.data() + a * codes.stride(0), {B, P}, {codes.stride(1), 1}};
    if (!detail::sinkhorn_by_scaling(all, eps, iterations, to)) {
      detail::sinkhorn_by_logarithms(all, eps, iterations, to);
    }
  }
}

template <Real A>
void code_statistics(Cpu, View<const A, 2> codes, View<A, 1> entropy, View<A, 1> largest) {
  const index_t P = codes.dim(1);
  detail::for_each_row_range(codes.dim(0), P, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const A* q = codes.data() + r * codes.stride(0);
      double sum = 0;
      for (index_t p = 0; p < P; ++p) {
        const double mass = static_cast<double>(q[p]);
        if (mass > 0) sum -= mass * std::log(mass);  // 0 log 0 = 0
      }
      entropy(r) = static_cast<A>(sum);
      largest(r) = detail::row_maximum(q, P);
    }
  });
}

}  // namespace mwalimu::ops
