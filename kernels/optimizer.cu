#include "optimizer.cuh"

namespace mwalimu::optim::detail {
template void apply(Gpu, const SgdOptions&, const DeviceStep&);
template void apply(Gpu, const AdamOptions&, const DeviceStep&);
template void apply(Gpu, const LambOptions&, const DeviceStep&);
template void apply(Gpu, const LarcOptions&, const DeviceStep&);
template void apply(Gpu, const LarsOptions&, const DeviceStep&);
template void apply(Gpu, const RadamOptions&, const DeviceStep&);
template void apply(Gpu, const RangerOptions&, const DeviceStep&);
}  // namespace mwalimu::optim::detail
