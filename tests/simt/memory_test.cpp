// Accesses that leave their array or their alignment: found by the asan flavour, with the kernel's
// name and the thread. Limits of a launch: errors in every flavour.
#include <vector>

#include "buffer.hpp"
#include "faults.hpp"
#include "numeric.cuh"

namespace mwalimu::simt {
namespace {

#if defined(MWALIMU_SIMT_ASAN)
constexpr bool kAsan = true;
#else
constexpr bool kAsan = false;
#endif

// In a process of its own, where it may die.
#define MWALIMU_EXPECT_ASAN(statement, kind)                   \
  do {                                                         \
    if (!kAsan) GTEST_SKIP() << "a claim of the asan flavour"; \
    GTEST_FLAG_SET(death_test_style, "threadsafe");            \
    EXPECT_DEATH(statement, kind);                             \
  } while (false)

__global__ void store_kernel(float* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i <= count) out[i] = 1.0f;
}

TEST(SimtMemory, StoreBehindGlobalMemoryIsFound) {
  Buffer<float> out(200);
  launch(store_kernel, 1, 256, 0, nullptr, out.get(), 199);
  MWALIMU_EXPECT_ASAN(launch(store_kernel, 1, 256, 0, nullptr, out.get(), 200),
                      "heap-buffer-overflow.*simt: in kernel .*store_kernel.*"
                      "block \\(0,0,0\\), thread \\(200,0,0\\)");
}

template <class T>
__global__ void dynamic_kernel(T* out, int shift) {
  MWALIMU_DYNAMIC_SHARED(T, s);
  s[threadIdx.x + shift] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x];
}

TEST(SimtMemory, StoreBehindDynamicSharedMemoryIsFound) {
  Buffer<float> out(32);
  launch(dynamic_kernel<float>, 1, 32, 128, nullptr, out.get(), 0);
  MWALIMU_EXPECT_ASAN(launch(dynamic_kernel<float>, 1, 32, 128, nullptr, out.get(), 1),
                      "heap-buffer-overflow.*dynamic_kernel<float>.*thread \\(31,0,0\\)");
}

__device__ __forceinline__ void put(float* p, int i, float value) { p[i] = value; }

template <class T>
__global__ void shared_through_pointer_kernel(T* out, int shift) {
  __shared__ T s[32];
  put(s, static_cast<int>(threadIdx.x) + shift, 1.0f);
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x];
}

TEST(SimtMemory, StoreBehindSharedMemoryThroughAPointerIsFound) {
  Buffer<float> out(32);
  launch(shared_through_pointer_kernel<float>, 1, 32, 0, nullptr, out.get(), 0);
  MWALIMU_EXPECT_ASAN(launch(shared_through_pointer_kernel<float>, 1, 32, 0, nullptr, out.get(), 1),
                      "global-buffer-overflow.*shared_through_pointer_kernel");
}

template <class T>
__global__ void shared_by_index_kernel(T* out, int shift) {
  __shared__ T s[32];
  __shared__ T other[32];
  other[threadIdx.x] = 2;
  s[threadIdx.x + shift] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x] + other[threadIdx.x];
}

TEST(SimtMemory, IndexBehindSharedMemoryIsFound) {
  Buffer<float> out(32);
  launch(shared_by_index_kernel<float>, 1, 32, 0, nullptr, out.get(), 0);
  MWALIMU_EXPECT_ASAN(launch(shared_by_index_kernel<float>, 1, 32, 0, nullptr, out.get(), 40),
                      "index [0-9]+ out of bounds for type 'float ?\\[32\\]'");
}

__global__ void vector_kernel(const half* in, float* out, int offset) {
  const auto pack = kernels::load_pack<8>(in + threadIdx.x * 8 + offset);
  out[threadIdx.x] = static_cast<float>(pack[0]);
}

TEST(SimtMemory, MisalignedVectorIsFound) {
#if defined(__clang__)
  GTEST_SKIP() << "clang does not check the alignment of a struct that is copied whole";
#endif
  Buffer<half> in(512);
  Buffer<float> out(32);
  launch(vector_kernel, 1, 32, 0, nullptr, static_cast<const half*>(in.get()), out.get(), 8);
  MWALIMU_EXPECT_ASAN(
      launch(vector_kernel, 1, 32, 0, nullptr, static_cast<const half*>(in.get()), out.get(), 1),
      "misaligned address");
}

__global__ void recursive_kernel(float* out, int depth) {
  volatile char frame[4096];
  frame[depth & 4095] = static_cast<char>(depth);
  if (depth > 0) recursive_kernel(out, depth - 1);
  out[0] = frame[depth & 4095];
}

TEST(SimtMemory, StackOverflowIsReported) {
  Buffer<float> out(1);
  launch(recursive_kernel, 1, 1, 0, nullptr, out.get(), 5);
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(launch(recursive_kernel, 1, 1, 0, nullptr, out.get(), 100),
               kAsan ? "stack-overflow|SEGV" : "recursive_kernel.*stack overflowed");
  const ScopedOptions keep;
  options().stack_bytes = 1 << 20;
  launch(recursive_kernel, 1, 1, 0, nullptr, out.get(), 100);
  EXPECT_EQ(out.copy()[0], 100.0f);
}

template <int kBytes>
__global__ void large_kernel(char* out) {
  __shared__ char s[kBytes];
  s[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x];
}

TEST(SimtMemory, LimitsOfALaunchAreChecked) {
  Buffer<float> out(1024);
  Buffer<char> bytes(32);
  const auto run = [&](dim3 grid, dim3 block, std::size_t shared) {
    return message_of(
        [&] { launch(dynamic_kernel<float>, grid, block, shared, nullptr, out.get(), 0); });
  };
  EXPECT_EQ(run(1, 1024, 4096), "");
  expect_holds(run(1, 1056, 8192), {"dynamic_kernel<float>", "at most 1024 threads", "got 1056"});
  expect_holds(run(1, dim3(1, 1, 65), 8192), {"64 of them in z"});
  expect_holds(run(dim3(1, 65536), 32, 128), {"at most 65535 blocks in y"});
  expect_holds(run(0, 32, 128), {"at least one of each"});
  expect_holds(run(1, 32, 300 << 10),
               {"0 bytes of declared and 307200 of dynamic", "the limit is 232448"});
  expect_holds(run(1, 32, 0), {"uses dynamic shared memory but was launched with 0 bytes"});
  expect_holds(message_of([&] { launch(large_kernel<49153>, 1, 32, 0, nullptr, bytes.get()); }),
               {"large_kernel<49153>", "declares 49153 bytes of shared memory"});
  EXPECT_EQ(message_of([&] { launch(large_kernel<49152>, 1, 32, 0, nullptr, bytes.get()); }), "");
}

}  // namespace
}  // namespace mwalimu::simt
