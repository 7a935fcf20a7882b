// embedding/device_forces: t-SNE's forces and its step on a CUDA device.
//
// Declared here, defined in kernels/tsne_forces.cuh. Nothing here waits for the device, and what
// one iteration hands to the next lies on the device, so that an iteration is a graph that is
// launched again and again.
#pragma once

#include <cstdint>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::embedding {

/// Floats from one point of a map to the next on a device: three coordinates take the room of four,
/// so that a point is one load.
constexpr index_t point_stride(int dimensions) { return dimensions == 3 ? 4 : dimensions; }

/// A symmetric matrix of joint probabilities in compressed rows, on a device; see Affinities.
struct DeviceEdges {
  index_t n = 0;
  const index_t* row_begin = nullptr;  ///< (n + 1)
  const std::int32_t* column = nullptr;
  const float* value = nullptr;
};

/// What the iterations know of themselves, on the device. Numbers alone, so that it is a tensor.
struct DescentProgress {
  double iteration;     ///< steps done
  double failed;        ///< the step, from 1, that met a value that is not finite; 0: none did
  double z;             ///< sum of all weights at the start of the last step
  double force_square;  ///< sum of |F_i|^2 of the last step
  double mean[3];       ///< of the map that the last step made, before it was taken out
  double stretch;       ///< of map_stretch()
  double waiting;       ///< 1 while the map has a grid that does not serve it, and steps do nothing
  double low[2], high[2];  ///< the map's bounds, where it has a grid
};
inline constexpr index_t kDescentProgress = sizeof(DescentProgress) / sizeof(double);

/// Constants of the steps by phase: step t (from 0) takes the first phase with t < end.
struct DescentSchedule {
  struct Phase {
    double end;
    float exaggeration, rate, momentum;
  } phase[3];
  double max_step;  ///< a longer step of a point is shortened to this
};

/// A map and its optimiser's state on a device, each (n, point_stride(D)).
struct DeviceMap {
  View<float, 2> y, update, gain, next;
};

// Templates on the place only so that they need no definition where they are declared. The maps y,
// a and r are (n, point_stride(D)), contiguous, D = 1, 2 or 3.

/// a <- A, A_i = sum_j p_ij w_ij (y_i - y_j) over the edges of P; see attraction().
template <class Place>
void map_attraction(Place on, const DeviceEdges& p, View<const float, 2> y, View<float, 2> a);

/// r <- R and *z <- Z over all pairs of points; see exact_repulsion().
template <class Place>
void map_repulsion(Place on, View<const float, 2> y, View<float, 2> r, double* z);

/// *to <- sum_ij p_ij ln(1 + |y_i - y_j|^2); see stretch().
template <class Place>
void map_stretch(Place on, const DeviceEdges& p, View<const float, 2> y, double* to);

/// One step with the forces a and r, as the Cpu's Descent: gains, momentum, a limit to every
/// point's step, and the mean taken out. progress->z is read. If a number is not finite, map.y
/// stays as it is, progress->failed names the step, and this and all later steps do nothing more.
/// Nothing is done while progress->waiting is set.
template <class Place>
void map_step(Place on, const DescentSchedule& schedule, View<const float, 2> a,
              View<const float, 2> r, const DeviceMap& map, DescentProgress* progress);

}  // namespace mwalimu::embedding
