#include "weight_average.cuh"

namespace mwalimu::optim {
template void weight_average(Gpu, View<const float, 1>, float, View<float, 1>);
}  // namespace mwalimu::optim
