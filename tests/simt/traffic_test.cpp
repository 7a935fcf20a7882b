// What the check build counts: coalescing, bank conflicts, bytes, by launch and by source line.
#include <vector>

#include "buffer.hpp"
#include "faults.hpp"
#include "numeric.cuh"

namespace mwalimu::simt {
namespace {

class SimtTraffic : public testing::Test {
 protected:
  void SetUp() override {
    if (!checks_accesses()) GTEST_SKIP() << "a claim of check builds";
    options().traffic = true;
    reset_traffic();
  }
  const ScopedOptions keep_;
};

constexpr int kSide = 128;
constexpr std::uint64_t kMatrix = kSide * kSide * sizeof(float);

template <int kPad>
__global__ void transpose_kernel(const float* in, float* out) {
  __shared__ float tile[32][32 + kPad];
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8) {
    tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * kSide + x];  // transpose: in
  }
  __syncthreads();
  const int u = blockIdx.y * 32 + threadIdx.x, v = blockIdx.x * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8) {
    out[(v + j) * kSide + u] = tile[threadIdx.x][threadIdx.y + j];  // transpose: out
  }
}

class Matrices {
 public:
  Matrices() : in(std::vector<float>(kSide * kSide, 1.0f)), out(kSide * kSide) {}
  Buffer<float> in, out;
  template <class Kernel>
  void run(Kernel kernel, dim3 grid, dim3 block) {
    launch(kernel, grid, block, 0, nullptr, static_cast<const float*>(in.get()), out.get());
  }
};

const LineTraffic& line_of(const LaunchTraffic& traffic, int line, bool shared, bool write) {
  for (const LineTraffic& l : traffic.lines) {
    if (l.line == line && l.shared == shared && l.write == write) return l;
  }
  static const LineTraffic none;
  ADD_FAILURE() << "nothing counted for line " << line << " in\n" << describe(traffic);
  return none;
}

TEST_F(SimtTraffic, PaddedTransposeMovesEachByteOnceWithoutConflicts) {
  Matrices m;
  m.run(transpose_kernel<1>, dim3(4, 4), dim3(32, 8));
  const LaunchTraffic& t = last_traffic();
  EXPECT_NE(t.kernel.find("transpose_kernel<1>"), t.kernel.npos);
  EXPECT_TRUE(t.coalesced());
  EXPECT_TRUE(t.without_bank_conflicts());
  EXPECT_TRUE(t.each_byte_once());
  EXPECT_EQ(t.read_bytes, kMatrix);
  EXPECT_EQ(t.write_bytes, kMatrix);
  EXPECT_EQ(t.moved, 2 * kMatrix);
  EXPECT_EQ(t.distinct, 2 * kMatrix);
  EXPECT_EQ(t.of(m.in.get(), m.in.bytes()).read_bytes, kMatrix);
  EXPECT_EQ(t.of(m.in.get(), m.in.bytes()).write_bytes, 0u);
  EXPECT_EQ(t.of(m.out.get(), 256).distinct_written, 256u);
}

TEST_F(SimtTraffic, TransposeWithoutPaddingHasBankConflicts) {
  Matrices m;
  m.run(transpose_kernel<0>, dim3(4, 4), dim3(32, 8));
  const LaunchTraffic& t = last_traffic();
  EXPECT_TRUE(t.coalesced());
  EXPECT_FALSE(t.without_bank_conflicts());
  const int line = std::stoi(line_marked(__FILE__, "transpose: out"));
  EXPECT_EQ(line_of(t, line, true, false).conflict_factor(), 32.0);  // a column in one bank
  EXPECT_EQ(line_of(t, line, false, true).sectors_per_request(), 4.0);
  EXPECT_EQ(line_of(t, line, false, true).bytes_per_lane(), 4.0);
}

template <class T>
__global__ void strided_transpose_kernel(const T* in, T* out) {
  const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
  out[x * kSide + y] = in[y * kSide + x];  // strided
}

TEST_F(SimtTraffic, StridedStoresTouchASectorALane) {
  Matrices m;
  m.run(strided_transpose_kernel<float>, dim3(4, 16), dim3(32, 8));
  const LaunchTraffic& t = last_traffic();
  EXPECT_FALSE(t.coalesced());
  EXPECT_TRUE(t.each_byte_once());
  EXPECT_EQ(t.moved, kMatrix + 8 * kMatrix);
  const int line = std::stoi(line_marked(__FILE__, "strided"));
  const LineTraffic& store = line_of(t, line, false, true);
  EXPECT_EQ(store.file, "traffic_test.cpp");
  EXPECT_EQ(store.requests, kSide * kSide / 32u);
  EXPECT_EQ(store.sectors_per_request(), 32.0);
  EXPECT_EQ(store.ideal_sectors_per_request(), 4.0);
  EXPECT_EQ(store.efficiency(), 0.125);
}

template <int N>
__global__ void copy_kernel(const float* in, float* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * N;
  kernels::store_pack<N>(out + i, kernels::load_pack<N>(in + i));
}

TEST_F(SimtTraffic, PacksAreOneAccessOf16Bytes) {
  Matrices m;
  m.run(copy_kernel<4>, kSide * kSide / 1024, 256);
  const LaunchTraffic& t = last_traffic();
  EXPECT_EQ(t.narrowest_access(), 16.0) << describe(t);
  EXPECT_TRUE(t.coalesced() && t.each_byte_once());
  m.run(copy_kernel<1>, kSide * kSide / 256, 256);
  EXPECT_EQ(last_traffic().narrowest_access(), 4.0);
}

template <class T>
__global__ void twice_kernel(const T* in, T* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  T sum = in[i];
  __syncthreads();
  sum += static_cast<const volatile T*>(in)[i];
  if (i >= 0) out[0 * i + i] = sum + in[kSide * kSide - 1];  // all lanes read one number
}

TEST_F(SimtTraffic, BytesReadTwiceAreCountedTwiceAndBroadcastsOnce) {
  Matrices m;
  m.run(twice_kernel<float>, kSide * kSide / 256, 256);
  const LaunchTraffic& t = last_traffic();
  EXPECT_FALSE(t.each_byte_read_once());
  EXPECT_TRUE(t.each_byte_written_once());
  const std::uint64_t warps = kSide * kSide / 32;
  EXPECT_EQ(t.read_bytes, 2 * kMatrix + warps * sizeof(float));
  EXPECT_EQ(t.distinct_read, kMatrix);
}

template <class T>
__global__ void banks_kernel(const T* in, T* out) {
  __shared__ T s[128];
  const int t = threadIdx.x;
  for (int i = t; i < 128; i += 32) s[i] = in[i];
  __syncthreads();
  T sum = s[5];           // banks: broadcast
  sum += s[t / 2];        // banks: pairs
  sum += s[2 * t];        // banks: stride 2
  sum += s[4 * (t % 8)];  // banks: four lanes a word, four banks apart
  out[t] = sum;
}

TEST_F(SimtTraffic, LanesThatReadOneWordDoNotConflict) {
  Matrices m;
  m.run(banks_kernel<float>, 1, 32);
  const auto factor = [](const char* mark) {
    return line_of(last_traffic(), std::stoi(line_marked(__FILE__, mark)), true, false)
        .conflict_factor();
  };
  EXPECT_EQ(factor("banks: broadcast"), 1.0);
  EXPECT_EQ(factor("banks: pairs"), 1.0);
  EXPECT_EQ(factor("banks: stride 2"), 2.0);
  EXPECT_EQ(factor("banks: four lanes a word, four banks apart"), 1.0);
}

TEST_F(SimtTraffic, LaunchesAreFoundByTheirKernelsName) {
  Matrices m;
  m.run(copy_kernel<4>, kSide * kSide / 1024, 256);
  m.run(transpose_kernel<1>, dim3(4, 4), dim3(32, 8));
  m.run(transpose_kernel<0>, dim3(4, 4), dim3(32, 8));
  EXPECT_EQ(traffic().size(), 3u);
  EXPECT_TRUE(traffic_of("copy_kernel").coalesced());
  EXPECT_FALSE(traffic_of("transpose_kernel<0>").without_bank_conflicts());
  EXPECT_THROW((void)traffic_of("transpose_kernel"), ValueError);
  EXPECT_THROW((void)traffic_of("no_such_kernel"), ValueError);
  reset_traffic();
  EXPECT_TRUE(traffic().empty());
  EXPECT_THROW((void)last_traffic(), ValueError);
}

TEST_F(SimtTraffic, NothingIsCountedUnasked) {
  options().traffic = false;
  Matrices m;
  m.run(copy_kernel<4>, kSide * kSide / 1024, 256);
  EXPECT_TRUE(traffic().empty());
}

TEST_F(SimtTraffic, CountsDoNotDependOnTheSchedule) {
  Matrices m;
  std::string first;
  for_each_schedule(3, [&] {
    m.run(transpose_kernel<0>, dim3(4, 4), dim3(32, 8));
    if (first.empty()) first = describe(last_traffic());
    EXPECT_EQ(describe(last_traffic()), first);
  });
}

__global__ void exchange_kernel(const float* in, float* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[i];
  grid_sync();
  out[kSide * kSide - 1 - i] = in[i];
}

TEST_F(SimtTraffic, CooperativeBlocksAreCountedApart) {
  Matrices m;
  launch_cooperative(exchange_kernel, 4, 256, 0, nullptr, static_cast<const float*>(m.in.get()),
                     m.out.get());
  const LaunchTraffic& t = last_traffic();
  EXPECT_TRUE(t.coalesced());
  EXPECT_EQ(t.read_bytes, 2 * 1024 * sizeof(float));
}

}  // namespace
}  // namespace mwalimu::simt
