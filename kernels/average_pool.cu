#include "average_pool.cuh"

namespace mwalimu::ops {

#define MWALIMU_AVERAGE_POOL(T)                                                                \
  template void average_pool_forward(Gpu, View<const T, 4>, const AveragePoolOptions&,         \
                                     View<T, 4>);                                              \
  template void average_pool_backward(Gpu, View<const T, 4>, const AveragePoolOptions&,        \
                                      View<T, 4>)

MWALIMU_AVERAGE_POOL(float);
MWALIMU_AVERAGE_POOL(double);
MWALIMU_AVERAGE_POOL(half);
MWALIMU_AVERAGE_POOL(bfloat16);

}  // namespace mwalimu::ops
