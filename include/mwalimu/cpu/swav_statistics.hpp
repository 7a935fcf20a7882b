// cpu/swav_statistics: one pass over the codes.
#pragma once

#include <algorithm>
#include <vector>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/sinkhorn.hpp"
#include "mwalimu/ops/swav_statistics.hpp"

namespace mwalimu::ops {

template <Real A>
void swav_statistics(Cpu, View<const A, 2> codes, View<const A, 0> loss,
                     View<const A, 0> loss_without_queue, Scalar step, View<A, 2> history) {
  const index_t R = codes.dim(0), P = codes.dim(1);
  auto entropy = Tensor<A>::empty({R}), largest = Tensor<A>::empty({R});
  code_statistics<A>(Cpu{}, codes, detail::view<1>(entropy), detail::view<1>(largest));
  std::vector<bool> used(static_cast<std::size_t>(P), false);
  double entropies = 0, maxima = 0;
  for (index_t r = 0; r < R; ++r) {
    entropies += static_cast<double>(entropy.data()[r]);
    maxima += static_cast<double>(largest.data()[r]);
    const A* row = codes.data() + r * codes.stride(0);
    used[static_cast<std::size_t>(std::max_element(row, row + P) - row)] = true;
  }
  A* row = history.data() + static_cast<index_t>(step.load()) % history.dim(0) * history.stride(0);
  row[kSwavLoss] = loss();
  row[kSwavLossWithoutQueue] = loss_without_queue();
  row[kSwavCodeEntropy] = static_cast<A>(entropies / static_cast<double>(R));
  row[kSwavCodeMax] = static_cast<A>(maxima / static_cast<double>(R));
  row[kSwavPrototypesUsed] = static_cast<A>(std::count(used.begin(), used.end(), true));
}

}  // namespace mwalimu::ops
