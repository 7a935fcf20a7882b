// models/input_channels: weights learned on images of some channels, for images of others (R, G, B
// to R, G, B and near infra-red).
#pragma once

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::models {

/// The first convolution's weights for another number of input channels, so that an image whose
/// channels are all alike gives the same activations as before:
///   more, C -> D:   w'_j = C/D w_j for the channels that were there, C/D mean(w) for new ones;
///   fewer, C -> D:  w'_j = w_j + (the sum of the weights that go) / D.
/// timm repeats the given channels instead, and scales by C/D, too; what it does to four channels
/// from three depends on which one happens to come first.
///
/// @param weight    (Cout, C, kh, kw), C >= 1.
/// @param channels  D >= 1.
/// @return          (Cout, D, kh, kw), row-major.
/// @throws ShapeError  weight is not of rank 4, or C or D is less than 1.
inline Tensor<float> with_input_channels(const Tensor<float>& weight, index_t channels) {
  require<ShapeError>(weight.rank() == 4 && weight.dim(1) >= 1 && channels >= 1,
                      "with_input_channels: want (Cout, C, kh, kw) and at least one channel, got ",
                      weight.shape(), " and ", channels);
  const Tensor<float> from = weight.contiguous();
  const index_t O = from.dim(0), C = from.dim(1), D = channels, area = from.dim(2) * from.dim(3);
  auto to = Tensor<float>::empty({O, D, from.dim(2), from.dim(3)});
  for (index_t o = 0; o < O; ++o) {
    for (index_t p = 0; p < area; ++p) {
      const float* w = from.data() + o * C * area + p;
      float* out = to.data() + o * D * area + p;
      double sum = 0, kept = 0;
      for (index_t c = 0; c < C; ++c) {
        sum += w[c * area];
        if (c < D) kept += w[c * area];
      }
      const double scale = D > C ? static_cast<double>(C) / static_cast<double>(D) : 1.0;
      const double shift = D < C ? (sum - kept) / static_cast<double>(D) : 0.0;
      for (index_t d = 0; d < D; ++d) {
        const double given = d < C ? w[d * area] : sum / static_cast<double>(C);
        out[d * area] = static_cast<float>(D == C ? given : scale * given + shift);
      }
    }
  }
  return to;
}

}  // namespace mwalimu::models
