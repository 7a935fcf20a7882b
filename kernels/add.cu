#include "add.cuh"

namespace mwalimu::ops {
template void add_forward(Gpu, View<const float, 2>, View<const float, 2>, View<float, 2>);
template void add_forward(Gpu, View<const double, 2>, View<const double, 2>, View<double, 2>);
template void add_forward(Gpu, View<const half, 2>, View<const half, 2>, View<half, 2>);
template void add_forward(Gpu, View<const bfloat16, 2>, View<const bfloat16, 2>,
                          View<bfloat16, 2>);
}  // namespace mwalimu::ops
