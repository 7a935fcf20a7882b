#include "tsne_grid.cuh"

namespace mwalimu::embedding {

template void prepare_grid(Gpu, const DeviceGrid&);
template void measure_map(Gpu, const DeviceGrid&, View<const float, 2>, DescentProgress*);
template void grid_repulsion(Gpu, const DeviceGrid&, View<const float, 2>, View<float, 2>,
                             DescentProgress*);

}  // namespace mwalimu::embedding
