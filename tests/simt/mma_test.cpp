// Products of tiles by a warp: where their fragments lie, what their sums lose, who must come.
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "buffer.hpp"
#include "faults.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu::simt {
namespace {

constexpr int kM = 16, kN = 8, kK = 16, kWarps = 2;

/// Elements a0 to a7, b0 to b3 and c0 to c3 of a lane in the words of the PTX manual.
struct Fragments {
  int group, in_group;
  __device__ explicit Fragments(int lane) : group(lane >> 2), in_group(lane % 4) {}
  __device__ int a_row(int i) const {
    return (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
  }
  __device__ int a_column(int i) const { return in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0); }
  __device__ int b_row(int i) const { return in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0); }
  __device__ int b_column() const { return group; }
  __device__ int c_row(int i) const { return i < 2 ? group : group + 8; }
  __device__ int c_column(int i) const { return in_group * 2 + (i & 1); }
};

__device__ std::uint32_t pair(bfloat16 low, bfloat16 high) {
  return static_cast<std::uint32_t>(low.bits) | static_cast<std::uint32_t>(high.bits) << 16;
}

// c (16, 8) += a (16, 16) b (16, 8), a product a warp.
__global__ void product_kernel(const bfloat16* a, const bfloat16* b, float* c, int threads) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  if (thread >= threads) return;
  const Fragments f(thread % 32);
  a += warp * kM * kK;
  b += warp * kK * kN;
  c += warp * kM * kN;
  std::uint32_t of_a[4], of_b[2];
  float of_c[4];
  for (int r = 0; r < 4; ++r) {
    const int row = f.a_row(2 * r) * kK;
    of_a[r] = pair(a[row + f.a_column(2 * r)], a[row + f.a_column(2 * r + 1)]);
  }
  for (int r = 0; r < 2; ++r) {
    of_b[r] =
        pair(b[f.b_row(2 * r) * kN + f.b_column()], b[f.b_row(2 * r + 1) * kN + f.b_column()]);
  }
  for (int i = 0; i < 4; ++i) of_c[i] = c[f.c_row(i) * kN + f.c_column(i)];
  mma_m16n8k16(of_c, of_a, of_b);  // product
  for (int i = 0; i < 4; ++i) c[f.c_row(i) * kN + f.c_column(i)] = of_c[i];
}

struct Product {
  std::vector<bfloat16> a = std::vector<bfloat16>(kWarps * kM * kK),
                        b = std::vector<bfloat16>(kWarps * kK * kN);
  std::vector<float> c = std::vector<float>(kWarps * kM * kN);

  std::vector<float> by_warps() const {
    const Buffer<bfloat16> on_a(a), on_b(b);
    Buffer<float> on_c(c);
    launch(product_kernel, 1, 32 * kWarps, 0, nullptr, on_a.get(), on_b.get(), on_c.get(),
           32 * kWarps);
    return on_c.copy();
  }
  /// f(element of c, its 17 terms)
  template <class F>
  void each(F f) const {
    for (int e = 0; e < kWarps * kM * kN; ++e) {
      const int row = e / kN, column = e % kN, warp = row / kM;
      std::vector<double> terms{c[e]};
      for (int k = 0; k < kK; ++k) {
        terms.push_back(double{static_cast<float>(a[row * kK + k])} *
                        static_cast<float>(b[(warp * kK + k) * kN + column]));
      }
      f(e, terms);
    }
  }
};

TEST(SimtMma, FragmentsLieWherePtxHasThem) {
  std::mt19937 random(1);
  const auto number = [&] { return static_cast<float>(static_cast<int>(random() % 101) - 50); };
  Product p;
  for (auto& v : p.a) v = bfloat16(number());
  for (auto& v : p.b) v = bfloat16(number());
  for (auto& v : p.c) v = number();
  for_each_schedule(8, [&] {
    const std::vector<float> got = p.by_warps();
    p.each([&](int e, const std::vector<double>& terms) {
      double sum = 0;
      for (const double t : terms) sum += t;
      ASSERT_EQ(got[e], sum) << "element " << e;  // whole numbers: nothing is rounded
    });
  });
}

TEST(SimtMma, SumsLoseNoMoreThanCutTerms) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  Product p;
  for (auto& v : p.a) v = bfloat16(normal(random));
  for (auto& v : p.b) v = bfloat16(normal(random));
  for (auto& v : p.c) v = 100 * normal(random);
  const std::vector<float> got = p.by_warps();
  bool some = false;
  p.each([&](int e, const std::vector<double>& terms) {
    double sum = 0, largest = 0;
    for (const double t : terms) {
      sum += t;
      largest = std::fmax(largest, std::abs(t));
    }
    // 17 terms cut to 24 bits of the largest, and their sum to its own, of at most 17 times that.
    ASSERT_NEAR(got[e], sum, (17 + 17) * 0x1p-23 * largest) << "element " << e;
    some = some || got[e] != static_cast<float>(sum);
  });
  EXPECT_TRUE(some) << "the sums are those of another arithmetic";
}

TEST(SimtMma, TermsBelowTheLastBitAreLost) {
  Product p;
  p.a.assign(p.a.size(), bfloat16(0x1p-12f));
  p.b.assign(p.b.size(), bfloat16(0x1p-12f));
  p.c.assign(p.c.size(), 1.0f);
  EXPECT_EQ(p.by_warps(), p.c);  // 1 + 16 x 2^-24
  p.c.assign(p.c.size(), 0x1p-21f);
  for (const float v : p.by_warps()) ASSERT_EQ(v, 0x1.8p-20f);
}

TEST(SimtMma, InfinityAndNanPassThrough) {
  Product p;
  p.a.assign(p.a.size(), bfloat16(0.0f));
  p.b.assign(p.b.size(), bfloat16(1.0f));
  p.c.assign(p.c.size(), 1.0f);
  p.a[0] = bfloat16(std::numeric_limits<float>::infinity());
  p.a[kK] = bfloat16(std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> got = p.by_warps();
  EXPECT_EQ(got[0], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(got[kN]));
  EXPECT_EQ(got[2 * kN], 1.0f);
}

TEST(SimtMma, LanesThatDoNotComeAreFound) {
  const Buffer<bfloat16> a(kWarps * kM * kK), b(kWarps * kK * kN);
  Buffer<float> c(kWarps * kM * kN);
  const auto run = [&](unsigned threads, int come) {
    return message_of(
        [&] { launch(product_kernel, 1, threads, 0, nullptr, a.get(), b.get(), c.get(), come); });
  };
  for_each_schedule(4, [&] {
    expect_holds(run(64, 48), {"product_kernel", "deadlock", "48-63: returned",
                               "threads 32-47: waiting at mma_m16n8k16() with mask 0xffffffff",
                               MWALIMU_AT("product")});
    expect_holds(run(48, 48), {"mma_m16n8k16()", "lanes that this block of 48 threads does not"});
  });
}

}  // namespace
}  // namespace mwalimu::simt
