// embedding/symmetric_eigen: all eigenvalues and eigenvectors of a small dense symmetric matrix.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding {

struct SymmetricEigen {
  std::vector<double> value;   ///< (m) descending
  std::vector<double> vector;  ///< (m, m), row r is the unit eigenvector of value[r]
};

namespace detail {

/// Reduces the symmetric a (m, m) to tridiagonal T by Householder reflections, a = Q T Q^T.
/// On return row r of `basis` is column r of Q; diagonal and off-diagonal (off[r] couples r, r +
/// 1).
inline void tridiagonalise(std::vector<double>& a, index_t m, std::vector<double>& basis,
                           std::vector<double>& diagonal, std::vector<double>& off) {
  basis.assign(m * m, 0.0);
  for (index_t r = 0; r < m; ++r) basis[r * m + r] = 1.0;
  diagonal.assign(m, 0.0);
  off.assign(m, 0.0);
  std::vector<double> v(m), p(m);
  for (index_t r = 0; r + 1 < m; ++r) {
    // v reflects the part of row r right of the diagonal onto its first entry.
    const double* row = a.data() + r * m;
    double norm = 0;
    for (index_t c = r + 1; c < m; ++c) norm = std::hypot(norm, row[c]);
    diagonal[r] = row[r];
    const double head = row[r + 1];
    off[r] = head > 0 ? -norm : norm;
    if (norm == 0) continue;
    double square = 0;
    std::fill(v.begin(), v.end(), 0.0);
    for (index_t c = r + 1; c < m; ++c) v[c] = row[c] / norm;
    v[r + 1] -= off[r] / norm;
    for (index_t c = r + 1; c < m; ++c) square += v[c] * v[c];
    if (square == 0) continue;
    const double scale = 2 / square;

    // Trailing block: a <- H a H = a - v w^T - w v^T with w = p - (scale/2)(p.v) v, p = scale a v.
    double overlap = 0;
    for (index_t i = r + 1; i < m; ++i) {
      const double* from = a.data() + i * m;
      double dot = 0;
      for (index_t c = r + 1; c < m; ++c) dot += from[c] * v[c];
      p[i] = scale * dot;
      overlap += p[i] * v[i];
    }
    for (index_t i = r + 1; i < m; ++i) p[i] -= 0.5 * scale * overlap * v[i];
    for (index_t i = r + 1; i < m; ++i) {
      double* to = a.data() + i * m;
      for (index_t c = r + 1; c < m; ++c) to[c] -= v[i] * p[c] + p[i] * v[c];
    }
    // Q <- Q H. Rows of `basis` are columns of Q, so the rows r + 1... mix: dot = Q v, then
    // subtract.
    std::fill(p.begin(), p.end(), 0.0);
    for (index_t c = r + 1; c < m; ++c) {
      const double* from = basis.data() + c * m;
      for (index_t i = 0; i < m; ++i) p[i] += v[c] * from[i];
    }
    for (index_t c = r + 1; c < m; ++c) {
      double* to = basis.data() + c * m;
      const double weight = scale * v[c];
      for (index_t i = 0; i < m; ++i) to[i] -= weight * p[i];
    }
  }
  diagonal[m - 1] = a[m * m - 1];
}

/// Implicit QL with Wilkinson's shift on the tridiagonal; rotations are applied to rows of `basis`.
inline void diagonalise_tridiagonal(std::vector<double>& diagonal, std::vector<double>& off,
                                    std::vector<double>& basis, index_t m) {
  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  for (index_t low = 0; low < m; ++low) {
    for (int sweep = 0;; ++sweep) {
      index_t high = low;
      while (high + 1 < m && std::abs(off[high]) > kEpsilon * (std::abs(diagonal[high]) +
                                                               std::abs(diagonal[high + 1]))) {
        ++high;
      }
      if (high == low) break;
      require<Error>(sweep < 200, "symmetric_eigen: no convergence at row ", low, " of ", m);

      const double half_gap = (diagonal[low + 1] - diagonal[low]) / (2 * off[low]);
      const double root = std::hypot(half_gap, 1.0);
      double g =
          diagonal[high] - diagonal[low] + off[low] / (half_gap + (half_gap >= 0 ? root : -root));
      double sine = 1, cosine = 1, shift = 0;
      index_t i = high - 1;
      for (; i >= low; --i) {
        const double f = sine * off[i], b = cosine * off[i];
        const double length = std::hypot(f, g);
        off[i + 1] = length;
        if (length == 0) {  // underflow: the matrix splits here, start this sweep again
          diagonal[i + 1] -= shift;
          off[high] = 0;
          break;
        }
        sine = f / length;
        cosine = g / length;
        const double d = diagonal[i + 1] - shift;
        const double t = (diagonal[i] - d) * sine + 2 * cosine * b;
        shift = sine * t;
        diagonal[i + 1] = d + shift;
        g = cosine * t - b;
        double* lower = basis.data() + i * m;
        double* upper = lower + m;
        for (index_t c = 0; c < m; ++c) {
          const double x = upper[c], y = lower[c];
          upper[c] = sine * y + cosine * x;
          lower[c] = cosine * y - sine * x;
        }
      }
      if (i >= low) continue;
      diagonal[low] -= shift;
      off[low] = g;
      off[high] = 0;
    }
  }
}

}  // namespace detail

/// @param matrix  (m, m) symmetric and finite; only symmetry to rounding is assumed.
/// @throws ShapeError  matrix.size() != m * m or m < 1.
///
/// Cost      about 7 m^3 multiply-adds, one thread.
/// Accuracy  residual and orthogonality of order m epsilon (tests: 1e-12 at m = 60).
/// Source    Householder tridiagonalisation and implicit QL: Golub and Van Loan, Matrix
///           Computations, sections 8.3.1 and 8.3.5.
inline SymmetricEigen symmetric_eigen(std::span<const double> matrix, index_t m) {
  require<ShapeError>(m >= 1 && static_cast<index_t>(matrix.size()) == m * m,
                      "symmetric_eigen: want ", m, " x ", m, " values, got ", matrix.size());
  std::vector<double> a(matrix.begin(), matrix.end()), basis, diagonal, off;
  detail::tridiagonalise(a, m, basis, diagonal, off);
  detail::diagonalise_tridiagonal(diagonal, off, basis, m);

  std::vector<index_t> order(m);
  std::iota(order.begin(), order.end(), index_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](index_t i, index_t j) { return diagonal[i] > diagonal[j]; });
  SymmetricEigen out;
  for (const index_t r : order) {
    out.value.push_back(diagonal[r]);
    out.vector.insert(out.vector.end(), basis.begin() + r * m, basis.begin() + (r + 1) * m);
  }
  return out;
}

}  // namespace mwalimu::embedding
