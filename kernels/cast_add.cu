#include "cast_add.cuh"

namespace mwalimu {
template void cast_add(Gpu, View<const float, 1>, bool, View<float, 1>);
template void cast_add(Gpu, View<const double, 1>, bool, View<double, 1>);
template void cast_add(Gpu, View<const half, 1>, bool, View<float, 1>);
template void cast_add(Gpu, View<const bfloat16, 1>, bool, View<float, 1>);
}  // namespace mwalimu
