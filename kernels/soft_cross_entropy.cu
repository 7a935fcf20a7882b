#include "soft_cross_entropy.cuh"

namespace mwalimu::ops {

template void soft_cross_entropy_forward<float>(Gpu, View<const float, 2>, View<const float, 2>,
                                                Scalar, View<float, 1>, View<double, 1>,
                                                View<float, 1>);
template void soft_cross_entropy_forward<double>(Gpu, View<const double, 2>, View<const double, 2>,
                                                 Scalar, View<double, 1>, View<double, 1>,
                                                 View<double, 1>);
template void soft_cross_entropy_forward<half>(Gpu, View<const half, 2>, View<const float, 2>,
                                               Scalar, View<float, 1>, View<double, 1>,
                                               View<float, 1>);
template void soft_cross_entropy_forward<bfloat16>(Gpu, View<const bfloat16, 2>,
                                                   View<const float, 2>, Scalar, View<float, 1>,
                                                   View<double, 1>, View<float, 1>);

template void soft_cross_entropy_backward<float>(Gpu, View<const float, 2>, View<const float, 2>,
                                                 Scalar, View<const float, 1>,
                                                 View<const double, 1>, View<const float, 1>,
                                                 View<float, 2>);
template void soft_cross_entropy_backward<double>(Gpu, View<const double, 2>, View<const double, 2>,
                                                  Scalar, View<const double, 1>,
                                                  View<const double, 1>, View<const double, 1>,
                                                  View<double, 2>);
template void soft_cross_entropy_backward<half>(Gpu, View<const half, 2>, View<const float, 2>,
                                                Scalar, View<const float, 1>, View<const double, 1>,
                                                View<const float, 1>, View<half, 2>);
template void soft_cross_entropy_backward<bfloat16>(Gpu, View<const bfloat16, 2>,
                                                    View<const float, 2>, Scalar,
                                                    View<const float, 1>, View<const double, 1>,
                                                    View<const float, 1>, View<bfloat16, 2>);

template void swav_prediction_forward<float>(Gpu, View<const float, 2>, View<const float, 3>,
                                             std::span<const index_t>, Scalar, View<float, 1>,
                                             View<double, 1>, View<double, 1>, View<float, 1>,
                                             View<float, 0>);
template void swav_prediction_forward<double>(Gpu, View<const double, 2>, View<const double, 3>,
                                              std::span<const index_t>, Scalar, View<double, 1>,
                                              View<double, 1>, View<double, 1>, View<double, 1>,
                                              View<double, 0>);
template void swav_prediction_forward<half>(Gpu, View<const half, 2>, View<const float, 3>,
                                            std::span<const index_t>, Scalar, View<float, 1>,
                                            View<double, 1>, View<double, 1>, View<float, 1>,
                                            View<float, 0>);
template void swav_prediction_forward<bfloat16>(Gpu, View<const bfloat16, 2>, View<const float, 3>,
                                                std::span<const index_t>, Scalar, View<float, 1>,
                                                View<double, 1>, View<double, 1>, View<float, 1>,
                                                View<float, 0>);

template void swav_prediction_backward<float>(Gpu, View<const float, 2>, View<const float, 3>,
                                              std::span<const index_t>, Scalar,
                                              View<const float, 1>, View<const double, 1>,
                                              View<const double, 1>, View<const float, 0>,
                                              View<float, 2>);
template void swav_prediction_backward<double>(Gpu, View<const double, 2>, View<const double, 3>,
                                               std::span<const index_t>, Scalar,
                                               View<const double, 1>, View<const double, 1>,
                                               View<const double, 1>, View<const double, 0>,
                                               View<double, 2>);
template void swav_prediction_backward<half>(Gpu, View<const half, 2>, View<const float, 3>,
                                             std::span<const index_t>, Scalar, View<const float, 1>,
                                             View<const double, 1>, View<const double, 1>,
                                             View<const float, 0>, View<half, 2>);
template void swav_prediction_backward<bfloat16>(Gpu, View<const bfloat16, 2>, View<const float, 3>,
                                                 std::span<const index_t>, Scalar,
                                                 View<const float, 1>, View<const double, 1>,
                                                 View<const double, 1>, View<const float, 0>,
                                                 View<bfloat16, 2>);

}  // namespace mwalimu::ops
