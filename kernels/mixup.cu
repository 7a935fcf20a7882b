#include "mixup.cuh"

namespace mwalimu::data {
template void draw_mixup(Gpu, double, std::uint64_t, Scalar, index_t, View<const std::int64_t, 1>,
                         View<float, 1>, View<index_t, 1>, View<std::int64_t, 1>);
template void mix_images(Gpu, View<const float, 4>, View<const float, 1>, View<const index_t, 1>,
                         View<float, 4>);
template void mix_images(Gpu, View<const half, 4>, View<const float, 1>, View<const index_t, 1>,
                         View<half, 4>);
template void mix_images(Gpu, View<const bfloat16, 4>, View<const float, 1>, View<const index_t, 1>,
                         View<bfloat16, 4>);
}  // namespace mwalimu::data
