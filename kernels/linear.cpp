#include "mwalimu/gpu/linear.hpp"

namespace mwalimu::ops {

template void linear_forward(Gpu, View<const float, 2>, View<const float, 2>, const float*,
                             View<float, 2>);
template void linear_forward(Gpu, View<const double, 2>, View<const double, 2>, const double*,
                             View<double, 2>);
template void linear_forward(Gpu, View<const half, 2>, View<const half, 2>, const float*,
                             View<half, 2>);
template void linear_forward(Gpu, View<const bfloat16, 2>, View<const bfloat16, 2>, const float*,
                             View<bfloat16, 2>);

template void linear_backward_data(Gpu, View<const float, 2>, View<const float, 2>,
                                   View<float, 2>);
template void linear_backward_data(Gpu, View<const double, 2>, View<const double, 2>,
                                   View<double, 2>);
template void linear_backward_data(Gpu, View<const half, 2>, View<const half, 2>, View<half, 2>);
template void linear_backward_data(Gpu, View<const bfloat16, 2>, View<const bfloat16, 2>,
                                   View<bfloat16, 2>);

template void linear_backward_weight(Gpu, View<const float, 2>, View<const float, 2>, bool,
                                     View<float, 2>);
template void linear_backward_weight(Gpu, View<const double, 2>, View<const double, 2>, bool,
                                     View<double, 2>);
template void linear_backward_weight(Gpu, View<const half, 2>, View<const half, 2>, bool,
                                     View<float, 2>);
template void linear_backward_weight(Gpu, View<const bfloat16, 2>, View<const bfloat16, 2>, bool,
                                     View<float, 2>);

template void linear_backward_bias(Gpu, View<const float, 2>, bool, View<float, 1>);
template void linear_backward_bias(Gpu, View<const double, 2>, bool, View<double, 1>);
template void linear_backward_bias(Gpu, View<const half, 2>, bool, View<float, 1>);
template void linear_backward_bias(Gpu, View<const bfloat16, 2>, bool, View<float, 1>);

}  // namespace mwalimu::ops
