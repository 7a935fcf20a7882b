// eval/linear_probe: a linear classifier on frozen features: what an encoder has made linearly
// separable. Multinomial logistic regression, trained to its optimum.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/eval/lbfgs.hpp"
#include "mwalimu/eval/probabilities.hpp"

namespace mwalimu::eval {

struct LinearProbeOptions {
  double l2 = 1e-3;  ///< weight of |W|^2 / 2 beside the mean cross entropy, > 0; no bias in it
  int max_iterations = 500;  ///< of L-BFGS, >= 1
  double tolerance = 1e-6;   ///< stop where no component of the gradient is larger
};

/// softmax(W (x - mean) * inv_std + b).
class LinearProbe {
 public:
  /// Fits to labelled features. The objective is strictly convex in W, so the result is a property
  /// of the data and of l2, not of a learning rate; the same bits for any number of threads.
  ///
  /// @param features  (N, D), finite; standardised here by their own mean and standard deviation (a
  ///                  constant feature becomes 0).
  /// @param labels    (N), in [0, C).
  /// @throws ShapeError, ValueError
  ///
  /// Cost  two passes over the features an iteration, 4 N D C operations.
  LinearProbe(std::span<const float> features, std::span<const int> labels, index_t D, index_t C,
              const LinearProbeOptions& options = {})
      : D_(D), C_(C) {
    const index_t N = detail::rows_of("linear_probe", features, D);
    require<ValueError>(N >= 1 && C >= 1, "linear_probe: ", N, " rows, ", C, " classes");
    require<ValueError>(options.l2 > 0, "linear_probe: want l2 > 0, got ", options.l2);
    require<ValueError>(options.max_iterations >= 1, "linear_probe: want max_iterations >= 1");
    detail::require_labels("linear_probe", labels, N, C);
    detail::require_finite("linear_probe", features, D);
    measure(features, N);
    const std::vector<float> x = standardised(features, N);

    // Parameters: W (C, D), then b (C).
    parameters_.assign(static_cast<std::size_t>(C * D + C), 0.0);
    std::vector<double> residual(static_cast<std::size_t>(N * C)),
        losses(static_cast<std::size_t>(N));
    const auto objective = [&](std::span<const double> w, std::span<double> gradient) {
      scores(x, N, w, residual);
      const double inv_N = 1 / static_cast<double>(N);
      for (index_t i = 0; i < N; ++i) {  // probabilities, then p - y, in place
        double* const p = residual.data() + i * C;
        const int y = labels[static_cast<std::size_t>(i)];
        losses[static_cast<std::size_t>(i)] = log_sum_exp(p, C) - p[y];
        softmax_row(p, C);
        p[y] -= 1;
        for (index_t c = 0; c < C; ++c) p[c] *= inv_N;
      }
      double loss = 0;
      for (const double each : losses) loss += each * inv_N;
      for (index_t k = 0; k < C * D; ++k) {
        loss += 0.5 * options.l2 * w[static_cast<std::size_t>(k)] * w[static_cast<std::size_t>(k)];
      }
      // Threads share out the features, not the rows: each sum is one thread's, in one order.
      parallel_for(D, std::max<index_t>(64, 16384 / (N * C)), [&](index_t begin, index_t end) {
        for (index_t c = 0; c < C; ++c) {
          for (index_t d = begin; d < end; ++d) {
            gradient[static_cast<std::size_t>(c * D + d)] =
                options.l2 * w[static_cast<std::size_t>(c * D + d)];
          }
        }
        for (index_t i = 0; i < N; ++i) {
          const float* const row = x.data() + i * D;
          for (index_t c = 0; c < C; ++c) {
            const double r = residual[static_cast<std::size_t>(i * C + c)];
            double* const g = gradient.data() + c * D;
            for (index_t d = begin; d < end; ++d) g[d] += r * static_cast<double>(row[d]);
          }
        }
      });
      for (index_t c = 0; c < C; ++c) {
        double sum = 0;
        for (index_t i = 0; i < N; ++i) sum += residual[static_cast<std::size_t>(i * C + c)];
        gradient[static_cast<std::size_t>(C * D + c)] = sum;
      }
      return loss;
    };
    result_ = minimise_lbfgs(objective, parameters_, options.max_iterations, options.tolerance);
  }

  /// (N, C) probabilities of (N, D) features.
  /// @throws ShapeError, ValueError
  std::vector<double> probabilities(std::span<const float> features) const {
    const index_t N = detail::rows_of("linear_probe", features, D_);
    detail::require_finite("linear_probe", features, D_);
    std::vector<double> out(static_cast<std::size_t>(N * C_));
    scores(standardised(features, N), N, parameters_, out);
    for (index_t i = 0; i < N; ++i) softmax_row(out.data() + i * C_, C_);
    return out;
  }

  std::span<const double> weight() const {  ///< (C, D), of the standardised features
    return std::span(parameters_).first(static_cast<std::size_t>(C_ * D_));
  }
  std::span<const double> bias() const {  ///< (C)
    return std::span(parameters_).last(static_cast<std::size_t>(C_));
  }
  /// The objective reached, the iterations it took, and whether the gradient met the tolerance.
  const LbfgsResult& result() const { return result_; }

 private:
  static double log_sum_exp(const double* z, index_t C) {
    const double top = *std::max_element(z, z + C);
    double sum = 0;
    for (index_t c = 0; c < C; ++c) sum += std::exp(z[c] - top);
    return top + std::log(sum);
  }
  static void softmax_row(double* z, index_t C) {
    const double normaliser = log_sum_exp(z, C);
    for (index_t c = 0; c < C; ++c) z[c] = std::exp(z[c] - normaliser);
  }

  void measure(std::span<const float> features, index_t N) {
    mean_.assign(static_cast<std::size_t>(D_), 0.0);
    inv_std_.assign(static_cast<std::size_t>(D_), 0.0);
    for (index_t i = 0; i < N; ++i) {
      for (index_t d = 0; d < D_; ++d) {
        mean_[static_cast<std::size_t>(d)] +=
            static_cast<double>(features[static_cast<std::size_t>(i * D_ + d)]);
      }
    }
    for (double& mean : mean_) mean /= static_cast<double>(N);
    for (index_t i = 0; i < N; ++i) {
      for (index_t d = 0; d < D_; ++d) {
        const double deviation =
            static_cast<double>(features[static_cast<std::size_t>(i * D_ + d)]) -
            mean_[static_cast<std::size_t>(d)];
        inv_std_[static_cast<std::size_t>(d)] += deviation * deviation;
      }
    }
    for (std::size_t d = 0; d < mean_.size(); ++d) {
      const double deviation = std::sqrt(inv_std_[d] / static_cast<double>(N));
      // A feature that only its own rounding moves is constant.
      inv_std_[d] = deviation > 1e-6 * std::abs(mean_[d]) ? 1 / deviation : 0;
    }
  }
  std::vector<float> standardised(std::span<const float> features, index_t N) const {
    std::vector<float> x(features.size());
    parallel_for(N, std::max<index_t>(1, 16384 / D_), [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i) {
        const float* const from = features.data() + i * D_;
        float* const to = x.data() + i * D_;
        for (index_t d = 0; d < D_; ++d) {
          const auto at = static_cast<std::size_t>(d);
          to[d] = static_cast<float>((static_cast<double>(from[d]) - mean_[at]) * inv_std_[at]);
        }
      }
    });
    return x;
  }
  // z (N, C) <- x W^T + b
  void scores(const std::vector<float>& x, index_t N, std::span<const double> w,
              std::vector<double>& z) const {
    parallel_for(N, std::max<index_t>(1, 16384 / D_), [&](index_t begin, index_t end) {
      for (index_t i = begin; i < end; ++i) {
        const float* const row = x.data() + i * D_;
        for (index_t c = 0; c < C_; ++c) {
          const double* const weights = w.data() + c * D_;
          double sum = 0;
#pragma omp simd reduction(+ : sum)
          for (index_t d = 0; d < D_; ++d) sum += weights[d] * static_cast<double>(row[d]);
          z[static_cast<std::size_t>(i * C_ + c)] = sum + w[static_cast<std::size_t>(C_ * D_ + c)];
        }
      }
    });
  }

  index_t D_, C_;
  std::vector<double> mean_, inv_std_;
  std::vector<double> parameters_;
  LbfgsResult result_;
};

}  // namespace mwalimu::eval
