// What runs between convolutions: batch norm, element-wise operations, pooling, at the shapes of
// xresnet34 on SwAV's crops.
#include <optional>

#include "case.hpp"
#include "mwalimu/ops/add.hpp"
#include "mwalimu/ops/average_pool.hpp"
#include "mwalimu/ops/batch_norm.hpp"
#include "mwalimu/ops/dropout.hpp"
#include "mwalimu/ops/global_pool.hpp"
#include "mwalimu/ops/max_pool.hpp"
#include "mwalimu/ops/relu.hpp"

namespace mwalimu::ops {
namespace {

using bench::case_of, bench::noise, bench::register_case, bench::tolerance, bench::Work;
using bench::work_on;
using detail::view;

template <Real A>
struct Channels {
  Tensor<A> gamma, beta, center, scale, shift, a, b, dgamma, dbeta;
  Tensor<double> mean, inv_std;
  BatchNormState<A> state;

  Channels(index_t C, Device device)
      : gamma(noise<A>({C}, device, 1)),
        beta(noise<A>({C}, device, 2)),
        center(noise<A>({C}, device, 3)),
        scale(noise<A>({C}, device, 4)),
        shift(noise<A>({C}, device, 5)),
        a(noise<A>({C}, device, 6)),
        b(noise<A>({C}, device, 7)),
        dgamma(Tensor<A>::zeros({C}, device)),
        dbeta(Tensor<A>::zeros({C}, device)),
        mean(center.template to<double>()),
        inv_std(Tensor<double>::full({C}, 1.5, device)),
        state(BatchNormState<A>::initial(C, device)) {}

  BatchNormParameters<A> parameters() { return {view<1>(gamma), view<1>(beta), state.eps}; }
  BatchNormCoefficients<A> coefficients() {
    return {view<1>(mean), view<1>(inv_std), view<1>(center), view<1>(scale), view<1>(shift)};
  }
};

// Statistics of the batch, then normalisation with a residual and ReLU: the end of a block.
template <Real T>
Work batch_norm_train(Device device, index_t rows, index_t C) {
  using A = accumulate_t<T>;
  auto x = noise<T>({rows, C}, device, 8), residual = noise<T>({rows, C}, device, 9);
  auto y = Tensor<T>::empty({rows, C}, device);
  auto keep = Tensor<std::uint8_t>::empty({rows, (C + 7) / 8}, device);
  Channels<A> c(C, device);
  const auto mean = c.state.running_mean, var = c.state.running_var;
  return work_on(
      device,
      [=](auto place) mutable {
        auto count = c.state.num_batches_tracked.reshape({1});
        ops::batch_norm_train<T, A>(place, view<2>(x), c.parameters(),
                                    {view<1>(c.state.running_mean), view<1>(c.state.running_var),
                                     view<1>(count), c.state.momentum},
                                    c.coefficients());
        batch_norm_apply<T, A>(place, view<2>(x), view<2>(residual), view<1>(c.center),
                               view<1>(c.scale), view<1>(c.shift), Activation::relu, view<2>(keep),
                               view<2>(y));
      },
      y, mean, var);
}

template <Real T>
Work batch_norm_backward(Device device, index_t rows, index_t C) {
  using A = accumulate_t<T>;
  auto x = noise<T>({rows, C}, device, 8), dy = noise<T>({rows, C}, device, 9);
  auto dx = Tensor<T>::empty({rows, C}, device), dresidual = dx.clone();
  auto keep = Tensor<std::uint8_t>::full({rows, (C + 7) / 8}, 0x5a, device);
  Channels<A> c(C, device);
  const auto dgamma = c.dgamma, dbeta = c.dbeta;
  return work_on(
      device,
      [=](auto place) mutable {
        const auto kept = view<2>(std::as_const(keep));
        batch_norm_parameter_gradients<T, A>(
            place, view<2>(dy), view<2>(x), kept, view<1>(c.mean), view<1>(c.inv_std),
            view<1>(c.center), true,
            {.a = view<1>(c.a), .b = view<1>(c.b), .dgamma = view<1>(c.dgamma),
             .dbeta = view<1>(c.dbeta)});
        batch_norm_input_gradient<T, A>(place, view<2>(dy), view<2>(x), kept, view<1>(c.center),
                                        view<1>(c.scale), view<1>(c.a), view<1>(c.b), view<2>(dx),
                                        view<2>(dresidual));
      },
      dx, dresidual, dgamma, dbeta);
}

template <Real T>
Work batch_norm_eval(Device device, index_t rows, index_t C) {
  using A = accumulate_t<T>;
  auto x = noise<T>({rows, C}, device, 8), y = Tensor<T>::empty({rows, C}, device);
  Channels<A> c(C, device);
  return work_on(
      device,
      [=](auto place) mutable {
        batch_norm_evaluate<A>(place, view<1>(c.state.running_mean), view<1>(c.state.running_var),
                               c.parameters(), c.coefficients());
        batch_norm_apply<T, A>(place, view<2>(x), std::nullopt, view<1>(c.center),
                               view<1>(c.scale), view<1>(c.shift), Activation::relu, std::nullopt,
                               view<2>(y));
      },
      y);
}

template <Real T>
Work relu_pass(Device device, index_t n, bool forward) {
  auto x = noise<T>({n}, device, 1), y = noise<T>({n}, device, 2);
  auto to = Tensor<T>::empty({n}, device);
  return work_on(
      device,
      [=](auto place) mutable {
        if (forward) return relu_forward<T>(place, view<1>(x), view<1>(to));
        relu_backward<T>(place, view<1>(y), view<1>(x), view<1>(to));
      },
      to);
}

template <Real T>
Work add_pass(Device device, index_t n) {
  auto a = noise<T>({n / 64, 64}, device, 1), b = noise<T>({n / 64, 64}, device, 2);
  auto y = Tensor<T>::empty({n / 64, 64}, device);
  return work_on(
      device,
      [=](auto place) mutable { add_forward<T>(place, view<2>(a), view<2>(b), view<2>(y)); }, y);
}

template <Real T>
Work accumulate_pass(Device device, index_t n) {
  auto from = noise<T>({n}, device, 1), to = noise<T>({n}, device, 2);
  return work_on(device, [=](auto place) mutable { accumulate(place, from, to); }, to);
}

template <Real T>
Work dropout_pass(Device device, index_t n) {
  auto x = noise<T>({n}, device, 1), y = Tensor<T>::empty({n}, device);
  return work_on(
      device,
      [=](auto place) mutable {
        dropout_apply<T>(place, view<1>(x), 0.5, {.seed = 1}, view<1>(y));
      },
      y);
}

// 3 x 3, stride 2, padding 1, behind the stem.
template <Real T>
Work max_pool_pass(Device device, index_t N, index_t side, index_t C, bool forward) {
  const Pool2dOptions options{.kernel = 3, .stride = 2, .padding = 1};
  const Shape in{N, side, side, C}, out{N, side / 2, side / 2, C};
  auto x = noise<T>(in, device, 1), dy = noise<T>(out, device, 2);
  auto y = Tensor<T>::empty(out, device), dx = Tensor<T>::empty(in, device);
  auto where = Tensor<std::uint8_t>::full(out, 4, device);  // the middle of each window
  const auto result = forward ? y : dx;
  return work_on(
      device,
      [=](auto place) mutable {
        if (forward) {
          return max_pool_forward<T>(place, view<4>(x), options, view<4>(y), view<4>(where));
        }
        max_pool_backward<T>(place, view<4>(dy), view<4>(where), options, view<4>(dx));
      },
      result);
}

// 2 x 2, stride 2, in front of a shortcut.
template <Real T>
Work average_pool_pass(Device device, index_t N, index_t side, index_t C, bool forward) {
  AveragePoolOptions options;
  options.ceil_mode = true;
  const Shape in{N, side, side, C}, out{N, side / 2, side / 2, C};
  auto x = noise<T>(in, device, 1), dy = noise<T>(out, device, 2);
  auto y = Tensor<T>::empty(out, device), dx = Tensor<T>::empty(in, device);
  const auto result = forward ? y : dx;
  return work_on(
      device,
      [=](auto place) mutable {
        if (forward) return average_pool_forward<T>(place, view<4>(x), options, view<4>(y));
        average_pool_backward<T>(place, view<4>(dy), options, view<4>(dx));
      },
      result);
}

template <Real T>
Work concat_pool_pass(Device device, index_t N, index_t P, index_t C, bool forward) {
  auto x = noise<T>({N, P, C}, device, 1), dx = Tensor<T>::empty({N, P, C}, device);
  auto maximum = noise<T>({N, C}, device, 2), average = noise<T>({N, C}, device, 3);
  auto where = Tensor<std::int32_t>::full({N, C}, 1, device);
  const auto call = [=](auto place) mutable {
    if (forward) {
      return concat_pool_forward<T>(place, view<3>(x), view<2>(maximum), view<2>(average),
                                    view<2>(where));
    }
    concat_pool_backward<T>(place, view<2>(maximum), view<2>(average), view<2>(where),
                            view<3>(dx));
  };
  return forward ? work_on(device, call, maximum, average) : work_on(device, call, dx);
}

std::string shape_of(index_t N, index_t side, index_t C) {
  return "N:" + std::to_string(N) + "/px:" + std::to_string(side) + "/C:" + std::to_string(C);
}

// Operations an element are counted by the formulas: a comparison, a rounding to bits or an
// exponential is one.
template <Real T>
void register_layers() {
  const auto add = [](const std::string& op, const std::string& shape, double bytes, double flop,
                      auto make, auto small) {
    register_case<T>(case_of<T>(op, shape, {bytes, flop}, tolerance<T>(), make, small));
  };
  constexpr double s = sizeof(T);

  // Rows of a batch of 32: 64 views of 128 pixels behind the stem; the last stage of 192 of 96.
  for (const auto& [rows, C] : {std::pair<index_t, index_t>{64 * 32 * 32, 64}, {192 * 3 * 3, 512},
                                {index_t{1} << 20, 64}}) {
    const std::string shape = "rows:" + std::to_string(rows) + "/C:" + std::to_string(C);
    const auto n = static_cast<double>(rows * C);
    const auto r = rows, c = C;  // clang's lambdas capture no structured bindings
    add("batch_norm/train", shape, n * (4 * s + 0.125), 9 * n,
        [=]<class R>(R, Device d) { return batch_norm_train<R>(d, r, c); },
        []<class R>(R, Device d) { return batch_norm_train<R>(d, 150, 24); });
    add("batch_norm/backward", shape, n * (6 * s + 0.25), 9 * n,
        [=]<class R>(R, Device d) { return batch_norm_backward<R>(d, r, c); },
        []<class R>(R, Device d) { return batch_norm_backward<R>(d, 150, 24); });
    add("batch_norm/eval", shape, n * 2 * s, 4 * n,
        [=]<class R>(R, Device d) { return batch_norm_eval<R>(d, r, c); },
        []<class R>(R, Device d) { return batch_norm_eval<R>(d, 150, 24); });
  }

  constexpr index_t n = index_t{1} << 26, few = 6400;
  const std::string flat = "N:" + std::to_string(n);
  const auto moves = [&](double accesses) { return accesses * s * static_cast<double>(n); };
  constexpr double one = n;  // operation an element
  for (const bool forward : {true, false}) {
    add(forward ? "relu/forward" : "relu/backward", flat, moves(forward ? 2 : 3), one,
        [=]<class R>(R, Device d) { return relu_pass<R>(d, n, forward); },
        [=]<class R>(R, Device d) { return relu_pass<R>(d, few, forward); });
  }
  add("add/forward", flat, moves(3), one,
      []<class R>(R, Device d) { return add_pass<R>(d, n); },
      []<class R>(R, Device d) { return add_pass<R>(d, few); });
  add("accumulate/backward", flat, moves(3), one,
      []<class R>(R, Device d) { return accumulate_pass<R>(d, n); },
      []<class R>(R, Device d) { return accumulate_pass<R>(d, few); });
  add("dropout/forward", flat, moves(2), one,
      []<class R>(R, Device d) { return dropout_pass<R>(d, n); },
      []<class R>(R, Device d) { return dropout_pass<R>(d, few); });

  for (const bool forward : {true, false}) {
    const std::string pass = forward ? "forward" : "backward";
    for (const index_t N : {index_t{64}, index_t{256}}) {
      constexpr index_t side = 64;
      const auto in = static_cast<double>(N * side * side * 64);
      add("max_pool/" + pass, shape_of(N, side, 64), in * 1.25 * s + in / 4, in * 9 / 4,
          [=]<class R>(R, Device d) { return max_pool_pass<R>(d, N, side, 64, forward); },
          [=]<class R>(R, Device d) { return max_pool_pass<R>(d, 2, 8, 24, forward); });
      add("average_pool/" + pass, shape_of(N, side, 64), in * 1.25 * s, in,
          [=]<class R>(R, Device d) { return average_pool_pass<R>(d, N, side, 64, forward); },
          [=]<class R>(R, Device d) { return average_pool_pass<R>(d, 2, 8, 24, forward); });
    }
    const double pooled = 256.0 * 16 * 512;
    add("concat_pool/" + pass, shape_of(256, 4, 512), pooled * s, 2 * pooled,
        [=]<class R>(R, Device d) { return concat_pool_pass<R>(d, 256, 16, 512, forward); },
        [=]<class R>(R, Device d) { return concat_pool_pass<R>(d, 3, 5, 24, forward); });
  }
}

const bool registered = (register_layers<bfloat16>(), register_layers<float>(), true);

}  // namespace
}  // namespace mwalimu::ops
