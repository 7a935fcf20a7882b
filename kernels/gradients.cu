#include "gradients.cuh"

namespace mwalimu::optim {
template void measure_gradients(Gpu, View<const float, 1>, const GradientControlOptions&,
                                View<double, 1>, View<double, 1>, View<float, 1>);
}  // namespace mwalimu::optim
