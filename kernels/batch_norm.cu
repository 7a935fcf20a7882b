#include "batch_norm.cuh"

namespace mwalimu::ops {

template void batch_norm_evaluate(Gpu, View<const float, 1>, View<const float, 1>,
                                  const BatchNormParameters<float>&,
                                  const BatchNormCoefficients<float>&);
template void batch_norm_evaluate(Gpu, View<const double, 1>, View<const double, 1>,
                                  const BatchNormParameters<double>&,
                                  const BatchNormCoefficients<double>&);

#define MWALIMU_BATCH_NORM(T, A)                                                                   \
  template void batch_norm_train(Gpu, View<const T, 2>, const BatchNormParameters<A>&,             \
                                 const BatchNormTracked<A>&, const BatchNormCoefficients<A>&);     \
  template void batch_norm_apply(Gpu, View<const T, 2>, std::optional<View<const T, 2>>,           \
                                 View<const A, 1>, View<const A, 1>, View<const A, 1>, Activation, \
                                 std::optional<View<std::uint8_t, 2>>, View<T, 2>);                \
  template void batch_norm_parameter_gradients(                                                    \
      Gpu, View<const T, 2>, View<const T, 2>, std::optional<View<const std::uint8_t, 2>>,         \
      View<const double, 1>, View<const double, 1>, View<const A, 1>, bool,                        \
      const BatchNormGradients<A>&);                                                               \
  template void batch_norm_input_gradient(                                                         \
      Gpu, View<const T, 2>, View<const T, 2>, std::optional<View<const std::uint8_t, 2>>,         \
      View<const A, 1>, View<const A, 1>, View<const A, 1>, View<const A, 1>, View<T, 2>,          \
      std::optional<View<T, 2>>)

MWALIMU_BATCH_NORM(float, float);
MWALIMU_BATCH_NORM(double, double);
MWALIMU_BATCH_NORM(half, float);
MWALIMU_BATCH_NORM(bfloat16, float);

}  // namespace mwalimu::ops
