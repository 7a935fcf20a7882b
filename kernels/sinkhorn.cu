#include "sinkhorn.cuh"

namespace mwalimu::ops {

template void sinkhorn_codes<float>(Gpu, View<const float, 3>, View<const float, 2>, Scalar, double,
                                    int, View<float, 3>);
template void sinkhorn_codes<double>(Gpu, View<const double, 3>, View<const double, 2>, Scalar,
                                     double, int, View<double, 3>);
template void sinkhorn_codes<half>(Gpu, View<const half, 3>, View<const half, 2>, Scalar, double,
                                   int, View<float, 3>);
template void sinkhorn_codes<bfloat16>(Gpu, View<const bfloat16, 3>, View<const bfloat16, 2>,
                                       Scalar, double, int, View<float, 3>);

}  // namespace mwalimu::ops
