// Schedules, options and what a launch calls around itself.
#include "simt/options.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <vector>

#include "buffer.hpp"
#include "faults.hpp"

namespace mwalimu::simt {
namespace {

__global__ void order_kernel(int* order, unsigned* next) {
  order[atomicAdd(next, 1u)] = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

std::vector<int> order_of_threads() {
  Buffer<int> order(64);
  Buffer<unsigned> next(1);
  next.fill(0u);
  launch(order_kernel, 4, 16, 0, nullptr, order.get(), next.get());
  return order.copy();
}

TEST(SimtOptions, SchedulesAreForwardReverseAndShuffled) {
  const ScopedOptions keep;
  options().workers = 1;
  std::vector<int> forward(64), reverse(64);
  for (int i = 0; i < 64; ++i) {
    forward[i] = i;
    reverse[i] = 63 - i;
  }
  std::set<std::vector<int>> orders;
  std::vector<int> indices;
  for_each_schedule(5, [&](int i) {
    indices.push_back(i);
    const std::vector<int> order = order_of_threads();
    if (i < 2) {
      EXPECT_EQ(order, i == 0 ? forward : reverse);
    }
    orders.insert(order);
    EXPECT_EQ(order_of_threads(), order) << "a seed repeats its order";
    EXPECT_EQ(std::set<int>(order.begin(), order.end()).size(), 64u);
  });
  EXPECT_EQ(indices, (std::vector<int>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(orders.size(), 7u);
}

TEST(SimtOptions, AreScoped) {
  const std::uint64_t before = options().seed;
  {
    const ScopedOptions keep;
    options().seed = before + 5;
  }
  EXPECT_EQ(options().seed, before);
  try {
    for_each_schedule(0, [] { throw 1; });
  } catch (int) {
  }
  EXPECT_EQ(options().seed, before);
}

void with_environment(const char* name, const char* value) {
  setenv(name, value, 1);
  const Options read = detail::options_from_environment();
  std::printf("order=%d seed=%llu workers=%d\n", static_cast<int>(read.order),
              static_cast<unsigned long long>(read.seed), read.workers);
  unsetenv(name);
}

TEST(SimtOptions, ComeFromTheEnvironment) {
  const auto printed = [](const char* name, const char* value) {
    testing::internal::CaptureStdout();
    with_environment(name, value);
    return testing::internal::GetCapturedStdout();
  };
  EXPECT_EQ(printed("MWALIMU_SIMT_ORDER", "reverse"), "order=1 seed=1 workers=0\n");
  EXPECT_EQ(printed("MWALIMU_SIMT_SEED", "77"), "order=2 seed=77 workers=0\n");
  EXPECT_EQ(printed("MWALIMU_SIMT_WORKERS", "3"), "order=2 seed=1 workers=3\n");
  EXPECT_THROW(with_environment("MWALIMU_SIMT_ORDER", "sideways"), ValueError);
  EXPECT_THROW(with_environment("MWALIMU_SIMT_SEED", "-1"), ValueError);
  EXPECT_THROW(with_environment("MWALIMU_SIMT_WORKERS", "two"), ValueError);
  unsetenv("MWALIMU_SIMT_ORDER");
  unsetenv("MWALIMU_SIMT_SEED");
  unsetenv("MWALIMU_SIMT_WORKERS");
}

int guards_open = 0, guards_opened = 0;

__global__ void guarded_kernel(int* out, bool fails) {
  *static_cast<volatile int*>(out + blockIdx.x * blockDim.x + threadIdx.x) = guards_open;
  if (fails && blockIdx.x == 3) __trap();
}

TEST(SimtOptions, LaunchGuardSurroundsEveryLaunch) {
  set_launch_guard([] { ++guards_open, ++guards_opened; }, [] { --guards_open; });
  Buffer<int> out(64);
  launch(guarded_kernel, 4, 16, 0, nullptr, out.get(), false);
  EXPECT_EQ(out.copy(), std::vector<int>(64, 1));
  EXPECT_EQ(guards_open, 0);
  EXPECT_NE(message_of([&] { launch(guarded_kernel, 4, 16, 0, nullptr, out.get(), true); }), "");
  EXPECT_EQ(guards_open, 0);
  EXPECT_EQ(guards_opened, 2);
  set_launch_guard(nullptr, nullptr);
  launch(guarded_kernel, 4, 16, 0, nullptr, out.get(), false);
  EXPECT_EQ(guards_opened, 2);
}

__global__ void counted_kernel(int* out) {
  __syncthreads();
  __syncwarp();
  out[blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

TEST(SimtOptions, WorkIsCounted) {
  Buffer<int> out(256);
  launch(counted_kernel, 4, 64, 0, nullptr, out.get());
  const Counters c = last_counters();
  EXPECT_EQ(c.blocks, 4u);
  EXPECT_EQ(c.threads, 256u);
  EXPECT_EQ(c.barriers, 4u);
  EXPECT_EQ(c.warp_operations, 8u);
  EXPECT_GE(c.switches, 2u * 256u);
}

TEST(SimtOptions, HostCodeIsNoKernel) { EXPECT_EQ(where(), "host code"); }

}  // namespace
}  // namespace mwalimu::simt
