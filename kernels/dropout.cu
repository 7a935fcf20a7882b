#include "dropout.cuh"

namespace mwalimu::ops {
template void dropout_apply(Gpu, View<const float, 1>, double, const DropoutKey&, View<float, 1>);
template void dropout_apply(Gpu, View<const double, 1>, double, const DropoutKey&,
                            View<double, 1>);
template void dropout_apply(Gpu, View<const half, 1>, double, const DropoutKey&, View<half, 1>);
template void dropout_apply(Gpu, View<const bfloat16, 1>, double, const DropoutKey&,
                            View<bfloat16, 1>);
}  // namespace mwalimu::ops
