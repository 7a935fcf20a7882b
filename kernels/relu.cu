#include "relu.cuh"

namespace mwalimu::ops {

#define MWALIMU_RELU(T)                                       \
  template void relu_forward(Gpu, View<const T, 1>, View<T, 1>); \
  template void relu_backward(Gpu, View<const T, 1>, View<const T, 1>, View<T, 1>)

MWALIMU_RELU(float);
MWALIMU_RELU(double);
MWALIMU_RELU(half);
MWALIMU_RELU(bfloat16);

}  // namespace mwalimu::ops
