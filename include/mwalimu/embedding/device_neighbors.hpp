// embedding/device_neighbors: the k nearest neighbours of every point by all pairs on a CUDA device.
#pragma once

#include <algorithm>
#include <cstdint>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding {

/// Neighbours a point that the device's search can keep.
inline constexpr index_t kDeviceNeighborsLimit = 960;

/// index, square_distance (n, k) <- the nearest k of the other rows of x (n, d), nearest first,
/// ties by the smaller index: exact in float arithmetic, the same bits on every run. Defined in
/// kernels/nearest.cuh; a template on the place only so that it need not be defined where it is
/// declared.
/// @param x  (n, d) finite, 1 <= d < 2^20, rows side by side; every distance finite.
template <class Place>
void nearest_rows(Place on, View<const float, 2> x, View<std::int32_t, 2> index,
                  View<float, 2> square_distance);

namespace detail {

/// The same for points of the host. Waits for the device.
/// @param x  (n, d) finite, 1 <= k < n, k <= kDeviceNeighborsLimit.
inline void device_brute_force(Device device, const float* x, index_t n, index_t d, index_t k,
                               std::int32_t* index, float* square_distance) {
  auto host = Tensor<float>::empty({n, d});
  std::copy_n(x, n * d, host.data());
  const auto points = host.to(device);
  auto found = Tensor<std::int32_t>::empty({n, k}, device);
  auto distance = Tensor<float>::empty({n, k}, device);
  nearest_rows(gpu_place(device), points.view<2>(), found.view<2>(), distance.view<2>());
  const auto found_here = found.to(Device::cpu());
  const auto distance_here = distance.to(Device::cpu());
  std::copy_n(found_here.data(), n * k, index);
  std::copy_n(distance_here.data(), n * k, square_distance);
}

}  // namespace detail
}  // namespace mwalimu::embedding
