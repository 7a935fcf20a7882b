// t-SNE's repulsion by a grid on a device, against sums in double and against the host's grid.
#include "kernels/tsne_support.hpp"

#include <cmath>
#include <optional>

namespace mwalimu::embedding {
namespace {

using mwalimu::test::near_l2, mwalimu::test::to_double, mwalimu::test::under_schedules;
using test::DeviceProgress, test::few_steps, test::Forces, test::normal_points, test::poisoned,
    test::reference, test::rows, test::some_affinities;

/// Repulsion by a grid on the device, into poisoned memory.
Forces on_grid(const std::vector<float>& map, index_t n, double spacing, FieldGrid::Shape* shape) {
  const Device device = Device::cuda();
  const Gpu on = gpu_place(device);
  const auto y = detail::to_device_map(map, n, 2, device);
  auto r = poisoned(y);
  DeviceProgress progress;
  detail::DeviceFieldGrid grid(spacing);
  measure_map(on, grid.tables(), y.view<2>(), progress.get());
  EXPECT_EQ(progress.read().waiting, 1);
  grid.fit(on, progress.read());
  for (int call = 0; call < 2; ++call) {  // the second finds what the first has left behind
    grid_repulsion(on, grid.tables(), y.view<2>(), r.view<2>(), progress.get());
  }
  EXPECT_EQ(progress.read().waiting, 0);
  *shape = grid.shape();
  return {progress.read().z, 0, rows(r, 2), {}};
}

TEST(DeviceTsneGrid, GridIsTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  for (const index_t n : {4, 131, 300}) {
    for (const float spread : {1e-4f, 0.3f, 4.0f}) {  // the second has half the spacing, or less
      SCOPED_TRACE(::testing::Message() << n << " " << spread);
      std::vector<float> map = normal_points(n, 2, 30);
      for (std::size_t i = 0; i < map.size(); ++i) map[i] *= i % 2 == 0 ? spread : 0.4f * spread;
      const Forces want = reference(some_affinities(n, 31), map, 2);
      FieldGrid grid;
      Coordinates r(n, 2);
      const double z = grid.repulsion(Coordinates(map, n, 2), r);
      const std::vector<float> host = r.rows();
      std::optional<Forces> first;
      under_schedules(1, [&] {
        FieldGrid::Shape shape;
        const Forces got = on_grid(map, n, 1.0 / 3, &shape);
        EXPECT_EQ(shape.spacing, grid.shape().spacing);
        EXPECT_EQ(shape.rows, grid.shape().rows);
        EXPECT_EQ(shape.columns, grid.shape().columns);
        // The host's grid to the rounding of a float transform; the sums themselves to the error of
        // the splines at this spacing.
        EXPECT_NEAR(got.z, z, 2e-5 * z);
        EXPECT_TRUE(near_l2(got.repulsion, to_double(host), 1e-3));
        EXPECT_NEAR(got.z, want.z, 3e-4 * want.z);
        EXPECT_TRUE(near_l2(got.repulsion, want.repulsion, 8e-3));
        if (!first) first = got;
        EXPECT_EQ(got.z, first->z);
        EXPECT_EQ(got.repulsion, first->repulsion);
      });
    }
  }
}

TEST(DeviceTsneGrid, GridTransformsEveryRadix) {
  MWALIMU_NEEDS_DEVICE();
  // Of a point and another far away, S at the first is 1 / (1 + r^2): where the padded lengths have
  // factors 2, 3, 4 and 5 alone and together, a wrong butterfly leaves nothing of that.
  for (const float wide : {20.0f, 24.0f, 27.0f, 33.0f, 38.0f}) {
    const std::vector<float> map = {0, 0, wide, 12, 3, 5};
    FieldGrid::Shape shape;
    const Forces got = on_grid(map, 3, 0.5, &shape);
    SCOPED_TRACE(::testing::Message()
                 << detail::fast_length(2 * shape.rows + detail::kGridMargin) << " x "
                 << detail::fast_length(2 * shape.columns + detail::kGridMargin));
    double z = 0;
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        if (i == j) continue;
        z += 1 / (1 + std::pow(map[2 * i] - map[2 * j], 2) +
                  std::pow(map[2 * i + 1] - map[2 * j + 1], 2));
      }
    }
    EXPECT_NEAR(got.z, z, 2e-3 * z);  // the spacing is wider than for maps
  }
}

TEST(DeviceTsneGrid, GridOfALongMap) {
  MWALIMU_NEEDS_DEVICE();
  // The longest grid there is, 4000 nodes: its lines take more than 48 KB of shared memory.
  const index_t n = 300;
  std::vector<float> map = normal_points(n, 2, 8);
  for (index_t i = 0; i < n; ++i) map[2 * i + 1] += 4.4f * static_cast<float>(i);
  FieldGrid grid;
  Coordinates r(n, 2);
  const double z = grid.repulsion(Coordinates(map, n, 2), r);
  const std::vector<float> host = r.rows();
  FieldGrid::Shape shape;
  const Forces got = on_grid(map, n, 1.0 / 3, &shape);
  EXPECT_GT(shape.columns, 3900);
  EXPECT_EQ(shape.columns, grid.shape().columns);
  EXPECT_NEAR(got.z, z, 2e-5 * z);
  EXPECT_TRUE(near_l2(got.repulsion, to_double(host), 1e-3));
}

TEST(DeviceTsneGrid, StepsByTheGridAreTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  const index_t n = 140;
  const Affinities p = some_affinities(n, 3);
  const auto start = initial_state(normal_points(n, 2, 5));
  TsneOptions options = few_steps(2, 1, 11);
  options.repulsion = Repulsion::fft;
  options.learning_rate = 60;
  const TsneResult host = optimise(p, start, options);
  options.device = Device::cuda();
  const TsneResult device = optimise(p, start, options);
  EXPECT_EQ(device.iterations, 12);
  EXPECT_EQ(device.repulsion, Repulsion::fft);
  EXPECT_TRUE(near_l2(to_double(device.map), to_double(host.map), 1e-3));
  EXPECT_NEAR(device.kl, host.kl, 1e-3 * host.kl);
  // The map grew, and the device noticed in the step in which the host does.
  EXPECT_EQ(device.state.grid.rows, host.state.grid.rows);
  EXPECT_EQ(device.state.grid.columns, host.state.grid.columns);
  EXPECT_EQ(device.state.grid.spacing, host.state.grid.spacing);
  const TsneResult first = optimise(p, start, [&] {
    TsneOptions one = options;
    one.main_iterations = 0;
    return one;
  }());
  EXPECT_NE(first.state.grid.rows, device.state.grid.rows);
  // However often the host looks, and where a run is interrupted: the same bits.
  options.callback_every = 3;
  options.callback = [](const TsneProgress& progress) { return progress.iteration < 6; };
  const TsneResult part = optimise(p, start, options);
  EXPECT_EQ(part.iterations, 6);
  options.callback = {};
  EXPECT_EQ(optimise(p, part.state, options).map, device.map);
}

#if defined(MWALIMU_EMULATED)
/// A map of 256 points and a grid that serves it, with what a launch moves of it in bytes.
struct ServedMap {
  static constexpr index_t n = 256;
  static constexpr std::uint64_t N = 256;

  const Gpu on = gpu_place(Device::cuda());
  const Tensor<float> y = detail::to_device_map(normal_points(n, 2, 5), n, 2, Device::cuda());
  DeviceProgress progress;
  detail::DeviceFieldGrid owner{1.0 / 3};

  ServedMap() {
    measure_map(on, owner.tables(), y.view<2>(), progress.get());
    owner.fit(on, progress.read());
  }
  const DeviceGrid& grid() const { return owner.tables(); }
  std::uint64_t M() const { return static_cast<std::uint64_t>(grid().rows); }
  std::uint64_t nodes() const { return M() * static_cast<std::uint64_t>(grid().columns); }
  std::uint64_t even() const { return (M() + 1) / 2 * 2; }  // rows in pairs
  std::uint64_t half() const { return static_cast<std::uint64_t>(grid().across.length / 2 + 1); }
  std::uint64_t H() const { return static_cast<std::uint64_t>(grid().along.length); }

  simt::ByteTraffic spectrum(const simt::LaunchTraffic& launch) const {
    return launch.of(grid().spectrum, 8 * half() * even());
  }
  /// What a kernel knows of the iteration: read by all warps, and written.
  simt::ByteTraffic known(const simt::LaunchTraffic& launch) {
    return launch.of(progress.get(), sizeof(DescentProgress));
  }
};

double widest(const simt::LaunchTraffic& launch, bool write) {
  double most = 0;
  for (const auto& line : launch.lines) {
    if (!line.shared && line.write == write) most = std::max(most, line.bytes_per_lane());
  }
  return most;
}

TEST(DeviceTsneGrid, MovesWhatTheHeadSays) {
  ServedMap map;
  const DeviceGrid& grid = map.grid();
  const std::uint64_t N = map.N, M = map.M(), nodes = map.nodes(), half = map.half();
  auto r = poisoned(map.y);
  const auto run = [&] {
    grid_repulsion(map.on, grid, map.y.view<2>(), r.view<2>(), map.progress.get());
  };
  if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const auto& bounds = simt::traffic_of("tsne_bounds");
  EXPECT_TRUE(bounds.coalesced() && bounds.each_byte_once()) << simt::describe(bounds);
  EXPECT_TRUE(bounds.without_bank_conflicts()) << simt::describe(bounds);
  EXPECT_EQ(bounds.read_bytes, 8 * N);
  EXPECT_EQ(bounds.write_bytes, 16 * N / 256);
  EXPECT_EQ(widest(bounds, true), 16);
  const auto& place = simt::traffic_of("tsne_place");
  EXPECT_EQ(map.known(place).write_bytes, 5 * 8u) << simt::describe(place);
  EXPECT_EQ(place.write_bytes, 5 * 8u);
  EXPECT_TRUE(place.each_byte_written_once());
  // Every warp begins with the first block's.
  EXPECT_EQ(place.read_bytes - map.known(place).read_bytes, 16 * (N / 256 + 8));
  EXPECT_EQ(widest(place, false), 16) << simt::describe(place);
  EXPECT_TRUE(place.coalesced() && place.without_bank_conflicts()) << simt::describe(place);
  const auto& spread = simt::traffic_of("tsne_spread");
  EXPECT_EQ(spread.of(map.y.data(), 8 * N).read_bytes, 8 * N) << simt::describe(spread);
  // Additions to one node by one request are one.
  EXPECT_LE(spread.of(grid.density, 8 * nodes).write_bytes, 16 * 8 * N);
  EXPECT_EQ(spread.of(grid.density, 8 * nodes).write_bytes, spread.write_bytes);
  EXPECT_EQ(spread.read_bytes, 8 * N + map.known(spread).read_bytes);
  EXPECT_EQ(map.known(spread).read_bytes, 3 * 8 * N / 32);
  const auto& forward = simt::traffic_of("tsne_rows_forward");
  const auto density = forward.of(grid.density, 8 * nodes);
  EXPECT_EQ(density.read_bytes, 8 * nodes) << simt::describe(forward);
  EXPECT_EQ(density.write_bytes, 8 * nodes);
  EXPECT_EQ(map.spectrum(forward).write_bytes, 8 * half * map.even());
  EXPECT_EQ(map.spectrum(forward).read_bytes, 0u);
  EXPECT_TRUE(forward.each_byte_written_once());
  const auto& columns = simt::traffic_of("tsne_columns");
  EXPECT_EQ(map.spectrum(columns).read_bytes, 8 * half * M) << simt::describe(columns);
  EXPECT_EQ(map.spectrum(columns).write_bytes, 8 * half * M);
  EXPECT_EQ(columns.write_bytes, 8 * half * M);
  const auto kernel = columns.of(grid.kernel, 4 * half * (map.H() / 2 + 1));
  EXPECT_LE(kernel.read_bytes, 4 * half * map.H());  // both halves of a column have the same
  EXPECT_EQ(kernel.distinct_read, 4 * half * (map.H() / 2 + 1));
  const auto& back = simt::traffic_of("tsne_rows_back");
  EXPECT_EQ(map.spectrum(back).read_bytes, 8 * half * map.even()) << simt::describe(back);
  EXPECT_EQ(back.write_bytes, 4 * nodes);
  EXPECT_TRUE(back.each_byte_written_once());
  EXPECT_EQ(widest(forward, true), 16);  // two rows' numbers are one access
  EXPECT_EQ(widest(back, false), 16);
  const auto& gather = simt::traffic_of("tsne_gather_kernel");
  EXPECT_EQ(gather.of(map.y.data(), 8 * N).read_bytes, 8 * N) << simt::describe(gather);
  EXPECT_LE(gather.of(grid.potential, 4 * nodes).read_bytes, 16 * 4 * N);
  EXPECT_EQ(gather.write_bytes, 8 * N + 8);
  EXPECT_EQ(widest(gather, true), 8);
  EXPECT_TRUE(gather.without_bank_conflicts()) << simt::describe(gather);
  for (const auto& line : gather.lines) {
    if (!line.shared && line.write) {
      EXPECT_EQ(line.efficiency(), 1) << simt::describe(gather);
    }
  }
  const auto& total = simt::traffic_of("tsne_grid_total");
  EXPECT_EQ(total.read_bytes - map.known(total).read_bytes, 8 * N / 256) << simt::describe(total);
  EXPECT_EQ(map.known(total).read_bytes, 8 * 8u);  // waiting, a warp
  EXPECT_EQ(map.known(total).write_bytes, 8u);     // Z
  EXPECT_EQ(total.write_bytes, 8u);
  EXPECT_TRUE(total.coalesced() && total.without_bank_conflicts()) << simt::describe(total);
}

TEST(DeviceTsneGrid, PreparingMovesWhatTheHeadSays) {
  ServedMap map;
  const DeviceGrid& grid = map.grid();
  const std::uint64_t half = map.half(), H = map.H(), L = grid.across.length;
  if (!mwalimu::test::with_traffic([&] { prepare_grid(map.on, grid); })) {
    GTEST_SKIP() << "not a build that counts traffic";
  }
  const std::uint64_t pairs = (H / 2 + 2) / 2, kept = 4 * half * (H / 2 + 1);
  // Pairs of rows side by side: neighbouring blocks fill a sector, a lane's 8 bytes at a time.
  const auto& rows = simt::traffic_of("tsne_kernel_rows");
  EXPECT_EQ(rows.write_bytes, 8 * half * pairs) << simt::describe(rows);
  EXPECT_TRUE(rows.each_byte_written_once());
  for (const auto& line : rows.lines) {
    if (!line.shared && line.write) {
      EXPECT_EQ(line.bytes_per_lane(), 8);
      EXPECT_EQ(line.sectors, line.lanes) << simt::describe(rows);
    }
  }
  EXPECT_EQ(rows.read_bytes, rows.of(grid.across.twiddle, 8 * L).read_bytes);  // nothing else
  const auto& columns = simt::traffic_of("tsne_kernel_columns");
  EXPECT_EQ(columns.of(grid.kernel, kept).write_bytes, kept) << simt::describe(columns);
  EXPECT_EQ(columns.write_bytes, kept);
  EXPECT_TRUE(columns.each_byte_written_once());
  const simt::ByteTraffic twiddles = columns.of(grid.along.twiddle, 8 * H);
  EXPECT_LE(columns.read_bytes - twiddles.read_bytes, 4 * half * H);  // both halves of a column
  EXPECT_EQ(columns.distinct_read - twiddles.distinct_read, kept);
  const auto& unit = simt::traffic_of("tsne_unit");
  EXPECT_EQ(unit.write_bytes, 8u);
  EXPECT_EQ(unit.read_bytes, 0u);
  const auto& own = simt::traffic_of("tsne_own");
  EXPECT_EQ(own.of(grid.potential, 4 * map.nodes()).read_bytes, 16 * 4u) << simt::describe(own);
  EXPECT_EQ(own.of(grid.own, 16 * 4).write_bytes, 16 * 4u);
  EXPECT_TRUE(own.each_byte_once());
  EXPECT_EQ(own.write_bytes, 16 * 4u);
}
#endif

}  // namespace
}  // namespace mwalimu::embedding
