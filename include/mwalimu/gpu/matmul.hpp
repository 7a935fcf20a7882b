// gpu/matmul: products of matrices on a CUDA device, by cuBLASLt: what surrounds a call of the library.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/device_copy.hpp"
#include "mwalimu/core/profile.hpp"
#include "mwalimu/gpu/matmul_problem.hpp"
#include "mwalimu/gpu/scratch.hpp"

namespace mwalimu::gpu {
namespace detail {

template <class T>
Shape shape_of(View<T, 2> a) {
  return {a.dim(0), a.dim(1)};
}
template <class T>
Shape strides_of(View<T, 2> a) {
  return {a.stride(0), a.stride(1)};
}
template <class T>
View<T, 2> transpose(View<T, 2> a) {
  return {a.data(), {a.dim(1), a.dim(0)}, {a.stride(1), a.stride(0)}};
}
template <class From, class To>
void copy(Gpu on, View<const From, 2> from, View<To, 2> to) {
  copy_elements(on, shape_of(to), element_type<From>(), from.data(), strides_of(from),
                element_type<To>(), to.data(), strides_of(to));
}

/// A matrix that BLAS can take, with the memory that it may have been copied to.
template <class T>
struct Operand {
  View<const T, 2> view;
  BlasMatrix in_memory;
  std::shared_ptr<T> copy;
};
template <class T>
Operand<T> operand(Gpu on, View<const T, 2> a) {
  if (const auto in_memory = blas_matrix(a)) return {a, *in_memory, nullptr};
  auto dense = scratch<T>(on, a.count());
  const View<T, 2> to(dense.get(), {a.dim(0), a.dim(1)}, {a.dim(1), 1});
  copy<T, T>(on, a, to);
  return {to, {true, a.dim(1)}, std::move(dense)};
}

}  // namespace detail

/// c <- a b, or c + a b if `accumulate`, + bias[j] in column j where there is one.
///
/// @param a     (M, K), any strides; read in place where one of them is 1, else copied first.
/// @param b     (K, N), the same.
/// @param bias  (N), dense, or null.
/// @param c     (M, N), the same as a; overlaps neither. Its type C is T, or float for 16-bit T.
/// @throws ShapeError   extents disagree or are 0.
/// @throws CublasError  cuBLASLt has no algorithm for the problem: its extents and types.
/// Accuracy  products and sums in float (double for double); the same bits on every run.
template <class T, class C>
void matmul(Gpu on, View<const T, 2> a, View<const T, 2> b, bool accumulate, const C* bias,
            View<C, 2> c) {
  const index_t M = c.dim(0), N = c.dim(1), K = a.dim(1);
  require<ShapeError>(a.dim(0) == M && b.dim(0) == K && b.dim(1) == N && M > 0 && N > 0 && K > 0,
                      "matmul: (", a.dim(0), ", ", K, ") times (", b.dim(0), ", ", b.dim(1),
                      ") into (", M, ", ", N, ")");
  const auto c_in_memory = blas_matrix(c);
  if (!c_in_memory || (bias != nullptr && !c_in_memory->row_major)) {
    const auto dense = scratch<C>(on, c.count());
    const View<C, 2> row_major(dense.get(), {M, N}, {N, 1});
    if (accumulate) detail::copy<C, C>(on, c, row_major);
    matmul<T, C>(on, a, b, accumulate, bias, row_major);
    return detail::copy<C, C>(on, row_major, c);
  }
  if (!c_in_memory->row_major) {
    return matmul<T, C>(on, detail::transpose(b), detail::transpose(a), accumulate, bias,
                        detail::transpose(c));
  }
  const auto left = detail::operand<T>(on, a), right = detail::operand<T>(on, b);
  auto problem = row_major_product<T, C>(left.view, left.in_memory, right.view, right.in_memory, c,
                                         *c_in_memory);
  problem.accumulate = accumulate;
  problem.bias = bias != nullptr;
  const auto run = [&] {
    const ProfileScope range("matmul", on, ProfileRecord::Kind::kernel);
    return Multiplication::run(on, problem, right.view.data(), left.view.data(),
                               problem.bias ? bias : nullptr, c.data());
  };
  if (run()) return;
  if (problem.bias && !accumulate) {
    // No algorithm adds the bias itself: the product is added onto it.
    detail::copy<C, C>(on, {bias, {M, N}, {0, 1}}, c);
    problem.bias = false;
    problem.accumulate = true;
    if (run()) return;
  }
  mwalimu::detail::fail<CublasError>("matmul ", problem, ": cuBLASLt has no algorithm on cuda:",
                                     on.device, " (", Driver::info(on.device).name, ")");
}

}  // namespace mwalimu::gpu
