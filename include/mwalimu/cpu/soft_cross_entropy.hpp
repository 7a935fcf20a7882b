// cpu/soft_cross_entropy: one row a task; a row of 3000 scores stays in the first-level cache
// between its maximum, its exponentials and its products with the codes.
#pragma once

#include <cmath>
#include <span>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/fixed_chunks.hpp"
#include "mwalimu/cpu/softmax_row.hpp"
#include "mwalimu/ops/soft_cross_entropy.hpp"

namespace mwalimu::ops {
namespace detail {

/// {sum_k q[k], sum_k q[k] (x[k] - peak)}.
template <class T, class A>
std::pair<double, double> mass_and_product(const T* x, const A* q, A peak, index_t n) {
  double mass = 0, product = 0;
#pragma omp simd reduction(+ : mass, product)
  for (index_t k = 0; k < n; ++k) {
    const double weight = static_cast<double>(q[k]);
    mass += weight;
    product += weight * (convert<double>(x[k]) - static_cast<double>(peak));
  }
  return {mass, product};
}

}  // namespace detail

template <Real T>
void soft_cross_entropy_forward(Cpu, View<const T, 2> logits, View<const accumulate_t<T>, 2> target,
                                Scalar tau, View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                                View<accumulate_t<T>, 1> loss) {
  using A = accumulate_t<T>;
  const double temperature = tau.load();
  const index_t K = logits.dim(1);
  detail::for_each_row_range(logits.dim(0), K, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      const T* x = logits.data() + i * logits.stride(0);
      const auto row = detail::softmax_row(x, K, static_cast<A>(1 / temperature));
      const auto [mass, product] =
          detail::mass_and_product(x, target.data() + i * target.stride(0), row.peak, K);
      peak(i) = row.peak;
      sum(i) = row.sum;
      loss(i) = static_cast<A>(mass * std::log(row.sum) - product / temperature);
    }
  });
}

template <Real T>
void soft_cross_entropy_backward(Cpu, View<const T, 2> logits,
                                 View<const accumulate_t<T>, 2> target, Scalar tau,
                                 View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                                 View<const accumulate_t<T>, 1> dloss, View<T, 2> dlogits) {
  using A = accumulate_t<T>;
  const double temperature = tau.load();
  const index_t K = logits.dim(1);
  detail::for_each_row_range(logits.dim(0), K, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      const T* x = logits.data() + i * logits.stride(0);
      const A* q = target.data() + i * target.stride(0);
      T* to = dlogits.data() + i * dlogits.stride(0);
      const detail::SoftmaxRow<A> row{peak(i), sum(i)};
      double total = 0;
#pragma omp simd reduction(+ : total)
      for (index_t k = 0; k < K; ++k) total += static_cast<double>(q[k]);
      const A mass = static_cast<A>(total), f = static_cast<A>(1 / temperature);
      const A weight = static_cast<A>(static_cast<double>(dloss(i)) / temperature);
#pragma omp simd
      for (index_t k = 0; k < K; ++k) {
        to[k] = convert<T>(weight * (mass * row.probability(convert<A>(x[k]), f) - q[k]));
      }
    }
  });
}

template <Real T>
void swav_prediction_forward(Cpu, View<const T, 2> scores, View<const accumulate_t<T>, 3> codes,
                             std::span<const index_t> assign, Scalar tau,
                             View<accumulate_t<T>, 1> peak, View<double, 1> sum,
                             View<double, 1> mass, View<accumulate_t<T>, 1> crop_loss,
                             View<accumulate_t<T>, 0> loss) {
  using A = accumulate_t<T>;
  const double temperature = tau.load();
  const index_t B = codes.dim(1), P = codes.dim(2), rows = scores.dim(0), V = rows / B;
  auto row_loss = Tensor<double>::empty({rows});
  double* losses = row_loss.data();
  detail::for_each_row_range(rows, P, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      const index_t v = r / B, b = r % B;
      const T* x = scores.data() + r * scores.stride(0);
      const auto row = detail::softmax_row(x, P, static_cast<A>(1 / temperature));
      double total_mass = 0, product = 0;
      for (std::size_t i = 0; i < assign.size(); ++i) {
        if (assign[i] == v) continue;
        const A* q = codes.data() + static_cast<index_t>(i) * codes.stride(0) + b * codes.stride(1);
        const auto [m, p] = detail::mass_and_product(x, q, row.peak, P);
        total_mass += m;
        product += p;
      }
      peak(r) = row.peak;
      sum(r) = row.sum;
      mass(r) = total_mass;
      losses[r] = total_mass * std::log(row.sum) - product / temperature;
    }
  });
  double total = 0;
  for (index_t v = 0; v < V; ++v) {
    double crop = 0;
    for (index_t b = 0; b < B; ++b) crop += losses[v * B + b];
    index_t others = 0;  // codes that this crop predicts
    for (const index_t i : assign) others += i != v;
    crop_loss(v) = static_cast<A>(others == 0 ? 0.0 : crop / static_cast<double>(others * B));
    total += crop;
  }
  const index_t A_count = static_cast<index_t>(assign.size());
  loss() = static_cast<A>(total / static_cast<double>(A_count * (V - 1) * B));
}

template <Real T>
void swav_prediction_backward(Cpu, View<const T, 2> scores, View<const accumulate_t<T>, 3> codes,
                              std::span<const index_t> assign, Scalar tau,
                              View<const accumulate_t<T>, 1> peak, View<const double, 1> sum,
                              View<const double, 1> mass, View<const accumulate_t<T>, 0> dloss,
                              View<T, 2> dscores) {
  using A = accumulate_t<T>;
  const double temperature = tau.load();
  const index_t B = codes.dim(1), P = codes.dim(2), rows = scores.dim(0), V = rows / B;
  const index_t A_count = static_cast<index_t>(assign.size());
  const A f = static_cast<A>(1 / temperature);
  const A weight = static_cast<A>(static_cast<double>(dloss()) /
                                  (static_cast<double>(A_count * (V - 1) * B) * temperature));
  detail::for_each_row_range(rows, P, [&](index_t begin, index_t end) {
    constexpr index_t kTile = 256;
    alignas(64) A code[kTile];  // the sum of the codes that this row predicts
    for (index_t r = begin; r < end; ++r) {
      const index_t v = r / B, b = r % B;
      const detail::SoftmaxRow<A> row{peak(r), sum(r)};
      const A row_mass = static_cast<A>(mass(r));
      for (index_t k0 = 0; k0 < P; k0 += kTile) {
        const index_t width = std::min(kTile, P - k0);
        std::fill_n(code, width, A{0});
        for (std::size_t i = 0; i < assign.size(); ++i) {
          if (assign[i] == v) continue;
          const A* q =
              codes.data() + static_cast<index_t>(i) * codes.stride(0) + b * codes.stride(1) + k0;
#pragma omp simd
          for (index_t k = 0; k < width; ++k) code[k] += q[k];
        }
        const T* x = scores.data() + r * scores.stride(0) + k0;
        T* to = dscores.data() + r * dscores.stride(0) + k0;
#pragma omp simd
        for (index_t k = 0; k < width; ++k) {
          to[k] = convert<T>(weight * (row_mass * row.probability(convert<A>(x[k]), f) - code[k]));
        }
      }
    }
  });
}

}  // namespace mwalimu::ops
