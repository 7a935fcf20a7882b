#include "multi_crop.cuh"

namespace mwalimu::data {
template void draw_crops(Gpu, const CropRule&, std::uint64_t, Scalar, index_t, index_t, int, int,
                         CropPlan*);
template void crop_group(Gpu, const CropRule&, const Normalisation&, std::uint64_t, Scalar,
                         View<const std::uint8_t, 4>, View<const index_t, 2>, index_t,
                         View<float, 4>);
template void crop_group(Gpu, const CropRule&, const Normalisation&, std::uint64_t, Scalar,
                         View<const std::uint8_t, 4>, View<const index_t, 2>, index_t,
                         View<half, 4>);
template void crop_group(Gpu, const CropRule&, const Normalisation&, std::uint64_t, Scalar,
                         View<const std::uint8_t, 4>, View<const index_t, 2>, index_t,
                         View<bfloat16, 4>);
}  // namespace mwalimu::data
