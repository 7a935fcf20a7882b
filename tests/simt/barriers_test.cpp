// Barriers and collectives that not all threads reach: an error in every build, with every thread's
// place.
#include <vector>

#include "buffer.hpp"
#include "faults.hpp"

namespace mwalimu::simt {
namespace {

__global__ void early_return_kernel(const float* in, float* out, int count) {
  __shared__ float s[256];
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  s[threadIdx.x] = in[i];
  __syncthreads();  // early: barrier
  out[i] = s[0] + s[threadIdx.x];
}

TEST(SimtBarriers, ThreadThatReturnedEarlyIsFound) {
  Buffer<float> in(std::vector<float>(1024, 1.0f)), out(1024);
  const auto run = [&](int count) {
    return message_of([&] {
      launch(early_return_kernel, 4, 256, 0, nullptr, static_cast<const float*>(in.get()),
             out.get(), count);
    });
  };
  for_each_schedule(4, [&] {
    expect_holds(run(1000), {"early_return_kernel", "<<<(4,1,1),(256,1,1)>>>", "block (3,0,0)",
                             "__syncthreads() at ", "is reached by only part of the block",
                             "threads 232-255: returned", "threads 0-231: waiting at",
                             MWALIMU_AT("early: barrier")});
  });
  EXPECT_EQ(run(1024), "");
}

TEST(SimtBarriers, EarlyReturnIsAllowedWhereAskedFor) {
  const ScopedOptions keep;
  options().allow_early_return = true;
  Buffer<float> in(std::vector<float>(1024, 1.0f)), out(1024);
  launch(early_return_kernel, 4, 256, 0, nullptr, static_cast<const float*>(in.get()), out.get(),
         1000);
  EXPECT_EQ(out.copy()[999], 2.0f);
}

__global__ void two_barriers_kernel(float* out) {
  __shared__ float s[128];
  const int t = threadIdx.x;
  s[t] = 1;
  if (t < 64) {
    __syncthreads();  // two: first
    out[t] = s[127 - t];
  } else {
    __syncthreads();  // two: second
  }
}

TEST(SimtBarriers, ThreadsAtDifferentBarriersAreFound) {
  Buffer<float> out(128);
  for_each_schedule(4, [&] {
    expect_holds(
        message_of([&] { launch(two_barriers_kernel, 1, 128, 0, nullptr, out.get()); }),
        {"two_barriers_kernel", "meet at different barriers", "waiting at __syncthreads()"});
  });
}

__global__ void trip_count_kernel(const int* trips, float* out) {
  __shared__ float s[64];
  const int t = threadIdx.x;
  float sum = 0;
  for (int k = 0; k < trips[t]; ++k) {
    s[t] = static_cast<float>(k);
    __syncthreads();  // trip: write
    sum += s[t ^ 1];
    __syncthreads();
  }
  out[t] = sum;
}

TEST(SimtBarriers, LoopsOfUnequalLengthAreFound) {
  std::vector<int> trips(64, 3);
  Buffer<float> out(64);
  const auto run = [&] {
    const Buffer<int> count(trips);
    return message_of(
        [&] { launch(trip_count_kernel, 1, 64, 0, nullptr, count.get(), out.get()); });
  };
  for_each_schedule(4, [&] { EXPECT_EQ(run(), ""); });
  trips[5] = 2;
  for_each_schedule(4, [&] {
    expect_holds(run(), {"is reached by only part of the block", "thread 5: returned",
                         MWALIMU_AT("trip: write")});
  });
}

// --- Warps
// ------------------------------------------------------------------------------------------

__global__ void half_warp_kernel(float* out, unsigned mask) {
  float x = static_cast<float>(threadIdx.x);
  if (threadIdx.x < 16) x += __shfl_xor_sync(mask, x, 1);  // half: shuffle
  out[threadIdx.x] = x;
}

TEST(SimtBarriers, ShuffleThatLanesMissIsFound) {
  Buffer<float> out(32);
  const auto run = [&](unsigned mask) {
    return message_of([&] { launch(half_warp_kernel, 1, 32, 0, nullptr, out.get(), mask); });
  };
  for_each_schedule(4, [&] {
    expect_holds(run(~0u), {"half_warp_kernel", "deadlock", "threads 16-31: returned",
                            "threads 0-15: waiting at __shfl_xor_sync() with mask 0xffffffff",
                            MWALIMU_AT("half: shuffle")});
    EXPECT_EQ(run(0xFFFFu), "");
  });
}

__global__ void wrong_mask_kernel(float* out, unsigned mask, int distance) {
  float x = static_cast<float>(threadIdx.x);
  if (threadIdx.x < 16) x = __shfl_down_sync(mask, x, distance, 32);  // mask: shuffle
  out[threadIdx.x] = x;
}

TEST(SimtBarriers, MasksAreChecked) {
  Buffer<float> out(32);
  const auto run = [&](unsigned threads, unsigned mask, int distance) {
    return message_of(
        [&] { launch(wrong_mask_kernel, 1, threads, 0, nullptr, out.get(), mask, distance); });
  };
  const std::string at = MWALIMU_AT("mask: shuffle");
  expect_holds(run(32, 0xFFFFu, 8), {"__shfl_down_sync() reads lane ", "the mask leaves out", at});
  expect_holds(run(32, 0xFFFEu, 0), {"mask 0x0000fffe leaves out the calling lane 0", at});
  expect_holds(run(16, ~0u, 0),
               {"mask 0xffffffff names lanes that this block of 16 threads does not have", at});
  EXPECT_EQ(run(16, 0xFFFFu, 0), "");
}

__global__ void two_collectives_kernel(int* out) {
  const int t = threadIdx.x;
  out[t] = t < 16 ? __any_sync(~0u, t) : static_cast<int>(__shfl_sync(~0u, t, 3));
}

TEST(SimtBarriers, LanesAtDifferentCollectivesAreFound) {
  Buffer<int> out(32);
  for_each_schedule(4, [&] {
    expect_holds(message_of([&] { launch(two_collectives_kernel, 1, 32, 0, nullptr, out.get()); }),
                 {"deadlock", "threads 0-15: waiting at __any_sync()",
                  "threads 16-31: waiting at __shfl_sync()"});
  });
}

// --- Grids
// ------------------------------------------------------------------------------------------

__global__ void some_blocks_kernel(float* out, unsigned missing) {
  if (blockIdx.x == missing) return;
  cooperative_groups::this_grid().sync();
  if (threadIdx.x == 0) out[blockIdx.x] = 1;
}

TEST(SimtBarriers, BlockThatMissesTheGridBarrierIsFound) {
  Buffer<float> out(4);
  const auto run = [&](unsigned missing) {
    return message_of(
        [&] { launch_cooperative(some_blocks_kernel, 4, 32, 0, nullptr, out.get(), missing); });
  };
  for_each_schedule(4, [&] {
    expect_holds(run(2), {"some_blocks_kernel",
                          "deadlock: blocks wait at the grid barrier, but block 2 returned"});
    EXPECT_EQ(run(4), "");
  });
}

TEST(SimtBarriers, GridBarrierOfAnOrdinaryLaunchIsFound) {
  Buffer<float> out(4);
  expect_holds(
      message_of([&] { launch(some_blocks_kernel, 4, 32, 0, nullptr, out.get(), 9u); }),
      {"a grid barrier in a kernel not started by simt::launch_cooperative", "barriers_test.cpp"});
}

TEST(SimtBarriers, CooperativeLaunchHasALimit) {
  Buffer<float> out(64);
  const int most = max_cooperative_blocks(some_blocks_kernel, 32, 0);
  const auto run = [&](int blocks) {
    return message_of([&] {
      launch_cooperative(some_blocks_kernel, static_cast<unsigned>(blocks), 32, 0, nullptr,
                         out.get(), 99u);
    });
  };
  EXPECT_EQ(run(most), "");
  expect_holds(run(most + 1), {"max_cooperative_blocks says " + std::to_string(most)});
}

// --- After an error
// ---------------------------------------------------------------------------------

__global__ void trap_kernel(int* out, int at) {
  out[threadIdx.x] = 1;
  if (static_cast<int>(threadIdx.x) == at) __trap();  // trap
}

TEST(SimtBarriers, LaunchAfterAnErrorIsAsGoodAsNew) {
  Buffer<int> out(64);
  for (int i = 0; i < 50; ++i) {
    expect_holds(message_of([&] { launch(trap_kernel, 1, 64, 0, nullptr, out.get(), 7); }),
                 {"thread (7,0,0)", "__trap()", MWALIMU_AT("trap")});
    out.poison();
    launch(trap_kernel, 1, 64, 0, nullptr, out.get(), -1);
    ASSERT_EQ(out.copy(), std::vector<int>(64, 1));
  }
}

}  // namespace
}  // namespace mwalimu::simt
