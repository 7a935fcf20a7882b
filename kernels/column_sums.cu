#include "column_sums.cuh"

namespace mwalimu {
template void column_sums(Gpu, View<const float, 2>, bool, View<float, 1>);
template void column_sums(Gpu, View<const double, 2>, bool, View<double, 1>);
template void column_sums(Gpu, View<const half, 2>, bool, View<float, 1>);
template void column_sums(Gpu, View<const bfloat16, 2>, bool, View<float, 1>);
}  // namespace mwalimu
