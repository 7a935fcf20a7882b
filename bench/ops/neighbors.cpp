// The search for the nearest neighbours of every point by all pairs, on a CUDA device. (On the Cpu:
// tsne_choices_bench.)
#include <algorithm>
#include <vector>

#include "case.hpp"
#include "mwalimu/embedding/brute_force.hpp"
#include "mwalimu/embedding/device_neighbors.hpp"

namespace mwalimu::embedding {
namespace {

using bench::noise, bench::register_case, bench::short_name, bench::Work, bench::work_on;

Work nearest(Device device, index_t n, index_t d, index_t k) {
  auto x = noise<float>({n, d}, device, 1);
  auto index = Tensor<std::int32_t>::empty({n, k}, device);
  auto distance = Tensor<float>::empty({n, k}, device);
  return work_on(
      device,
      [=](auto place) mutable {
        if constexpr (std::is_same_v<decltype(place), Gpu>) {
          nearest_rows(place, x.template view<2>(), index.template view<2>(),
                       distance.template view<2>());
        } else {
          const Points points(x);
          detail::brute_force(
              points, points, [](index_t i) { return i; }, k, index.data(), distance.data());
        }
      },
      distance);
}

void register_nearest(index_t n, index_t d, index_t k) {
  const auto points = static_cast<double>(n), columns = static_cast<double>(d);
  register_case<float>(
      {.op = "nearest/all_pairs",
       .type = short_name<float>(),
       .shape = "n:" + std::to_string(n) + "/d:" + std::to_string(d) + "/k:" + std::to_string(k),
       // Three products of bfloat16 a pair.
       .cost = {4 * points * columns + 8 * points * static_cast<double>(k),
                6 * points * points * columns},
       .tolerance = 1e-6,
       .make = [=](Device device) { return nearest(device, n, d, k); },
       .small = [=](Device device) { return nearest(device, 200, 40, 9); },
       .reference = nullptr});
}

const bool registered = [] {
  register_nearest(70000, 784, 90);
  register_nearest(1000000, 50, 90);
  return true;
}();

}  // namespace
}  // namespace mwalimu::embedding
