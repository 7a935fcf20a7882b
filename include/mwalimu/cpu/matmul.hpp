// cpu/matmul: products of matrices on the host. float through oneDNN's sgemm, bfloat16 through its
// matmul primitive (on processors with AVX-512), the other types by plain loops.
//
// For float sgemm and not the primitive: no plan to make and keep for every new shape, any leading
// dimension, sums in place (beta = 1), and for the products of this library (192 x 1024 x 2048 and
// their gradients, 192 x 3000 x 128, few x 512 x few) no slower. oneDNN has no such call for
// bfloat16.
#pragma once

#include <algorithm>
#include <optional>
#include <ostream>
#include <type_traits>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/cpu/dnnl.hpp"

namespace mwalimu {
namespace ops {

struct MatmulOptions {
  bool transpose_a = false;
  bool transpose_b = false;
};

namespace detail {

template <class T>
View<T, 2> transposed(View<T, 2> a) {
  return {a.data(), {a.dim(1), a.dim(0)}, {a.stride(1), a.stride(0)}};
}

/// How BLAS sees a matrix: row-major with a leading dimension, or the transpose of such a one.
struct BlasOperand {
  char transpose;
  index_t leading;
  bool operator==(const BlasOperand&) const = default;
};
template <class T>
std::optional<BlasOperand> blas_operand(View<const T, 2> a) {
  const auto row_major = [](View<const T, 2> m) {
    const bool dense_rows = m.dim(1) == 1 || m.stride(1) == 1;
    return dense_rows && (m.dim(0) == 1 || m.stride(0) >= m.dim(1));
  };
  // A single row may carry any stride; BLAS still wants it to be at least the row's length.
  if (row_major(a)) return BlasOperand{'N', std::max(a.stride(0), a.dim(1))};
  if (row_major(transposed(a))) return BlasOperand{'T', std::max(a.stride(1), a.dim(0))};
  return std::nullopt;
}

template <class T>
std::vector<T> gather(View<const T, 2> a) {
  std::vector<T> dense;
  dense.reserve(static_cast<std::size_t>(a.count()));
  for (index_t i = 0; i < a.dim(0); ++i) {
    for (index_t j = 0; j < a.dim(1); ++j) dense.push_back(a(i, j));
  }
  return dense;
}
template <class T>
View<const T, 2> dense_view(const std::vector<T>& values, index_t rows, index_t columns) {
  return {values.data(), {rows, columns}, {columns, 1}};
}

template <class T, class C>
void matmul_loops(View<const T, 2> a, View<const T, 2> b, bool accumulate, View<C, 2> c) {
  using A = accumulate_t<T>;
  const index_t K = a.dim(1), N = b.dim(1);
  const std::vector<T> rows = gather(b);
  parallel_for(a.dim(0), std::max<index_t>(1, 16384 / std::max<index_t>(K * N, 1)),
               [&](index_t begin, index_t end) {
                 std::vector<A> sum(static_cast<std::size_t>(N));
                 for (index_t i = begin; i < end; ++i) {
                   std::fill(sum.begin(), sum.end(), A{});
                   for (index_t k = 0; k < K; ++k) {
                     const A value = convert<A>(a(i, k));
                     const T* row = rows.data() + k * N;
                     for (index_t j = 0; j < N; ++j)
                       sum[static_cast<std::size_t>(j)] += value * convert<A>(row[j]);
                   }
                   for (index_t j = 0; j < N; ++j) {
                     const A value = sum[static_cast<std::size_t>(j)];
                     c(i, j) = convert<C>(accumulate ? convert<A>(c(i, j)) + value : value);
                   }
                 }
               });
}

}  // namespace detail
}  // namespace ops

namespace cpu {

/// All that shapes a product of bfloat16 matrices.
struct MatmulKey {
  index_t M, K, N;
  ops::detail::BlasOperand a, b;
  index_t c_leading;
  bool float_result, accumulate;
  int threads;
  bool operator==(const MatmulKey&) const = default;

  std::size_t hash() const {
    return hash_of(M, K, N, a.transpose, a.leading, b.transpose, b.leading, c_leading, float_result,
                   accumulate, threads);
  }
  friend std::ostream& operator<<(std::ostream& out, const MatmulKey& key) {
    return out << "bfloat16 " << key.M << 'x' << key.K << 'x' << key.N << ' ' << key.a.transpose
               << key.b.transpose;
  }
};

struct MatmulPrimitive {
  DnnlPrimitive primitive;
  DnnlLayout a, b, c, scratchpad;
};

namespace detail {

inline MatmulPrimitive make_matmul(const MatmulKey& key) {
  constexpr const char* kName = "matmul";
  const auto matrix = [](index_t rows, index_t columns, const ops::detail::BlasOperand& layout,
                         dnnl_data_type_t type) {
    const bool turned = layout.transpose == 'T';
    return dnnl_layout(kName, type, {rows, columns},
                       {turned ? 1 : layout.leading, turned ? layout.leading : 1});
  };
  const auto a = matrix(key.M, key.K, key.a, dnnl_bf16), b = matrix(key.K, key.N, key.b, dnnl_bf16);
  const auto c =
      matrix(key.M, key.N, {'N', key.c_leading}, key.float_result ? dnnl_f32 : dnnl_bf16);
  const auto attributes = user_scratchpad(kName);
  if (key.accumulate) {
    const auto add = dnnl_make<DnnlPostOps>(kName, dnnl_post_ops_create);
    dnnl_check(kName, dnnl_post_ops_append_sum(add.get(), 1.0f));
    dnnl_check(kName, dnnl_primitive_attr_set_post_ops(attributes.get(), add.get()));
  }
  dnnl_matmul_desc_t product;
  dnnl_check(kName, dnnl_matmul_desc_init(&product, &a, &b, nullptr, &c));
  const auto chosen = dnnl_describe(kName, product, attributes);
  record_implementation({kName, dnnl_implementation(chosen), mwalimu::detail::concatenate(key)});
  return {dnnl_make<DnnlPrimitive>(kName, dnnl_primitive_create, chosen.get()), a, b, c,
          dnnl_layout_of(chosen, dnnl_query_scratchpad_md)};
}

}  // namespace detail

/// c <- a b, or c += a b; c (M, N) has dense rows `c_leading` apart and is float or bfloat16.
template <class C>
void matmul_dnnl(const MatmulKey& key, const bfloat16* a, const bfloat16* b, C* c) {
  static auto* cache = new PrimitiveCache<MatmulKey, MatmulPrimitive>;
  const auto product = cache->get(key, [&] { return detail::make_matmul(key); });
  execute("matmul", product->primitive, product->scratchpad,
          {{DNNL_ARG_SRC, product->a, a},
           {DNNL_ARG_WEIGHTS, product->b, b},
           {DNNL_ARG_DST, product->c, c}});
}

}  // namespace cpu

namespace ops {

/// c <- a b, or c += a b if `accumulate`. Transposes are views with swapped strides.
///
/// @param a  (M, K), any strides; fast where one of them is 1.
/// @param b  (K, N), the same.
/// @param c  (M, N), the same; must not overlap a or b. Of type T or accumulate_t<T>.
/// @throws ShapeError  extents disagree.
/// Accuracy  sums in accumulate_t<T>, one rounding where c is of fewer digits; the same bits on the
///           same number of threads.
template <class T, class C>
void matmul([[maybe_unused]] Cpu place, View<const T, 2> a, View<const T, 2> b, bool accumulate,
            View<C, 2> c) {
  static_assert(std::is_same_v<C, T> || std::is_same_v<C, accumulate_t<T>>);
  const index_t M = a.dim(0), K = a.dim(1), N = b.dim(1);
  require<ShapeError>(b.dim(0) == K && c.dim(0) == M && c.dim(1) == N, "matmul: (", M, ", ", K,
                      ") times (", b.dim(0), ", ", N, ") into (", c.dim(0), ", ", c.dim(1), ")");
  if (M == 0 || N == 0) return;
  if constexpr (cpu::kDnnlElement<T>) {
    if (!cpu::dnnl_computes<T>()) return detail::matmul_loops(a, b, accumulate, c);
    if (K == 0) return detail::matmul_loops(a, b, accumulate, c);
    const auto c_layout = detail::blas_operand<C>(c);
    if (c_layout && c_layout->transpose == 'T') {  // c' = b' a'
      return matmul<T>(place, detail::transposed(b), detail::transposed(a), accumulate,
                       detail::transposed(c));
    }
    const auto a_layout = detail::blas_operand(a), b_layout = detail::blas_operand(b);
    if (!a_layout) {
      return matmul<T>(place, detail::dense_view(detail::gather(a), M, K), b, accumulate, c);
    }
    if (!b_layout) {
      return matmul<T>(place, a, detail::dense_view(detail::gather(b), K, N), accumulate, c);
    }
    if (!c_layout) {
      std::vector<float> sum(static_cast<std::size_t>(M * N));
      matmul<T>(place, a, b, false, View<float, 2>(sum.data(), {M, N}, {N, 1}));
      for (index_t i = 0; i < M; ++i) {
        for (index_t j = 0; j < N; ++j) {
          const float value = sum[static_cast<std::size_t>(i * N + j)];
          c(i, j) = convert<C>(accumulate ? convert<float>(c(i, j)) + value : value);
        }
      }
      return;
    }
    if constexpr (std::is_same_v<T, bfloat16>) {
      return cpu::matmul_dnnl({M, K, N, *a_layout, *b_layout, c_layout->leading,
                               std::is_same_v<C, float>, accumulate, num_threads()},
                              a.data(), b.data(), c.data());
    } else {
      cpu::dnnl_check("matmul", dnnl_sgemm(a_layout->transpose, b_layout->transpose, M, N, K, 1.0f,
                                           a.data(), a_layout->leading, b.data(), b_layout->leading,
                                           accumulate ? 1.0f : 0.0f, c.data(), c_layout->leading));
    }
  } else {
    detail::matmul_loops(a, b, accumulate, c);
  }
}

/// The product of two matrices, each transposed first if the options say so. Not differentiable:
/// for neighbours, principal components and scores; ops::linear records itself.
/// @throws ShapeError  the ranks are not 2 or the inner extents disagree.
template <class T>
requires std::is_same_v<T, float> || std::is_same_v<T, double> Tensor<T> matmul(
    const Tensor<T>& a, const Tensor<T>& b, const MatmulOptions& options = {}) {
  require<ShapeError>(a.rank() == 2 && b.rank() == 2, "matmul: want two matrices, got ", a.shape(),
                      " and ", b.shape());
  require<DeviceError>(a.device() == b.device(), "matmul: operands on ", a.device(), " and ",
                       b.device());
  const Tensor<T> left = options.transpose_a ? a.permute({1, 0}) : a;
  const Tensor<T> right = options.transpose_b ? b.permute({1, 0}) : b;
  auto product = Tensor<T>::empty({left.dim(0), right.dim(1)}, a.device());
  on_device(a.device(), [&](auto place) {
    matmul<T>(place, left.template view<2>(), right.template view<2>(), false,
              product.template view<2>());
  });
  return product;
}

}  // namespace ops
}  // namespace mwalimu
