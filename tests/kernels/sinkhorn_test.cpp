// Codes on a device, against the definition in double and the host's.
#include "mwalimu/ops/sinkhorn.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/both_devices.hpp"
#include "kernels/recording.hpp"

namespace mwalimu::ops {
namespace {

using test::placed;
using test::random_tensor;
using test::values;

template <class T>
test::Results codes_of(const Tensor<T>& scores, const Tensor<T>& queue, double queue_rows,
                       double eps, int iterations, Device device) {
  test::Results results;
  results.add("codes",
              sinkhorn(placed(scores, device), placed(queue, device), queue_rows, eps, iterations));
  return results;
}

struct Problem {
  index_t A, B, L, P;
  double queue_rows;
  double eps = 0.05;
  int iterations = 3;
};

template <class T>
void expect_the_hosts(const Problem& p, int shuffled = 0) {
  SCOPED_TRACE(::testing::Message()
               << type_name<T>() << " A " << p.A << " B " << p.B << " L " << p.L << " P " << p.P
               << " eps " << p.eps << " times " << p.iterations);
  const auto scores = random_tensor<T>({p.A, p.B, p.P}, 1), queue = random_tensor<T>({p.L, p.P}, 2);
  const auto got = test::on_device_in_any_order(
      [&](Device device) {
        return codes_of(scores, queue, p.queue_rows, p.eps, p.iterations, device);
      },
      shuffled);
  // Of the scores as T holds them: in float, exponentials and their sums are all that rounds.
  test::expect_near(got,
                    codes_of(scores.template to<double>(), queue.template to<double>(),
                             p.queue_rows, p.eps, p.iterations, Device::cpu()),
                    std::is_same_v<T, double> ? 1e-13 : 1e-6);
}

TEST(DeviceSinkhorn, MatchesTheHostInDouble) {
  MWALIMU_NEEDS_DEVICE();
  for (const int iterations : {0, 1, 3}) {
    expect_the_hosts<float>(
        {.A = 1, .B = 1, .L = 0, .P = 1, .queue_rows = 0, .iterations = iterations});
    expect_the_hosts<float>(
        {.A = 2, .B = 3, .L = 4, .P = 7, .queue_rows = 4, .iterations = iterations});
    expect_the_hosts<float>(
        {.A = 2, .B = 5, .L = 0, .P = 24, .queue_rows = 0, .iterations = iterations});
  }
  // More rows than chunks, so several rows a chunk, with and without a rest of four.
  expect_the_hosts<float>({.A = 1, .B = 7, .L = 133, .P = 12, .queue_rows = 133});
  expect_the_hosts<float>({.A = 2, .B = 2, .L = 400, .P = 4, .queue_rows = 400});
  // More columns than threads have packs.
  expect_the_hosts<float>({.A = 1, .B = 2, .L = 3, .P = 2060, .queue_rows = 3, .iterations = 2});
}

TEST(DeviceSinkhorn, TakesEveryElementType) {
  MWALIMU_NEEDS_DEVICE();
  const Problem problem{.A = 2, .B = 4, .L = 6, .P = 20, .queue_rows = 6};
  expect_the_hosts<float>(problem, 2);
  expect_the_hosts<double>(problem);
  expect_the_hosts<half>(problem);
  expect_the_hosts<bfloat16>(problem);
}

// The queue's rows that take no part are not read: they are NaN here.
TEST(DeviceSinkhorn, TheQueueIsASwitchOnTheDevice) {
  MWALIMU_NEEDS_DEVICE();
  const auto scores = random_tensor<float>({2, 4, 12}, 1);
  auto queue = random_tensor<float>({6, 12}, 2);
  for (index_t p = 0; p < 12; ++p) queue.data()[5 * 12 + p] = NAN;
  test::Recording graph;
  const auto x = scores.to(Device::cuda()), rows = queue.to(Device::cuda());
  auto in_use = Tensor<double>::full({}, 0, Device::cuda());
  Tensor<float> codes;
  graph.record([&] { codes = sinkhorn(x, rows, Scalar::at(in_use.data(), 0), 0.05, 3); });
  for (const double n : {0.0, 5.0, 3.0, -7.0}) {
    in_use.fill(n);
    graph.launch();
    EXPECT_TRUE(test::near_l2(values(codes), values(sinkhorn(scores, queue, n, 0.05, 3)), 4e-6))
        << n;
  }
}

TEST(DeviceSinkhorn, StridedScoresGiveTheSameCodes) {
  MWALIMU_NEEDS_DEVICE();
  const auto dense = random_tensor<float>({9, 20}, 1);
  const auto want = values(sinkhorn(dense.to(Device::cuda()), 0.05, 3, 4));
  const auto wide = placed(test::channels_of_wider(dense), Device::cuda());
  EXPECT_TRUE(test::near_l2(values(sinkhorn(wide, 0.05, 3, 4)), want, 1e-6));
  EXPECT_TRUE(test::near_l2(want, values(sinkhorn(dense, 0.05, 3, 4)), 4e-6));
}

TEST(DeviceSinkhorn, SharpCodesKeepTheirDigits) {
  MWALIMU_NEEDS_DEVICE();
  for (const double eps : {0.01, 0.002, 1e-5}) {
    expect_the_hosts<float>({.A = 1, .B = 6, .L = 5, .P = 10, .queue_rows = 5, .eps = eps});
  }
}

TEST(DeviceSinkhorn, ExtremeScoresGiveCodesThatSumToOne) {
  MWALIMU_NEEDS_DEVICE();
  for (const float size : {1e4f, 1e30f, 3e38f}) {
    const auto x = random_tensor<float>({1, 5, 8}, 1, -1, 1);
    auto scaled = x.clone();
    for (float& v : scaled.span()) v *= size;
    const auto none = Tensor<float>::empty({0, 8}, Device::cuda());
    const auto codes = values(sinkhorn(scaled.to(Device::cuda()), none, 0.0, 0.05, 3));
    for (std::size_t b = 0; b < 5; ++b) {
      double sum = 0;
      for (std::size_t p = 0; p < 8; ++p) sum += codes[b * 8 + p];
      EXPECT_NEAR(sum, 1, 1e-6) << size;
    }
  }
}

// Prototype 1 is fed by row 0 alone, by an entry of e^-100 that a float does not hold.
TEST(DeviceSinkhorn, TinyEntriesCount) {
  MWALIMU_NEEDS_DEVICE();
  const auto x = Tensor<float>::from({0, -100, -50, -130}, {2, 2});
  EXPECT_TRUE(test::near_abs(values(sinkhorn(x.to(Device::cuda()), 1.0, 3, 2)),
                             values(sinkhorn(x.to<double>(), 1.0, 3, 2)), 1e-6));
}

TEST(DeviceSinkhorn, ErrorsAreTheHosts) {
  MWALIMU_NEEDS_DEVICE();
  const auto x = Tensor<float>::zeros({2, 3, 4}, Device::cuda());
  test::expect_error<ShapeError>(
      [&] {
        sinkhorn(x, Tensor<float>::zeros({2, 5}, Device::cuda()), 2.0, 0.05, 3);
      },
      "want scores (A, B, P) and a queue (L, P), got (2, 3, 4) and (2, 5)");
  test::expect_error<ValueError>(
      [&] {
        sinkhorn(x, Tensor<float>::zeros({2, 4}, Device::cuda()), 2.0, 0.0, 3);
      },
      "sinkhorn: want eps > 0, got 0");
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceSinkhorn, OneLaunchThatNobodyWaitsFor) {
  const auto x = random_tensor<float>({2, 4, 12}, 1).to(Device::cuda());
  const auto queue = random_tensor<float>({6, 12}, 2).to(Device::cuda());
  EXPECT_EQ(test::works_without_waiting([&] { sinkhorn(x, queue, 6.0, 0.05, 3); }), 1u);
}

TEST(DeviceSinkhorn, AnyNumberOfBlocksGivesTheSameBits) {
  const auto x = random_tensor<float>({2, 3, 20}, 1).to(Device::cuda());
  const auto queue = random_tensor<float>({70, 20}, 2).to(Device::cuda());
  const simt::ScopedOptions keep;
  std::vector<double> first;
  for (const int blocks : {1, 3, 7}) {
    simt::options().cooperative_blocks = blocks;
    const auto codes = values(sinkhorn(x, queue, 70.0, 0.05, 3));
    if (first.empty()) first = codes;
    EXPECT_EQ(codes, first) << blocks << " blocks";
  }
}

TEST(DeviceSinkhorn, ReadsScoresInPacks) {
  const auto x = random_tensor<float>({1, 4, 2048}, 1).to(Device::cuda());
  const auto queue = random_tensor<float>({4, 2048}, 2).to(Device::cuda());
  Tensor<float> codes;
  const auto run = [&] { codes = sinkhorn(x, queue, 4.0, 0.05, 2); };
  if (!test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const auto& traffic = simt::traffic_of("sinkhorn_kernel");
  const std::uint64_t bytes = 4 * 2048 * 4;
  EXPECT_EQ(traffic.of(codes.data(), bytes).write_bytes, bytes);
  // First columns, rows and columns again; the batch's rows twice more for their codes.
  EXPECT_EQ(traffic.of(queue.data(), bytes).read_bytes, 3 * bytes);
  EXPECT_EQ(traffic.of(x.data(), bytes).read_bytes, 5 * bytes);
  EXPECT_TRUE(traffic.coalesced()) << simt::describe(traffic);
  EXPECT_TRUE(traffic.without_bank_conflicts()) << simt::describe(traffic);
  // Down the columns, twice over all rows.
  const auto columns = std::find_if(
      traffic.lines.begin(), traffic.lines.end(),
      [&](const auto& line) { return !line.shared && !line.write && line.bytes == 4 * bytes; });
  ASSERT_NE(columns, traffic.lines.end()) << simt::describe(traffic);
  EXPECT_EQ(columns->bytes_per_lane(), 16);
}
#endif

}  // namespace
}  // namespace mwalimu::ops
