#include "max_pool.cuh"

namespace mwalimu::ops {

#define MWALIMU_MAX_POOL(T)                                                                        \
  template void max_pool_forward(Gpu, View<const T, 4>, const Pool2dOptions&, View<T, 4>,          \
                                 View<std::uint8_t, 4>);                                           \
  template void max_pool_backward(Gpu, View<const T, 4>, View<const std::uint8_t, 4>,              \
                                  const Pool2dOptions&, View<T, 4>)

MWALIMU_MAX_POOL(float);
MWALIMU_MAX_POOL(double);
MWALIMU_MAX_POOL(half);
MWALIMU_MAX_POOL(bfloat16);

}  // namespace mwalimu::ops
