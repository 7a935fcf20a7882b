#include "queue.cuh"

namespace mwalimu::ops {

template void queue_push(Gpu, View<const float, 2>, View<std::int64_t, 0>, View<float, 2>);
template void queue_push(Gpu, View<const double, 2>, View<std::int64_t, 0>, View<float, 2>);
template void queue_push(Gpu, View<const half, 2>, View<std::int64_t, 0>, View<float, 2>);
template void queue_push(Gpu, View<const bfloat16, 2>, View<std::int64_t, 0>, View<float, 2>);

}  // namespace mwalimu::ops
