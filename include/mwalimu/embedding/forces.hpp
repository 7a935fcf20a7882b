// embedding/forces: the two halves of the t-SNE gradient, and its objective.
//
//   F_i = 1/4 dKL/dy_i = A_i - R_i / Z,   w_ij = 1 / (1 + |y_i - y_j|^2),   Z = sum_{i != j} w_ij
//   A_i = sum_j p_ij w_ij (y_i - y_j)     over the edges of P
//   R_i = sum_j w_ij^2 (y_i - y_j)        over all points
//
// Each row is summed by one thread in a fixed order: the same bits for any number of threads.
// Source: van der Maaten and Hinton 2008, eq. (5).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/affinities.hpp"
#include "mwalimu/embedding/coordinates.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {

namespace detail {

inline index_t edges_a_row(const Affinities& p) { return p.row_begin[p.n] / p.n + 1; }

/// Calls body(std::integral_constant<int, D>) with D = dimensions, so that inner loops unroll.
template <class Body>
decltype(auto) with_dimensions(int dimensions, Body&& body) {
  if (dimensions == 1) return body(std::integral_constant<int, 1>{});
  if (dimensions == 2) return body(std::integral_constant<int, 2>{});
  require<ValueError>(dimensions == 3, "t-SNE: want 1, 2 or 3 components, got ", dimensions);
  return body(std::integral_constant<int, 3>{});
}

/// R and sum_j w_ij of the four points i0 .. i0 + 3 (i0 a multiple of 4) against all n.
///
/// One vector of sixteen points a step against four queries: one load an axis serves four, and two
/// weights share a division, 1/a = b/(ab). The points' own pairs are masked, not subtracted: with
/// far-apart points the sum is far below the 1 that they would add.
template <int D>
void repulsion_rows(const Coordinates& y, index_t i0, float* const (&r)[D], double* weight_sum) {
  constexpr int kRows = 4;
  constexpr index_t kChunk = 2048;  // floats are summed over this many points, doubles beyond
  const index_t n = y.n(), groups = round_up(n, kLanes) / kLanes, own = i0 / kLanes;
  const bool tail = n % kLanes != 0;
  const float* axis[D];
  float query[kRows][D];
  for (int c = 0; c < D; ++c) {
    axis[c] = y.axis(c);
    for (int q = 0; q < kRows; ++q) query[q][c] = axis[c][i0 + q];  // padding makes i0 + 3 readable
  }
  double total[kRows][D + 1] = {};
  for (index_t first = 0; first < groups; first += kChunk / kLanes) {
    const index_t last = std::min(groups, first + kChunk / kLanes);
    Lanes weights[kRows] = {}, force[kRows][D] = {};
    const auto step = [&](index_t g, const Lanes* mask) {
      Lanes at[D], difference[kRows][D], denominator[kRows];
      for (int c = 0; c < D; ++c) load(at[c], axis[c] + g * kLanes);
      for (int q = 0; q < kRows; ++q) {
        denominator[q] = Lanes{} + 1.0f;
        for (int c = 0; c < D; ++c) {
          difference[q][c] = query[q][c] - at[c];
          denominator[q] += difference[q][c] * difference[q][c];
        }
      }
      for (int q = 0; q < kRows; q += 2) {
        const Lanes shared = 1.0f / (denominator[q] * denominator[q + 1]);
        Lanes w[2] = {shared * denominator[q + 1], shared * denominator[q]};
        for (int h = 0; h < 2; ++h) {
          if (mask != nullptr) w[h] *= mask[q + h];
          weights[q + h] += w[h];
          const Lanes square = w[h] * w[h];
          for (int c = 0; c < D; ++c) force[q + h][c] += square * difference[q + h][c];
        }
      }
    };
    for (index_t g = first; g < last; ++g) {
      if (g != own && !(tail && g == groups - 1)) {
        step(g, nullptr);
        continue;
      }
      float value[kRows][kLanes];
      Lanes mask[kRows];
      for (int q = 0; q < kRows; ++q) {
        for (index_t lane = 0; lane < kLanes; ++lane) {
          const index_t j = g * kLanes + lane;
          value[q][lane] = j < n && j != i0 + q ? 1.0f : 0.0f;
        }
        load(mask[q], value[q]);
      }
      step(g, mask);
    }
    for (int q = 0; q < kRows; ++q) {
      total[q][D] += sum(weights[q]);
      for (int c = 0; c < D; ++c) total[q][c] += sum(force[q][c]);
    }
  }
  for (int q = 0; q < kRows && i0 + q < n; ++q) {
    weight_sum[i0 + q] = total[q][D];
    for (int c = 0; c < D; ++c) r[c][i0 + q] = static_cast<float>(total[q][c]);
  }
}

}  // namespace detail

/// Repulsion by the exact O(n^2) sum.
/// @param y  the map.
/// @param r  as many points; overwritten with R.
/// @return   Z, the sum of all weights.
///
/// Accuracy  float within a vector's chunk, double across: Z and R within 1e-5 relative of double.
inline double exact_repulsion(const Coordinates& y, Coordinates& r) {
  std::vector<double> weight_sum(y.n());
  detail::with_dimensions(y.dimensions(), [&](auto dimensions) {
    constexpr int D = decltype(dimensions)::value;
    float* to[D];
    for (int c = 0; c < D; ++c) to[c] = r.axis(c);
    // Blocks of four rows start at multiples of four however the blocks are shared out.
    share_out((y.n() + 3) / 4, detail::rows_a_thread(4 * y.n()), [&](index_t begin, index_t end) {
      for (index_t b = begin; b < end; ++b) {
        detail::repulsion_rows<D>(y, b * 4, to, weight_sum.data());
      }
    });
  });
  double z = 0;
  for (const double w : weight_sum) z += w;
  return z;
}

/// Attraction along the edges of P: a <- A, without exaggeration.
inline void attraction(const Affinities& p, const Coordinates& y, Coordinates& a) {
  detail::with_dimensions(y.dimensions(), [&](auto dimensions) {
    constexpr int D = decltype(dimensions)::value;
    const float* axis[D];
    float* to[D];
    for (int c = 0; c < D; ++c) axis[c] = y.axis(c), to[c] = a.axis(c);
    share_out(y.n(), detail::rows_a_thread(4 * detail::edges_a_row(p)),
              [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) {
                  const index_t first = p.row_begin[i], last = p.row_begin[i + 1];
                  const std::int32_t* column = p.column.data();
                  const float* value = p.value.data();
                  if constexpr (D == 2) {
                    const float *x0 = axis[0], *x1 = axis[1];
                    const float q0 = x0[i], q1 = x1[i];
                    float f0 = 0, f1 = 0;
#pragma omp simd reduction(+ : f0, f1)
                    for (index_t e = first; e < last; ++e) {
                      const float d0 = q0 - x0[column[e]], d1 = q1 - x1[column[e]];
                      const float weight = value[e] / (1.0f + (d0 * d0 + d1 * d1));
                      f0 += weight * d0;
                      f1 += weight * d1;
                    }
                    to[0][i] = f0;
                    to[1][i] = f1;
                  } else {
                    float force[D] = {};
                    for (index_t e = first; e < last; ++e) {
                      float difference[D], denominator = 1;
                      for (int c = 0; c < D; ++c) {
                        difference[c] = axis[c][i] - axis[c][column[e]];
                        denominator += difference[c] * difference[c];
                      }
                      for (int c = 0; c < D; ++c)
                        force[c] += value[e] / denominator * difference[c];
                    }
                    for (int c = 0; c < D; ++c) to[c][i] = force[c];
                  }
                }
              });
  });
}

/// KL(P || Q) of a map, in nats, with Z given: sum p (ln p - ln w) + ln Z sum p. In double.
inline double kl_divergence(const Affinities& p, const Coordinates& y, double z) {
  std::vector<double> row(y.n()), mass(y.n());
  share_out(y.n(), detail::rows_a_thread(32 * detail::edges_a_row(p)),
            [&](index_t begin, index_t end) {
              for (index_t i = begin; i < end; ++i) {
                double total = 0, probability = 0;
                for (index_t e = p.row_begin[i]; e < p.row_begin[i + 1]; ++e) {
                  const double value = p.value[e];
                  if (value == 0) continue;
                  double square = 0;
                  for (int c = 0; c < y.dimensions(); ++c) {
                    const double difference = double{y.axis(c)[i]} - y.axis(c)[p.column[e]];
                    square += difference * difference;
                  }
                  total += value * (std::log(value) + std::log1p(square));
                  probability += value;
                }
                row[i] = total;
                mass[i] = probability;
              }
            });
  double total = 0, probability = 0;
  for (index_t i = 0; i < y.n(); ++i) total += row[i], probability += mass[i];
  return total + probability * std::log(z);
}

/// sum_ij p_ij ln(1 + |y_i - y_j|^2), the part of the KL that depends on the map, but for ln Z.
/// In float, 1e-6 of the value: for progress, a tenth of the time of kl_divergence().
inline double stretch(const Affinities& p, const Coordinates& y) {
  constexpr float kLn2 = 0.693147180559945f;
  std::vector<double> row(y.n());
  share_out(
      y.n(), detail::rows_a_thread(8 * detail::edges_a_row(p)), [&](index_t begin, index_t end) {
        const float *x0 = y.axis(0), *x1 = y.axis(y.dimensions() > 1 ? 1 : 0);
        const float* x2 = y.axis(y.dimensions() > 2 ? 2 : 0);
        const float in_1 = y.dimensions() > 1 ? 1 : 0, in_2 = y.dimensions() > 2 ? 1 : 0;
        const std::int32_t* column = p.column.data();
        for (index_t i = begin; i < end; ++i) {
          const float q0 = x0[i], q1 = x1[i], q2 = x2[i];
          float sum = 0;
#pragma omp simd reduction(+ : sum)
          for (index_t e = p.row_begin[i]; e < p.row_begin[i + 1]; ++e) {
            const std::int32_t j = column[e];
            const float d0 = q0 - x0[j], d1 = in_1 * (q1 - x1[j]), d2 = in_2 * (q2 - x2[j]);
            // ln w = exponent ln 2 + ln m with m in [sqrt(1/2), sqrt(2)), f = m - 1, and the
            // minimax polynomial of the Cephes library for the latter.
            const auto bits = __builtin_bit_cast(std::int32_t, 1 + d0 * d0 + d1 * d1 + d2 * d2);
            const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;
            const float f = __builtin_bit_cast(float, bits - (exponent << 23)) - 1, z = f * f;
            float log = 7.0376836292e-2f;
            log = log * f - 1.1514610310e-1f;
            log = log * f + 1.1676998740e-1f;
            log = log * f - 1.2420140846e-1f;
            log = log * f + 1.4249322787e-1f;
            log = log * f - 1.6668057665e-1f;
            log = log * f + 2.0000714765e-1f;
            log = log * f - 2.4999993993e-1f;
            log = log * f + 3.3333331174e-1f;
            log = (log * f * z - 0.5f * z + f) + static_cast<float>(exponent) * kLn2;
            sum += p.value[e] * log;
          }
          row[i] = sum;
        }
      });
  double total = 0;
  for (const double r : row) total += r;
  return total;
}

/// Z of a map by all pairs: summed in double for small maps; above, every weight is rounded to
/// float, whose errors average out over the millions of them.
inline double exact_normaliser(const Coordinates& y) {
  if (y.n() > 4096) {
    Coordinates unused(y.n(), y.dimensions());
    return exact_repulsion(y, unused);
  }
  std::vector<double> row(y.n());
  share_out(y.n(), detail::rows_a_thread(4 * y.n()), [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      const auto weight = [&](index_t j) {
        double denominator = 1;
        for (int c = 0; c < y.dimensions(); ++c) {
          const double difference = double{y.axis(c)[i]} - y.axis(c)[j];
          denominator += difference * difference;
        }
        return 1 / denominator;
      };
      double total = 0;
#pragma omp simd reduction(+ : total)
      for (index_t j = 0; j < i; ++j) total += weight(j);
#pragma omp simd reduction(+ : total)
      for (index_t j = i + 1; j < y.n(); ++j) total += weight(j);
      row[i] = total;
    }
  });
  double z = 0;
  for (const double w : row) z += w;
  return z;
}

/// KL(P || Q) with Z summed exactly in double: the number to report.
inline double exact_kl(const Affinities& p, const Coordinates& y) {
  return kl_divergence(p, y, exact_normaliser(y));
}

}  // namespace mwalimu::embedding
