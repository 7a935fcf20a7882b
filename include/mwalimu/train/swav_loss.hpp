// train/swav_loss: codes for some crops, predicted from all the others.
#pragma once

#include <cmath>
#include <vector>

#include "mwalimu/models/swav.hpp"
#include "mwalimu/ops/cast.hpp"
#include "mwalimu/ops/linear.hpp"
#include "mwalimu/ops/sinkhorn.hpp"
#include "mwalimu/ops/soft_cross_entropy.hpp"
#include "mwalimu/train/embedding_queue.hpp"

namespace mwalimu::train {

struct SwavLossOptions {
  double epsilon = 0.05;       ///< entropy of the codes: smaller is sharper
  int sinkhorn_iterations = 3;
  double temperature = 0.1;    ///< of the predictions
  std::vector<index_t> code_crops{0, 1};
};

/// What a step tells about its codes.
struct SwavStatistics {
  double loss = 0;                ///< nats; with the queue where it is on
  double loss_without_queue = 0;  ///< the same batch and weights, codes balanced over the batch alone
  double code_entropy = 0;        ///< mean over samples, nats; at least ln(K / samples balanced over)
  double code_max = 0;            ///< mean of each code's largest entry
  index_t prototypes_used = 0;    ///< prototypes that are some sample's largest entry
};

/// Codes of the crops in `code_crops`, (A, B, K). The queue's embeddings join the balancing and are
/// dropped from the result.
/// @param scores  (V B, K), crop-major.
/// @param queue   (L, K) scores of the queue, or null.
template <nn::ComputeType T>
Tensor<float> swav_codes(const Tensor<T>& scores, index_t B, const Tensor<T>* queue,
                         const SwavLossOptions& options) {
  const index_t K = scores.dim(1), L = queue == nullptr ? 0 : queue->dim(0);
  auto codes = Tensor<float>::empty({static_cast<index_t>(options.code_crops.size()), B, K},
                                    scores.device());
  auto joined = Tensor<T>::empty({B + L, K}, scores.device());
  if (L > 0) joined.slice(0, B, B + L).copy_from(*queue);
  for (std::size_t a = 0; a < options.code_crops.size(); ++a) {
    const index_t crop = options.code_crops[a];
    joined.slice(0, 0, B).copy_from(scores.slice(0, crop * B, (crop + 1) * B));
    const auto at = static_cast<index_t>(a);
    codes.slice(0, at, at + 1).reshape({B, K}).copy_from(
        ops::sinkhorn(joined, options.epsilon, options.sinkhorn_iterations, B));
  }
  return codes;
}

/// The loss of one batch: mean over the code crops i of the mean over the other crops v of the cross
/// entropy between the code of i and softmax(scores of v / temperature). Codes are constants.
///
/// @param output      of the network for all crops of B samples, in the type that it computes in;
///                    codes and loss are float.
/// @param queue       its scores are computed with the present prototypes; null: codes are balanced
///                    over the batch alone.
/// @param statistics  filled in.
/// Source: Caron et al. 2020, arXiv:2006.09882, eqs. (1)-(5).
template <nn::ComputeType T>
Variable<float> swav_loss(const models::SwavNetwork::Output<T>& output, index_t B,
                          const Tensor<float>& prototypes, const EmbeddingQueue* queue,
                          const SwavLossOptions& options, SwavStatistics& statistics) {
  const Tensor<T>& scores = output.scores.value();
  const index_t V = scores.dim(0) / B;
  for (const index_t crop : options.code_crops) {
    require<ValueError>(crop >= 0 && crop < V, "swav_loss: no crop ", crop, " among ", V);
  }
  const Tensor<float> alone = swav_codes<T>(scores, B, nullptr, options);
  Tensor<float> codes = alone;
  if (queue != nullptr) {
    const auto queue_scores =
        ops::linear(ops::cast<T>(Variable<float>(queue->rows())), Variable<float>(prototypes))
            .value();
    codes = swav_codes(scores, B, &queue_scores, options);
  }
  const auto predict = [&](const Variable<T>& from, const Tensor<float>& target) {
    return ops::swav_prediction_loss(from, target, options.code_crops, V, options.temperature).loss;
  };
  auto loss = predict(output.scores, codes);
  statistics.loss = loss.value().item();
  statistics.loss_without_queue =
      queue == nullptr ? statistics.loss : predict(output.scores.detach(), alone).value().item();
  const auto summary = ops::code_statistics(codes);
  const auto mean = [](const Tensor<float>& values) {
    double sum = 0;
    for (const float value : values.to_vector()) sum += value;
    return sum / static_cast<double>(values.count());
  };
  statistics.code_entropy = mean(summary.entropy);
  statistics.code_max = mean(summary.largest);
  statistics.prototypes_used = ops::prototypes_used(codes);
  return loss;
}

}  // namespace mwalimu::train
