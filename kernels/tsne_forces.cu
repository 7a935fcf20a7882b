#include "tsne_forces.cuh"

namespace mwalimu::embedding {

template void map_attraction(Gpu, const DeviceEdges&, View<const float, 2>, View<float, 2>);
template void map_repulsion(Gpu, View<const float, 2>, View<float, 2>, double*);
template void map_stretch(Gpu, const DeviceEdges&, View<const float, 2>, double*);
template void map_step(Gpu, const DescentSchedule&, View<const float, 2>, View<const float, 2>,
                       const DeviceMap&, DescentProgress*);

}  // namespace mwalimu::embedding
