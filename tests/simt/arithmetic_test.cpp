// Atomics under contention, and the arithmetic intrinsics at values known by definition.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "buffer.hpp"
#include "simt.cuh"

namespace mwalimu::simt {
namespace {

template <class T>
__global__ void add_kernel(T* sums) {
  atomicAdd(sums + (threadIdx.x & 1), T{1});
}

template <class T>
void expect_sums() {
  Buffer<T> sums(2);
  for_each_schedule(3, [&] {
    sums.fill(T{0});
    launch(add_kernel<T>, 16, 64, 0, nullptr, sums.get());
    EXPECT_EQ(sums.copy(), (std::vector<T>{512, 512}));
  });
}

TEST(SimtArithmetic, AtomicAddLosesNothing) {
  expect_sums<int>();
  expect_sums<unsigned>();
  expect_sums<unsigned long long>();
  expect_sums<float>();
  expect_sums<double>();
}

__global__ void atomics_kernel(int* a, unsigned* u, unsigned long long* l, float* f) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicMax(a, i);
  atomicMin(a + 1, -i);
  atomicSub(a + 2, 2);
  for (int old = *static_cast<volatile int*>(a + 3);;) {
    const int before = atomicCAS(a + 3, old, old + 1);
    if (before == old) break;
    old = before;
  }
  atomicOr(u, 1u << (i & 31));
  atomicAnd(u + 1, ~(1u << (i & 31)));
  atomicXor(u + 2, static_cast<unsigned>(i));
  atomicInc(u + 3, 9u);
  atomicDec(u + 4, 9u);
  atomicMax(l, static_cast<unsigned long long>(i) << 33);
  if (i == 100) atomicExch(f, 2.5f);
}

TEST(SimtArithmetic, AtomicsDoWhatTheyAreCalled) {
  Buffer<int> a(4);
  Buffer<unsigned> u(5);
  Buffer<unsigned long long> l(1);
  Buffer<float> f(1);
  for_each_schedule(4, [&] {
    a.fill(0);
    u.fill(std::vector<unsigned>{0, ~0u, 0, 0, 0});
    l.fill(0ull);
    launch(atomics_kernel, 8, 64, 0, nullptr, a.get(), u.get(), l.get(), f.get());
    EXPECT_EQ(a.copy(), (std::vector<int>{511, -511, -1024, 512}));
    EXPECT_EQ(u.copy(), (std::vector<unsigned>{~0u, 0, 0, 512 % 10, (10 - 512 % 10) % 10}));
    EXPECT_EQ(l.copy()[0], 511ull << 33);
    EXPECT_EQ(f.copy()[0], 2.5f);
  });
}

TEST(SimtArithmetic, BitsAreCountedAndMoved) {
  EXPECT_EQ(__popc(0xF0F0u), 8);
  EXPECT_EQ(__popcll(~0ull), 64);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__clz(0), 32);
  EXPECT_EQ(__clzll(1), 63);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffsll(1ll << 40), 41);
  EXPECT_EQ(__brev(1u), 0x80000000u);
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7531u), 0x77553311u);
  EXPECT_EQ(__byte_perm(0x00008000u, 0u, 0x9999u), ~0u);
  EXPECT_EQ(__funnelshift_l(0x80000000u, 1u, 1), 3u);
  EXPECT_EQ(__funnelshift_r(2u, 1u, 1), 0x80000001u);
  EXPECT_EQ(__umulhi(0xFFFFFFFFu, 0xFFFFFFFFu), 0xFFFFFFFEu);
  EXPECT_EQ(__mulhi(-1, 2), -1);
  EXPECT_EQ(__umul64hi(~0ull, ~0ull), ~0ull - 1);
  EXPECT_EQ(__umul64hi(1ull << 63, 6), 3ull);
  EXPECT_EQ(__uint_as_float(__float_as_uint(1.5f)), 1.5f);
  EXPECT_EQ(__float_as_int(1.0f), 0x3F800000);
  EXPECT_EQ(__double_as_longlong(1.0), 0x3FF0000000000000ll);
}

TEST(SimtArithmetic, ConversionsRoundAndSaturate) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(-3.5f), -4);
  EXPECT_EQ(__float2int_rz(-3.9f), -3);
  EXPECT_EQ(__float2int_rd(-3.1f), -4);
  EXPECT_EQ(__float2int_ru(3.1f), 4);
  EXPECT_EQ(__float2int_rn(3e9f), std::numeric_limits<int>::max());
  EXPECT_EQ(__float2int_rn(-3e9f), std::numeric_limits<int>::min());
  EXPECT_EQ(__float2int_rn(kNaN), 0);
  EXPECT_EQ(__float2uint_rn(-1.0f), 0u);
  EXPECT_EQ(__float2uint_rn(1e10f), ~0u);
  EXPECT_EQ(__float2uint_rz(4294967040.0f), 4294967040u);
  EXPECT_EQ(__double2ll_rn(1e15 + 0.5), 1000000000000000ll);
  EXPECT_EQ(__saturatef(2.0f), 1.0f);
  EXPECT_EQ(__saturatef(-2.0f), 0.0f);
  EXPECT_EQ(__saturatef(kNaN), 0.0f);
}

TEST(SimtArithmetic, MinimumAndMaximumPassOverNaN) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(max(kNaN, 1.0f), 1.0f);
  EXPECT_EQ(min(1.0, static_cast<double>(kNaN)), 1.0);
  EXPECT_EQ(max(-1, 2), 2);
  EXPECT_EQ(min(3u, 4u), 3u);
  EXPECT_EQ(max(1ll << 40, 2ll), 1ll << 40);
}

TEST(SimtArithmetic, FastFunctionsAreTheFunctions) {
  EXPECT_FLOAT_EQ(__expf(1.0f), std::exp(1.0f));
  EXPECT_FLOAT_EQ(__logf(2.0f), std::log(2.0f));
  EXPECT_FLOAT_EQ(__log2f(8.0f), 3.0f);
  EXPECT_FLOAT_EQ(__powf(2.0f, 0.5f), std::sqrt(2.0f));
  EXPECT_FLOAT_EQ(rsqrtf(4.0f), 0.5f);
  EXPECT_DOUBLE_EQ(rsqrt(4.0), 0.5);
  EXPECT_FLOAT_EQ(__fdividef(6.0f, 2.0f), 3.0f);
  EXPECT_FLOAT_EQ(__frcp_rn(4.0f), 0.25f);
  EXPECT_FLOAT_EQ(sinpif(0.5f), 1.0f);
  EXPECT_NEAR(cospif(0.5f), 0.0f, 1e-7f);
  float sine = 0, cosine = 0;
  __sincosf(0.5f, &sine, &cosine);
  EXPECT_FLOAT_EQ(sine, std::sin(0.5f));
  EXPECT_FLOAT_EQ(cosine, std::cos(0.5f));
  EXPECT_EQ(__fmaf_rn(1.0f + 0x1p-23f, 1.0f - 0x1p-23f, -1.0f), -0x1p-46f);
}

}  // namespace
}  // namespace mwalimu::simt
