#include "mwalimu/gpu/conv2d.hpp"

namespace mwalimu::ops {

template void conv2d_forward(Gpu, View<const float, 4>, View<const float, 4>, const Conv2dOptions&,
                             PackedWeights*, View<float, 4>);
template void conv2d_forward(Gpu, View<const double, 4>, View<const double, 4>, const Conv2dOptions&,
                             PackedWeights*, View<double, 4>);
template void conv2d_forward(Gpu, View<const half, 4>, View<const half, 4>, const Conv2dOptions&,
                             PackedWeights*, View<half, 4>);
template void conv2d_forward(Gpu, View<const bfloat16, 4>, View<const bfloat16, 4>, const Conv2dOptions&,
                             PackedWeights*, View<bfloat16, 4>);

template void conv2d_backward_data(Gpu, View<const float, 4>, View<const float, 4>,
                                   const Conv2dOptions&, PackedWeights*, View<float, 4>);
template void conv2d_backward_data(Gpu, View<const double, 4>, View<const double, 4>,
                                   const Conv2dOptions&, PackedWeights*, View<double, 4>);
template void conv2d_backward_data(Gpu, View<const half, 4>, View<const half, 4>,
                                   const Conv2dOptions&, PackedWeights*, View<half, 4>);
template void conv2d_backward_data(Gpu, View<const bfloat16, 4>, View<const bfloat16, 4>,
                                   const Conv2dOptions&, PackedWeights*, View<bfloat16, 4>);

template void conv2d_backward_weight(Gpu, View<const float, 4>, View<const float, 4>,
                                     const Conv2dOptions&, bool, View<float, 4>);
template void conv2d_backward_weight(Gpu, View<const double, 4>, View<const double, 4>,
                                     const Conv2dOptions&, bool, View<double, 4>);
template void conv2d_backward_weight(Gpu, View<const half, 4>, View<const half, 4>,
                                     const Conv2dOptions&, bool, View<float, 4>);
template void conv2d_backward_weight(Gpu, View<const bfloat16, 4>, View<const bfloat16, 4>,
                                     const Conv2dOptions&, bool, View<float, 4>);

}  // namespace mwalimu::ops
