#include "mwalimu/gpu/cudnn_device.hpp"

namespace mwalimu::gpu {
template struct BasicConvolution<>;
}  // namespace mwalimu::gpu
