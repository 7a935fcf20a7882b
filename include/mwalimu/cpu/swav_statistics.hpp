// cpu/swav_statistics: one pass over the codes.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/sinkhorn.hpp"
#include "mwalimu/ops/swav_statistics.hpp"

namespace mwalimu::ops {

template <Real A>
void swav_statistics(Cpu, View<const A, 2> codes, View<const A, 0> loss,
                     View<const A, 0> loss_without_queue, View<const A, 1> crop_loss, Scalar step,
                     View<A, 2> history) {
  const index_t R = codes.dim(0), P = codes.dim(1);
  auto entropy = Tensor<A>::empty({R}), largest = Tensor<A>::empty({R});
  code_statistics<A>(Cpu{}, codes, detail::view<1>(entropy), detail::view<1>(largest));
  std::vector<bool> used(static_cast<std::size_t>(P), false);
  std::vector<double> mean(static_cast<std::size_t>(P), 0.0);
  double entropies = 0, maxima = 0;
  for (index_t r = 0; r < R; ++r) {
    entropies += static_cast<double>(entropy.data()[r]);
    maxima += static_cast<double>(largest.data()[r]);
    const A* row = codes.data() + r * codes.stride(0);
    used[static_cast<std::size_t>(std::max_element(row, row + P) - row)] = true;
    for (index_t p = 0; p < P; ++p) mean[static_cast<std::size_t>(p)] += static_cast<double>(row[p]);
  }
  double mean_entropy = 0;
  for (const double sum : mean) {
    const double share = sum / static_cast<double>(R);
    if (share > 0) mean_entropy -= share * std::log(share);
  }
  A* row = history.data() + static_cast<index_t>(step.load()) % history.dim(0) * history.stride(0);
  row[kSwavLoss] = loss();
  row[kSwavLossWithoutQueue] = loss_without_queue();
  row[kSwavCodeEntropy] = static_cast<A>(entropies / static_cast<double>(R));
  row[kSwavCodeMax] = static_cast<A>(maxima / static_cast<double>(R));
  row[kSwavPrototypesUsed] = static_cast<A>(std::count(used.begin(), used.end(), true));
  row[kSwavMeanCodeEntropy] = static_cast<A>(mean_entropy);
  for (index_t v = 0; v < crop_loss.dim(0); ++v) row[kSwavStatistics + v] = crop_loss(v);
}

}  // namespace mwalimu::ops
