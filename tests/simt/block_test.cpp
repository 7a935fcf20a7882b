// Built-in variables, barriers with votes, dynamic shared memory, cooperative grids, wait loops.
#include <gtest/gtest.h>

#include <vector>

#include "buffer.hpp"
#include "simt.cuh"

namespace mwalimu::simt {
namespace {

namespace cg = cooperative_groups;

__global__ void votes_kernel(int* out) {
  const int t = threadIdx.x;
  out[t] = __syncthreads_count(t % 3 == 0) * 8 + __syncthreads_or(t == 77) * 4 +
           __syncthreads_or(t == 100) * 2 + __syncthreads_and(t < 1000);
}

TEST(SimtBlock, BarriersCountVotes) {
  Buffer<int> out(100);
  for_each_schedule(6, [&] {
    launch(votes_kernel, 1, 100, 0, nullptr, out.get());
    EXPECT_EQ(out.copy(), std::vector<int>(100, 34 * 8 + 4 + 1));
  });
}

__global__ void indices_kernel(unsigned* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[block * cg::this_thread_block().size() + thread] =
      cg::this_thread_block().thread_rank() * 100000 + cg::this_grid().block_rank();
}

TEST(SimtBlock, IndicesCoverTheGrid) {
  Buffer<unsigned> out(12 * 30);
  for_each_schedule(4, [&] {
    out.poison();
    launch(indices_kernel, dim3(2, 3, 2), dim3(5, 2, 3), 0, nullptr, out.get());
    for (unsigned i = 0; i < 12 * 30; ++i) ASSERT_EQ(out.copy()[i], i % 30 * 100000 + i / 30);
  });
}

__global__ void reverse_kernel(float* out) {
  MWALIMU_DYNAMIC_SHARED(float, s);
  s[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}

TEST(SimtBlock, DynamicSharedMemoryBelongsToTheBlock) {
  Buffer<float> out(400);
  for_each_schedule(4, [&] {
    out.poison();
    launch(reverse_kernel, 4, 100, 400, nullptr, out.get());
    for (int i = 0; i < 400; ++i) ASSERT_EQ(out.copy()[i], static_cast<float>(99 - i % 100));
  });
}

template <int kWords>
__global__ void peek_kernel(unsigned* out) {
  __shared__ unsigned s[kWords];
  volatile unsigned* const unwritten = s;  // the compiler sees that nobody writes s
  out[threadIdx.x] = unwritten[threadIdx.x];
}

TEST(SimtBlock, SharedMemoryIsPoisonedBeforeEachBlock) {
  const ScopedOptions keep;
  options().findings_throw = false;
  Buffer<unsigned> out(32);
  out.fill(0u);
  launch(peek_kernel<32>, 1, 32, 0, nullptr, out.get());
  EXPECT_EQ(out.copy(), std::vector<unsigned>(32, ~0u));
  options().poison = 0;
  launch(peek_kernel<32>, 1, 32, 0, nullptr, out.get());
  EXPECT_EQ(out.copy(), std::vector<unsigned>(32, 0u));
}

__global__ void grid_kernel(int* values, int* out, int rounds) {
  MWALIMU_DYNAMIC_SHARED(int, d);
  __shared__ int s[64];
  const int t = threadIdx.x, b = blockIdx.x, blocks = gridDim.x;
  s[t] = b * 1000 + t;
  d[t] = -s[t];
  for (int k = 0; k < rounds; ++k) {
    if (t == 0) values[k * blocks + b] = b + k;
    cg::this_grid().sync();
    if (t == 0) s[63] += values[k * blocks + (b + 1) % blocks];
    __syncthreads();
  }
  out[b * 64 + t] = s[t] + d[t];
}

TEST(SimtBlock, SharedMemoryOutlivesGridBarriers) {
  const ScopedOptions keep;
  options().cooperative_blocks = 7;
  constexpr int kBlocks = 7, kRounds = 5;
  Buffer<int> values(kRounds * kBlocks), out(kBlocks * 64);
  for_each_schedule(6, [&] {
    out.poison();
    launch_cooperative(grid_kernel, kBlocks, 64, 256, nullptr, values.get(), out.get(), kRounds);
    for (int b = 0; b < kBlocks; ++b) {
      for (int t = 0; t < 63; ++t) ASSERT_EQ(out.copy()[b * 64 + t], 0);
      ASSERT_EQ(out.copy()[b * 64 + 63], kRounds * ((b + 1) % kBlocks) + 10);
    }
  });
}

__device__ __forceinline__ float reversed(float x) {
  __shared__ float of_helper[32];  // a helper's own: found and poisoned all the same
  of_helper[threadIdx.x] = x;
  __syncthreads();
  return of_helper[31 - threadIdx.x];
}
__constant__ const float kCoefficients[4] = {1, 2, 3, 4};

__global__ void helper_kernel(float* out) {
  const int t = threadIdx.x;
  out[t] = reversed(static_cast<float>(t)) + kCoefficients[t & 3];
}

TEST(SimtBlock, HelpersMayDeclareSharedMemory) {
  Buffer<float> out(32);
  for_each_schedule(4, [&] {
    launch(helper_kernel, 1, 32, 0, nullptr, out.get());
    for (int t = 0; t < 32; ++t) {
      ASSERT_EQ(out.copy()[t], static_cast<float>(31 - t + t % 4 + 1));
    }
  });
}

__global__ void wait_kernel(volatile int* flag, int* out) {
  if (threadIdx.x == 5) {
    flag[0] = 1;
  } else {
    while (flag[0] == 0) __nanosleep(20);
  }
  out[threadIdx.x] = 1;
}

TEST(SimtBlock, WaitLoopsThatSleepEnd) {
  Buffer<int> flag(1), out(64);
  for_each_schedule(4, [&] {
    flag.fill(0);
    launch(wait_kernel, 1, 64, 0, nullptr, static_cast<volatile int*>(flag.get()), out.get());
    EXPECT_EQ(out.copy(), std::vector<int>(64, 1));
  });
}

}  // namespace
}  // namespace mwalimu::simt
