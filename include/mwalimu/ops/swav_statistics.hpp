// ops/swav_statistics: what a SwAV step tells its log, gathered where it was computed.
#pragma once

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/profile.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/ops/rows.hpp"

namespace mwalimu::ops {

/// Columns of the history that swav_statistics writes; behind them, a column a crop: its loss.
enum SwavStatistic : index_t {
  kSwavLoss,              ///< nats; with the queue where it is on
  kSwavLossWithoutQueue,  ///< the same batch and weights, codes balanced over the batch alone
  kSwavCodeEntropy,       ///< mean over codes, nats
  kSwavCodeMax,           ///< mean of each code's largest entry
  kSwavPrototypesUsed,    ///< prototypes that are some code's largest entry
  kSwavMeanCodeEntropy,   ///< of the mean of all codes, nats: log P where prototypes share equally
  kSwavStatistics         ///< how many columns there are, without the crops'
};

/// history[step mod S, :] <- the statistics of codes (R, P), two losses, and crop_loss (V).
template <Real A>
void swav_statistics(Cpu, View<const A, 2> codes, View<const A, 0> loss,
                     View<const A, 0> loss_without_queue, View<const A, 1> crop_loss, Scalar step,
                     View<A, 2> history);
template <Real A>
void swav_statistics(Gpu, View<const A, 2> codes, View<const A, 0> loss,
                     View<const A, 0> loss_without_queue, View<const A, 1> crop_loss, Scalar step,
                     View<A, 2> history);

/// Writes one row of a ring of S steps. Nothing is read back: the host copies the whole history every
/// S steps or fewer, so a step never waits for its log.
///
/// @param codes               (..., P) of all crops that have codes.
/// @param loss                scalar.
/// @param loss_without_queue  scalar; the loss itself where the queue is off.
/// @param crop_loss           (V) of SwavLoss; V may be 0.
/// @param step                number of the step, 0 or more; the row is step mod S. On the device for
///                            a captured graph, which would keep a host's number for ever.
/// @param history             (S, kSwavStatistics + V), contiguous; the other rows stay as they are.
/// @throws ShapeError  extents disagree.
///
/// Moves     the codes twice, the second time from cache.
/// Accuracy  means are summed in double in a fixed order. The first of equal entries is the largest.
template <Real A>
void swav_statistics(const Tensor<A>& codes, const Tensor<A>& loss,
                     const Tensor<A>& loss_without_queue, const Tensor<A>& crop_loss, Scalar step,
                     Tensor<A>& history) {
  require<ShapeError>(codes.rank() >= 2 && codes.count() >= 1, "swav_statistics: want codes (..., P)",
                      ", got ", codes.shape());
  require<ShapeError>(crop_loss.rank() == 1, "swav_statistics: want crop losses (V), got ",
                      crop_loss.shape());
  const index_t columns = kSwavStatistics + crop_loss.dim(0);
  require<ShapeError>(history.rank() == 2 && history.dim(0) >= 1 && history.dim(1) == columns &&
                          history.is_contiguous(),
                      "swav_statistics: want a contiguous history (S, ", columns, "), got ",
                      history.shape());
  const Tensor<A> q = detail::with_rows(codes);
  on_device("swav_statistics", q.device(), [&](auto place) {
    swav_statistics<A>(place, detail::rows(q), detail::view<0>(loss),
                       detail::view<0>(loss_without_queue), detail::view<1>(crop_loss), step,
                       detail::view<2>(history));
  });
}

}  // namespace mwalimu::ops

#include "mwalimu/cpu/swav_statistics.hpp"
