// gpu/cublaslt: products of matrices by cuBLASLt, with the algorithm that its heuristic names first,
// asked once per problem and kept.
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "mwalimu/gpu/matmul_problem.hpp"
#include "mwalimu/gpu/scratch.hpp"
#include "mwalimu/gpu/select_device.hpp"

namespace mwalimu::gpu::cublaslt {

/// @throws CublasError  unless `status` is success: `call`, cuBLAS's name for the failure, its version.
inline void check(const char* call, cublasStatus_t status) {
  require<CublasError>(status == CUBLAS_STATUS_SUCCESS, call, ": ",
                       cublasLtGetStatusName(status), ": ", cublasLtGetStatusString(status),
                       " (cuBLASLt ", cublasLtGetVersion(), ")");
}

/// Frees one of cuBLASLt's descriptions.
template <auto Destroy>
struct Deleter {
  template <class Handle>
  void operator()(Handle* handle) const {
    (void)Destroy(handle);
  }
};
template <class Handle, auto Destroy>
using Owner = std::unique_ptr<std::remove_pointer_t<Handle>, Deleter<Destroy>>;

/// @throws CublasError  cuBLASLt multiplies no such type.
inline cudaDataType_t data_type(std::string_view type) {
  if (type == "float32") return CUDA_R_32F;
  if (type == "float64") return CUDA_R_64F;
  if (type == "float16") return CUDA_R_16F;
  if (type == "bfloat16") return CUDA_R_16BF;
  mwalimu::detail::fail<CublasError>("no product of ", type);
}

/// A problem in cuBLASLt's words. Needs no device.
class Description {
 public:
  explicit Description(const MatmulProblem& p) {
    const bool wide = p.type == "float64";
    cublasComputeType_t compute = wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
    if (p.type == "float32" && p.float32 == Float32Math::tf32) {
      compute = CUBLAS_COMPUTE_32F_FAST_TF32;
    }
    cublasLtMatmulDesc_t operation = nullptr;
    check("cublasLtMatmulDescCreate",
          cublasLtMatmulDescCreate(&operation, compute, wide ? CUDA_R_64F : CUDA_R_32F));
    operation_.reset(operation);
    const auto op = [](char letter) { return letter == 'T' ? CUBLAS_OP_T : CUBLAS_OP_N; };
    set(CUBLASLT_MATMUL_DESC_TRANSA, op(p.op_a));
    set(CUBLASLT_MATMUL_DESC_TRANSB, op(p.op_b));
    if (p.bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(p.out));
    }
    const bool ta = p.op_a == 'T', tb = p.op_b == 'T';
    a_ = layout(p.type, ta ? p.k : p.m, ta ? p.m : p.k, p.lda);
    b_ = layout(p.type, tb ? p.n : p.k, tb ? p.k : p.n, p.ldb);
    d_ = layout(p.out, p.m, p.n, p.ldd);
  }

  void set_bias(const void* bias) { set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias); }

  cublasLtMatmulDesc_t operation() const { return operation_.get(); }
  cublasLtMatrixLayout_t a() const { return a_.get(); }
  cublasLtMatrixLayout_t b() const { return b_.get(); }
  cublasLtMatrixLayout_t d() const { return d_.get(); }

 private:
  using Layout = Owner<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;

  template <class V>
  void set(cublasLtMatmulDescAttributes_t name, V value) {
    check("cublasLtMatmulDescSetAttribute",
          cublasLtMatmulDescSetAttribute(operation_.get(), name, &value, sizeof value));
  }
  static Layout layout(std::string_view type, index_t rows, index_t columns, index_t leading) {
    cublasLtMatrixLayout_t made = nullptr;
    check("cublasLtMatrixLayoutCreate",
          cublasLtMatrixLayoutCreate(&made, data_type(type), static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(columns), leading));
    return Layout(made);
  }

  Owner<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> operation_;
  Layout a_, b_, d_;
};

/// What algorithms may do: workspace up to kWorkspace, and partial sums in the type computed in only
/// (not in a 16-bit result's).
class Preference {
 public:
  static constexpr std::size_t kWorkspace = std::size_t{32} << 20;  // NVIDIA's advice for Hopper

  explicit Preference(const MatmulProblem& problem) {
    cublasLtMatmulPreference_t made = nullptr;
    check("cublasLtMatmulPreferenceCreate", cublasLtMatmulPreferenceCreate(&made));
    preference_.reset(made);
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    for (const auto name :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(name, static_cast<std::uint32_t>(problem.alignment));
    }
  }
  cublasLtMatmulPreference_t get() const { return preference_.get(); }

 private:
  template <class V>
  void set(cublasLtMatmulPreferenceAttributes_t name, V value) {
    check("cublasLtMatmulPreferenceSetAttribute",
          cublasLtMatmulPreferenceSetAttribute(preference_.get(), name, &value, sizeof value));
  }
  Owner<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> preference_;
};

/// cuBLASLt on one device of this process.
class Device {
 public:
  /// Made at first use; never destroyed, since at exit the driver may be gone.
  static Device& of(int index) {
    static std::mutex mutex;
    static auto* devices = new std::array<std::unique_ptr<Device>, kMaxDevices>;
    const std::lock_guard lock(mutex);
    auto& device = (*devices)[static_cast<std::size_t>(index)];
    if (device == nullptr) device.reset(new Device(index));
    return *device;
  }

  bool multiply(Gpu on, const MatmulProblem& problem, const void* a, const void* b,
                const void* bias, void* d) {
    select_device(on.device);
    Description description(problem);
    if (problem.bias) description.set_bias(bias);
    const auto algorithm = choose(problem, description);
    if (!algorithm) return false;
    const std::shared_ptr<std::byte> workspace =
        algorithm->workspaceSize > 0 ? scratch<std::byte>(on, workspace_bytes(*algorithm)) : nullptr;
    const bool wide = problem.type == "float64";
    const double one_wide = 1, beta_wide = problem.accumulate ? 1 : 0;
    const float one = 1, beta = problem.accumulate ? 1 : 0;
    check("cublasLtMatmul",
          cublasLtMatmul(handle_, description.operation(),
                         wide ? static_cast<const void*>(&one_wide) : &one, a, description.a(), b,
                         description.b(), wide ? static_cast<const void*>(&beta_wide) : &beta, d,
                         description.d(), d, description.d(), &algorithm->algo, workspace.get(),
                         algorithm->workspaceSize, on.stream));
    return true;
  }

 private:
  struct Hash {
    std::size_t operator()(const MatmulProblem& problem) const { return problem.hash(); }
  };
  using Algorithm = std::optional<cublasLtMatmulHeuristicResult_t>;

  explicit Device(int index) {
    select_device(index);
    check("cublasLtCreate", cublasLtCreate(&handle_));
  }
  static index_t workspace_bytes(const cublasLtMatmulHeuristicResult_t& algorithm) {
    return static_cast<index_t>(algorithm.workspaceSize);
  }

  Algorithm choose(const MatmulProblem& problem, const Description& description) {
    const std::lock_guard lock(mutex_);
    if (const auto known = algorithms_.find(problem); known != algorithms_.end()) {
      return known->second;
    }
    const Preference preference(problem);
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, description.operation(), description.a(), description.b(), description.d(),
        description.d(), preference.get(), 1, &result, &found);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check("cublasLtMatmulAlgoGetHeuristic", status);
    const bool usable = status == CUBLAS_STATUS_SUCCESS && found > 0 &&
                        result.state == CUBLAS_STATUS_SUCCESS;
    return algorithms_.emplace(problem, usable ? Algorithm(result) : std::nullopt).first->second;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::unordered_map<MatmulProblem, Algorithm, Hash> algorithms_;
};

}  // namespace mwalimu::gpu::cublaslt

namespace mwalimu::gpu {

template <class X>
bool BasicMultiplication<X>::run(Gpu on, const MatmulProblem& problem, const void* a,
                                 const void* b, const void* bias, void* d) {
  try {
    return cublaslt::Device::of(on.device).multiply(on, problem, a, b, bias, d);
  } catch (const CublasError& error) {
    mwalimu::detail::fail<CublasError>("matmul ", problem, " on cuda:", on.device, ": ",
                                       error.what());
  }
}

}  // namespace mwalimu::gpu
