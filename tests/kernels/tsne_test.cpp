// t-SNE's forces and steps on a device, against sums in double and against the host's descent.
#include "mwalimu/embedding/tsne.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "embedding/embedding_support.hpp"
#include "kernels/both_devices.hpp"

namespace mwalimu::embedding {
namespace {

using mwalimu::test::expect_error, mwalimu::test::near_l2, mwalimu::test::under_schedules;
using test::normal_points;

Affinities some_affinities(index_t n, std::uint64_t seed) {
  const std::vector<float> x = normal_points(n, 4, seed);
  const index_t k = std::min<index_t>(n - 1, 12);
  return affinities(nearest_neighbors(Points(x, n, 4), k), static_cast<double>(k) / 3);
}

struct Forces {
  double z = 0, stretch = 0;
  std::vector<double> repulsion, attraction;  // (n, dimensions)
};

/// By the definitions, in double.
Forces reference(const Affinities& p, const std::vector<float>& map, int dimensions) {
  const Points y(map, p.n, dimensions);
  Forces out;
  out.repulsion.assign(map.size(), 0.0);
  out.attraction.assign(map.size(), 0.0);
  const auto add = [&](std::vector<double>& to, index_t i, index_t j, double weight) {
    for (int c = 0; c < dimensions; ++c) {
      to[i * dimensions + c] += weight * (double{y.row(i)[c]} - y.row(j)[c]);
    }
  };
  for (index_t i = 0; i < p.n; ++i) {
    for (index_t j = 0; j < p.n; ++j) {
      if (i == j) continue;
      const double w = 1 / (1 + test::square_distance(y, i, j));
      out.z += w;
      add(out.repulsion, i, j, w * w);
    }
    for (index_t e = p.row_begin[i]; e < p.row_begin[i + 1]; ++e) {
      const double square = test::square_distance(y, i, p.column[e]);
      add(out.attraction, i, p.column[e], p.value[e] / (1 + square));
      out.stretch += p.value[e] * std::log1p(square);
    }
  }
  return out;
}

std::vector<double> rows(const Tensor<float>& map, int dimensions) {
  const std::vector<float> values = detail::from_device_map(map, dimensions);
  return {values.begin(), values.end()};
}

Tensor<float> poisoned(const Tensor<float>& like) {
  auto tensor = Tensor<float>::empty_like(like);
  tensor.fill(std::numeric_limits<float>::quiet_NaN());
  return tensor;
}

/// All of a map's forces on the device, into poisoned memory.
Forces on_device(const Affinities& p, const std::vector<float>& map, int dimensions) {
  const Device device = Device::cuda();
  const Gpu on = gpu_place(device);
  const detail::DeviceAffinities edges(p, device);
  const auto y = detail::to_device_map(map, p.n, dimensions, device);
  auto r = poisoned(y), a = poisoned(y);
  auto sums = Tensor<double>::full({2}, std::numeric_limits<double>::quiet_NaN(), device);
  map_repulsion(on, y.view<2>(), r.view<2>(), sums.data());
  map_attraction(on, edges.edges(), y.view<2>(), a.view<2>());
  map_stretch(on, edges.edges(), y.view<2>(), sums.data() + 1);
  const std::vector<double> read = sums.to_vector();
  return {read[0], read[1], rows(r, dimensions), rows(a, dimensions)};
}

TEST(DeviceTsne, ForcesMatchSumsInDouble) {
  MWALIMU_NEEDS_DEVICE();
  // Every extent around a tile of 128 points; 300 and 520 have several slices of tiles.
  for (const index_t n : {4, 31, 127, 128, 129, 300, 520}) {
    for (const int dimensions : {1, 2, 3}) {
      if (n > 300 && dimensions != 2) continue;
      for (const float spread : {1e-4f, 1.0f, 3000.0f}) {
        SCOPED_TRACE(::testing::Message() << n << " " << dimensions << " " << spread);
        std::vector<float> map = normal_points(n, dimensions, 30);
        for (float& v : map) v *= spread;
        const Affinities p = some_affinities(n, 31);
        const Forces want = reference(p, map, dimensions);
        std::optional<Forces> first;
        under_schedules(1, [&] {
          const Forces got = on_device(p, map, dimensions);
          // Float sums of at most 128 terms: 1e-5 as on the host.
          EXPECT_NEAR(got.z, want.z, 1e-5 * want.z);
          EXPECT_NEAR(got.stretch, want.stretch, 1e-6 * want.stretch);
          EXPECT_TRUE(near_l2(got.repulsion, want.repulsion, 1e-5));
          EXPECT_TRUE(near_l2(got.attraction, want.attraction, 1e-5));
          if (!first) first = got;
          EXPECT_EQ(got.z, first->z);
          EXPECT_EQ(got.stretch, first->stretch);
          EXPECT_EQ(got.repulsion, first->repulsion);
          EXPECT_EQ(got.attraction, first->attraction);
        });
      }
    }
  }
}

TEST(DeviceTsne, LargeMapsHaveSeveralTilesASlice) {
  MWALIMU_NEEDS_DEVICE();
  const index_t n = 4200;  // 33 tiles, two a slice
  const Device device = Device::cuda();
  const std::vector<float> map = normal_points(n, 2, 30);
  Coordinates host(n, 2);
  const double z = exact_repulsion(Coordinates(map, n, 2), host);
  const auto y = detail::to_device_map(map, n, 2, device);
  auto r = poisoned(y);
  auto sum = Tensor<double>::zeros({1}, device);
  map_repulsion(gpu_place(device), y.view<2>(), r.view<2>(), sum.data());
  EXPECT_NEAR(sum.to_vector()[0], z, 1e-5 * z);
  const std::vector<float> want = host.rows();
  EXPECT_TRUE(near_l2(rows(r, 2), std::vector<double>(want.begin(), want.end()), 1e-5));
}

TEST(DeviceTsne, CoincidentPointsRepelOnlyTheOthers) {
  MWALIMU_NEEDS_DEVICE();
  const Affinities p = some_affinities(6, 1);
  const std::vector<float> map = {0, 0, 0, 0, 0, 0, 3e4f, 0, 3e4f, 0, 3e4f, 0};
  const Forces got = on_device(p, map, 2);
  EXPECT_NEAR(got.z, 12, 1e-6);  // each of six points has two beside it
  const Forces want = reference(p, map, 2);
  EXPECT_TRUE(near_l2(got.repulsion, want.repulsion, 1e-5));
}

TsneOptions few_steps(int dimensions, int early, int main) {
  return {.components = dimensions,
          .early_iterations = early,
          .main_iterations = main,
          .repulsion = Repulsion::exact};
}

TEST(DeviceTsne, StepsAreTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  for (const int dimensions : {1, 2, 3}) {
    for (const Schedule schedule : {Schedule::automatic, Schedule::classic}) {
      SCOPED_TRACE(::testing::Message() << dimensions << " " << static_cast<int>(schedule));
      const index_t n = 140;
      const Affinities p = some_affinities(n, 3);
      std::vector<float> start = normal_points(n, dimensions, 5);
      TsneOptions options = few_steps(dimensions, 4, 4);
      options.schedule = schedule;
      options.late_exaggeration = 2;  // three phases: 4 steps, 2 and 2
      options.late_iterations = 2;
      options.max_step_norm = 0.5;  // some steps are shortened
      const TsneResult host = optimise(p, initial_state(start), options);
      options.device = Device::cuda();
      under_schedules(0, [&] {
        const TsneResult device = optimise(p, initial_state(start), options);
        EXPECT_EQ(device.iterations, 8);
        // Eight steps of float sums in other orders.
        const auto wide = [](const std::vector<float>& v) {
          return std::vector<double>(v.begin(), v.end());
        };
        EXPECT_TRUE(near_l2(wide(device.map), wide(host.map), 1e-4));
        EXPECT_TRUE(near_l2(wide(device.state.update), wide(host.state.update), 1e-3));
        EXPECT_TRUE(near_l2(wide(device.state.gain), wide(host.state.gain), 1e-3));
        EXPECT_NEAR(device.gradient_norm, host.gradient_norm, 1e-3 * host.gradient_norm);
        EXPECT_NEAR(device.kl, host.kl, 1e-4 * host.kl);
      });
    }
  }
}

TEST(DeviceTsne, AWholeRunIsAsGoodAsTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  const index_t n = 90, d = 5;
  const std::vector<float> x = test::clustered_points(n, d, 3, 12, 7);
  TsneOptions options = few_steps(2, 60, 120);
  options.perplexity = 8;
  const TsneResult host = tsne(Points(x, n, d), options);
  options.device = Device::cuda();
  const TsneResult device = tsne(Points(x, n, d), options);
  // Paths part after some steps, and the local optima of so few points differ by up to 8 %. The
  // first of the trace shows that there is a way to go.
  EXPECT_NEAR(device.kl, host.kl, 0.1 * host.kl);
  EXPECT_GT(device.trace.front().second, 2 * device.kl);
  EXPECT_TRUE(device.kl_is_exact);
  EXPECT_EQ(device.repulsion, Repulsion::exact);
  ASSERT_EQ(device.trace.size(), host.trace.size());
  // The number that is reported is that of the map that is handed back.
  const Affinities p = affinities(nearest_neighbors(Points(x, n, d), device.neighbors), 8);
  EXPECT_NEAR(device.kl, exact_kl(p, Coordinates(device.map, n, 2)), 1e-6 * device.kl);
  EXPECT_EQ(tsne(Points(x, n, d), options).map, device.map);  // bit for bit
}

TEST(DeviceTsne, ResumedEqualsUninterrupted) {
  MWALIMU_NEEDS_DEVICE();
  const Affinities p = some_affinities(40, 3);
  TsneOptions options = few_steps(2, 7, 9);
  options.device = Device::cuda();
  const auto start = initial_state(normal_points(40, 2, 5));
  const TsneResult whole = optimise(p, start, options);
  std::stop_source stop;
  options.callback_every = 5;
  options.callback = [&](const TsneProgress& progress) {
    EXPECT_EQ(progress.iteration, 5);
    EXPECT_EQ(progress.phase, Phase::early_exaggeration);
    EXPECT_EQ(progress.map.size(), 80u);
    stop.request_stop();
    return true;
  };
  options.stop = stop.get_token();
  const TsneResult part = optimise(p, start, options);
  EXPECT_EQ(part.reason, StopReason::cancelled);
  EXPECT_EQ(part.iterations, 5);
  options.callback = {};
  options.stop = {};
  const TsneResult rest = optimise(p, part.state, options);
  EXPECT_EQ(rest.iterations, 16);
  EXPECT_EQ(rest.map, whole.map);
  EXPECT_EQ(rest.kl, whole.kl);
}

TEST(DeviceTsne, DivergenceNamesTheIterationAndKeepsTheLastMap) {
  MWALIMU_NEEDS_DEVICE();
  const Affinities p = some_affinities(20, 3);
  TsneOptions options = few_steps(2, 10, 0);
  options.device = Device::cuda();
  TsneState state = optimise(p, initial_state(normal_points(20, 2, 21)), options).state;
  state.update[7] = std::numeric_limits<float>::infinity();
  const std::vector<float> map = state.map;
  options.main_iterations = 8;  // steps after the one that fails are queued, and do nothing
  try {
    optimise(p, state, options);
    FAIL() << "an infinite step passed";
  } catch (const DivergenceError& e) {
    EXPECT_EQ(e.iteration, 11);
    EXPECT_EQ(e.last_map, map);
  }
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceTsne, IterationsDoNotWaitForTheDevice) {
  MWALIMU_NEEDS_DEVICE();
  const Affinities p = some_affinities(30, 3);
  const auto waits = [&](int iterations) {
    TsneOptions options = few_steps(2, 0, iterations);
    options.device = Device::cuda();
    const auto before = emulated::counters();
    optimise(p, initial_state(normal_points(30, 2, 5)), options);
    return emulated::counters().synchronizations - before.synchronizations;
  };
  EXPECT_EQ(waits(40), waits(2));
  EXPECT_GT(waits(51), waits(40));  // the KL is looked at every 50
}
#endif

/// Repulsion by a grid on the device, into poisoned memory.
Forces on_grid(const std::vector<float>& map, index_t n, double spacing, FieldGrid::Shape* shape) {
  const Device device = Device::cuda();
  const Gpu on = gpu_place(device);
  const auto y = detail::to_device_map(map, n, 2, device);
  auto r = poisoned(y);
  auto numbers = Tensor<double>::zeros({kDescentProgress}, device);
  auto* progress = reinterpret_cast<DescentProgress*>(numbers.data());
  const auto read = [&] {
    const std::vector<double> values = numbers.to_vector();
    DescentProgress now;
    std::memcpy(&now, values.data(), sizeof now);
    return now;
  };
  detail::DeviceFieldGrid grid(spacing);
  measure_map(on, grid.tables(), y.view<2>(), progress);
  EXPECT_EQ(read().waiting, 1);
  grid.fit(on, read());
  for (int call = 0; call < 2; ++call) {  // the second finds what the first has left behind
    grid_repulsion(on, grid.tables(), y.view<2>(), r.view<2>(), progress);
  }
  EXPECT_EQ(read().waiting, 0);
  *shape = grid.shape();
  return {read().z, 0, rows(r, 2), {}};
}

TEST(DeviceTsne, GridIsTheHosts) {
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
        EXPECT_TRUE(near_l2(got.repulsion, std::vector<double>(host.begin(), host.end()), 1e-3));
        EXPECT_NEAR(got.z, want.z, 3e-4 * want.z);
        EXPECT_TRUE(near_l2(got.repulsion, want.repulsion, 8e-3));
        if (!first) first = got;
        EXPECT_EQ(got.z, first->z);
        EXPECT_EQ(got.repulsion, first->repulsion);
      });
    }
  }
}

TEST(DeviceTsne, GridTransformsEveryRadix) {
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

TEST(DeviceTsne, GridOfALongMap) {
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
  EXPECT_TRUE(near_l2(got.repulsion, std::vector<double>(host.begin(), host.end()), 1e-3));
}

TEST(DeviceTsne, StepsByTheGridAreTheHosts) {
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
  const auto wide = [](const std::vector<float>& v) {
    return std::vector<double>(v.begin(), v.end());
  };
  EXPECT_TRUE(near_l2(wide(device.map), wide(host.map), 1e-3));
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
TEST(DeviceTsne, ForcesMoveWhatTheirHeadSays) {
  const index_t n = 512;  // four tiles of 128, one a slice
  const std::uint64_t N = 512, tiles = N / 128;
  const Device device = Device::cuda();
  const Gpu on = gpu_place(device);
  const Affinities p = some_affinities(n, 3);
  const detail::DeviceAffinities affinities(p, device);
  const DeviceEdges edges = affinities.edges();
  const std::uint64_t E = p.value.size();
  for (const int dimensions : {1, 2, 3}) {
    SCOPED_TRACE(dimensions);
    const auto D = static_cast<std::uint64_t>(dimensions);
    const auto point = static_cast<std::uint64_t>(4 * point_stride(dimensions));
    const auto y = detail::to_device_map(normal_points(n, dimensions, 5), n, dimensions, device);
    auto a = poisoned(y), r = poisoned(y);
    auto sums = Tensor<double>::zeros({2}, device);
    const auto run = [&] {
      map_attraction(on, edges, y.view<2>(), a.view<2>());
      map_repulsion(on, y.view<2>(), r.view<2>(), sums.data());
    };
    if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
    const auto& pull = simt::traffic_of("tsne_attraction");
    EXPECT_EQ(pull.of(edges.column, 4 * E).read_bytes, 4 * E);
    EXPECT_EQ(pull.of(edges.value, 4 * E).read_bytes, 4 * E);
    // Lanes that read one point at a time share it.
    EXPECT_LE(pull.of(y.data(), point * N).read_bytes, point * (E + N)) << simt::describe(pull);
    EXPECT_EQ(pull.write_bytes, point * N);
    EXPECT_TRUE(pull.each_byte_written_once());
    const auto& push = simt::traffic_of("tsne_repulsion");
    // Its own points once a slice, and in each block the points of the slice.
    EXPECT_EQ(push.read_bytes, point * (tiles * N + N * N / 128)) << simt::describe(push);
    EXPECT_EQ(push.write_bytes, tiles * (D + 1) * N * 8);
    EXPECT_TRUE(push.coalesced() && push.each_byte_written_once()) << simt::describe(push);
    EXPECT_TRUE(push.without_bank_conflicts()) << simt::describe(push);
    const auto& gather = simt::traffic_of("tsne_gather_slices");
    EXPECT_TRUE(gather.coalesced() && gather.each_byte_once()) << simt::describe(gather);
    EXPECT_EQ(gather.read_bytes, push.write_bytes);
    EXPECT_EQ(gather.write_bytes, point * N + 8 * N / 256);
  }
}

TEST(DeviceTsne, AStepMovesTenFloatsAComponent) {
  const index_t n = 512;
  const std::uint64_t N = 512;
  const Device device = Device::cuda();
  for (const int dimensions : {1, 2, 3}) {
    SCOPED_TRACE(dimensions);
    const auto point = static_cast<std::uint64_t>(4 * point_stride(dimensions));
    const auto a = detail::to_device_map(normal_points(n, dimensions, 5), n, dimensions, device);
    auto r = a.clone(), y = a.clone(), update = a.clone(), gain = a.clone(), next = a.clone();
    auto numbers = Tensor<double>::zeros({kDescentProgress}, device);
    auto* progress = reinterpret_cast<DescentProgress*>(numbers.data());
    const DescentSchedule schedule{{{1, 1, 1, 0}, {2, 1, 1, 0}, {3, 1, 1, 0}}, 1e9};
    const std::vector<double> one = {0, 0, 1};  // z
    numbers.slice(0, 0, 3).copy_from(Tensor<double>::from(one, {3}).to(device));
    const auto run = [&] {
      map_step(gpu_place(device), schedule, a.view<2>(), r.view<2>(),
               {y.view<2>(), update.view<2>(), gain.view<2>(), next.view<2>()}, progress);
    };
    if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
    const auto& step = simt::traffic_of("tsne_step");
    const float* const read[] = {a.data(), r.data(), y.data(), update.data(), gain.data()};
    const float* const written[] = {update.data(), gain.data(), next.data()};
    for (const float* map : read) EXPECT_EQ(step.of(map, point * N).read_bytes, point * N);
    for (const float* map : written) EXPECT_EQ(step.of(map, point * N).write_bytes, point * N);
    EXPECT_TRUE(step.each_byte_written_once()) << simt::describe(step);
    for (const auto& line : step.lines) {  // all but the sums that a block hands on
      if (!line.shared && line.requests >= N / 32) {
        EXPECT_EQ(line.efficiency(), 1) << simt::describe(step);
      }
    }
    const auto& centre = simt::traffic_of("tsne_centre");
    EXPECT_TRUE(centre.coalesced()) << simt::describe(centre);
    EXPECT_EQ(centre.of(next.data(), point * N).read_bytes, point * N);
    EXPECT_EQ(centre.write_bytes, point * N);
    EXPECT_TRUE(centre.each_byte_written_once());
  }
}

TEST(DeviceTsne, GridMovesWhatItsHeadSays) {
  const index_t n = 256;
  const Device device = Device::cuda();
  const Gpu on = gpu_place(device);
  const auto y = detail::to_device_map(normal_points(n, 2, 5), n, 2, device);
  auto r = poisoned(y);
  auto numbers = Tensor<double>::zeros({kDescentProgress}, device);
  auto* progress = reinterpret_cast<DescentProgress*>(numbers.data());
  detail::DeviceFieldGrid owner(1.0 / 3);
  measure_map(on, owner.tables(), y.view<2>(), progress);
  const std::vector<double> measured = numbers.to_vector();
  DescentProgress now;
  std::memcpy(&now, measured.data(), sizeof now);
  owner.fit(on, now);
  const DeviceGrid& grid = owner.tables();
  const auto run = [&] { grid_repulsion(on, grid, y.view<2>(), r.view<2>(), progress); };
  if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const auto N = static_cast<std::uint64_t>(n);
  const auto nodes = static_cast<std::uint64_t>(grid.rows * grid.columns);
  const auto half = static_cast<std::uint64_t>(grid.across.length / 2 + 1);
  const auto M = static_cast<std::uint64_t>(grid.rows), even = (M + 1) / 2 * 2;
  const auto spectrum = [&](const simt::LaunchTraffic& launch) {
    return launch.of(grid.spectrum, 8 * half * even);
  };
  const auto& spread = simt::traffic_of("tsne_spread");
  EXPECT_EQ(spread.of(y.data(), 8 * N).read_bytes, 8 * N) << simt::describe(spread);
  const auto& forward = simt::traffic_of("tsne_rows_forward");
  const auto density = forward.of(grid.density, 8 * nodes);
  EXPECT_EQ(density.read_bytes, 8 * nodes) << simt::describe(forward);
  EXPECT_EQ(density.write_bytes, 8 * nodes);
  EXPECT_EQ(spectrum(forward).write_bytes, 8 * half * even);
  EXPECT_EQ(spectrum(forward).read_bytes, 0u);
  EXPECT_TRUE(forward.each_byte_written_once());
  const auto& columns = simt::traffic_of("tsne_columns");
  const auto H = static_cast<std::uint64_t>(grid.along.length);
  EXPECT_EQ(spectrum(columns).read_bytes, 8 * half * M) << simt::describe(columns);
  EXPECT_EQ(spectrum(columns).write_bytes, 8 * half * M);
  const auto kernel = columns.of(grid.kernel, 4 * half * (H / 2 + 1));
  EXPECT_LE(kernel.read_bytes, 4 * half * H);  // both halves of a column have the same
  EXPECT_EQ(kernel.distinct_read, 4 * half * (H / 2 + 1));
  const auto& back = simt::traffic_of("tsne_rows_back");
  EXPECT_EQ(spectrum(back).read_bytes, 8 * half * even) << simt::describe(back);
  EXPECT_EQ(back.write_bytes, 4 * nodes);
  EXPECT_TRUE(back.each_byte_written_once());
  const auto widest = [](const simt::LaunchTraffic& launch, bool write) {
    double most = 0;
    for (const auto& line : launch.lines) {
      if (!line.shared && line.write == write) most = std::max(most, line.bytes_per_lane());
    }
    return most;
  };
  EXPECT_EQ(widest(forward, true), 16);  // two rows' numbers are one access
  EXPECT_EQ(widest(back, false), 16);
  const auto& gather = simt::traffic_of("tsne_gather_kernel");
  EXPECT_EQ(gather.of(y.data(), 8 * N).read_bytes, 8 * N) << simt::describe(gather);
  EXPECT_LE(gather.of(grid.potential, 4 * nodes).read_bytes, 16 * 4 * N);
  EXPECT_EQ(gather.write_bytes, 8 * N + 8);
  EXPECT_EQ(widest(gather, true), 8);
  for (const auto& line : gather.lines) {
    if (!line.shared && line.write) {
      EXPECT_EQ(line.efficiency(), 1) << simt::describe(gather);
    }
  }
}
#endif

TEST(DeviceTsne, AutomaticSumsAllPairsOfSmallMapsOnly) {
  TsneOptions options;
  EXPECT_TRUE(detail::uses_fft(options, kExactRepulsionLimit + 1));
  options.device = Device::cuda();
  EXPECT_FALSE(detail::uses_fft(options, kExactRepulsionLimit + 1));
  EXPECT_FALSE(detail::uses_fft(options, kDeviceExactRepulsionLimit));
  EXPECT_TRUE(detail::uses_fft(options, kDeviceExactRepulsionLimit + 1));
  options.components = 3;
  EXPECT_FALSE(detail::uses_fft(options, kDeviceExactRepulsionLimit + 1));
}

TEST(DeviceTsne, RefusesWhatItCannotDo) {
  MWALIMU_NEEDS_DEVICE();
  const Affinities p = some_affinities(20, 3);
  TsneOptions options = few_steps(2, 1, 0);
  options.device = Device::cuda();
  options.device = Device::cuda(63);
  expect_error<DeviceError>([&] { optimise(p, initial_state(normal_points(20, 2, 1)), options); },
                            "cuda:63");
}

}  // namespace
}  // namespace mwalimu::embedding
