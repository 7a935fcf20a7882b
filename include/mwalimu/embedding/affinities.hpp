// embedding/affinities: from neighbour distances to the joint probabilities P of t-SNE.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/neighbors.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {

/// A symmetric sparse matrix of joint probabilities p_ij, sum 1, in compressed rows.
struct Affinities {
  index_t n = 0;
  double perplexity = 0;
  std::vector<index_t> row_begin;    ///< (n + 1) offsets into column and value
  std::vector<std::int32_t> column;  ///< ascending in each row
  std::vector<float> value;          ///< p_ij == p_ji bit for bit
  std::vector<double> beta;          ///< (n) 1 / (2 sigma_i^2); infinite where the limit was taken
};

/// The entropy search of one row: conditional[j] <- exp(-beta (D_j - D_min)) / S with entropy
/// ln(perplexity) in nats.
///
/// @param square_distance  ascending, at least perplexity of them.
/// @param conditional      as many; overwritten, sums to 1.
/// @return  beta. If more neighbours are tied at D_min than the perplexity asks for, no beta is
///          large enough: the limit is taken, uniform over the ties, and infinity returned.
///
/// Newton's method on log beta, where the entropy is nearly linear, inside a bracket that shrinks
/// at every step; bisection where Newton leaves it.
inline double calibrate_row(std::span<const float> square_distance, double perplexity,
                            std::span<float> conditional) {
  const index_t k = static_cast<index_t>(square_distance.size());
  const double nearest = square_distance[0];
  index_t ties = 1;
  while (ties < k && square_distance[ties] == square_distance[0]) ++ties;
  if (static_cast<double>(ties) >= perplexity || ties == k) {
    for (index_t j = 0; j < k; ++j) {
      conditional[j] = j < ties ? static_cast<float>(1.0 / static_cast<double>(ties)) : 0.0f;
    }
    return std::numeric_limits<double>::infinity();
  }

  constexpr double kTolerance = 1e-10;  // of the entropy, in nats
  constexpr double kUnbounded = 640;    // exp(640) is finite, and no float distance needs more
  const double target = std::log(perplexity);
  // The first neighbour beyond the ties exists, so the start is finite even if the median is a tie.
  const double middle = std::max(square_distance[k / 2], square_distance[ties]) - nearest;
  double log_beta = -std::log(middle), low = -kUnbounded, high = kUnbounded;
  double beta = 0, sum = 0;
  for (int step = 0; step < 128; ++step) {
    beta = std::exp(log_beta);
    double first = 0, second = 0;
    sum = 0;
    for (index_t j = 0; j < k; ++j) {
      const double distance = square_distance[j] - nearest;
      const double weight = std::exp(-beta * distance);
      sum += weight;
      first += weight * distance;
      second += weight * distance * distance;
    }
    const double mean = first / sum;
    const double excess = std::log(sum) + beta * mean - target;  // H(beta) - ln(perplexity)
    if (std::abs(excess) < kTolerance) break;
    (excess > 0 ? low : high) = log_beta;
    const double slope = beta * beta * (second / sum - mean * mean);  // -dH / d(log beta)
    double next = log_beta + excess / slope;
    if (!(next > low && next < high)) {
      if (high == kUnbounded) {
        next = log_beta + 1;
      } else if (low == -kUnbounded) {
        next = log_beta - 1;
      } else {
        next = 0.5 * (low + high);
      }
    }
    if (next == log_beta || !(next > -kUnbounded && next < kUnbounded)) break;
    log_beta = next;
  }
  for (index_t j = 0; j < k; ++j) {
    conditional[j] = static_cast<float>(std::exp(-beta * (square_distance[j] - nearest)) / sum);
  }
  return beta;
}

namespace detail {

/// P of the conditional probabilities: p_ij = (p_j|i + p_i|j) / 2n over the union of both
/// directions. Beside its arguments and P it holds the transposed list, 8 bytes an edge.
inline void symmetrise(const NeighborList& list, const std::vector<float>& conditional,
                       Affinities& out) {
  const index_t n = list.n, k = list.k;
  struct Edge {
    std::int32_t to;
    float p;
  };
  // The transposed list by counting sort: rows scanned in order leave each of its rows sorted.
  std::vector<Edge> backward(n * k);
  std::vector<index_t> start(n + 1, 0);
  for (const std::int32_t j : list.index) ++start[j + 1];
  for (index_t i = 0; i < n; ++i) start[i + 1] += start[i];
  std::vector<index_t> fill(start.begin(), start.end() - 1);
  for (index_t i = 0; i < n; ++i) {
    for (index_t e = i * k; e < (i + 1) * k; ++e) {
      backward[fill[list.index[e]]++] = {static_cast<std::int32_t>(i), conditional[e]};
    }
  }

  // For each row emit(i, column, p_j|i + p_i|j), each column once, ascending.
  const auto merge_rows = [&](auto&& emit) {
    share_out(n, rows_a_thread(16 * k), [&](index_t begin, index_t end) {
      std::vector<Edge> forward(k);
      for (index_t i = begin; i < end; ++i) {
        for (index_t r = 0; r < k; ++r) {
          forward[r] = {list.index[i * k + r], conditional[i * k + r]};
        }
        std::sort(forward.begin(), forward.end(),
                  [](const Edge& a, const Edge& b) { return a.to < b.to; });
        const Edge* a = forward.data();
        const Edge* const a_end = a + k;
        const Edge* b = backward.data() + start[i];
        const Edge* const b_end = backward.data() + start[i + 1];
        while (a != a_end || b != b_end) {
          if (b == b_end || (a != a_end && a->to < b->to)) {
            emit(i, a->to, a->p), ++a;
          } else if (a == a_end || b->to < a->to) {
            emit(i, b->to, b->p), ++b;
          } else {
            emit(i, a->to, a->p + b->p), ++a, ++b;
          }
        }
      }
    });
  };
  out.row_begin.assign(n + 1, 0);
  merge_rows([&](index_t i, std::int32_t, float) { ++out.row_begin[i + 1]; });
  for (index_t i = 0; i < n; ++i) out.row_begin[i + 1] += out.row_begin[i];
  out.column.resize(out.row_begin[n]);
  out.value.resize(out.row_begin[n]);
  fill.assign(out.row_begin.begin(), out.row_begin.end() - 1);
  const double scale = 0.5 / static_cast<double>(n);
  merge_rows([&](index_t i, std::int32_t j, float p) {
    const float joint = static_cast<float>(p * scale);
    out.column[fill[i]] = j;
    // Subnormal numbers slow the forces and carry no weight.
    out.value[fill[i]++] = joint < std::numeric_limits<float>::min() ? 0.0f : joint;
  });
}

}  // namespace detail

/// The number of neighbours that P uses for a perplexity: min(n - 1, floor(3 perplexity)).
inline index_t neighbors_for(double perplexity, index_t n) {
  return std::min(n - 1, static_cast<index_t>(std::floor(3 * perplexity)));
}

/// Joint probabilities of a neighbour list.
///
/// @param list        k >= perplexity neighbours a row.
/// @param perplexity  > 0, the effective number of neighbours, 2^entropy in bits.
/// @throws ValueError  perplexity <= 0, NaN, or > k: no bandwidth reaches it.
///
/// Accuracy  rows are calibrated in double to 1e-10 nats; values are float, their sum is 1 to 1e-6.
/// Source    van der Maaten and Hinton 2008; k = 3 perplexity: van der Maaten 2014.
inline Affinities affinities(const NeighborList& list, double perplexity) {
  require<ValueError>(perplexity > 0 && list.k >= 1 && perplexity <= static_cast<double>(list.k),
                      "affinities: want 0 < perplexity <= k, got perplexity ", perplexity,
                      " and k = ", list.k, " neighbours; search 3 * perplexity of them");
  Affinities out;
  out.n = list.n;
  out.perplexity = perplexity;
  out.beta.resize(list.n);
  std::vector<float> conditional(list.n * list.k);
  share_out(list.n, detail::rows_a_thread(256 * list.k), [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      out.beta[i] =
          calibrate_row({&list.square_distance[i * list.k], static_cast<std::size_t>(list.k)},
                        perplexity, {&conditional[i * list.k], static_cast<std::size_t>(list.k)});
    }
  });
  detail::symmetrise(list, conditional, out);
  return out;
}

/// How several perplexities make one P.
enum class Multiscale {
  mean,     ///< the mean of their joint probabilities
  mixture,  ///< one kernel, the sum of sqrt(2 beta) exp(-beta D) over the scales
};

/// Joint probabilities over several perplexities at once: small ones hold neighbourhoods together,
/// large ones put the neighbourhoods in their places.
///
/// @param list          as many neighbours as the largest perplexity takes; every scale uses all.
/// @param perplexities  at least one, each > 0 and <= k.
/// @return  as affinities(); perplexity is the largest, beta that of the first.
/// @throws ValueError  none, or one out of range.
///
/// Source  Lee, Peluffo-Ordonez and Verleysen 2015, "Multi-scale similarities in stochastic
///         neighbour embedding"; Kobak and Berens 2019 for the mixture.
inline Affinities multiscale_affinities(const NeighborList& list,
                                        std::span<const double> perplexities,
                                        Multiscale kind = Multiscale::mean) {
  require<ValueError>(!perplexities.empty(), "multiscale_affinities: want at least one perplexity");
  for (const double perplexity : perplexities) {
    require<ValueError>(perplexity > 0 && perplexity <= static_cast<double>(list.k),
                        "multiscale_affinities: want 0 < perplexity <= k = ", list.k, ", got ",
                        perplexity);
  }
  const index_t n = list.n, k = list.k, scales = static_cast<index_t>(perplexities.size());
  Affinities out;
  out.n = n;
  out.perplexity = *std::max_element(perplexities.begin(), perplexities.end());
  out.beta.resize(n);
  std::vector<float> conditional(n * k);
  share_out(n, detail::rows_a_thread(256 * k * scales), [&](index_t begin, index_t end) {
    std::vector<float> one(k);
    std::vector<double> total(k), beta(scales);
    for (index_t i = begin; i < end; ++i) {
      const std::span<const float> distance(&list.square_distance[i * k],
                                            static_cast<std::size_t>(k));
      std::fill(total.begin(), total.end(), 0.0);
      bool limit = false;
      for (index_t s = 0; s < scales; ++s) {
        beta[s] = calibrate_row(distance, perplexities[s], one);
        limit |= !std::isfinite(beta[s]);
        for (index_t j = 0; j < k; ++j) total[j] += one[j];
      }
      if (kind == Multiscale::mixture && !limit) {
        // Scaled by the largest term, which is that of the nearest neighbour at some scale.
        double largest = -std::numeric_limits<double>::infinity();
        for (const double b : beta) {
          largest = std::max(largest, 0.5 * std::log(2 * b) - b * distance[0]);
        }
        for (index_t j = 0; j < k; ++j) {
          total[j] = 0;
          for (const double b : beta) {
            total[j] += std::exp(0.5 * std::log(2 * b) - b * distance[j] - largest);
          }
        }
      }
      double sum = 0;
      for (const double t : total) sum += t;
      for (index_t j = 0; j < k; ++j) {
        conditional[i * k + j] = static_cast<float>(total[j] / sum);
      }
      out.beta[i] = beta[0];
    }
  });
  detail::symmetrise(list, conditional, out);
  return out;
}

}  // namespace mwalimu::embedding
