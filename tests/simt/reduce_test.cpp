// kernels/reduce on the executor: every thread gets the same, exact result under every schedule.
#include "reduce.cuh"

#include <gtest/gtest.h>

#include <vector>

#include "buffer.hpp"

namespace mwalimu {
namespace {

using kernels::block_reduce;
using kernels::warp_reduce;

template <int kThreads, class T>
__global__ void block_sum_kernel(const T* in, T* out) {
  __shared__ T scratch[kThreads / 32];
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  out[i] = block_reduce<kThreads>(in[i], kernels::Sum{}, scratch);
}

template <int kThreads, class T>
void expect_block_sums() {
  constexpr int kBlocks = 3;
  std::vector<T> in(kThreads * kBlocks);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<T>(i % 23);
  const simt::Buffer<T> from(in);
  simt::Buffer<T> to(in.size());
  simt::for_each_schedule(6, [&] {
    to.poison();
    simt::launch(block_sum_kernel<kThreads, T>, kBlocks, kThreads, 0, nullptr, from.get(),
                 to.get());
    const std::vector<T> out = to.copy();
    for (int b = 0; b < kBlocks; ++b) {
      T want = 0;
      for (int t = 0; t < kThreads; ++t) want += in[b * kThreads + t];
      for (int t = 0; t < kThreads; ++t) {
        ASSERT_EQ(out[b * kThreads + t], want) << "block " << b << ", thread " << t;
      }
    }
  });
}

TEST(SimtReduce, BlockSumsAreExactInEveryThread) {
  expect_block_sums<32, float>();
  expect_block_sums<96, float>();
  expect_block_sums<256, float>();
  expect_block_sums<1024, float>();
  expect_block_sums<256, double>();
  expect_block_sums<160, int>();
  expect_block_sums<64, long long>();
}

/// Where each string of lanes begins and ends: combining them out of order is seen.
struct Span {
  std::int32_t first, last;
  std::int16_t broken, unused;
};
struct Join {
  __device__ Span operator()(Span a, Span b) const {
    const bool apart = a.last + 1 != b.first;
    return {a.first, b.last, static_cast<std::int16_t>(a.broken | b.broken | apart), 0};
  }
};

template <int kThreads, int kLanes>
__global__ void span_kernel(Span* of_group, Span* of_block) {
  __shared__ Span scratch[kThreads / 32];
  const int t = static_cast<int>(threadIdx.x);
  of_group[t] = warp_reduce<kLanes>(Span{t, t, 0, 0}, Join{});
  of_block[t] = block_reduce<kThreads>(Span{t, t, 0, 0}, Join{}, scratch);
}

template <int kThreads, int kLanes>
void expect_spans() {
  simt::Buffer<Span> of_group(kThreads), of_block(kThreads);
  simt::for_each_schedule(4, [&] {
    of_group.poison();
    of_block.poison();
    simt::launch(span_kernel<kThreads, kLanes>, 1, kThreads, 0, nullptr, of_group.get(),
                 of_block.get());
    for (int t = 0; t < kThreads; ++t) {
      const Span group = of_group.copy()[t], block = of_block.copy()[t];
      ASSERT_EQ(group.broken, 0);
      ASSERT_EQ(group.first, t / kLanes * kLanes);
      ASSERT_EQ(group.last, t / kLanes * kLanes + kLanes - 1);
      ASSERT_EQ(block.broken, 0);
      ASSERT_EQ(block.first, 0);
      ASSERT_EQ(block.last, kThreads - 1);
    }
  });
}

TEST(SimtReduce, OrderIsThatOfTheLanes) {
  expect_spans<256, 32>();
  expect_spans<96, 8>();
  expect_spans<64, 1>();
}

TEST(SimtReduce, MaximumAndMinimumPassOverNaN) {
  EXPECT_EQ(kernels::Maximum{}(NAN, 2.0f), 2.0f);
  EXPECT_EQ(kernels::Minimum{}(2.0f, NAN), 2.0f);
  EXPECT_EQ(kernels::Maximum{}(3, 2), 3);
  EXPECT_EQ(kernels::Minimum{}(3, 2), 2);
}

}  // namespace
}  // namespace mwalimu
