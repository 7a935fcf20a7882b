// Shuffles, votes, matches and reductions of warps against their definitions, under every schedule.
#include <gtest/gtest.h>

#include <vector>

#include "buffer.hpp"
#include "simt.cuh"

namespace mwalimu::simt {
namespace {

namespace cg = cooperative_groups;

constexpr int kThreads = 64;
constexpr int kShuffles = 8;

__global__ void shuffles_kernel(int* out) {
  const int t = threadIdx.x;
  int* const o = out + t;
  o[0 * kThreads] = __shfl_sync(~0u, t * 10, t * 7);
  o[1 * kThreads] = __shfl_sync(~0u, t * 10, 3, 8);
  o[2 * kThreads] = __shfl_up_sync(~0u, t, 3);
  o[3 * kThreads] = __shfl_up_sync(~0u, t, 3, 8);
  o[4 * kThreads] = __shfl_down_sync(~0u, t, 5);
  o[5 * kThreads] = __shfl_down_sync(~0u, t, 5, 8);
  o[6 * kThreads] = __shfl_xor_sync(~0u, t, 9);
  o[7 * kThreads] = __shfl_xor_sync(~0u, t, 9, 8);
}

TEST(SimtWarp, ShufflesReadTheLaneThatCudaNames) {
  Buffer<int> out(kShuffles * kThreads);
  for_each_schedule(8, [&] {
    out.poison();
    launch(shuffles_kernel, 1, kThreads, 0, nullptr, out.get());
    const std::vector<int> o = out.copy();
    for (int t = 0; t < kThreads; ++t) {
      const int lane = t & 31, warp = t & ~31, in8 = lane & 7;
      const auto got = [&](int i) { return o[i * kThreads + t]; };
      ASSERT_EQ(got(0), (warp + ((t * 7) & 31)) * 10) << "thread " << t;
      ASSERT_EQ(got(1), (warp + (lane & ~7) + 3) * 10) << "thread " << t;
      ASSERT_EQ(got(2), lane >= 3 ? t - 3 : t) << "thread " << t;
      ASSERT_EQ(got(3), in8 >= 3 ? t - 3 : t) << "thread " << t;
      ASSERT_EQ(got(4), lane + 5 < 32 ? t + 5 : t) << "thread " << t;
      ASSERT_EQ(got(5), in8 + 5 < 8 ? t + 5 : t) << "thread " << t;
      ASSERT_EQ(got(6), t ^ 9) << "thread " << t;
      ASSERT_EQ(got(7), (lane ^ 9) < (lane & ~7) + 8 ? (t ^ 9) : t) << "thread " << t;
    }
  });
}

__global__ void wide_kernel(double* out, long long* integers) {
  out[threadIdx.x] = __shfl_xor_sync(~0u, threadIdx.x + 0.25, 1);
  integers[threadIdx.x] = __shfl_down_sync(~0u, (1ll << 40) + threadIdx.x, 1);
}

TEST(SimtWarp, EightBytesAreShuffledWhole) {
  Buffer<double> out(32);
  Buffer<long long> integers(32);
  launch(wide_kernel, 1, 32, 0, nullptr, out.get(), integers.get());
  for (int t = 0; t < 32; ++t) {
    EXPECT_EQ(out.copy()[t], (t ^ 1) + 0.25);
    EXPECT_EQ(integers.copy()[t], (1ll << 40) + (t < 31 ? t + 1 : t));
  }
}

struct Votes {
  unsigned ballot, match, match_all, odd_sum, active;
  int any, all, everybody, sum, largest, smallest, sub;
};

__global__ void votes_kernel(Votes* out) {
  const int t = threadIdx.x;
  Votes v{};
  v.ballot = __ballot_sync(~0u, t % 3 == 0);
  v.any = __any_sync(~0u, t == 40);
  v.all = __all_sync(~0u, t < 32);
  v.match = __match_any_sync(~0u, t % 5);
  v.match_all = __match_all_sync(~0u, t / 32, &v.everybody);
  v.sum = __reduce_add_sync(~0u, t - 40);
  v.largest = __reduce_max_sync(~0u, t - 40);
  v.smallest = __reduce_min_sync(~0u, t - 40);
  v.odd_sum = __reduce_or_sync(~0u, 1u << (t % 32)) & __reduce_and_sync(~0u, ~0u << 4);
  v.sub = t % 2 != 0 ? __reduce_add_sync(0xAAAAAAAAu, t) : __shfl_sync(0x55555555u, t, 4) + 7;
  v.active = __activemask();
  out[t] = v;
}

TEST(SimtWarp, VotesAndReductionsTakeTheWholeMask) {
  Buffer<Votes> out(kThreads);
  for_each_schedule(8, [&] {
    out.poison();
    launch(votes_kernel, 1, kThreads, 0, nullptr, out.get());
    for (int t = 0; t < kThreads; ++t) {
      const Votes v = out.copy()[t];
      const int warp = t & ~31;
      unsigned ballot = 0, match = 0;
      int sum = 0, odd = 0;
      for (int i = 0; i < 32; ++i) {
        const int other = warp + i;
        ballot |= static_cast<unsigned>(other % 3 == 0) << i;
        match |= static_cast<unsigned>(other % 5 == t % 5) << i;
        sum += other - 40;
        odd += i % 2 != 0 ? other : 0;
      }
      ASSERT_EQ(v.ballot, ballot);
      ASSERT_EQ(v.match, match);
      ASSERT_EQ(v.match_all, ~0u);
      ASSERT_EQ(v.everybody, 1);
      ASSERT_EQ(v.any, warp == 32);
      ASSERT_EQ(v.all, warp == 0);
      ASSERT_EQ(v.sum, sum);
      ASSERT_EQ(v.largest, warp - 9);
      ASSERT_EQ(v.smallest, warp - 40);
      ASSERT_EQ(v.odd_sum, ~0u << 4);
      ASSERT_EQ(v.sub, t % 2 != 0 ? odd : warp + 4 + 7);
      ASSERT_EQ(v.active, 1u << (t & 31));
    }
  });
}

template <int N>
__global__ void tiles_kernel(int* out) {
  const auto tile = cg::tiled_partition<N>(cg::this_thread_block());
  const int rank = static_cast<int>(tile.thread_rank());
  int v = tile.shfl(rank, N - 1) + 100 * tile.shfl_xor(rank, 1);
  v += 10000 * tile.any(threadIdx.x == 5);
  tile.sync();
  out[threadIdx.x] = v + 1000000 * static_cast<int>(tile.meta_group_rank());
}

template <int N>
void expect_tiles() {
  Buffer<int> out(kThreads);
  for_each_schedule(4, [&] {
    launch(tiles_kernel<N>, 1, kThreads, 0, nullptr, out.get());
    for (int t = 0; t < kThreads; ++t) {
      ASSERT_EQ(out.copy()[t],
                N - 1 + 100 * (t % N ^ 1) + (t / N == 5 / N) * 10000 + t / N * 1000000);
    }
  });
}

TEST(SimtWarp, TilesAreGroupsOfNeighbouringLanes) {
  expect_tiles<2>();
  expect_tiles<8>();
  expect_tiles<32>();
}

}  // namespace
}  // namespace mwalimu::simt
