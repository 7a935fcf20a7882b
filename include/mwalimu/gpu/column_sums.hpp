// gpu/column_sums: the sum of each column of a matrix. Defined in kernels/column_sums.cuh.
#pragma once

#include "mwalimu/core/tensor.hpp"

namespace mwalimu {

/// sums[o] <- sum_b x[b, o], added to what is there if `accumulate`. The same bits on every run.
/// @param x     (B, O), any strides.
/// @param sums  (O), any stride.
/// @throws ShapeError  the extents disagree.
template <class T>
void column_sums(Gpu on, View<const T, 2> x, bool accumulate, View<accumulate_t<T>, 1> sums);

}  // namespace mwalimu
