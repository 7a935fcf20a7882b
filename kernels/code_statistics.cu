#include "code_statistics.cuh"

namespace mwalimu::ops {

template void code_statistics(Gpu, View<const float, 2>, View<float, 1>, View<float, 1>);
template void code_statistics(Gpu, View<const double, 2>, View<double, 1>, View<double, 1>);
template void swav_statistics(Gpu, View<const float, 2>, View<const float, 0>,
                              View<const float, 0>, View<const float, 1>, Scalar,
                              View<float, 2>);
template void swav_statistics(Gpu, View<const double, 2>, View<const double, 0>,
                              View<const double, 0>, View<const double, 1>, Scalar,
                              View<double, 2>);

}  // namespace mwalimu::ops
