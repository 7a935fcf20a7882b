// train/test_time_augmentation: predictions averaged over random views of each image.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mwalimu/eval/tta.hpp"
#include "mwalimu/train/predictions.hpp"

namespace mwalimu::train {

struct TtaOptions {
  int passes = 0;      ///< random views of each image; 0: the plain one alone
  double beta = 0.25;  ///< weight of the plain view, in [0, 1]; the random ones share the rest
  bool max = false;    ///< the largest probability of any view instead, scaled to sum to 1
};

/// @throws ValueError  an option is out of range, in the names that users type.
inline void check(const TtaOptions& options) {
  require<ValueError>(options.passes >= 0, "--tta: want 0 or more, got ", options.passes);
  require<ValueError>(options.beta >= 0 && options.beta <= 1,
                      "--tta-beta: want a weight in [0, 1], got ", options.beta);
  require<ValueError>(!options.max || options.passes > 0,
                      "--tta-max: there are no random passes to take the largest of; give --tta N");
}

/// predict() with the way of averaging as an option: with beta 0.25 and no max it is predict().
/// The logits are the logarithms of the averaged probabilities.
/// @throws ValueError  an option is out of range.
inline Predictions predict_with_tta(models::Classifier& model, const data::ImageStore& store,
                                    std::span<const index_t> indices,
                                    const data::AugmentOptions& augment, const TtaOptions& tta,
                                    std::uint64_t seed = 0,
                                    Precision precision = Precision::float32) {
  check(tta);
  Predictions result = predict(model, store, indices, augment, 0, seed, precision);
  if (tta.passes == 0) return result;
  InferenceOptions options{.size = augment.size, .normalisation = augment.normalisation,
                           .seed = seed, .augment = augment, .precision = precision};
  const index_t C = result.logits.dim(1);
  std::vector<double> random;  // (passes, N, C)
  for (options.pass = 1; options.pass <= tta.passes; ++options.pass) {
    const auto pass = eval::softmax(infer(model, store, indices, options).span(), C);
    random.insert(random.end(), pass.begin(), pass.end());
  }
  auto& p = result.probabilities;
  p = tta.max ? eval::tta_max(random, p) : eval::tta_mean(random, p, tta.beta);
  const auto width = static_cast<std::size_t>(C);
  for (std::size_t row = 0; tta.max && row < p.size(); row += width) {
    double sum = 0;
    for (std::size_t c = 0; c < width; ++c) sum += p[row + c];
    for (std::size_t c = 0; c < width; ++c) p[row + c] /= sum;
  }
  for (std::size_t i = 0; i < p.size(); ++i) {
    result.logits.span()[i] = static_cast<float>(std::log(std::max(p[i], 1e-30)));
  }
  return result;
}

}  // namespace mwalimu::train
