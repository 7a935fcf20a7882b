// cuBLASLt's descriptions, which need no device. What it does with them is tested where there is one:
// tests/kernels/linear_test.cpp.
#include "mwalimu/gpu/cublaslt.hpp"

#include <gtest/gtest.h>

#include "support/reference.hpp"

namespace mwalimu::gpu::cublaslt {
namespace {

// 5 x 7 times 7 x 3 into bfloat16's or float's 5 x 3, in BLAS's order.
MatmulProblem problem(std::string_view type, std::string_view out) {
  return {.m = 3, .n = 5, .k = 7, .op_a = 'T', .op_b = 'N', .lda = 8, .ldb = 9, .ldd = 4,
          .type = type, .out = out};
}

template <class V>
V attribute(const Description& d, cublasLtMatmulDescAttributes_t name) {
  V value{};
  std::size_t written = 0;
  check("get", cublasLtMatmulDescGetAttribute(d.operation(), name, &value, sizeof value, &written));
  EXPECT_EQ(written, sizeof value);
  return value;
}
template <class V>
V attribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t name) {
  V value{};
  std::size_t written = 0;
  check("get", cublasLtMatrixLayoutGetAttribute(layout, name, &value, sizeof value, &written));
  return value;
}
struct Extents {
  std::uint64_t rows, columns;
  std::int64_t leading;
  bool operator==(const Extents&) const = default;
};
Extents extents(cublasLtMatrixLayout_t layout) {
  return {attribute<std::uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_ROWS),
          attribute<std::uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_COLS),
          attribute<std::int64_t>(layout, CUBLASLT_MATRIX_LAYOUT_LD)};
}
auto type(cublasLtMatrixLayout_t layout) {
  return static_cast<cudaDataType_t>(
      attribute<std::uint32_t>(layout, CUBLASLT_MATRIX_LAYOUT_TYPE));
}

TEST(CublasLtDescription, HasTheExtentsInMemory) {
  const Description d(problem("bfloat16", "float32"));
  EXPECT_EQ(extents(d.a()), (Extents{7, 3, 8}));  // transposed: k rows in memory
  EXPECT_EQ(extents(d.b()), (Extents{7, 5, 9}));
  EXPECT_EQ(extents(d.d()), (Extents{3, 5, 4}));
  EXPECT_EQ(type(d.a()), CUDA_R_16BF);
  EXPECT_EQ(type(d.b()), CUDA_R_16BF);
  EXPECT_EQ(type(d.d()), CUDA_R_32F);
  EXPECT_EQ(attribute<cublasOperation_t>(d, CUBLASLT_MATMUL_DESC_TRANSA), CUBLAS_OP_T);
  EXPECT_EQ(attribute<cublasOperation_t>(d, CUBLASLT_MATMUL_DESC_TRANSB), CUBLAS_OP_N);
}

TEST(CublasLtDescription, ComputesInFloatUnlessAskedOtherwise) {
  const auto compute = [](const MatmulProblem& p) {
    return attribute<cublasComputeType_t>(Description(p), CUBLASLT_MATMUL_DESC_COMPUTE_TYPE);
  };
  auto p = problem("float32", "float32");
  EXPECT_EQ(compute(p), CUBLAS_COMPUTE_32F);
  p.float32 = Float32Math::tf32;
  EXPECT_EQ(compute(p), CUBLAS_COMPUTE_32F_FAST_TF32);
  for (const auto type : {"float16", "bfloat16"}) {
    p = problem(type, type);
    p.float32 = Float32Math::tf32;
    EXPECT_EQ(compute(p), CUBLAS_COMPUTE_32F);
  }
  EXPECT_EQ(compute(problem("float64", "float64")), CUBLAS_COMPUTE_64F);
}

TEST(CublasLtDescription, AddsABiasOfTheResultsType) {
  auto p = problem("bfloat16", "float32");
  EXPECT_EQ(attribute<cublasLtEpilogue_t>(Description(p), CUBLASLT_MATMUL_DESC_EPILOGUE),
            CUBLASLT_EPILOGUE_DEFAULT);
  p.bias = true;
  Description d(p);
  const float bias = 0;
  d.set_bias(&bias);
  EXPECT_EQ(attribute<cublasLtEpilogue_t>(d, CUBLASLT_MATMUL_DESC_EPILOGUE),
            CUBLASLT_EPILOGUE_BIAS);
  EXPECT_EQ(attribute<const void*>(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER), &bias);
  EXPECT_EQ(attribute<std::int32_t>(d, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE), CUDA_R_32F);
}

TEST(CublasLtPreference, KeepsPartialSumsInFloat) {
  auto p = problem("bfloat16", "bfloat16");
  p.alignment = 4;
  const Preference preference(p);
  const auto get = [&](cublasLtMatmulPreferenceAttributes_t name) {
    std::uint32_t value = 0;
    std::size_t written = 0;
    check("get", cublasLtMatmulPreferenceGetAttribute(preference.get(), name, &value, sizeof value,
                                                      &written));
    return value;
  };
  EXPECT_EQ(get(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK),
            static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  EXPECT_EQ(get(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES), 4u);
  EXPECT_EQ(get(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES), 4u);
}

TEST(CublasLtErrors, NameCallAndReason) {
  test::expect_error<CublasError>(
      [] { check("cublasLtMatmul", CUBLAS_STATUS_NOT_SUPPORTED); },
      "cublasLtMatmul: CUBLAS_STATUS_NOT_SUPPORTED: ");
  test::expect_error<CublasError>([] { Description d(problem("int32", "int32")); },
                                  "no product of int32");
  if (Driver::device_count() > 0) GTEST_SKIP() << "the rest is what is said without a device";
  test::expect_error<DeviceError>(
      [] { Device::of(0).multiply({}, problem("float32", "float32"), nullptr, nullptr, nullptr,
                                  nullptr); },
      "no CUDA device: ");
}

}  // namespace
}  // namespace mwalimu::gpu::cublaslt
