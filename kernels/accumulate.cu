#include "accumulate.cuh"

namespace mwalimu {
template void accumulate(Gpu, const Tensor<float>&, Tensor<float>&);
template void accumulate(Gpu, const Tensor<double>&, Tensor<double>&);
template void accumulate(Gpu, const Tensor<half>&, Tensor<half>&);
template void accumulate(Gpu, const Tensor<bfloat16>&, Tensor<bfloat16>&);
}  // namespace mwalimu
