#include "mwalimu/gpu/cublaslt.hpp"

namespace mwalimu::gpu {
template struct BasicMultiplication<>;
}  // namespace mwalimu::gpu
