// train/swav_loss: codes for some crops, predicted from all the others. The same lines serve the host
// and a device: nothing is read back.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "mwalimu/core/scalar.hpp"
#include "mwalimu/models/swav.hpp"
#include "mwalimu/ops/cast.hpp"
#include "mwalimu/ops/sinkhorn.hpp"
#include "mwalimu/ops/soft_cross_entropy.hpp"
#include "mwalimu/ops/swav_statistics.hpp"
#include "mwalimu/train/embedding_queue.hpp"

namespace mwalimu::train {

struct SwavLossOptions {
  double epsilon = 0.05;       ///< entropy of the codes: smaller is sharper
  int sinkhorn_iterations = 3;
  double temperature = 0.1;    ///< of the predictions
  std::vector<index_t> code_crops{0, 1};  ///< crops that have codes, numbered over all groups
};

/// What a step tells about its codes.
struct SwavStatistics {
  double loss = 0;                ///< nats; with the queue where it is on
  double loss_without_queue = 0;  ///< the same batch and weights, codes balanced over the batch alone
  double code_entropy = 0;        ///< mean over samples, nats; at least ln(K / samples balanced over)
  double code_max = 0;            ///< mean of each code's largest entry
  index_t prototypes_used = 0;    ///< prototypes that are some sample's largest entry
  double mean_code_entropy = 0;   ///< of the mean of all codes, nats; ln K: prototypes share equally
  std::vector<double> crop_loss;  ///< (V) nats: how well each crop predicts the others' codes

  /// Adds a batch's to those of a step of several batches.
  /// @param share  of the batch in the step.
  void add(const SwavStatistics& part, double share) {
    loss += share * part.loss;
    loss_without_queue += share * part.loss_without_queue;
    code_entropy += share * part.code_entropy;
    code_max += share * part.code_max;
    prototypes_used = std::max(prototypes_used, part.prototypes_used);
    mean_code_entropy += share * part.mean_code_entropy;
    crop_loss.resize(part.crop_loss.size(), 0.0);
    for (std::size_t v = 0; v < crop_loss.size(); ++v) crop_loss[v] += share * part.crop_loss[v];
  }
};

/// A row that ops::swav_statistics has written, (kSwavStatistics + V), on the host.
inline SwavStatistics read_statistics(std::span<const float> row) {
  const auto value = [&](ops::SwavStatistic column) {
    return double{row[static_cast<std::size_t>(column)]};
  };
  return {.loss = value(ops::kSwavLoss),
          .loss_without_queue = value(ops::kSwavLossWithoutQueue),
          .code_entropy = value(ops::kSwavCodeEntropy),
          .code_max = value(ops::kSwavCodeMax),
          .prototypes_used = static_cast<index_t>(value(ops::kSwavPrototypesUsed)),
          .mean_code_entropy = value(ops::kSwavMeanCodeEntropy),
          .crop_loss = std::vector<double>(row.begin() + ops::kSwavStatistics, row.end())};
}

/// Codes of the crops in `code_crops`, (A, B, K). The queues' embeddings join the balancing and are
/// dropped from the result.
/// @param scores      (V B, K), crop-major.
/// @param queues      (L, K) scores of the queues: none, one that all these crops share, or A.
/// @param queue_rows  how many rows of them join, 0 to L; may lie on the device.
template <nn::ComputeType T>
Tensor<float> swav_codes(const Tensor<T>& scores, index_t B, std::span<const Tensor<T>> queues,
                         Scalar queue_rows, const SwavLossOptions& options) {
  const auto A = static_cast<index_t>(options.code_crops.size());
  const index_t K = scores.dim(1);
  auto coded = Tensor<T>::empty({A, B, K}, scores.device());
  for (index_t a = 0; a < A; ++a) {
    const index_t crop = options.code_crops[static_cast<std::size_t>(a)];
    coded.slice(0, a, a + 1).reshape({B, K}).copy_from(scores.slice(0, crop * B, (crop + 1) * B));
  }
  const auto balanced = [&](const Tensor<T>& crops, const Tensor<T>& queue) {
    return ops::sinkhorn(crops, queue, queue_rows, options.epsilon, options.sinkhorn_iterations);
  };
  if (queues.empty()) return balanced(coded, Tensor<T>::empty({0, K}, scores.device()));
  if (queues.size() == 1) return balanced(coded, queues[0]);
  auto codes = Tensor<float>::empty({A, B, K}, scores.device());
  for (index_t a = 0; a < A; ++a) {
    codes.slice(0, a, a + 1).copy_from(
        balanced(coded.slice(0, a, a + 1), queues[static_cast<std::size_t>(a)]));
  }
  return codes;
}

/// What one batch gives.
struct SwavBatchLoss {
  Variable<float> loss;              ///< scalar, differentiable
  Tensor<float> loss_without_queue;  ///< scalar
  Tensor<float> crop_loss;           ///< (V)
  Tensor<float> codes;               ///< (A, B, K)
};

/// The loss of one batch: mean over the code crops i of the mean over the other crops v of the cross
/// entropy between the code of i and softmax(scores of v / temperature). Codes are constants. The
/// batch enters the queues before or after its codes are computed, as they have it.
///
/// @param output       of the network for all crops of B samples, in the type that it computes in;
///                     codes and loss are float.
/// @param prototypes   the network's: the queues' scores are with the present ones.
/// @param queue_rows   how many rows of each queue join the codes; may lie on the device.
/// @param temperature  of the predictions; may lie on the device.
/// @throws ValueError  code_crops is empty, repeats a crop or names one that is not there.
/// Source: Caron et al. 2020, arXiv:2006.09882, eqs. (1)-(5).
template <nn::ComputeType T>
SwavBatchLoss swav_loss(const models::SwavNetwork::Output<T>& output, index_t B,
                        const nn::Linear& prototypes, EmbeddingQueues& queues, Scalar queue_rows,
                        Scalar temperature, const SwavLossOptions& options) {
  const Tensor<T>& scores = output.scores.value();
  const Tensor<T>& embeddings = output.embeddings.value();
  const index_t V = scores.dim(0) / B;
  for (const index_t crop : options.code_crops) {
    require<ValueError>(crop >= 0 && crop < V, "swav_loss: no crop ", crop, " among ", V);
  }
  const auto predict = [&](const Variable<T>& from, const Tensor<float>& codes) {
    return ops::swav_prediction_loss(from, codes, options.code_crops, V, temperature);
  };
  if (queues.enqueue_first()) queues.push(embeddings);
  auto codes = swav_codes<T>(scores, B, {}, 0, options);
  Tensor<float> without_queue;
  // A host that knows that none joins saves the work; a graph must do without knowing.
  const bool may_join = !queues.empty() && (queue_rows.device != nullptr || queue_rows.value > 0);
  if (may_join) {
    const NoGrad no_grad;
    without_queue = predict(output.scores.detach(), codes).loss.value();
    std::vector<Tensor<T>> queue_scores;
    for (index_t q = 0; q < queues.count(); ++q) {
      queue_scores.push_back(
          prototypes(ops::cast<T>(Variable<float>(queues[q].rows()))).value());
    }
    codes = swav_codes<T>(scores, B, queue_scores, queue_rows, options);
  }
  auto predicted = predict(output.scores, codes);
  if (!may_join) without_queue = predicted.loss.value();
  if (!queues.enqueue_first()) queues.push(embeddings);
  return {std::move(predicted.loss), std::move(without_queue), std::move(predicted.crop_loss),
          std::move(codes)};
}

}  // namespace mwalimu::train
