#include "l2_normalize.cuh"

namespace mwalimu::ops {

template void l2_normalize_forward(Gpu, View<const float, 2>, double, View<float, 2>,
                                   View<float, 1>);
template void l2_normalize_forward(Gpu, View<const double, 2>, double, View<double, 2>,
                                   View<double, 1>);
template void l2_normalize_forward(Gpu, View<const half, 2>, double, View<half, 2>, View<float, 1>);
template void l2_normalize_forward(Gpu, View<const bfloat16, 2>, double, View<bfloat16, 2>,
                                   View<float, 1>);

template void l2_normalize_backward(Gpu, View<const float, 2>, View<const float, 2>,
                                    View<const float, 1>, double, View<float, 2>);
template void l2_normalize_backward(Gpu, View<const double, 2>, View<const double, 2>,
                                    View<const double, 1>, double, View<double, 2>);
template void l2_normalize_backward(Gpu, View<const half, 2>, View<const half, 2>,
                                    View<const float, 1>, double, View<half, 2>);
template void l2_normalize_backward(Gpu, View<const bfloat16, 2>, View<const bfloat16, 2>,
                                    View<const float, 1>, double, View<bfloat16, 2>);

}  // namespace mwalimu::ops
