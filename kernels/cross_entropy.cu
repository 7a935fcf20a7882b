#include "cross_entropy.cuh"

namespace mwalimu::ops {

template void cross_entropy_forward<float>(Gpu, View<const float, 2>,
                                           const CrossEntropyTarget<float>&, View<float, 1>,
                                           View<double, 1>, View<double, 0>, View<float, 0>);
template void cross_entropy_forward<double>(Gpu, View<const double, 2>,
                                            const CrossEntropyTarget<double>&, View<double, 1>,
                                            View<double, 1>, View<double, 0>, View<double, 0>);
template void cross_entropy_forward<half>(Gpu, View<const half, 2>,
                                          const CrossEntropyTarget<float>&, View<float, 1>,
                                          View<double, 1>, View<double, 0>, View<float, 0>);
template void cross_entropy_forward<bfloat16>(Gpu, View<const bfloat16, 2>,
                                              const CrossEntropyTarget<float>&, View<float, 1>,
                                              View<double, 1>, View<double, 0>, View<float, 0>);

template void cross_entropy_backward<float>(Gpu, View<const float, 2>,
                                            const CrossEntropyTarget<float>&, View<const float, 1>,
                                            View<const double, 1>, View<const double, 0>,
                                            View<const float, 0>, View<float, 2>);
template void cross_entropy_backward<double>(Gpu, View<const double, 2>,
                                             const CrossEntropyTarget<double>&,
                                             View<const double, 1>, View<const double, 1>,
                                             View<const double, 0>, View<const double, 0>,
                                             View<double, 2>);
template void cross_entropy_backward<half>(Gpu, View<const half, 2>,
                                           const CrossEntropyTarget<float>&, View<const float, 1>,
                                           View<const double, 1>, View<const double, 0>,
                                           View<const float, 0>, View<half, 2>);
template void cross_entropy_backward<bfloat16>(Gpu, View<const bfloat16, 2>,
                                               const CrossEntropyTarget<float>&,
                                               View<const float, 1>, View<const double, 1>,
                                               View<const double, 0>, View<const float, 0>,
                                               View<bfloat16, 2>);

}  // namespace mwalimu::ops
