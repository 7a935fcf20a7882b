// Races and uninitialised reads: the check build finds each from one schedule and names the lines;
// a twin without the fault gives no alarm. Where other builds can see a fault, they see a wrong
// result.
#include <memory>
#include <numeric>
#include <vector>

#include "buffer.hpp"
#include "faults.hpp"

namespace mwalimu::simt {
namespace {

namespace cg = cooperative_groups;

std::vector<float> ramp(int count) {
  std::vector<float> values(count);
  for (int i = 0; i < count; ++i) values[i] = static_cast<float>(i % 97);
  return values;
}

/// A trial of kernel(in, out): out[i] is to be want[i].
template <class Kernel>
struct Map {
  Kernel kernel;
  dim3 grid, block;
  Buffer<float> in, out;
  std::vector<float> want;

  Map(Kernel k, dim3 g, dim3 b, std::vector<float> input, std::vector<float> output)
      : kernel(k), grid(g), block(b), in(input), out(output.size()), want(std::move(output)) {}
  Trial trial() {
    return {[this] {
              out.poison();
              launch(kernel, grid, block, 0, nullptr, static_cast<const float*>(in.get()),
                     out.get());
            },
            [this] { return out.copy() == want; }};
  }
};

// --- Within a block
// -------------------------------------------------------------------------------

template <bool kFault>
__global__ void sum_kernel(const float* in, float* out) {
  __shared__ float part[8];
  const int t = threadIdx.x;
  float x = in[blockIdx.x * 256 + t];
  for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(~0u, x, d);
  if (t % 32 == 0) part[t / 32] = x;  // sum: write
  if (!kFault) __syncthreads();
  if (t == 0) {
    for (int k = 1; k < 8; ++k) x += part[k];  // sum: read
    out[blockIdx.x] = x;
  }
}

template <bool kFault>
auto sums() {
  const std::vector<float> in = ramp(1024);
  std::vector<float> want(4);
  for (int i = 0; i < 1024; ++i) want[i / 256] += in[i];
  return std::make_unique<Map<void (*)(const float*, float*)>>(sum_kernel<kFault>, 4, 256, in,
                                                               want);
}

TEST(SimtRaces, ReadNotOrderedAfterWriteIsFound) {
  expect_found(
      sums<true>()->trial(), true,
      {"sum_kernel<true>", "race on __shared__ part, byte ", " of 32",
       "races_test.cpp" + MWALIMU_AT("sum: write"), "races_test.cpp" + MWALIMU_AT("sum: read")});
  expect_clean(sums<false>()->trial());
}

template <bool kFault>
__global__ void reversed_chunks_kernel(const float* in, float* out) {
  __shared__ float s[256];
  const int t = threadIdx.x;
  float sum = 0;
  for (int k = 0; k < 4; ++k) {
    s[t] = in[k * 256 + t];  // chunks: write
    __syncthreads();
    sum += s[255 - t];             // chunks: read
    if (!kFault) __syncthreads();  // else a fast thread writes the next chunk too early
  }
  out[t] = sum;
}

template <bool kFault>
auto reversed_chunks() {
  const std::vector<float> in = ramp(1024);
  std::vector<float> want(256);
  for (int k = 0; k < 4; ++k) {
    for (int t = 0; t < 256; ++t) want[t] += in[k * 256 + 255 - t];
  }
  return std::make_unique<Map<void (*)(const float*, float*)>>(reversed_chunks_kernel<kFault>, 1,
                                                               256, in, want);
}

TEST(SimtRaces, WriteNotOrderedAfterReadInALoopIsFound) {
  expect_found(reversed_chunks<true>()->trial(), true,
               {"race on __shared__ s", MWALIMU_AT("chunks: write"), MWALIMU_AT("chunks: read")});
  expect_clean(reversed_chunks<false>()->trial());
}

enum class Order { none, shuffle, barrier };

template <Order kOrder>
__global__ void neighbour_lane_kernel(const float* in, float* out) {
  __shared__ float s[32];
  const int t = threadIdx.x;
  s[t] = in[t];  // lane: write
  if (kOrder == Order::shuffle) (void)__shfl_xor_sync(~0u, t, 1);
  if (kOrder == Order::barrier) __syncwarp();
  out[t] = s[(t + 1) % 32];  // lane: read
}

template <Order kOrder>
auto neighbour_lanes() {
  const std::vector<float> in = ramp(32);
  std::vector<float> want(32);
  for (int t = 0; t < 32; ++t) want[t] = in[(t + 1) % 32];
  return std::make_unique<Map<void (*)(const float*, float*)>>(neighbour_lane_kernel<kOrder>, 1, 32,
                                                               in, want);
}

TEST(SimtRaces, MissingWarpBarrierIsFound) {
  expect_found(neighbour_lanes<Order::none>()->trial(), true,
               {"race on __shared__ s", "of the same warp (no __syncwarp between)",
                MWALIMU_AT("lane: write"), MWALIMU_AT("lane: read")});
  expect_clean(neighbour_lanes<Order::barrier>()->trial());
}

TEST(SimtRaces, ShuffleOrdersNoMemory) {  // results are right by luck: only the checker sees it
  expect_found(neighbour_lanes<Order::shuffle>()->trial(), false,
               {"race on __shared__ s", "of the same warp", MWALIMU_AT("lane: write")});
}

template <bool kFault>
__global__ void tiles_kernel(const float* in, float* out) {
  __shared__ float s[32];
  const int t = threadIdx.x;
  const auto tile = cg::tiled_partition<8>(cg::this_thread_block());
  s[t] = in[t];  // tiles: write
  tile.sync();
  out[t] = s[kFault ? (t + 1) % 32 : (t & 24) | ((t + 1) & 7)];  // tiles: read
}

template <bool kFault>
auto tiles() {
  const std::vector<float> in = ramp(32);
  std::vector<float> want(32);
  for (int t = 0; t < 32; ++t) want[t] = in[kFault ? (t + 1) % 32 : (t & 24) | ((t + 1) & 7)];
  return std::make_unique<Map<void (*)(const float*, float*)>>(tiles_kernel<kFault>, 1, 32, in,
                                                               want);
}

TEST(SimtRaces, ReadAcrossSynchronisedTilesIsFound) {
  expect_found(tiles<true>()->trial(), true,
               {"race on __shared__ s", MWALIMU_AT("tiles: write"), MWALIMU_AT("tiles: read")});
  expect_clean(tiles<false>()->trial());
}

template <bool kFault>
__global__ void block_histogram_kernel(const float* in, float* out) {
  __shared__ int bins[8];
  const int t = threadIdx.x;
  if (t < 8) bins[t] = 0;
  __syncthreads();
  const int bin = static_cast<int>(in[t]) & 7;
  if (kFault) {
    bins[bin] += 1;  // bins: add
  } else {
    atomicAdd(&bins[bin], 1);
  }
  __syncthreads();
  if (t < 8) out[t] = static_cast<float>(bins[t]);
}

template <bool kFault>
auto block_histogram() {
  const std::vector<float> in = ramp(96);
  std::vector<float> want(8, 12.0f);
  return std::make_unique<Map<void (*)(const float*, float*)>>(block_histogram_kernel<kFault>, 1,
                                                               96, in, want);
}

TEST(SimtRaces, SharedCountersWithoutAtomicsAreFound) {
  expect_found(block_histogram<true>()->trial(), false,
               {"race on __shared__ bins", MWALIMU_AT("bins: add")});
  expect_clean(block_histogram<false>()->trial());
}

// --- Between blocks
// -------------------------------------------------------------------------------

template <bool kFault>
__global__ void histogram_kernel(const unsigned char* in, int* bins) {
  const unsigned char value = in[blockIdx.x * blockDim.x + threadIdx.x];
  if (kFault) {
    bins[value & 15] += 1;  // histogram: add
  } else {
    atomicAdd(&bins[value & 15], 1);
  }
}

template <bool kFault>
void expect_histogram(const std::function<void(const Trial&)>& expect) {
  std::vector<unsigned char> bytes(4096);
  for (int i = 0; i < 4096; ++i) bytes[i] = static_cast<unsigned char>(i * 7);
  Buffer<unsigned char> in(bytes);
  Buffer<int> bins(16);
  expect({[&] {
            bins.fill(0);
            launch(histogram_kernel<kFault>, 16, 256, 0, nullptr,
                   static_cast<const unsigned char*>(in.get()), bins.get());
          },
          [&] { return bins.copy() == std::vector<int>(16, 256); }});
}

TEST(SimtRaces, GlobalCountersWithoutAtomicsAreFound) {
  expect_histogram<true>([](const Trial& trial) {
    expect_found(trial, false,
                 {"histogram_kernel<true>", "race on global memory", MWALIMU_AT("histogram: add")});
  });
  expect_histogram<false>(expect_clean);
}

template <bool kFault>
__global__ void last_block_kernel(const float* in, float* partial, unsigned* counter, float* out) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    float x = 0;
    for (int k = 0; k < 32; ++k) x += in[blockIdx.x * 32 + k];
    partial[blockIdx.x] = x;  // last: write
    if (!kFault) __threadfence();
    is_last = atomicAdd(counter, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (is_last && threadIdx.x == 0) {
    float sum = 0;
    for (unsigned k = 0; k < gridDim.x; ++k) sum += partial[k];  // last: read
    *out = sum;
  }
}

template <bool kFault>
void expect_last_block(const std::function<void(const Trial&)>& expect) {
  const std::vector<float> values = ramp(128);
  Buffer<float> in(values), partial(4), out(1);
  Buffer<unsigned> counter(1);
  expect({[&] {
            counter.fill(0);
            partial.poison();
            out.poison();
            launch(last_block_kernel<kFault>, 4, 32, 0, nullptr,
                   static_cast<const float*>(in.get()), partial.get(), counter.get(), out.get());
          },
          [&] { return out.copy()[0] == std::accumulate(values.begin(), values.end(), 0.0f); }});
}

TEST(SimtRaces, MissingFenceBeforeTheLastBlockIsFound) {
  expect_last_block<true>([](const Trial& trial) {
    expect_found(trial, false,
                 {"race on global memory", "by another block's thread", MWALIMU_AT("last: write"),
                  MWALIMU_AT("last: read")});
  });
  expect_last_block<false>(expect_clean);
}

template <bool kFault>
__global__ void neighbour_block_kernel(float* values, float* out) {
  if (threadIdx.x == 0) values[blockIdx.x] = static_cast<float>(blockIdx.x + 1);  // grid: write
  if (kFault) {
    __syncthreads();
  } else {
    grid_sync();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = values[(blockIdx.x + 1) % gridDim.x];  // grid: read
}

template <bool kFault>
void expect_neighbour_block(const std::function<void(const Trial&)>& expect) {
  Buffer<float> values(4), out(4);
  expect({[&] {
            values.poison();
            out.poison();
            launch_cooperative(neighbour_block_kernel<kFault>, 4, 32, 0, nullptr, values.get(),
                               out.get());
          },
          [&] {
            return out.copy() == std::vector<float>{2, 3, 4, 1};
          }});
}

TEST(SimtRaces, BlocksThatDoNotMeetAreFound) {
  expect_neighbour_block<true>([](const Trial& trial) {
    expect_found(trial, true,
                 {"race on global memory", "by another block's thread", MWALIMU_AT("grid: write"),
                  MWALIMU_AT("grid: read")});
  });
  expect_neighbour_block<false>(expect_clean);
}

// Three rounds of shared and global memory with a grid barrier between; the fault leaves out the
// last.
template <bool kFault>
__global__ void rounds_kernel(float* values, float* out) {
  __shared__ float s[64];
  const int t = threadIdx.x, b = blockIdx.x, blocks = gridDim.x;
  s[t] = static_cast<float>(t);
  values[b * 64 + t] = 1;
  grid_sync();
  const float other = s[63 - t] + values[(b + 1) % blocks * 64 + t];  // rounds: first
  grid_sync();
  s[63 - t] = other;
  values[(b + 1) % blocks * 64 + t] = other;  // rounds: write
  if (!kFault) grid_sync();
  out[b * 64 + t] = s[t] + values[b * 64 + t];  // rounds: read
}

template <bool kFault>
void expect_rounds(const std::function<void(const Trial&)>& expect) {
  Buffer<float> values(4 * 64), out(4 * 64);
  expect({[&] {
            values.poison();
            out.poison();
            launch_cooperative(rounds_kernel<kFault>, 4, 64, 0, nullptr, values.get(), out.get());
          },
          [&] {
            for (int i = 0; i < 4 * 64; ++i) {
              // other is 63 - t + 1; s[t] is that of thread 63 - t, values[t] that of thread t.
              if (out.copy()[i] != static_cast<float>(i % 64 + 1 + 64 - i % 64)) return false;
            }
            return true;
          }});
}

TEST(SimtRaces, GridBarriersOrderBlocksAndTheirThreads) {
  expect_rounds<true>([](const Trial& trial) {
    expect_found(trial, true,
                 {"race on __shared__ s", "race on global memory", "by another block's thread",
                  MWALIMU_AT("rounds: write"), MWALIMU_AT("rounds: read")});
  });
  expect_rounds<false>(expect_clean);
}

// --- Uninitialised shared memory
// ------------------------------------------------------------------

template <int kWritten>
__global__ void tail_kernel(const float* in, float* out) {
  __shared__ float s[64];
  const int t = threadIdx.x;
  if (t < kWritten) s[t] = in[t];
  __syncthreads();
  float sum = 0;
  for (int k = 0; k < 64; ++k) sum += s[k];  // tail: read
  if (t == 0) *out = sum;
}

template <int kWritten>
auto tail() {
  const std::vector<float> in = ramp(64);
  return std::make_unique<Map<void (*)(const float*, float*)>>(
      tail_kernel<kWritten>, 1, 64, in,
      std::vector<float>{std::accumulate(in.begin(), in.begin() + kWritten, 0.0f)});
}

TEST(SimtRaces, UninitialisedSharedMemoryIsFound) {
  expect_found(tail<60>()->trial(), true,
               {"uninitialised read on __shared__ s, byte 240 of 256", MWALIMU_AT("tail: read")});
  expect_clean(tail<64>()->trial());
}

__global__ void stale_kernel(const float*, float* out) {
  __shared__ float s[32];
  if (blockIdx.x == 0) s[threadIdx.x] = 5.0f;  // other blocks count on it
  __syncthreads();
  out[blockIdx.x * 32 + threadIdx.x] = s[threadIdx.x];  // stale: read
}

TEST(SimtRaces, SharedMemoryOfTheBlockBeforeIsGone) {
  Map stale(stale_kernel, 4, 32, {0.0f}, std::vector<float>(128, 5.0f));
  expect_found(stale.trial(), true,
               {"uninitialised read on __shared__ s", MWALIMU_AT("stale: read")});
}

template <bool kFault>
__global__ void dynamic_kernel(float* out) {
  MWALIMU_DYNAMIC_SHARED(float, s);
  s[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (!kFault) __syncthreads();
  out[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}

TEST(SimtRaces, DynamicSharedMemoryIsCheckedToo) {
  Buffer<float> out(64);
  const auto trial = [&](void (*kernel)(float*)) {
    return Trial{[&, kernel] {
                   out.poison();
                   launch(kernel, 1, 64, 64 * sizeof(float), nullptr, out.get());
                 },
                 [&] { return out.copy()[5] == 58.0f; }};
  };
  expect_found(trial(dynamic_kernel<true>), true, {"dynamic shared memory, byte ", " of 256"});
  expect_clean(trial(dynamic_kernel<false>));
}

// --- Asynchronous copies
// --------------------------------------------------------------------------

// Two stages in flight. kFirst, kSecond: how many may still be on their way when each is read.
template <int kFirst, int kSecond>
__global__ void staged_kernel(const float* in, float* out) {
  __shared__ float4 s[2][32];
  const int t = threadIdx.x;
  __pipeline_memcpy_async(&s[0][t], in + 4 * t, 16);
  __pipeline_commit();
  __pipeline_memcpy_async(&s[1][t], in + 128 + 4 * t, 16);
  __pipeline_commit();
  __pipeline_wait_prior(kFirst);
  out[t] = s[0][t].x;  // staged: first
  __pipeline_wait_prior(kSecond);
  out[32 + t] = s[1][t].w;  // staged: second
}

template <int kFirst, int kSecond>
auto staged() {
  const std::vector<float> in = ramp(256);
  std::vector<float> want(64);
  for (int t = 0; t < 32; ++t) {
    want[t] = in[4 * t];
    want[32 + t] = in[128 + 4 * t + 3];
  }
  return std::make_unique<Map<void (*)(const float*, float*)>>(staged_kernel<kFirst, kSecond>, 1,
                                                               32, in, want);
}

TEST(SimtRaces, AsynchronousCopyNotWaitedForIsFound) {
  expect_found(staged<2, 0>()->trial(), true,
               {"uninitialised read on __shared__ s", MWALIMU_AT("staged: first")});
  expect_found(staged<1, 1>()->trial(), true,
               {"uninitialised read on __shared__ s", MWALIMU_AT("staged: second")});
  expect_clean(staged<1, 0>()->trial());
}

TEST(SimtRaces, FindingsAreOnlyCountedWhereAskedTo) {
  if (!checks_accesses()) GTEST_SKIP() << "a claim of check builds";
  const ScopedOptions keep;
  options().findings_throw = false;
  EXPECT_EQ(message_of(sums<true>()->trial().run), "");
}

}  // namespace
}  // namespace mwalimu::simt
