// embedding/pca: principal components, and the map of the points that t-SNE starts from.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/lanes.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/symmetric_eigen.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {

struct Pca {
  index_t n = 0, d = 0, components = 0;
  std::vector<double> mean;      ///< (d)
  std::vector<double> axes;      ///< (components, d) orthonormal; zero rows beyond the data's rank
  std::vector<double> variance;  ///< (components) population variance of the scores, descending
  std::vector<double> scores;    ///< (n, components) centred points times axes
};

namespace detail {

inline constexpr index_t kExactPcaLimit = 512;  // min(n, d) up to which all eigenvectors are found

/// Centred points in double, (n, d).
inline std::vector<double> centred(const Points& x, std::vector<double>& mean) {
  mean.assign(x.d(), 0.0);
  for (index_t i = 0; i < x.n(); ++i) {
    for (index_t c = 0; c < x.d(); ++c) mean[c] += x.row(i)[c];
  }
  for (double& m : mean) m /= static_cast<double>(x.n());
  std::vector<double> out(x.n() * x.d());
  for (index_t i = 0; i < x.n(); ++i) {
    for (index_t c = 0; c < x.d(); ++c) out[i * x.d() + c] = x.row(i)[c] - mean[c];
  }
  return out;
}

/// a^T a of a (rows, m): each entry is summed over the rows in order, whatever the threads.
inline std::vector<double> gram(const std::vector<double>& a, index_t rows, index_t m) {
  std::vector<double> out(m * m, 0.0);
  constexpr index_t kRows = 64;  // rows that stay in cache while every column pair visits them
  share_out(m, rows_a_thread(rows * m / 4), [&](index_t begin, index_t end) {
    for (index_t first = 0; first < rows; first += kRows) {
      const index_t last = std::min(rows, first + kRows);
      for (index_t i = begin; i < end; ++i) {
        double* to = out.data() + i * m;
        for (index_t r = first; r < last; ++r) {
          const double* row = a.data() + r * m;
          const double x = row[i];
#pragma omp simd
          for (index_t j = 0; j < m; ++j) to[j] += x * row[j];
        }
      }
    }
  });
  return out;
}

inline std::vector<double> transposed(const std::vector<double>& a, index_t rows, index_t columns) {
  std::vector<double> out(a.size());
  for (index_t r = 0; r < rows; ++r) {
    for (index_t c = 0; c < columns; ++c) out[c * rows + r] = a[r * columns + c];
  }
  return out;
}

/// out (rows, s) <- a (rows, m) times b^T with b (s, m).
inline std::vector<double> times_rows(const std::vector<double>& a, index_t rows, index_t m,
                                      const std::vector<double>& b, index_t s) {
  std::vector<double> out(rows * s);
  share_out(rows, rows_a_thread(s * m / 4), [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      for (index_t t = 0; t < s; ++t) {
        double dot = 0;
        const double* x = a.data() + r * m;
        const double* y = b.data() + t * m;
#pragma omp simd reduction(+ : dot)
        for (index_t c = 0; c < m; ++c) dot += x[c] * y[c];
        out[r * s + t] = dot;
      }
    }
  });
  return out;
}

/// Gram-Schmidt, twice, on the rows of b (s, m); rows that depend on earlier ones become zero.
inline void orthonormalise_rows(std::vector<double>& b, index_t s, index_t m) {
  const auto dot = [&](index_t i, index_t j) {
    double total = 0;
    for (index_t c = 0; c < m; ++c) total += b[i * m + c] * b[j * m + c];
    return total;
  };
  for (index_t i = 0; i < s; ++i) {
    const double before = std::sqrt(dot(i, i));
    for (int pass = 0; pass < 2; ++pass) {
      for (index_t j = 0; j < i; ++j) {
        const double overlap = dot(i, j);
        for (index_t c = 0; c < m; ++c) b[i * m + c] -= overlap * b[j * m + c];
      }
    }
    const double length = std::sqrt(dot(i, i));
    const double scale = length > 1e-12 * before ? 1 / length : 0;
    for (index_t c = 0; c < m; ++c) b[i * m + c] *= scale;
  }
}

/// Leading `count` axes of centred a (n, d), (count, d), by the route that fits its extents.
inline std::vector<double> leading_axes(const std::vector<double>& a, index_t n, index_t d,
                                        index_t count, std::uint64_t seed) {
  if (d <= n && d <= kExactPcaLimit) {  // eigenvectors of the covariance
    SymmetricEigen eigen = symmetric_eigen(gram(a, n, d), d);
    eigen.vector.resize(count * d);
    return eigen.vector;
  }
  if (n < d && n <= kExactPcaLimit) {  // a^T u of the eigenvectors u of a a^T
    const std::vector<double> columns = transposed(a, n, d);
    SymmetricEigen eigen = symmetric_eigen(gram(columns, d, n), n);
    eigen.vector.resize(count * n);
    std::vector<double> axes = transposed(times_rows(columns, d, n, eigen.vector, count), d, count);
    orthonormalise_rows(axes, count, d);
    return axes;
  }
  // Randomised range finder (Halko, Martinsson and Tropp 2011, algorithm 4.4): the span of
  // (a^T a)^4 a^T omega holds the leading axes, ten spare directions make it accurate.
  const index_t s = std::min(std::min(n, d), count + 10);
  const std::vector<double> columns = transposed(a, n, d);
  std::vector<double> basis(s * n);
  for (index_t t = 0; t < s; ++t) {
    RandomStream random(seed, Purpose::embedding, 2, static_cast<std::uint64_t>(t));
    for (index_t i = 0; i < n; ++i) basis[t * n + i] = random.normal();
  }
  std::vector<double> axes;
  for (int power = 0; power <= 4; ++power) {
    orthonormalise_rows(basis, s, n);
    axes = transposed(times_rows(columns, d, n, basis, s), d, s);
    orthonormalise_rows(axes, s, d);
    basis = transposed(times_rows(a, n, d, axes, s), n, s);
  }
  // Rotate within the span: the s x s covariance of the scores has the axes' coordinates.
  const SymmetricEigen eigen = symmetric_eigen(gram(transposed(basis, s, n), n, s), s);
  std::vector<double> rotation(eigen.vector.begin(), eigen.vector.begin() + count * s);
  return times_rows(rotation, count, s, transposed(axes, s, d), d);
}

}  // namespace detail

/// Principal components: directions of largest variance of the centred points.
///
/// @param x           (n, d) finite points, n >= 2.
/// @param components  how many, >= 1; those beyond min(n, d) are zero axes with zero scores.
/// @param seed        used only by the randomised route, min(n, d) > 512.
/// @return  signs are fixed: the loading of largest magnitude of each axis is positive.
/// @throws ValueError  n < 2, d < 1 or components < 1.
///
/// Exact (covariance, or the Gram matrix where n < d) up to min(n, d) = 512; above, a randomised
/// range finder with 4 power iterations, whose leading axes agree to several digits.
inline Pca pca(const Points& x, index_t components, std::uint64_t seed = 0) {
  require<ValueError>(x.n() >= 2 && x.d() >= 1 && components >= 1,
                      "pca: want at least 2 points, 1 column and 1 component, got ", x.n(), ", ",
                      x.d(), " and ", components);
  const index_t n = x.n(), d = x.d(), found = std::min(components, std::min(n, d));
  Pca out{n, d, components, {}, {}, {}, {}};
  const std::vector<double> a = detail::centred(x, out.mean);
  out.axes = detail::leading_axes(a, n, d, found, seed);
  for (index_t t = 0; t < found; ++t) {
    double* axis = out.axes.data() + t * d;
    double* const largest = std::max_element(
        axis, axis + d, [](double p, double q) { return std::abs(p) < std::abs(q); });
    if (*largest < 0) std::transform(axis, axis + d, axis, [](double v) { return -v; });
  }
  out.axes.resize(components * d, 0.0);
  out.scores = detail::times_rows(a, n, d, out.axes, components);
  out.variance.assign(components, 0.0);
  for (index_t i = 0; i < n; ++i) {
    for (index_t t = 0; t < components; ++t) {
      out.variance[t] += out.scores[i * components + t] * out.scores[i * components + t];
    }
  }
  for (double& v : out.variance) v /= static_cast<double>(n);
  return out;
}

/// The scores scaled by one factor so that the first column has standard deviation 1e-4: the
/// usual start of t-SNE, small enough that the early phase is free to arrange the points.
/// All zero if the data are constant; the caller then starts at random.
inline std::vector<float> pca_start(const Pca& p) {
  constexpr double kScale = 1e-4;
  // Scores of constant data are rounding noise of the mean, not a direction.
  double magnitude = 0;
  for (const double m : p.mean) magnitude = std::max(magnitude, std::abs(m));
  const double deviation = std::sqrt(p.variance[0]);
  std::vector<float> out(p.scores.size(), 0.0f);
  if (deviation <= 1e-12 * magnitude) return out;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(p.scores[i] * (kScale / deviation));
  }
  return out;
}

}  // namespace mwalimu::embedding
