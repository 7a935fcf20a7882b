// t-SNE's forces on a device, against sums in double and against the host's.
#include "kernels/tsne_support.hpp"

#include <optional>

namespace mwalimu::embedding {
namespace {

using mwalimu::test::near_l2, mwalimu::test::under_schedules;
using test::Forces, test::normal_points, test::poisoned, test::reference, test::rows,
    test::some_affinities;

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

TEST(DeviceTsneForces, ForcesMatchSumsInDouble) {
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

TEST(DeviceTsneForces, LargeMapsHaveSeveralTilesASlice) {
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

TEST(DeviceTsneForces, CoincidentPointsRepelOnlyTheOthers) {
  MWALIMU_NEEDS_DEVICE();
  const Affinities p = some_affinities(6, 1);
  const std::vector<float> map = {0, 0, 0, 0, 0, 0, 3e4f, 0, 3e4f, 0, 3e4f, 0};
  const Forces got = on_device(p, map, 2);
  EXPECT_NEAR(got.z, 12, 1e-6);  // each of six points has two beside it
  const Forces want = reference(p, map, 2);
  EXPECT_TRUE(near_l2(got.repulsion, want.repulsion, 1e-5));
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceTsneForces, RepulsionMovesWhatTheHeadSays) {
  const index_t n = 512;  // four tiles of 128, one a slice
  const std::uint64_t N = 512, tiles = N / 128;
  const Device device = Device::cuda();
  for (const int dimensions : {1, 2, 3}) {
    SCOPED_TRACE(dimensions);
    const auto D = static_cast<std::uint64_t>(dimensions);
    const auto point = static_cast<std::uint64_t>(4 * point_stride(dimensions));
    const auto y = detail::to_device_map(normal_points(n, dimensions, 5), n, dimensions, device);
    auto r = poisoned(y);
    auto z = Tensor<double>::zeros({1}, device);
    const auto run = [&] { map_repulsion(gpu_place(device), y.view<2>(), r.view<2>(), z.data()); };
    if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
    const auto& push = simt::traffic_of("tsne_repulsion");
    // Its own points once a slice, and in each block the points of the slice.
    EXPECT_EQ(push.read_bytes, point * (tiles * N + N * N / 128)) << simt::describe(push);
    EXPECT_EQ(push.write_bytes, tiles * (D + 1) * N * 8);
    EXPECT_TRUE(push.coalesced() && push.each_byte_written_once()) << simt::describe(push);
    EXPECT_TRUE(push.without_bank_conflicts()) << simt::describe(push);
    const auto& gather = simt::traffic_of("tsne_gather_slices");
    EXPECT_TRUE(gather.coalesced() && gather.each_byte_once()) << simt::describe(gather);
    EXPECT_TRUE(gather.without_bank_conflicts()) << simt::describe(gather);
    EXPECT_EQ(gather.read_bytes, push.write_bytes);
    EXPECT_EQ(gather.write_bytes, point * N + 8 * N / 256);
    const auto& total = simt::traffic_of("tsne_total");
    EXPECT_TRUE(total.coalesced() && total.each_byte_once()) << simt::describe(total);
    EXPECT_EQ(total.read_bytes, 8 * N / 256);
    EXPECT_EQ(total.of(z.data(), 8).write_bytes, 8u);
    EXPECT_EQ(total.write_bytes, 8u);
  }
}

TEST(DeviceTsneForces, EdgesMoveWhatTheHeadSays) {
  const index_t n = 256;  // a row a warp: of two, lanes that have no edge of the first run ahead
  const std::uint64_t N = 256;
  const Device device = Device::cuda();
  const Gpu on = gpu_place(device);
  const Affinities p = some_affinities(n, 3);
  const detail::DeviceAffinities affinities(p, device);
  const DeviceEdges edges = affinities.edges();
  const std::uint64_t E = p.value.size();
  for (const int dimensions : {1, 2, 3}) {
    SCOPED_TRACE(dimensions);
    const auto point = static_cast<std::uint64_t>(4 * point_stride(dimensions));
    const auto y = detail::to_device_map(normal_points(n, dimensions, 5), n, dimensions, device);
    auto a = poisoned(y);
    auto sum = Tensor<double>::zeros({1}, device);
    const auto run = [&] {
      map_attraction(on, edges, y.view<2>(), a.view<2>());
      map_stretch(on, edges, y.view<2>(), sum.data());
    };
    if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
    const auto& attraction = simt::traffic_of("tsne_attraction");
    const auto& stretch = simt::traffic_of("tsne_stretch");
    for (const simt::LaunchTraffic* launch : {&attraction, &stretch}) {
      EXPECT_EQ(launch->of(edges.column, 4 * E).read_bytes, 4 * E) << simt::describe(*launch);
      EXPECT_EQ(launch->of(edges.value, 4 * E).read_bytes, 4 * E);
      EXPECT_EQ(launch->of(edges.row_begin, 8 * (N + 1)).read_bytes, 2 * 8 * N);
      EXPECT_EQ(launch->of(y.data(), point * N).read_bytes, point * (E + N));
      EXPECT_EQ(launch->read_bytes, 8 * E + 16 * N + point * (E + N));
      EXPECT_TRUE(launch->each_byte_written_once());
      // An array's sectors are an eighth of its edges, and those that a row begins and ends within;
      // an edge has its point's. Were a row a lane's, an array would cost a sector an edge.
      const std::uint64_t arrays = 2 * (E / 8 + 2 * N), points = E + N, bounds = 2 * N;
      EXPECT_LE(launch->moved, 32 * (arrays + points + bounds + N)) << simt::describe(*launch);
    }
    EXPECT_EQ(attraction.of(a.data(), point * N).write_bytes, point * N);
    EXPECT_EQ(attraction.write_bytes, point * N);
    EXPECT_EQ(stretch.write_bytes, 8 * N);
    const auto& total = simt::traffic_of("tsne_total");
    EXPECT_TRUE(total.coalesced() && total.each_byte_once()) << simt::describe(total);
    EXPECT_TRUE(total.without_bank_conflicts()) << simt::describe(total);
    EXPECT_EQ(total.read_bytes, 8 * N);
    EXPECT_EQ(total.of(sum.data(), 8).write_bytes, 8u);
    EXPECT_EQ(total.write_bytes, 8u);
  }
}
#endif

}  // namespace
}  // namespace mwalimu::embedding
