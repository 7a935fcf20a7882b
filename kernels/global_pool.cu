#include "global_pool.cuh"

namespace mwalimu::ops {

#define MWALIMU_GLOBAL_POOL(T)                                                                   \
  template void global_average_forward(Gpu, View<const T, 3>, View<T, 2>);                       \
  template void global_average_backward(Gpu, View<const T, 2>, View<T, 3>);                      \
  template void concat_pool_forward(Gpu, View<const T, 3>, View<T, 2>, View<T, 2>,               \
                                    View<std::int32_t, 2>);                                      \
  template void concat_pool_backward(Gpu, View<const T, 2>, View<const T, 2>,                    \
                                     View<const std::int32_t, 2>, View<T, 3>)

MWALIMU_GLOBAL_POOL(float);
MWALIMU_GLOBAL_POOL(double);
MWALIMU_GLOBAL_POOL(half);
MWALIMU_GLOBAL_POOL(bfloat16);

}  // namespace mwalimu::ops
