// A product of row-major matrices in BLAS's words: BLAS's definition, taken literally, must give it back.
#include "mwalimu/gpu/matmul_problem.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/reference.hpp"

namespace mwalimu::gpu {
namespace {

using Strides = std::array<index_t, 2>;

/// BLAS's gemm, column-major, as the standard defines it.
void gemm(const MatmulProblem& p, const double* a, const double* b, double* d) {
  for (index_t j = 0; j < p.n; ++j) {
    for (index_t i = 0; i < p.m; ++i) {
      double sum = 0;
      for (index_t k = 0; k < p.k; ++k) {
        sum += (p.op_a == 'N' ? a[i + k * p.lda] : a[k + i * p.lda]) *
               (p.op_b == 'N' ? b[k + j * p.ldb] : b[j + k * p.ldb]);
      }
      d[i + j * p.ldd] = sum;
    }
  }
}

/// Whether a matrix of these strides is valid for BLAS: the leading dimension covers a column.
void expect_leading(index_t rows, index_t leading) { EXPECT_GE(leading, rows); }

void expect_product(index_t M, index_t N, index_t K, Strides sa, Strides sb, Strides sc) {
  SCOPED_TRACE(testing::Message() << M << "x" << N << "x" << K << " strides " << sa[0] << ","
                                  << sa[1] << " " << sb[0] << "," << sb[1]);
  const auto memory = [](std::uint64_t seed) {
    return test::random_tensor<double>({4096}, seed).to_vector();
  };
  const auto a = memory(1), b = memory(2);
  std::vector<double> c(4096, -7);
  const View<const double, 2> av(a.data(), {M, K}, sa), bv(b.data(), {K, N}, sb);
  const View<double, 2> cv(c.data(), {M, N}, sc);
  const auto am = blas_matrix(av), bm = blas_matrix(bv), cm = blas_matrix(cv);
  ASSERT_TRUE(am && bm && cm && cm->row_major);
  const auto p = row_major_product<double, double>(av, *am, bv, *bm, cv, *cm);
  expect_leading(p.op_a == 'N' ? p.m : p.k, p.lda);
  expect_leading(p.op_b == 'N' ? p.k : p.n, p.ldb);
  expect_leading(p.m, p.ldd);
  gemm(p, b.data(), a.data(), c.data());
  index_t written = 0;
  for (const double value : c) written += value != -7;
  EXPECT_EQ(written, M * N);
  for (index_t i = 0; i < M; ++i) {
    for (index_t j = 0; j < N; ++j) {
      double sum = 0;
      for (index_t k = 0; k < K; ++k) sum += av(i, k) * bv(k, j);
      EXPECT_NEAR(cv(i, j), sum, 1e-13);
    }
  }
}

TEST(MatmulProblem, IsTheProductInEveryLayout) {
  for (const auto& [M, N, K] : std::vector<std::array<index_t, 3>>{
           {3, 5, 7}, {1, 5, 7}, {3, 1, 7}, {3, 5, 1}, {1, 1, 1}, {1, 1, 7}, {8, 8, 8}}) {
    for (const Strides& sa : {Strides{K, 1}, Strides{K + 3, 1}, Strides{1, M}, Strides{1, M + 2}}) {
      for (const Strides& sb : {Strides{N, 1}, Strides{N + 1, 1}, Strides{1, K}, Strides{1, K + 4}}) {
        for (const Strides& sc : {Strides{N, 1}, Strides{N + 2, 1}}) {
          expect_product(M, N, K, sa, sb, sc);
        }
      }
    }
  }
}

TEST(BlasMatrix, SaysWhichDimensionIsDense) {
  const auto of = [](index_t rows, index_t columns, index_t s0, index_t s1) {
    return blas_matrix(View<const float, 2>(nullptr, {rows, columns}, {s0, s1}));
  };
  EXPECT_TRUE(of(3, 4, 4, 1)->row_major);
  EXPECT_EQ(of(3, 4, 6, 1)->leading, 6);
  EXPECT_FALSE(of(3, 4, 1, 3)->row_major);
  EXPECT_EQ(of(3, 4, 1, 5)->leading, 5);
  EXPECT_EQ(of(1, 4, 1, 1)->leading, 4);   // the stride of a single row means nothing
  EXPECT_TRUE(of(3, 1, 2, 9)->row_major);  // nor that of a single column
  EXPECT_EQ(of(3, 1, 2, 9)->leading, 2);
  EXPECT_FALSE(of(3, 4, 8, 2));  // every second element
  EXPECT_FALSE(of(3, 4, 2, 1));  // rows overlap
  EXPECT_FALSE(of(3, 4, 0, 1));
}

TEST(MatmulProblem, AnErrorNamesAllOfIt) {
  MatmulProblem p{.m = 512, .n = 192, .k = 2048, .op_a = 'T', .type = "bfloat16"};
  p.accumulate = p.bias = true;
  EXPECT_EQ(mwalimu::detail::concatenate(p),
            "bfloat16 512x192x2048 TN into float32, added, with bias");
}

}  // namespace
}  // namespace mwalimu::gpu
