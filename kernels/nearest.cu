#include "nearest.cuh"

namespace mwalimu::embedding {

template void nearest_rows(Gpu, View<const float, 2>, View<std::int32_t, 2>, View<float, 2>);

}  // namespace mwalimu::embedding
