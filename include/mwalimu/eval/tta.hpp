// eval/tta: test-time augmentation, and one answer from the two images of a plant.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/data/sample.hpp"
#include "mwalimu/eval/probabilities.hpp"

namespace mwalimu::eval {
namespace detail {
inline std::size_t passes_of(const char* what, std::span<const double> augmented,
                             std::span<const double> plain) {
  require<ShapeError>(!plain.empty() && !augmented.empty() && augmented.size() % plain.size() == 0,
                      what, ": want augmented (K, N, C) and plain (N, C), got ", augmented.size(),
                      " and ", plain.size(), " values");
  return augmented.size() / plain.size();
}
}  // namespace detail

/// beta plain + (1 - beta) mean_k augmented[k].
///
/// @param augmented  (K, N, C) probabilities of K augmented passes, K >= 1.
/// @param plain      (N, C) probabilities of the pass without augmentation.
/// @param beta       the weight of the plain pass, in [0, 1].
/// @throws ShapeError, ValueError
/// Source  fastai 2.7, Learner.tta (n = 4, beta = 0.25).
inline std::vector<double> tta_mean(std::span<const double> augmented,
                                    std::span<const double> plain, double beta = 0.25) {
  const std::size_t K = detail::passes_of("tta_mean", augmented, plain);
  require<ValueError>(beta >= 0 && beta <= 1, "tta_mean: want beta in [0, 1], got ", beta);
  std::vector<double> out(plain.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    double sum = 0;
    for (std::size_t k = 0; k < K; ++k) sum += augmented[k * out.size() + i];
    out[i] = (1 - beta) * (sum / static_cast<double>(K)) + beta * plain[i];
  }
  return out;
}

/// The largest probability that any pass, plain or augmented, gave. Rows no longer sum to 1.
/// @throws ShapeError
inline std::vector<double> tta_max(std::span<const double> augmented,
                                   std::span<const double> plain) {
  const std::size_t K = detail::passes_of("tta_max", augmented, plain);
  std::vector<double> out(plain.begin(), plain.end());
  for (std::size_t k = 0; k < K; ++k) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = std::max(out[i], augmented[k * out.size() + i]);
    }
  }
  return out;
}

/// One row a plant: the mean of its two images' rows, or the row of the only one it has.
/// @param probabilities  (N, C).
/// @param plants         indices into the rows; -1 for a side that is not there.
/// @return               (plants, C).
/// @throws ShapeError, ValueError
inline std::vector<double> pair_mean(std::span<const double> probabilities, index_t C,
                                     std::span<const data::Plant> plants) {
  const index_t N = detail::rows_of("pair_mean", probabilities, C);
  std::vector<double> out;
  out.reserve(plants.size() * static_cast<std::size_t>(C));
  for (const data::Plant& plant : plants) {
    require<ValueError>(plant.any() >= 0 && plant.rgb < N && plant.rgn < N, "pair_mean: rows ",
                        plant.rgb, " and ", plant.rgn, " of ", N);
    const index_t first = plant.any(), second = plant.rgn >= 0 ? plant.rgn : first;
    for (index_t c = 0; c < C; ++c) {
      out.push_back(0.5 * (probabilities[static_cast<std::size_t>(first * C + c)] +
                           probabilities[static_cast<std::size_t>(second * C + c)]));
    }
  }
  return out;
}

}  // namespace mwalimu::eval
