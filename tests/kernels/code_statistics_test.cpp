// How sharp codes are, and a step's statistics, on a device, against the host's.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/both_devices.hpp"
#include "kernels/recording.hpp"
#include "mwalimu/ops/sinkhorn.hpp"
#include "mwalimu/ops/swav_statistics.hpp"

namespace mwalimu::ops {
namespace {

using test::random_tensor;
using test::values;

constexpr index_t kColumns = kSwavStatistics + 2;  // of two crops

/// Of no crop.
template <class A>
Tensor<A> none(Device device) {
  return Tensor<A>::zeros({0}, device);
}

/// Rows that sum to 1, with zeros and with equal largest entries.
template <class A>
Tensor<A> some_codes(index_t R, index_t P) {
  auto codes = random_tensor<A>({R, P}, 1, 0, 1);
  for (index_t r = 0; r < R; ++r) {
    A* row = codes.data() + r * P;
    if (P > 2) row[r % P] = 0;
    if (P > 3) row[(3 * r + 1) % P] = row[(5 * r + 2) % P] = 2;
    A sum = 0;
    for (index_t p = 0; p < P; ++p) sum += row[p];
    for (index_t p = 0; p < P; ++p) row[p] /= sum;
  }
  return codes;
}

template <class A>
test::Results statistics(const Tensor<A>& codes, Device device) {
  const auto q = test::placed(codes, device);
  const auto found = code_statistics(q);
  auto history = Tensor<A>::full({3, kColumns}, A(-1), device);
  swav_statistics(q, Tensor<A>::full({}, A(3), device), Tensor<A>::full({}, A(4), device),
                  Tensor<A>::from({A(5), A(6)}, {2}).to(device), 7.0, history);
  test::Results results;
  results.add("entropy", found.entropy);
  results.add("largest", found.largest);
  results.add("history", history);
  return results;
}

template <class A>
void expect_the_hosts() {
  for (const Shape& shape : {Shape{1, 1}, Shape{5, 3}, Shape{9, 31}, Shape{3, 1100}}) {
    SCOPED_TRACE(::testing::Message() << type_name<A>() << shape);
    const auto codes = some_codes<A>(shape[0], shape[1]);
    const double tolerance = std::is_same_v<A, double> ? 1e-13 : 1e-6;
    for (const auto& q : {codes, test::channels_of_wider(codes)}) {
      const auto got =
          test::on_device_in_any_order([&](Device device) { return statistics(q, device); });
      const auto want = statistics(q, Device::cpu());
      test::expect_near(got, want, tolerance);
      test::expect_near(got, statistics(q.template to<double>(), Device::cpu()), tolerance);
      EXPECT_EQ(got.all()[1].values, want.all()[1].values);
      // Row 7 mod 3 of the history, and no other.
      const auto& history = got.all()[2].values;
      EXPECT_EQ(history[0], -1);
      EXPECT_EQ(history[2 * kColumns - 2], 5);
      EXPECT_EQ(history[2 * kColumns - 1], 6);
      EXPECT_EQ(history[2 * kColumns], -1);
    }
  }
}

TEST(DeviceCodeStatistics, MatchTheHost) {
  MWALIMU_NEEDS_DEVICE();
  expect_the_hosts<float>();
  expect_the_hosts<double>();
}

TEST(DeviceCodeStatistics, OfKnownCodes) {
  MWALIMU_NEEDS_DEVICE();
  const auto codes =
      Tensor<float>::from({1, 0, 0, 0, 0.25f, 0.25f, 0.25f, 0.25f, 0, 0.5f, 0.5f, 0}, {3, 4});
  for (const Device device : {Device::cpu(), Device::cuda()}) {
    auto history = Tensor<float>::zeros({1, kSwavStatistics}, device);
    swav_statistics(codes.to(device), Tensor<float>::full({}, 5, device),
                    Tensor<float>::full({}, 6, device), none<float>(device), 100.0, history);
    const auto row = history.to_vector();
    EXPECT_EQ(row[kSwavLoss], 5);
    EXPECT_EQ(row[kSwavLossWithoutQueue], 6);
    EXPECT_NEAR(row[kSwavCodeEntropy], (std::log(4.0) + std::log(2.0)) / 3, 1e-6);
    EXPECT_NEAR(row[kSwavCodeMax], 1.75 / 3, 1e-6);
    EXPECT_EQ(row[kSwavPrototypesUsed], 2);  // 0, 0 (the first of equals), 1
    // The mean code is (5, 3, 3, 1) / 12.
    EXPECT_NEAR(row[kSwavMeanCodeEntropy],
                std::log(12.0) - (5 * std::log(5.0) + 6 * std::log(3.0)) / 12, 1e-6);
    EXPECT_EQ(prototypes_used(codes.to(device)), 2);
  }
}

// Columns that fall to different threads, packs and warps.
TEST(DeviceCodeStatistics, TheFirstOfEqualsIsTheChoice) {
  MWALIMU_NEEDS_DEVICE();
  auto codes = Tensor<float>::zeros({4, 300});
  for (index_t r = 0; r < 4; ++r) {
    for (const index_t p : {index_t{2}, 40 + r, 200 + r}) codes.data()[r * 300 + p] = 1.0f / 3;
  }
  for (const auto& q : {codes, test::channels_of_wider(codes)}) {
    const auto on_device = test::placed(q, Device::cuda());
    const auto one = Tensor<float>::full({}, 1, Device::cuda());
    auto history = Tensor<float>::zeros({1, kSwavStatistics}, Device::cuda());
    swav_statistics(on_device, one, one, none<float>(Device::cuda()), 0.0, history);
    EXPECT_EQ(history.to_vector()[kSwavPrototypesUsed], 1);
  }
}

TEST(DeviceCodeStatistics, AGraphFillsTheRing) {
  MWALIMU_NEEDS_DEVICE();
  test::Recording graph;
  const auto codes = some_codes<float>(2, 5).to(Device::cuda());
  auto loss = Tensor<float>::zeros({}, Device::cuda());
  auto step = Tensor<double>::zeros({}, Device::cuda());
  auto history = Tensor<float>::zeros({2, kSwavStatistics}, Device::cuda());
  const auto crops = none<float>(Device::cuda());
  graph.record(
      [&] { swav_statistics(codes, loss, loss, crops, Scalar::at(step.data(), 0), history); });
  for (int i = 0; i < 3; ++i) {
    loss.fill(static_cast<float>(10 + i));
    step.fill(i);
    graph.launch();
  }
  const auto rows = history.to_vector();
  EXPECT_EQ(rows[kSwavLoss], 12);
  EXPECT_EQ(rows[kSwavStatistics + kSwavLoss], 11);
  EXPECT_EQ(rows[kSwavPrototypesUsed], rows[kSwavStatistics + kSwavPrototypesUsed]);
}

TEST(DeviceCodeStatistics, WantsItsHistory) {
  auto history = Tensor<float>::zeros({2, 4});
  const auto one = Tensor<float>::full({}, 1);
  const auto codes = Tensor<float>::full({2, 2}, 0.5f);
  const auto crops = Tensor<float>::zeros({2});
  test::expect_error<ShapeError>([&] { swav_statistics(codes, one, one, crops, 0.0, history); },
                                 "want a contiguous history (S, 8), got (2, 4)");
  test::expect_error<ShapeError>([&] { swav_statistics(codes, one, one, one, 0.0, history); },
                                 "want crop losses (V), got ()");
}

#if defined(MWALIMU_EMULATED)
TEST(DeviceCodeStatistics, NeverWaits) {
  const auto codes = some_codes<float>(3, 8).to(Device::cuda());
  const auto loss = Tensor<float>::full({}, 1, Device::cuda());
  auto history = Tensor<float>::zeros({2, kSwavStatistics}, Device::cuda());
  const auto crops = none<float>(Device::cuda());
  const auto run = [&] { swav_statistics(codes, loss, loss, crops, 0.0, history); };
  EXPECT_EQ(test::works_without_waiting(run), 4u);  // three kernels and a fill
}

TEST(DeviceCodeStatistics, ReadTheCodesTwiceInAll) {
  const std::uint64_t R = 8, P = 1024, bytes = R * P * 4;
  const auto codes = some_codes<float>(8, 1024).to(Device::cuda());
  const auto loss = Tensor<float>::full({}, 1, Device::cuda());
  const auto other = Tensor<float>::full({}, 2, Device::cuda());
  auto history = Tensor<float>::zeros({2, kColumns}, Device::cuda());
  const auto crops = Tensor<float>::zeros({2}, Device::cuda());
  const auto run = [&] { swav_statistics(codes, loss, other, crops, 0.0, history); };
  if (!test::with_traffic(run)) GTEST_SKIP() << "not a build that counts traffic";
  const auto& rows = simt::traffic_of("code_rows");
  EXPECT_TRUE(rows.coalesced() && rows.without_bank_conflicts()) << simt::describe(rows);
  EXPECT_EQ(rows.of(codes.data(), bytes).read_bytes, bytes);
  // Of each row two numbers, and a mark.
  EXPECT_LE(rows.read_bytes, bytes + 4 * R);
  EXPECT_LE(rows.write_bytes, 3 * 4 * R);
  for (const auto& line : rows.lines) {
    if (!line.shared && line.bytes == bytes) {
      EXPECT_EQ(line.bytes_per_lane(), 16);
    }
  }
  const auto& mean = simt::traffic_of("mean_code");
  EXPECT_TRUE(mean.coalesced() && mean.each_byte_once()) << simt::describe(mean);
  EXPECT_EQ(mean.read_bytes, bytes);
  EXPECT_EQ(mean.write_bytes, 8 * P);
  const auto& finish = simt::traffic_of("swav_statistics");
  EXPECT_TRUE(finish.coalesced() && finish.each_byte_once()) << simt::describe(finish);
  EXPECT_TRUE(finish.without_bank_conflicts()) << simt::describe(finish);
  EXPECT_EQ(finish.read_bytes, 2 * 4 * R + (4 + 8) * P + 4 * 4);  // two losses and two of crops
  EXPECT_EQ(finish.write_bytes, std::uint64_t{4 * kColumns});
}
#endif

}  // namespace
}  // namespace mwalimu::ops
