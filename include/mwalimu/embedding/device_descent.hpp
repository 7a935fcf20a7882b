// embedding/device_descent: the iterations of t-SNE on a CUDA device.
//
// One iteration is a graph: the host launches it again and again and waits only where somebody
// looks at the map. Learning rate, momentum and exaggeration follow from a count of iterations that
// lies on the device.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <stop_token>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/profile.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/affinities.hpp"
#include "mwalimu/embedding/device_field_grid.hpp"
#include "mwalimu/embedding/device_forces.hpp"
#include "mwalimu/embedding/device_grid.hpp"
#include "mwalimu/embedding/tsne_options.hpp"
#include "mwalimu/gpu/graph.hpp"

namespace mwalimu::embedding::detail {

/// A map (n, dimensions) of the host as one of a device, (n, point_stride(dimensions)).
inline Tensor<float> to_device_map(std::span<const float> rows, index_t n, int dimensions,
                                   Device device) {
  const index_t stride = point_stride(dimensions);
  auto padded = Tensor<float>::zeros({n, stride});
  for (index_t i = 0; i < n; ++i) {
    std::copy_n(rows.data() + i * dimensions, dimensions, padded.data() + i * stride);
  }
  return padded.to(device);
}

/// The way back. Waits for the device.
inline std::vector<float> from_device_map(const Tensor<float>& map, int dimensions) {
  const std::vector<float> padded = map.to_vector();
  const index_t n = map.dim(0), stride = map.dim(1);
  std::vector<float> rows(n * dimensions);
  for (index_t i = 0; i < n; ++i) {
    std::copy_n(padded.data() + i * stride, dimensions, rows.data() + i * dimensions);
  }
  return rows;
}

/// Joint probabilities on a device.
class DeviceAffinities {
 public:
  DeviceAffinities(const Affinities& p, Device device)
      : n_(p.n),
        row_begin_(copy<index_t>(p.row_begin, device)),
        column_(copy<std::int32_t>(p.column, device)),
        value_(copy<float>(p.value, device)) {}
  DeviceEdges edges() const { return {n_, row_begin_.data(), column_.data(), value_.data()}; }

 private:
  template <class T>
  static Tensor<T> copy(std::span<const T> values, Device device) {
    return Tensor<T>::from(values, {static_cast<index_t>(values.size())}).to(device);
  }

  index_t n_;
  Tensor<index_t> row_begin_;
  Tensor<std::int32_t> column_;
  Tensor<float> value_;
};

/// Descent on a device; the same steps, with sums in another order.
class DeviceDescent {
 public:
  /// @throws DeviceError  there is no such device, or it has no room.
  DeviceDescent(const Affinities& p, const TsneState& state, const TsneOptions& options)
      : p_(p),
        dimensions_(options.components),
        stream_((synchronize(options.device), options.device.index)),
        on_stream_(stream_),
        edges_(p, options.device),
        y_(to_device_map(state.map, p.n, dimensions_, options.device)),
        update_(to_device_map(state.update, p.n, dimensions_, options.device)),
        gain_(to_device_map(state.gain, p.n, dimensions_, options.device)),
        next_(Tensor<float>::empty_like(y_)),
        attraction_(Tensor<float>::empty_like(y_)),
        repulsion_(Tensor<float>::empty_like(y_)),
        progress_(initial_progress(state.iteration).to(options.device)),
        fft_(uses_fft(options, p.n)),
        grid_(options.grid_spacing),
        graph_(stream_) {
    if (fft_) grid_.restore(place(), state.grid);
    const Plan plan = detail::plan(options, p.n);
    const auto phase = [](int end, const Plan::Step& s) {
      return DescentSchedule::Phase{static_cast<double>(end), static_cast<float>(s.exaggeration),
                                    static_cast<float>(s.rate), static_cast<float>(s.momentum)};
    };
    schedule_ = {{phase(plan.early, plan.early_step), phase(plan.late_begin, plan.main_step),
                  phase(plan.total, plan.late_step)},
                 options.max_step_norm};
  }

  ~DeviceDescent() {
    try {
      stream_.synchronize();  // this map's memory is free for other streams
    } catch (const Error&) {  // whoever uses the device next is told
    }
  }
  DeviceDescent(const DeviceDescent&) = delete;
  DeviceDescent& operator=(const DeviceDescent&) = delete;

  /// Takes the steps from..until, fewer if `stop` was requested. Waits for them.
  Advance advance(int from, int until, const Plan&, const std::stop_token& stop) {
    constexpr int kLookEvery = 10;
    Advance at{from, 0};
    while (at.iteration < until && !stop.stop_requested()) {
      if (fft_ && !grid_.made()) fit_grid();
      const int most = fft_ ? std::min(until - at.iteration, kLookEvery) : until - at.iteration;
      for (int queued = 0; queued < most && !stop.stop_requested(); ++queued) launch_step();
      const DescentProgress now = progress();
      if (now.failed != 0) {
        return {static_cast<int>(now.failed), std::numeric_limits<double>::quiet_NaN()};
      }
      at = {static_cast<int>(now.iteration), 4 * std::sqrt(now.force_square)};
      if (now.waiting != 0) remake_grid(now);
    }
    return at;
  }

  std::vector<float> rows() const { return from_device_map(y_, dimensions_); }
  TsneState state(int iteration) const {
    return {rows(), from_device_map(update_, dimensions_), from_device_map(gain_, dimensions_),
            iteration, grid_.shape()};
  }
  bool coarse() const { return fft_ && grid_.coarse(); }

  /// KL of the map as it stands, with Z as the steps take it.
  double kl() {
    if (!fft_) return exact_kl();
    const Gpu on = place();
    if (!grid_.made()) fit_grid();
    const auto queue = [&] {
      grid_repulsion(on, grid_.tables(), y_.view<2>(), next_.view<2>(), numbers());
    };
    queue();
    if (const DescentProgress now = progress(); now.waiting != 0) {
      remake_grid(now);
      queue();
    }
    return kl_of_z();
  }
  /// KL with Z over all pairs: pairs in float, sums in double.
  double exact_kl() {
    map_repulsion(place(), y_.view<2>(), next_.view<2>(), &numbers()->z);
    return kl_of_z();
  }
  /// The KL to report, and whether Z in it was summed over all pairs.
  double final_kl(bool& exact) {
    exact = true;
    return exact_kl();
  }

 private:
  double kl_of_z() {
    if (mass_ == 0) {  // what does not depend on the map
      for (const float p : p_.value) {
        if (p > 0) negative_entropy_ += p * std::log(double{p});
        mass_ += p;
      }
    }
    map_stretch(place(), edges_.edges(), y_.view<2>(), &numbers()->stretch);
    const DescentProgress now = progress();
    return negative_entropy_ + now.stretch + mass_ * std::log(now.z);
  }
  static Tensor<double> initial_progress(int iteration) {
    auto numbers = Tensor<double>::zeros({kDescentProgress});
    DescentProgress start{};
    start.iteration = iteration;
    std::memcpy(numbers.data(), &start, sizeof start);
    return numbers;
  }
  Gpu place() const { return {stream_.device(), stream_.handle()}; }
  DescentProgress* numbers() { return reinterpret_cast<DescentProgress*>(progress_.data()); }
  /// Waits for the device.
  DescentProgress progress() const {
    const std::vector<double> read = progress_.to_vector();
    DescentProgress now;
    std::memcpy(&now, read.data(), sizeof now);
    return now;
  }

  void queue_step() {
    const Gpu on = place();
    const DeviceMap map{y_.view<2>(), update_.view<2>(), gain_.view<2>(), next_.view<2>()};
    if (fft_) {
      grid_repulsion(on, grid_.tables(), y_.view<2>(), repulsion_.view<2>(), numbers());
    } else {
      map_repulsion(on, y_.view<2>(), repulsion_.view<2>(), &numbers()->z);
    }
    map_attraction(on, edges_.edges(), y_.view<2>(), attraction_.view<2>());
    map_step(on, schedule_, attraction_.view<2>(), repulsion_.view<2>(), map, numbers());
  }
  /// Makes the first grid.
  void fit_grid() {
    measure_map(place(), grid_.tables(), y_.view<2>(), numbers());
    remake_grid(progress());
  }
  void remake_grid(const DescentProgress& measured) {
    grid_.fit(place(), measured);
    graph_.reset();  // it has the old grid's addresses
  }

  // The first step runs as it is, in the graph's memory; the second is recorded.
  void launch_step() {
    if (!warm_ || Profiler::active()) {
      graph_.run([this] { queue_step(); });
      warm_ = true;
      return;
    }
    if (!graph_.recorded()) graph_.record([this] { queue_step(); });
    graph_.launch();
  }

  const Affinities& p_;
  int dimensions_;
  gpu::Stream stream_;
  gpu::StreamScope on_stream_;  // while this lives, the caller's operations go there too
  DeviceAffinities edges_;
  Tensor<float> y_, update_, gain_, next_, attraction_, repulsion_;
  Tensor<double> progress_;
  DescentSchedule schedule_{};
  bool fft_;
  DeviceFieldGrid grid_;
  double negative_entropy_ = 0, mass_ = 0;
  bool warm_ = false;
  gpu::Graph graph_;
};

}  // namespace mwalimu::embedding::detail
