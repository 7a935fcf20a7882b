// data/mixup: MixUp of a finished batch: each image is blended with a partner of the same batch.
// The loss is ops::cross_entropy with partners and lambda.
//
// Source  Zhang et al. 2018, arXiv:1710.09412; the larger share is the image's own, as in fastai.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/scalar.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::data {

/// A row's rank among the keys of its batch is its partner: ranks are a random permutation.
constexpr std::uint32_t mixup_key(std::uint64_t seed, std::uint64_t step, std::uint64_t sample) {
  return RandomStream(seed, Purpose::mixup, step, sample).bits();
}

namespace detail {

// The logarithm of a gamma variate of shape `alpha` > 0, so that small shapes do not underflow.
// Source  Marsaglia and Tsang 2000, "A simple method for generating gamma variables", with their
//         step from alpha + 1 to alpha.
MWALIMU_HOST_DEVICE inline double draw_log_gamma(RandomStream& random, double alpha) {
  const auto log_uniform = [&random] {  // of (0, 1): finite
    return std::log((static_cast<double>(random.bits()) + 0.5) * 0x1.0p-32);
  };
  double boost = 0;
  if (alpha < 1) {
    boost = log_uniform() / alpha;
    alpha += 1;
  }
  const double d = alpha - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    const double x = static_cast<double>(random.normal()), root = 1.0 + c * x;
    if (root <= 0) continue;
    const double log_v = 3.0 * std::log(root), v = root * root * root;
    if (log_uniform() < 0.5 * x * x + d - d * v + d * log_v) return boost + std::log(d) + log_v;
  }
}

}  // namespace detail

/// max(x, 1 - x) for x from Beta(alpha, alpha): the share of a row's own image, in [0.5, 1].
/// @param alpha  > 0; fastai's default is 0.4
MWALIMU_HOST_DEVICE inline float mixup_lambda(double alpha, std::uint64_t seed, std::uint64_t step,
                                              std::uint64_t sample) {
  RandomStream random(seed, Purpose::mixup, step, sample);
  (void)random.bits();  // the key
  const double a = detail::draw_log_gamma(random, alpha);
  const double b = detail::draw_log_gamma(random, alpha);
  const double x = 1.0 / (1.0 + std::exp(b - a));
  return static_cast<float>(x < 0.5 ? 1.0 - x : x);
}

// Backends. Cpu is defined below, Gpu in kernels/mixup.cuh.

/// lambda[b], partners[b] <- the draws of sample first_sample + b; partner_labels[b] <-
/// labels[partners[b]].
///
/// @param step  of the run; may lie on the device
/// @throws ShapeError  extents disagree, a view has gaps, or, on a device, B > 12288.
/// @throws ValueError  alpha <= 0 or NaN.
template <class Place>
void draw_mixup(Place on, double alpha, std::uint64_t seed, Scalar step, index_t first_sample,
                View<const std::int64_t, 1> labels, View<float, 1> lambda,
                View<index_t, 1> partners, View<std::int64_t, 1> partner_labels);

/// mixed[b] <- lambda[b] images[b] + (1 - lambda[b]) images[partners[b]], in float.
/// @param images, mixed  (B, H, W, C) dense; they do not overlap
template <Real T>
void mix_images(Cpu, View<const T, 4> images, View<const float, 1> lambda,
                View<const index_t, 1> partners, View<T, 4> mixed);
template <Real T>
void mix_images(Gpu, View<const T, 4> images, View<const float, 1> lambda,
                View<const index_t, 1> partners, View<T, 4> mixed);

namespace detail {

inline void check_draw_mixup(double alpha, View<const std::int64_t, 1> labels,
                             View<float, 1> lambda, View<index_t, 1> partners,
                             View<std::int64_t, 1> partner_labels) {
  require<ValueError>(alpha > 0 && std::isfinite(alpha), "mixup: want alpha > 0, got ", alpha);
  const index_t B = labels.dim(0);
  require<ShapeError>(lambda.dim(0) == B && partners.dim(0) == B && partner_labels.dim(0) == B &&
                          labels.is_contiguous() && lambda.is_contiguous() &&
                          partners.is_contiguous() && partner_labels.is_contiguous(),
                      "mixup: want dense lambda, partners and their labels for ", B,
                      " labels, got ", lambda.dim(0), ", ", partners.dim(0), " and ",
                      partner_labels.dim(0));
}

template <Real T>
void check_mix_images(View<const T, 4> images, View<const float, 1> lambda,
                      View<const index_t, 1> partners, View<T, 4> mixed) {
  const index_t B = images.dim(0);
  require<ShapeError>(images.extents() == mixed.extents() && lambda.dim(0) == B &&
                          partners.dim(0) == B && images.is_contiguous() && mixed.is_contiguous() &&
                          lambda.is_contiguous() && partners.is_contiguous(),
                      "mixup: want dense images and mixed images of one shape, lambda and partners "
                      "for ",
                      B, " of them");
}

}  // namespace detail

template <>
inline void draw_mixup(Cpu, double alpha, std::uint64_t seed, Scalar step, index_t first_sample,
                       View<const std::int64_t, 1> labels, View<float, 1> lambda,
                       View<index_t, 1> partners, View<std::int64_t, 1> partner_labels) {
  detail::check_draw_mixup(alpha, labels, lambda, partners, partner_labels);
  const index_t B = labels.dim(0);
  const auto now = static_cast<std::uint64_t>(step.load());
  struct Key {
    std::uint32_t key;
    index_t row;
    bool operator<(const Key& other) const {
      return key != other.key ? key < other.key : row < other.row;
    }
  };
  std::vector<Key> keys;
  for (index_t b = 0; b < B; ++b) {
    const auto sample = static_cast<std::uint64_t>(first_sample + b);
    keys.push_back({mixup_key(seed, now, sample), b});
    lambda(b) = mixup_lambda(alpha, seed, now, sample);
  }
  std::sort(keys.begin(), keys.end());
  for (index_t rank = 0; rank < B; ++rank) {
    const index_t row = keys[static_cast<std::size_t>(rank)].row;
    partners(row) = rank;
    partner_labels(row) = labels(rank);
  }
}

template <Real T>
void mix_images(Cpu, View<const T, 4> images, View<const float, 1> lambda,
                View<const index_t, 1> partners, View<T, 4> mixed) {
  detail::check_mix_images(images, lambda, partners, mixed);
  const index_t values = images.dim(1) * images.dim(2) * images.dim(3);
  const index_t grain = 16384 / std::clamp<index_t>(values, 1, 16384);
  parallel_for(images.dim(0), grain, [&](index_t begin, index_t end) {
    for (index_t b = begin; b < end; ++b) {
      const T* own = images.data() + b * values;
      const T* other = images.data() + partners(b) * values;
      T* out = mixed.data() + b * values;
      const float share = lambda(b), rest = 1.0f - share;
      for (index_t i = 0; i < values; ++i) {
        out[i] = convert<T>(share * convert<float>(own[i]) + rest * convert<float>(other[i]));
      }
    }
  });
}

/// A mixed batch: what the network sees, and what ops::cross_entropy compares its logits with
/// beside the labels.
template <Real T>
struct MixUpBatch {
  Tensor<T> images;                     ///< (B, H, W, C)
  Tensor<std::int64_t> partner_labels;  ///< (B)
  Tensor<float> lambda;                 ///< (B)
  Tensor<index_t> partners;             ///< (B) rows
};

/// Mixes a batch of normalised images on their device. Tensors of `mixed` that have the right shape
/// and device are overwritten, others are made anew.
template <Real T>
void mix_up(double alpha, std::uint64_t seed, Scalar step, const Tensor<T>& images,
            const Tensor<std::int64_t>& labels, MixUpBatch<T>& mixed, index_t first_sample = 0) {
  const Device device = images.device();
  require<ShapeError>(images.rank() == 4 && labels.shape() == Shape{images.dim(0)},
                      "mixup: want images (B, H, W, C) and labels (B), got ", images.shape(),
                      " and ", labels.shape());
  require<DeviceError>(labels.device() == device, "mixup: images on ", device, ", but labels on ",
                       labels.device());
  const auto fit = [&](auto& tensor, const Shape& shape) {
    if (tensor.shape() == shape && tensor.device() == device) return;
    tensor = std::remove_reference_t<decltype(tensor)>::empty(shape, device);
  };
  fit(mixed.images, images.shape());
  fit(mixed.partner_labels, labels.shape());
  fit(mixed.lambda, labels.shape());
  fit(mixed.partners, labels.shape());
  on_device(device, [&](auto place) {
    draw_mixup(place, alpha, seed, step, first_sample, labels.template view<1>(),
               mixed.lambda.template view<1>(), mixed.partners.template view<1>(),
               mixed.partner_labels.template view<1>());
    mix_images<T>(place, images.template view<4>(), mixed.lambda.template view<1>(),
                  mixed.partners.template view<1>(), mixed.images.template view<4>());
  });
}

}  // namespace mwalimu::data
