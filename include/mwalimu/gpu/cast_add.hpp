// gpu/cast_add: a gradient in a low precision into, or onto, one in float. Defined in
// kernels/cast_add.cuh.
#pragma once

#include "mwalimu/core/tensor.hpp"

namespace mwalimu {

/// to[i] <- from[i], or to[i] + from[i] if `accumulate`, in the type of `to`. Both are dense and do not
/// overlap.
/// @throws ShapeError  the counts differ, or a stride is not 1.
template <class T>
void cast_add(Gpu on, View<const T, 1> from, bool accumulate, View<accumulate_t<T>, 1> to);

}  // namespace mwalimu
