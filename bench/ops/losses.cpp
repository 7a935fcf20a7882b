// What runs behind the network: unit vectors, codes, losses, the queue and the log's statistics, at
// the shapes of a SwAV step: 8 crops, codes on 2 of them, 3000 prototypes.
#include <array>

#include "case.hpp"
#include "mwalimu/ops/cross_entropy.hpp"
#include "mwalimu/ops/l2_normalize.hpp"
#include "mwalimu/ops/queue.hpp"
#include "mwalimu/ops/reduce.hpp"
#include "mwalimu/ops/sinkhorn.hpp"
#include "mwalimu/ops/soft_cross_entropy.hpp"
#include "mwalimu/ops/swav_statistics.hpp"

namespace mwalimu::ops {
namespace {

using bench::case_of, bench::noise, bench::register_case, bench::tolerance, bench::Work;
using bench::work_on;
using detail::view;

constexpr index_t kDimension = 128, kCrops = 8;
constexpr std::array<index_t, 2> kAssign{0, 1};

template <Real T>
Work l2_pass(Device device, index_t B, bool forward) {
  using A = accumulate_t<T>;
  auto x = noise<T>({B, kDimension}, device, 1), dy = noise<T>({B, kDimension}, device, 2);
  auto to = Tensor<T>::empty({B, kDimension}, device);
  auto norm = Tensor<A>::full({B}, A{6.5}, device);
  return work_on(
      device,
      [=](auto place) mutable {
        if (forward) {
          return l2_normalize_forward<T>(place, view<2>(x), 1e-12, view<2>(to), view<1>(norm));
        }
        l2_normalize_backward<T>(place, view<2>(dy), view<2>(x), view<1>(norm), 1e-12,
                                 view<2>(to));
      },
      to);
}

// Scores are cosines; at epsilon 0.05 their exponentials span what a run's do.
template <Real T>
Work sinkhorn_pass(Device device, index_t B, index_t L, index_t K) {
  using A = accumulate_t<T>;
  const auto problems = static_cast<index_t>(kAssign.size());
  auto scores = noise<T>({problems, B, K}, device, 1, 0.3f);
  auto queue = noise<T>({L, K}, device, 2, 0.3f);
  auto codes = Tensor<A>::empty({problems, B, K}, device);
  return work_on(
      device,
      [=](auto place) mutable {
        sinkhorn_codes<T>(place, view<3>(scores), view<2>(queue), static_cast<double>(L), 0.05, 3,
                          view<3>(codes));
      },
      codes);
}

template <Real T>
Work prediction_pass(Device device, index_t B, index_t K, bool forward) {
  using A = accumulate_t<T>;
  const index_t rows = kCrops * B, assigned = static_cast<index_t>(kAssign.size());
  auto scores = noise<T>({rows, K}, device, 1), dscores = Tensor<T>::empty({rows, K}, device);
  auto codes = Tensor<A>::full({assigned, B, K}, static_cast<A>(1.0 / static_cast<double>(K)),
                               device);
  auto peak = Tensor<A>::full({rows}, A{1}, device), crop_loss = Tensor<A>::empty({kCrops}, device);
  auto loss = Tensor<A>::full({}, A{1}, device);
  auto sum = Tensor<double>::full({rows}, static_cast<double>(K), device);
  auto mass = Tensor<double>::full({rows}, 1.5, device);
  const auto call = [=](auto place) mutable {
    if (forward) {
      return swav_prediction_forward<T>(place, view<2>(scores), view<3>(codes), kAssign, 0.1,
                                        view<1>(peak), view<1>(sum), view<1>(mass),
                                        view<1>(crop_loss), view<0>(loss));
    }
    swav_prediction_backward<T>(place, view<2>(scores), view<3>(codes), kAssign, 0.1,
                                view<1>(peak), view<1>(sum), view<1>(mass), view<0>(loss),
                                view<2>(dscores));
  };
  return forward ? work_on(device, call, loss, crop_loss) : work_on(device, call, dscores);
}

template <Real T>
Work soft_pass(Device device, index_t B, index_t K, bool forward) {
  using A = accumulate_t<T>;
  auto logits = noise<T>({B, K}, device, 1), dlogits = Tensor<T>::empty({B, K}, device);
  auto target = Tensor<A>::full({B, K}, static_cast<A>(1.0 / static_cast<double>(K)), device);
  auto peak = Tensor<A>::full({B}, A{1}, device), loss = Tensor<A>::full({B}, A{1}, device);
  auto sum = Tensor<double>::full({B}, static_cast<double>(K), device);
  const auto call = [=](auto place) mutable {
    if (forward) {
      return soft_cross_entropy_forward<T>(place, view<2>(logits), view<2>(target), 0.1,
                                           view<1>(peak), view<1>(sum), view<1>(loss));
    }
    soft_cross_entropy_backward<T>(place, view<2>(logits), view<2>(target), 0.1, view<1>(peak),
                                   view<1>(sum), view<1>(loss), view<2>(dlogits));
  };
  return forward ? work_on(device, call, loss) : work_on(device, call, dlogits);
}

template <Real T>
Work cross_entropy_pass(Device device, index_t B, index_t C, bool forward) {
  using A = accumulate_t<T>;
  auto logits = noise<T>({B, C}, device, 1), dlogits = Tensor<T>::empty({B, C}, device);
  auto labels = Tensor<std::int64_t>::full({B}, 1, device);
  auto peak = Tensor<A>::full({B}, A{1}, device), loss = Tensor<A>::full({}, A{1}, device);
  auto sum = Tensor<double>::full({B}, static_cast<double>(C), device);
  auto total = Tensor<double>::full({}, static_cast<double>(B), device);
  const auto call = [=](auto place) mutable {
    const CrossEntropyTarget<A> target{.label = view<1>(labels),
                                       .partner = std::nullopt,
                                       .lambda = std::nullopt,
                                       .class_weight = std::nullopt,
                                       .smoothing = 0.1};
    if (forward) {
      return cross_entropy_forward<T>(place, view<2>(logits), target, view<1>(peak), view<1>(sum),
                                      view<0>(total), view<0>(loss));
    }
    cross_entropy_backward<T>(place, view<2>(logits), target, view<1>(peak), view<1>(sum),
                              view<0>(total), view<0>(loss), view<2>(dlogits));
  };
  return forward ? work_on(device, call, loss) : work_on(device, call, dlogits);
}

template <Real T>
Work queue_pass(Device device, index_t B, index_t L) {
  auto batch = noise<T>({B, kDimension}, device, 1);
  auto queue = Tensor<float>::zeros({L, kDimension}, device);
  auto cursor = Tensor<std::int64_t>::zeros({}, device);
  return work_on(
      device,
      [=](auto place) mutable {
        queue_push<T>(place, view<2>(batch), view<0>(cursor), view<2>(queue));
      },
      queue, cursor);
}

template <Real A>
Work statistics_pass(Device device, index_t rows, index_t K) {
  // All below 1 and not negative, as codes are.
  auto codes = Tensor<A>::full({rows, K}, static_cast<A>(0.001), device);
  codes.slice(1, 0, 1).fill(static_cast<A>(0.5));
  auto loss = Tensor<A>::full({}, A{1}, device);
  auto crop_loss = Tensor<A>::full({8}, A{1}, device);
  auto history = Tensor<A>::zeros({4, kSwavStatistics + 8}, device);
  return work_on(
      device,
      [=](auto place) mutable {
        swav_statistics<A>(place, view<2>(codes), view<0>(loss), view<0>(loss),
                           view<1>(crop_loss), 1.0, view<2>(history));
      },
      history);
}

template <Real T>
Work sum_pass(Device device, index_t n, bool forward) {
  using A = accumulate_t<T>;
  auto x = noise<T>({n}, device, 1), dx = Tensor<T>::empty({n}, device);
  auto result = Tensor<A>::full({}, A{1}, device);
  const auto call = [=](auto place) mutable {
    if (forward) return sum_forward<T>(place, view<1>(x), 1.0, view<0>(result));
    sum_backward<T>(place, view<0>(result), 1.0, view<1>(dx));
  };
  return forward ? work_on(device, call, result) : work_on(device, call, dx);
}

std::string shape_of(std::initializer_list<std::pair<const char*, index_t>> extents) {
  std::string text;
  for (const auto& [name, extent] : extents) {
    if (!text.empty()) text += '/';
    text.append(name).append(":").append(std::to_string(extent));
  }
  return text;
}

// An exponential counts as one operation.
template <Real T>
void register_losses() {
  using A = accumulate_t<T>;
  constexpr double s = sizeof(T), a = sizeof(A);
  const auto add = [](const std::string& op, const std::string& shape, double bytes, double flop,
                      auto make, auto small, double allowed = tolerance<T>()) {
    register_case<T>(case_of<T>(op, shape, {bytes, flop}, allowed, make, small));
  };
  constexpr index_t K = 3000;
  for (const index_t B : {index_t{32}, index_t{256}}) {
    for (const index_t L : {index_t{0}, index_t{3840}, index_t{16384}}) {
      const double visited = 2.0 * static_cast<double>((B + L) * K);
      // Codes are float: both sides start from the same scores.
      add("sinkhorn/forward", shape_of({{"B", B}, {"L", L}, {"K", K}}),
          3 * visited * s + 2.0 * static_cast<double>(B * K) * a, 3 * 6 * visited,
          [=]<class R>(R, Device d) { return sinkhorn_pass<R>(d, B, L, K); },
          [=]<class R>(R, Device d) { return sinkhorn_pass<R>(d, 5, L == 0 ? 0 : 11, 24); }, 1e-4);
    }
    const auto n = static_cast<double>(kCrops * B * K), codes = 2.0 * static_cast<double>(B * K) * a;
    for (const bool forward : {true, false}) {
      const std::string pass = forward ? "forward" : "backward";
      add("swav_prediction/" + pass, shape_of({{"V", kCrops}, {"B", B}, {"K", K}}),
          n * s * (forward ? 1 : 2) + codes, 6 * n,
          [=]<class R>(R, Device d) { return prediction_pass<R>(d, B, K, forward); },
          [=]<class R>(R, Device d) { return prediction_pass<R>(d, 5, 24, forward); });
      add("soft_cross_entropy/" + pass, shape_of({{"B", kCrops * B}, {"K", K}}),
          n * (s * (forward ? 1 : 2) + a), 6 * n,
          [=]<class R>(R, Device d) { return soft_pass<R>(d, kCrops * B, K, forward); },
          [=]<class R>(R, Device d) { return soft_pass<R>(d, 5, 24, forward); });
      const auto z = static_cast<double>(kCrops * B * kDimension);
      add("l2_normalize/" + pass, shape_of({{"B", kCrops * B}, {"D", kDimension}}),
          z * s * (forward ? 2 : 3), z * (forward ? 3 : 5),
          [=]<class R>(R, Device d) { return l2_pass<R>(d, kCrops * B, forward); },
          [=]<class R>(R, Device d) { return l2_pass<R>(d, 5, forward); });
    }
    add("queue/push", shape_of({{"B", B}, {"L", 3840}, {"D", kDimension}}),
        static_cast<double>(B * kDimension) * (s + 4), 0,
        [=]<class R>(R, Device d) { return queue_pass<R>(d, B, 3840); },
        []<class R>(R, Device d) { return queue_pass<R>(d, 3, 9); });
  }
  for (const index_t C : {index_t{3}, index_t{1000}}) {
    for (const bool forward : {true, false}) {
      const double n = 256.0 * static_cast<double>(C);
      add(forward ? "cross_entropy/forward" : "cross_entropy/backward",
          shape_of({{"B", 256}, {"C", C}}), n * s * (forward ? 1 : 2), 5 * n,
          [=]<class R>(R, Device d) { return cross_entropy_pass<R>(d, 256, C, forward); },
          [=]<class R>(R, Device d) { return cross_entropy_pass<R>(d, 5, 6, forward); });
    }
  }
  constexpr index_t n = index_t{1} << 26;
  for (const bool forward : {true, false}) {
    add(forward ? "sum/forward" : "sum/backward", shape_of({{"N", n}}), static_cast<double>(n) * s,
        static_cast<double>(n), [=]<class R>(R, Device d) { return sum_pass<R>(d, n, forward); },
        [=]<class R>(R, Device d) { return sum_pass<R>(d, 20000, forward); });
  }
  if constexpr (std::is_same_v<T, A>) {
    add("swav_statistics/forward", shape_of({{"rows", 64}, {"K", K}}), 64.0 * K * a, 4 * 64.0 * K,
        []<class R>(R, Device d) { return statistics_pass<R>(d, 64, K); },
        []<class R>(R, Device d) { return statistics_pass<R>(d, 5, 24); });
  }
}

const bool registered = (register_losses<bfloat16>(), register_losses<float>(), true);

}  // namespace
}  // namespace mwalimu::ops
