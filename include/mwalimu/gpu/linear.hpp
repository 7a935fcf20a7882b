// gpu/linear: the affine map of each row on a CUDA device, by gpu/matmul. The bias' gradient is a kernel
// of ours.
//
// A ReLU behind it is not fused (CUBLASLT_EPILOGUE_RELU_AUX). One layer has a ReLU right behind it, the
// first of the classifier's head, (B, 512). At B = 256 in float that is 1 MB to read and write, 0.2 us
// of an H200's 4.8 TB/s by its data sheet, so what could be saved is the launch, one of about a thousand
// in a step's graph. And only forward: behind the ReLU is a batch norm, not a product that could take
// over the derivative (CUBLASLT_EPILOGUE_DRELU), so backward stays a kernel, and reads the sign from y
// where the library would keep a mask. Not measured.
#pragma once

#include <type_traits>

#include "mwalimu/gpu/column_sums.hpp"
#include "mwalimu/gpu/matmul.hpp"
#include "mwalimu/ops/linear.hpp"

namespace mwalimu::ops {

/// The library adds a bias of the result's type alone. So that a float bias is not rounded, a 16-bit
/// result with bias is made in float first, and rounded once.
template <class T>
void linear_forward(Gpu on, View<const T, 2> x, View<const T, 2> weight,
                    const accumulate_t<T>* bias, View<T, 2> out) {
  using A = accumulate_t<T>;
  const auto transposed = gpu::detail::transpose(weight);
  if (bias == nullptr) {
    gpu::matmul<T, T>(on, x, transposed, false, nullptr, out);
  } else if constexpr (std::is_same_v<T, A>) {
    gpu::matmul<T, T>(on, x, transposed, false, bias, out);
  } else {
    const auto wide = gpu::scratch<A>(on, out.count());
    const View<A, 2> sums(wide.get(), out.extents(), {out.dim(1), 1});
    gpu::matmul<T, A>(on, x, transposed, false, bias, sums);
    gpu::detail::copy<A, T>(on, sums, out);
  }
}

template <class T>
void linear_backward_data(Gpu on, View<const T, 2> dout, View<const T, 2> weight, View<T, 2> dx) {
  gpu::matmul<T, T>(on, dout, weight, false, nullptr, dx);
}

template <class T>
void linear_backward_weight(Gpu on, View<const T, 2> x, View<const T, 2> dout, bool accumulate,
                            View<accumulate_t<T>, 2> dweight) {
  gpu::matmul<T, accumulate_t<T>>(on, gpu::detail::transpose(dout), x, accumulate, nullptr,
                                  dweight);
}

template <class T>
void linear_backward_bias(Gpu on, View<const T, 2> dout, bool accumulate,
                          View<accumulate_t<T>, 1> dbias) {
  column_sums<T>(on, dout, accumulate, dbias);
}

}  // namespace mwalimu::ops
