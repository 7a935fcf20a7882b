// embedding/tsne_transform: places for new points in a map that stays as it is.
//
// Each new point is drawn by its nearest neighbours among the mapped ones and pushed by all of
// them; new points do not see each other, so one at a time or all at once gives the same places.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/affinities.hpp"
#include "mwalimu/embedding/coordinates.hpp"
#include "mwalimu/embedding/field_grid.hpp"
#include "mwalimu/embedding/neighbors.hpp"
#include "mwalimu/embedding/points.hpp"
#include "mwalimu/embedding/tsne_optimizer.hpp"
#include "mwalimu/embedding/tsne_options.hpp"
#include "mwalimu/embedding/workers.hpp"

namespace mwalimu::embedding {

struct TransformOptions {
  double perplexity = 5;  ///< of each new point among the mapped ones, with 3 perplexity neighbours
  index_t start_neighbors = 25;  ///< a point starts at the median of so many neighbours' places
  int iterations = 250;
  double exaggeration = 1.5, learning_rate = 0.1, momentum = 0.8;
  double max_force_norm = 0.25;  ///< a larger force on a point is shortened to this
  Metric metric = Metric::euclidean;
  Repulsion repulsion = Repulsion::automatic;
  double grid_spacing = 1.0 / 3;
  std::stop_token stop = {};  ///< looked at before every iteration
};

struct TransformResult {
  std::vector<float> map;          ///< (m, components) of the new points
  NeighborList neighbors;          ///< (m, k) of the new points among the mapped ones
  std::vector<float> conditional;  ///< (m, k) p_j|i, 1 in each row
  std::vector<float> start;        ///< (m, components) before the first iteration
  int iterations = 0;
};

namespace detail {

/// The field of frozen points at a place: sum w and R = sum w^2 (q - y_j).
inline void exact_field(const Coordinates& y, const float* q, double& weights, double* r) {
  constexpr index_t kChunk = 1024;  // floats are summed over this many points, doubles beyond
  weights = 0;
  with_dimensions(y.dimensions(), [&](auto dimensions) {
    constexpr int D = decltype(dimensions)::value;
    for (int c = 0; c < D; ++c) r[c] = 0;
    for (index_t first = 0; first < y.n(); first += kChunk) {
      const index_t last = std::min(y.n(), first + kChunk);
      float sum = 0, fx = 0, fy = 0, fz = 0;
      const float *ax = y.axis(0), *ay = y.axis(D > 1 ? 1 : 0), *az = y.axis(D > 2 ? 2 : 0);
      const float qx = q[0], qy = q[D > 1 ? 1 : 0], qz = q[D > 2 ? 2 : 0];
#pragma omp simd reduction(+ : sum, fx, fy, fz)
      for (index_t j = first; j < last; ++j) {
        const float dx = qx - ax[j], dy = D > 1 ? qy - ay[j] : 0, dz = D > 2 ? qz - az[j] : 0;
        const float w = 1 / (1 + dx * dx + dy * dy + dz * dz);
        sum += w;
        fx += w * w * dx, fy += w * w * dy, fz += w * w * dz;
      }
      weights += sum;
      const float f[3] = {fx, fy, fz};
      for (int c = 0; c < D; ++c) r[c] += f[c];
    }
  });
}

}  // namespace detail

/// Places new points in a finished map.
///
/// @param x           (n, d) the mapped points, as they were given to tsne() (after its pca_dims).
/// @param map         (n, components), which does not change.
/// @param added       (m, d) new points.
/// @throws ShapeError  extents that do not fit.
/// @throws ValueError  NaN or infinity, a perplexity <= 0 or above n / 3, or options out of range.
///
/// A new point stays within the map's extent widened by a quarter.
/// Source  the transform of openTSNE: Policar, Strazar and Zupan 2023.
inline TransformResult tsne_transform(const Points& x, std::span<const float> map, int components,
                                      const Points& added, const TransformOptions& o = {}) {
  require<ValueError>(components >= 1 && components <= 3,
                      "tsne_transform: want 1, 2 or 3 components, got ", components);
  require<ShapeError>(static_cast<index_t>(map.size()) == x.n() * components && added.d() == x.d(),
                      "tsne_transform: want a map of ", x.n(), " x ", components,
                      " values and new points of ", x.d(), " columns, got ", map.size(), " and ",
                      added.d());
  require<ValueError>(o.perplexity > 0 && 3 * o.perplexity <= static_cast<double>(x.n()),
                      "tsne_transform: want 0 < perplexity <= n / 3 = ",
                      static_cast<double>(x.n()) / 3, ", got ", o.perplexity);
  require<ValueError>(o.iterations >= 0 && o.start_neighbors >= 1 && o.exaggeration > 0 &&
                          o.learning_rate > 0 && o.momentum >= 0 && o.momentum < 1 &&
                          o.max_force_norm > 0,
                      "tsne_transform: want iterations >= 0, start_neighbors >= 1, 0 <= momentum < "
                      "1, and exaggeration, learning_rate, max_force_norm > 0");
  require<ValueError>(o.repulsion != Repulsion::fft || components == 2,
                      "tsne_transform: Repulsion::fft is for 2 components, got ", components);
  require_usable(x, "tsne_transform: the mapped points");
  require_usable(Points(map, x.n(), components), "tsne_transform: the map");
  require_usable(added, "tsne_transform: the new points");

  const index_t m = added.n(), D = components;
  const index_t k = std::max<index_t>(1, static_cast<index_t>(std::floor(3 * o.perplexity)));
  TransformResult result;
  result.iterations = 0;
  if (m == 0) return result;
  if (o.metric == Metric::cosine) {
    const std::vector<float> a = normalised_rows(x), b = normalised_rows(added);
    result.neighbors = nearest_to(Points(a, x.n(), x.d()), Points(b, m, x.d()), k);
  } else {
    result.neighbors = nearest_to(x, added, k);
  }
  const NeighborList& list = result.neighbors;
  result.conditional.resize(m * k);
  result.start.resize(m * D);
  share_out(m, 16, [&](index_t begin, index_t end) {
    const index_t count = std::min(k, o.start_neighbors);
    std::vector<float> places(count);
    for (index_t i = begin; i < end; ++i) {
      calibrate_row({&list.square_distance[i * k], static_cast<std::size_t>(k)}, o.perplexity,
                    {&result.conditional[i * k], static_cast<std::size_t>(k)});
      for (index_t c = 0; c < D; ++c) {
        for (index_t r = 0; r < count; ++r) places[r] = map[list.index[i * k + r] * D + c];
        std::sort(places.begin(), places.end());
        result.start[i * D + c] = 0.5f * (places[(count - 1) / 2] + places[count / 2]);
      }
    }
  });

  const Coordinates y(map, x.n(), components);
  float low[3], high[3], margin = 0;
  for (index_t c = 0; c < D; ++c) {
    const auto [least, most] = std::minmax_element(y.axis(c), y.axis(c) + y.n());
    low[c] = *least, high[c] = *most;
    margin = std::max(margin, 0.25f * (*most - *least));
  }
  const bool fft = o.repulsion == Repulsion::automatic ? D == 2 && x.n() > kExactRepulsionLimit
                                                       : o.repulsion == Repulsion::fft;
  FieldGrid grid(o.grid_spacing);
  if (fft) grid.build(y, margin);

  result.map = result.start;
  std::vector<float> update(m * D, 0.0f), gain(m * D, 1.0f);
  for (; result.iterations < o.iterations && !o.stop.stop_requested(); ++result.iterations) {
    share_out(m, fft ? 1024 : detail::rows_a_thread(x.n()), [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i) {
        float* place = result.map.data() + i * D;
        double weights, repulsion[3], force[3] = {};
        if (fft) {
          float s, rx, ry;
          grid.at(place[0], place[1], s, rx, ry);
          weights = s, repulsion[0] = rx, repulsion[1] = ry;
        } else {
          detail::exact_field(y, place, weights, repulsion);
        }
        for (index_t r = 0; r < k; ++r) {
          const index_t j = list.index[i * k + r];
          double square = 0, difference[3];
          for (index_t c = 0; c < D; ++c) {
            difference[c] = double{place[c]} - y.axis(static_cast<int>(c))[j];
            square += difference[c] * difference[c];
          }
          const double pull = o.exaggeration * result.conditional[i * k + r] / (1 + square);
          for (index_t c = 0; c < D; ++c) force[c] += pull * difference[c];
        }
        double norm = 0;
        for (index_t c = 0; c < D; ++c) {
          // Far outside everything the grid may read a potential of nothing but rounding.
          if (weights > 1e-6) force[c] -= repulsion[c] / weights;
          norm += force[c] * force[c];
        }
        norm = std::sqrt(norm);
        const double scale = norm > o.max_force_norm ? o.max_force_norm / norm : 1;
        for (index_t c = 0; c < D; ++c) {
          const float f = static_cast<float>(force[c] * scale);
          float &g = gain[i * D + c], &u = update[i * D + c];
          g = detail::next_gain(g, u, f);
          u = static_cast<float>(o.momentum * u - o.learning_rate * g * f);
          place[c] = std::clamp(place[c] + u, low[c] - margin, high[c] + margin);
        }
      }
    });
  }
  return result;
}

}  // namespace mwalimu::embedding
