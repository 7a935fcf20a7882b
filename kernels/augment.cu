#include "augment.cuh"

namespace mwalimu::data {
template void augment(Gpu, const AugmentOptions&, const AugmentDraws&, View<const std::uint8_t, 4>,
                      View<const index_t, 1>, View<const index_t, 1>, View<float, 4>);
template void augment(Gpu, const AugmentOptions&, const AugmentDraws&, View<const std::uint8_t, 4>,
                      View<const index_t, 1>, View<const index_t, 1>, View<half, 4>);
template void augment(Gpu, const AugmentOptions&, const AugmentDraws&, View<const std::uint8_t, 4>,
                      View<const index_t, 1>, View<const index_t, 1>, View<bfloat16, 4>);
}  // namespace mwalimu::data
