#include "reduce_ops.cuh"

namespace mwalimu::ops {

template void sum_forward(Gpu, View<const float, 1>, double, View<float, 0>);
template void sum_forward(Gpu, View<const double, 1>, double, View<double, 0>);
template void sum_forward(Gpu, View<const half, 1>, double, View<float, 0>);
template void sum_forward(Gpu, View<const bfloat16, 1>, double, View<float, 0>);

template void sum_backward(Gpu, View<const float, 0>, double, View<float, 1>);
template void sum_backward(Gpu, View<const double, 0>, double, View<double, 1>);
template void sum_backward(Gpu, View<const float, 0>, double, View<half, 1>);
template void sum_backward(Gpu, View<const float, 0>, double, View<bfloat16, 1>);

}  // namespace mwalimu::ops
