// t-SNE's steps on a device, against the host's descent.
#include "kernels/tsne_support.hpp"

#include <optional>

namespace mwalimu::embedding {
namespace {

using mwalimu::test::expect_error, mwalimu::test::near_l2, mwalimu::test::to_double,
    mwalimu::test::under_schedules;
using test::DeviceProgress, test::few_steps, test::normal_points, test::some_affinities;

TEST(DeviceTsneDescent, StepsAreTheHosts) {
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
      std::optional<TsneResult> first;
      under_schedules(0, [&] {
        const TsneResult device = optimise(p, initial_state(start), options);
        EXPECT_EQ(device.iterations, 8);
        // Eight steps of float sums in other orders.
        EXPECT_TRUE(near_l2(to_double(device.map), to_double(host.map), 1e-4));
        EXPECT_TRUE(near_l2(to_double(device.state.update), to_double(host.state.update), 1e-3));
        EXPECT_TRUE(near_l2(to_double(device.state.gain), to_double(host.state.gain), 1e-3));
        EXPECT_NEAR(device.gradient_norm, host.gradient_norm, 1e-3 * host.gradient_norm);
        EXPECT_NEAR(device.kl, host.kl, 1e-4 * host.kl);
        if (!first) first = device;
        EXPECT_EQ(device.map, first->map);
        EXPECT_EQ(device.state.update, first->state.update);
        EXPECT_EQ(device.state.gain, first->state.gain);
        EXPECT_EQ(device.gradient_norm, first->gradient_norm);
        EXPECT_EQ(device.kl, first->kl);
      });
    }
  }
}

TEST(DeviceTsneDescent, AWholeRunIsAsGoodAsTheHosts) {
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

TEST(DeviceTsneDescent, ResumedEqualsUninterrupted) {
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

TEST(DeviceTsneDescent, DivergenceNamesTheIterationAndKeepsTheLastMap) {
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

TEST(DeviceTsneDescent, AutomaticSumsAllPairsOfSmallMapsOnly) {
  TsneOptions options;
  EXPECT_TRUE(detail::uses_fft(options, kExactRepulsionLimit + 1));
  options.device = Device::cuda();
  EXPECT_FALSE(detail::uses_fft(options, kExactRepulsionLimit + 1));
  EXPECT_FALSE(detail::uses_fft(options, kDeviceExactRepulsionLimit));
  EXPECT_TRUE(detail::uses_fft(options, kDeviceExactRepulsionLimit + 1));
  options.components = 3;
  EXPECT_FALSE(detail::uses_fft(options, kDeviceExactRepulsionLimit + 1));
}

TEST(DeviceTsneDescent, RefusesWhatItCannotDo) {
  MWALIMU_NEEDS_DEVICE();
  const Affinities p = some_affinities(20, 3);
  TsneOptions options = few_steps(2, 1, 0);
  options.device = Device::cuda(63);
  expect_error<DeviceError>([&] { optimise(p, initial_state(normal_points(20, 2, 1)), options); },
                            "cuda:63");
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceTsneDescent, IterationsDoNotWaitForTheDevice) {
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

TEST(DeviceTsneDescent, AStepMovesTenFloatsAComponent) {
  const index_t n = 512;
  const std::uint64_t N = 512;
  const Device device = Device::cuda();
  for (const int dimensions : {1, 2, 3}) {
    SCOPED_TRACE(dimensions);
    const auto D = static_cast<std::uint64_t>(dimensions);
    const auto point = static_cast<std::uint64_t>(4 * point_stride(dimensions));
    const auto a = detail::to_device_map(normal_points(n, dimensions, 5), n, dimensions, device);
    auto r = a.clone(), y = a.clone(), update = a.clone(), gain = a.clone(), next = a.clone();
    DeviceProgress progress;
    DescentProgress before{};
    before.z = 1;
    progress.write(before);
    const DescentSchedule schedule{{{1, 1, 1, 0}, {2, 1, 1, 0}, {3, 1, 1, 0}}, 1e9};
    const auto run = [&] {
      map_step(gpu_place(device), schedule, a.view<2>(), r.view<2>(),
               {y.view<2>(), update.view<2>(), gain.view<2>(), next.view<2>()}, progress.get());
    };
    if (!mwalimu::test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
    const auto& step = simt::traffic_of("tsne_step");
    const float* const read[] = {a.data(), r.data(), y.data(), update.data(), gain.data()};
    const float* const written[] = {update.data(), gain.data(), next.data()};
    for (const float* map : read) EXPECT_EQ(step.of(map, point * N).read_bytes, point * N);
    for (const float* map : written) EXPECT_EQ(step.of(map, point * N).write_bytes, point * N);
    EXPECT_TRUE(step.each_byte_written_once()) << simt::describe(step);
    const std::uint64_t blocks = N / 256, sums = 8 * (D + 1);
    EXPECT_EQ(step.write_bytes, 3 * point * N + sums * blocks) << simt::describe(step);
    // A block's sums of more than 16 bytes are read by two accesses, with gaps: two wavefronts.
    EXPECT_LE(step.shared_wavefronts, 2 * step.ideal_shared_wavefronts) << simt::describe(step);
    EXPECT_TRUE(D > 1 || step.without_bank_conflicts()) << simt::describe(step);
    for (const auto& line : step.lines) {  // all but the sums that a block hands on
      if (!line.shared && line.requests >= N / 32) {
        EXPECT_EQ(line.efficiency(), 1) << simt::describe(step);
      }
    }
    // What the blocks have added up, the two words that may stop a step, and its number are read;
    // mean, force and that number are written.
    const auto& finish = simt::traffic_of("tsne_finish");
    const std::uint64_t known = finish.of(progress.get(), sizeof(DescentProgress)).read_bytes;
    EXPECT_EQ(finish.read_bytes - known, sums * blocks) << simt::describe(finish);
    EXPECT_LE(known, 8 * (2 * 8 + D + 1)) << simt::describe(finish);
    EXPECT_EQ(finish.write_bytes, 8 * (D + 2)) << simt::describe(finish);
    EXPECT_TRUE(finish.each_byte_written_once());
    EXPECT_LE(finish.shared_wavefronts, 2 * finish.ideal_shared_wavefronts);
    EXPECT_TRUE(D > 1 || finish.without_bank_conflicts()) << simt::describe(finish);
    const auto& centre = simt::traffic_of("tsne_centre");
    EXPECT_TRUE(centre.coalesced()) << simt::describe(centre);
    EXPECT_EQ(centre.of(next.data(), point * N).read_bytes, point * N);
    EXPECT_EQ(centre.write_bytes, point * N);
    EXPECT_TRUE(centre.each_byte_written_once());
    EXPECT_EQ(progress.read().iteration, 1);
  }
}
#endif

}  // namespace
}  // namespace mwalimu::embedding
