// Batch norm on a device: against the Cpu, against double, and what it moves.
#include "mwalimu/ops/batch_norm.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/both_devices.hpp"

namespace mwalimu::ops {
namespace {

using test::placed;
using test::random_tensor;
using test::Results;
using test::rounding;

struct Step {
  Shape shape;
  bool training = true, relu = true, residual = true;
  bool ranges = false;    ///< x, residual and dy are ranges of channels, at odd offsets
  float mean = 0.25f;
  float already = 0;      ///< in the gradients of gamma and beta
};

std::ostream& operator<<(std::ostream& out, const Step& s) {
  return out << s.shape << (s.training ? " training" : " evaluation") << (s.relu ? " relu" : "")
             << (s.residual ? " residual" : "") << (s.ranges ? " ranges" : "");
}

// Forward and backward in `Compute`, of inputs rounded to `Storage`.
template <Real Compute, Real Storage = Compute>
Results run(const Step& step, Device device) {
  using A = accumulate_t<Compute>;
  const index_t C = step.shape[step.shape.rank() - 1];
  const auto input = [&](std::uint64_t seed, float center) {
    const auto rounded = random_tensor<Storage>(step.shape, seed, center - 1, center + 1);
    const auto host = rounded.template to<Compute>();
    return placed(step.ranges ? test::channels_of_wider(host) : host, device);
  };
  const auto parameter = [&](std::uint64_t seed, float low, float high) {
    return random_tensor<float>({C}, seed, low, high).template to<A>().to(device);
  };
  BatchNormState<A> state = BatchNormState<A>::initial(C, device);
  state.running_mean.copy_from(parameter(5, -1, 1));
  state.running_var.copy_from(parameter(6, 0.5f, 2));
  const auto gradient = [&] {
    return Tensor<A>::full({C}, convert<A>(step.already), device);
  };
  const auto x = Variable<Compute>::leaf(input(1, step.mean));
  const auto added = Variable<Compute>::leaf(input(2, 0));
  const auto gamma = Variable<A>::leaf(parameter(3, 0.5f, 1.5f), gradient());
  const auto beta = Variable<A>::leaf(parameter(4, -0.5f, 0.5f), gradient());
  const BatchNormOptions options{step.training,
                                 step.relu ? Activation::relu : Activation::none};
  const auto y = step.residual ? batch_norm<Compute>(x, gamma, beta, state, options, added)
                               : batch_norm<Compute>(x, gamma, beta, state, options);
  y.backward(input(7, 0));
  Results results;
  results.add("y", y.value());
  results.add("dx", x.grad());
  if (step.residual) results.add("dresidual", added.grad());
  results.add("dgamma", gamma.grad());
  results.add("dbeta", beta.grad());
  results.add("running_mean", state.running_mean);
  results.add("running_var", state.running_var);
  results.add("num_batches_tracked", state.num_batches_tracked);
  return results;
}

// `shuffled` orders of threads beyond the two plain ones.
template <Real T>
void expect_matches(const Step& step, int shuffled = 0) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << " " << step);
  const Results got =
      test::on_device_in_any_order([&](Device device) { return run<T>(step, device); }, shuffled);
  // One value in a few thousand falls on the other side when it is rounded.
  test::expect_near(got, run<T>(step, Device::cpu()), rounding<T>());
  test::expect_near(got, run<double, T>(step, Device::cpu()), rounding<T>());
}

// Packs of 16 bytes and single elements, one tile and several, one chunk (16 rows a thread) and
// several, and extents around the edges of a block. Not two rows: there dx cancels down to eps, and
// its last digits are everybody's own.
const Shape kShapes[] = {{3, 1},       {65, 7},     {3, 8},          {2, 5, 3, 8}, {33, 12},
                         {2, 3, 3, 40}, {3, 264},    {7, 300},        {600, 64},    {130, 33},
                         {2, 24, 24, 5}, {9, 9, 4, 48}, {1, 31, 37, 16}};

TEST(BatchNormKernel, FloatMatchesCpuAndDouble) {
  MWALIMU_NEEDS_DEVICE();
  for (const Shape& shape : kShapes) expect_matches<float>({.shape = shape});
}
TEST(BatchNormKernel, Bfloat16MatchesCpuAndDouble) {
  MWALIMU_NEEDS_DEVICE();
  for (const Shape& shape : kShapes) expect_matches<bfloat16>({.shape = shape});
}
TEST(BatchNormKernel, HalfMatchesCpuAndDouble) {
  MWALIMU_NEEDS_DEVICE();
  for (const Shape& shape : {Shape{65, 7}, Shape{33, 16}, Shape{600, 64}}) {
    expect_matches<half>({.shape = shape});
  }
}
TEST(BatchNormKernel, DoubleMatchesCpu) {
  MWALIMU_NEEDS_DEVICE();
  for (const Shape& shape : {Shape{3, 1}, Shape{65, 7}, Shape{600, 64}}) {
    expect_matches<double>({.shape = shape});
  }
}

TEST(BatchNormKernel, EveryCombinationMatches) {
  MWALIMU_NEEDS_DEVICE();
  for (int flags = 0; flags < 16; ++flags) {
    const Step step{.shape = {3, 5, 7, 24},
                    .training = (flags & 1) != 0,
                    .relu = (flags & 2) != 0,
                    .residual = (flags & 4) != 0,
                    .ranges = (flags & 8) != 0};
    expect_matches<float>(step);
    expect_matches<bfloat16>(step);
  }
}

TEST(BatchNormKernel, SameBitsInAnyOrderOfThreads) {
  MWALIMU_NEEDS_DEVICE();
  expect_matches<bfloat16>({.shape = {300, 72}}, 4);  // one chunk
  expect_matches<bfloat16>({.shape = {700, 72}}, 4);  // several
  expect_matches<float>({.shape = {300, 7}}, 4);
}

TEST(BatchNormKernel, GradientsAddToTheArena) {
  MWALIMU_NEEDS_DEVICE();
  expect_matches<float>({.shape = {65, 8}, .already = 2});
}

// A mean a thousand deviations away costs no digits beyond those that the input has lost.
TEST(BatchNormKernel, LargeMeanCostsNoDigits) {
  MWALIMU_NEEDS_DEVICE();
  const Step step{.shape = {700, 8}, .residual = false, .mean = 1000};
  const Results got = run<float>(step, Device::cuda());
  const Results want = run<double, float>(step, Device::cpu());
  // As on the Cpu: the bound of BatchNorm.LargeMeanCostsNoDigits.
  EXPECT_TRUE(test::near_l2(got.all()[0].values, want.all()[0].values, 2e-6));
  EXPECT_TRUE(test::near_l2(got.all()[1].values, want.all()[1].values, 2e-6));
}

TEST(BatchNormKernel, NanReachesItsChannelAndNoOther) {
  MWALIMU_NEEDS_DEVICE();
  auto host = random_tensor<bfloat16>({40, 16}, 1);
  host.data()[16 * 7 + 3] = bfloat16(std::nanf(""));
  const auto device = Device::cuda();
  auto state = BatchNormState<float>::initial(16, device);
  const auto y = batch_norm<bfloat16>(host.to(device), Tensor<float>::full({16}, 1, device),
                                      Tensor<float>::zeros({16}, device), state,
                                      {true, Activation::relu});
  const auto got = test::values(y.value());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(std::isnan(got[i]), i % 16 == 3) << i;
}

TEST(BatchNormKernel, NoRowsInEvaluationIsNoRows) {
  MWALIMU_NEEDS_DEVICE();
  const auto device = Device::cuda();
  auto state = BatchNormState<float>::initial(4, device);
  const auto gamma = Variable<float>::leaf(Tensor<float>::full({4}, 1, device));
  const auto y = batch_norm<float>(Tensor<float>::empty({0, 4}, device), gamma,
                                   Tensor<float>::zeros({4}, device), state, {false});
  EXPECT_EQ(y.shape(), (Shape{0, 4}));
  y.backward(Tensor<float>::empty({0, 4}, device));
  EXPECT_EQ(test::values(gamma.grad()), std::vector<double>(4, 0.0));
}

#if defined(MWALIMU_EMULATED)

TEST(BatchNormKernel, LaunchesAndNeverWaits) {
  const auto device = Device::cuda();
  const auto launches = [&](const Shape& shape, bool backward) {
    const index_t C = shape[1];
    auto state = BatchNormState<float>::initial(C, device);
    const auto x = Variable<bfloat16>::leaf(random_tensor<bfloat16>(shape, 1).to(device));
    const auto dy = random_tensor<bfloat16>(shape, 2).to(device);
    const auto gamma = Variable<float>::leaf(Tensor<float>::full({C}, 1, device));
    const auto beta = Variable<float>::leaf(Tensor<float>::zeros({C}, device));
    Variable<bfloat16> y;
    const auto forward = test::works_without_waiting(
        [&] { y = batch_norm<bfloat16>(x, gamma, beta, state, {true, Activation::relu}); });
    if (!backward) return forward;
    return test::works_without_waiting([&] { y.backward(dy); });
  };
  EXPECT_EQ(launches({64, 64}, false), 2u);   // statistics, apply
  EXPECT_EQ(launches({64, 64}, true), 2u);    // sums, input gradient
  EXPECT_EQ(launches({1000, 64}, false), 3u);  // and one that adds up the chunks
  EXPECT_EQ(launches({1000, 64}, true), 3u);
}

TEST(BatchNormKernel, GraphTracksEveryReplay) {
  const auto device = Device::cuda();
  auto state = BatchNormState<float>::initial(8, device);
  const auto x = random_tensor<float>({40, 8}, 1).to(device);
  const auto gamma = Tensor<float>::full({8}, 1, device), beta = Tensor<float>::zeros({8}, device);
  const auto stream = gpu_place(device).stream;
  gpu::Driver::begin_capture(stream);
  const auto y = batch_norm<float>(x, gamma, beta, state, {true});
  const auto graph = gpu::Driver::end_capture(stream);
  EXPECT_EQ(state.num_batches_tracked.item(), 0);
  for (int i = 0; i < 3; ++i) gpu::Driver::launch_graph(graph, stream);
  EXPECT_EQ(state.num_batches_tracked.item(), 3);
  gpu::Driver::destroy_graph(graph);
  auto expected = BatchNormState<float>::initial(8);
  for (int i = 0; i < 3; ++i) {
    batch_norm<float>(random_tensor<float>({40, 8}, 1), Tensor<float>::full({8}, 1),
                      Tensor<float>::zeros({8}), expected, {true});
  }
  EXPECT_TRUE(test::near_l2(test::values(state.running_var), test::values(expected.running_var),
                            1e-6));
}

// Each pass reads and writes what the Moves line says, in requests without holes.
template <Real T>
void expect_dense_traffic(const Shape& shape) {
  SCOPED_TRACE(::testing::Message() << type_name<T>() << shape);
  const auto device = Device::cuda();
  const index_t C = shape[1];
  const auto bytes = static_cast<std::uint64_t>(shape.count()) * sizeof(T);
  auto state = BatchNormState<float>::initial(C, device);
  const auto x = Variable<T>::leaf(random_tensor<T>(shape, 1).to(device));
  const auto added = Variable<T>::leaf(random_tensor<T>(shape, 2).to(device));
  const auto dy = random_tensor<T>(shape, 3).to(device);
  const auto gamma = Variable<float>::leaf(Tensor<float>::full({C}, 1, device));
  const auto beta = Variable<float>::leaf(Tensor<float>::zeros({C}, device));
  Variable<T> y;
  const bool counted = test::with_traffic([&] {
    y = batch_norm<T>(x, gamma, beta, state, {true, Activation::relu}, added);
    y.backward(dy);
  });
  if (!counted) GTEST_SKIP() << "only a check build counts traffic";
  const auto rows_of = [&](const char* kernel, const Tensor<T>& tensor) {
    const auto& launch = simt::traffic_of(kernel);
    EXPECT_TRUE(launch.without_bank_conflicts()) << simt::describe(launch);
    return launch.of(tensor.data(), bytes);
  };
  // Beside x once, each thread looks at the origin, the first row.
  const auto statistics = rows_of("batch_norm_statistics", x.value());
  EXPECT_EQ(statistics.distinct_read, bytes);
  EXPECT_EQ(statistics.write_bytes, 0u);
  const auto read_once = [&](const char* kernel, const Tensor<T>& tensor) {
    const auto traffic = rows_of(kernel, tensor);
    EXPECT_EQ(traffic.read_bytes, bytes) << kernel;
    EXPECT_TRUE(traffic.each_byte_read_once()) << kernel;
  };
  const auto written_once = [&](const char* kernel, const Tensor<T>& tensor) {
    const auto traffic = rows_of(kernel, tensor);
    EXPECT_EQ(traffic.write_bytes, bytes) << kernel;
    EXPECT_TRUE(traffic.each_byte_written_once()) << kernel;
  };
  read_once("batch_norm_apply", x.value());
  read_once("batch_norm_apply", added.value());
  written_once("batch_norm_apply", y.value());
  read_once("batch_norm_gradient_sums", x.value());
  read_once("batch_norm_gradient_sums", dy);
  read_once("batch_norm_input_gradient", x.value());
  read_once("batch_norm_input_gradient", dy);
  written_once("batch_norm_input_gradient", x.grad());
  written_once("batch_norm_input_gradient", added.grad());
}

TEST(BatchNormKernel, SumsOfChunksAndCoefficientsMoveOnce) {
  const auto device = Device::cuda();
  const index_t C = 64;
  auto state = BatchNormState<float>::initial(C, device);
  const auto x = random_tensor<float>({4000, C}, 1).to(device);
  const auto gamma = Tensor<float>::full({C}, 1, device), beta = Tensor<float>::zeros({C}, device);
  const auto run = [&](bool training) {
    return test::with_traffic([&] { batch_norm<float>(x, gamma, beta, state, {training}); });
  };
  if (!run(true)) GTEST_SKIP() << "only a check build counts traffic";
  const std::uint64_t channels = 64;
  const auto& statistics = simt::traffic_of("batch_norm_statistics");
  const auto& finish = simt::traffic_of("finish_channels");
  EXPECT_EQ(statistics.write_bytes % (16 * channels), 0u);  // two sums a chunk
  EXPECT_GT(statistics.write_bytes, 16 * channels);
  EXPECT_TRUE(statistics.each_byte_written_once()) << simt::describe(statistics);
  // The chunks' sums, gamma, beta, both running statistics, the first row, and the count.
  EXPECT_EQ(finish.read_bytes, statistics.write_bytes + (4 * 4 + 4) * channels + 8)
      << simt::describe(finish);
  EXPECT_EQ(finish.write_bytes, (2 * 4 + 2 * 8 + 3 * 4) * channels + 8);
  EXPECT_TRUE(finish.coalesced() && finish.each_byte_once()) << simt::describe(finish);
  EXPECT_TRUE(finish.without_bank_conflicts()) << simt::describe(finish);
  run(false);
  const auto& evaluate = simt::traffic_of("batch_norm_evaluate");
  EXPECT_EQ(evaluate.read_bytes, 4 * 4 * channels) << simt::describe(evaluate);
  EXPECT_EQ(evaluate.write_bytes, (2 * 8 + 3 * 4) * channels);
  EXPECT_TRUE(evaluate.coalesced() && evaluate.each_byte_once()) << simt::describe(evaluate);
}

TEST(BatchNormKernel, MovesEachByteOnce) {
  expect_dense_traffic<bfloat16>({600, 64});
  if (::testing::Test::IsSkipped()) return;
  expect_dense_traffic<float>({200, 40});
}

#endif

}  // namespace
}  // namespace mwalimu::ops
