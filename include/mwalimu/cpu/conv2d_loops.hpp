// cpu/conv2d_loops: convolution written out, for element types that oneDNN does not know: double,
// which the oracle and the gradient check run, half, and bfloat16 on processors without AVX-512. A
// plain reading of the formula, not a fast one; 16-bit types are multiplied and summed in float.
#pragma once

#include <algorithm>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::cpu {
template <class T>
class Conv2dLoops;  // the operation's header ends with its CPU half, which names this class
}  // namespace mwalimu::cpu

#include "mwalimu/ops/conv2d.hpp"

namespace mwalimu::cpu {

/// The sums of one convolution as loops over kernel taps; weights are (kh, kw, I, O), O densest.
template <class T>
class Conv2dLoops {
 public:
  using A = accumulate_t<T>;
  Conv2dLoops(const std::array<index_t, 4>& x, const std::array<index_t, 4>& weight,
              const std::array<index_t, 4>& out, const ops::Conv2dOptions& options)
      : N(x[0]),
        H(x[1]),
        W(x[2]),
        Cin(x[3]),
        Ho(out[1]),
        Wo(out[2]),
        Cout(weight[0]),
        I(weight[1]),
        kh(weight[2]),
        kw(weight[3]),
        O(weight[0] / options.groups),
        stride(options.stride),
        padding(options.padding),
        groups(options.groups) {}

  void forward(const T* x, View<const T, 4> weight, T* out) const {
    const std::vector<A> taps = gather(weight);
    parallel_for(N * Ho, 1, [&](index_t begin, index_t end) {
      std::vector<A> sums(static_cast<std::size_t>(Cout));
      A* sum = sums.data();
      for (index_t row = begin; row < end; ++row) {
        for (index_t column = 0; column < Wo; ++column) {
          std::fill_n(sum, Cout, A{});
          for_each_tap(row % Ho, column, [&](index_t tap, index_t y, index_t c) {
            const T* in = x + ((row / Ho * H + y) * W + c) * Cin;
            for (index_t i = 0; i < Cin; ++i) {
              const index_t first = i / I * O;
              const A* w = &taps[static_cast<std::size_t>((tap * I + i % I) * Cout + first)];
              const A value = convert<A>(in[i]);
              for (index_t o = 0; o < O; ++o) sum[first + o] += value * w[o];
            }
          });
          T* pixel = out + (row * Wo + column) * Cout;
          for (index_t o = 0; o < Cout; ++o) pixel[o] = convert<T>(sum[o]);
        }
      }
    });
  }

  void backward_data(const T* dout, View<const T, 4> weight, T* dx) const {
    const std::vector<A> taps = gather(weight);
    parallel_for(N, 1, [&](index_t begin, index_t end) {
      std::vector<A> image(static_cast<std::size_t>(H * W * Cin));  // of one sample
      for (index_t n = begin; n < end; ++n) {
        std::fill(image.begin(), image.end(), A{});
        for (index_t row = n * Ho; row < (n + 1) * Ho; ++row) {
          for (index_t column = 0; column < Wo; ++column) {
            const T* d = dout + (row * Wo + column) * Cout;
            for_each_tap(row % Ho, column, [&](index_t tap, index_t y, index_t c) {
              A* into = image.data() + (y * W + c) * Cin;
              for (index_t i = 0; i < Cin; ++i) {
                const index_t first = i / I * O;
                const A* w = &taps[static_cast<std::size_t>((tap * I + i % I) * Cout + first)];
                A sum{};
                for (index_t o = 0; o < O; ++o) sum += convert<A>(d[first + o]) * w[o];
                into[i] += sum;
              }
            });
          }
        }
        T* to = dx + n * H * W * Cin;
        for (std::size_t i = 0; i < image.size(); ++i) to[i] = convert<T>(image[i]);
      }
    });
  }

  void backward_weight(const T* x, const T* dout, bool accumulate, View<A, 4> dweight) const {
    // A thread owns input channels, so that the order of each sum does not depend on the threads.
    parallel_for(I, 1, [&](index_t begin, index_t end) {
      std::vector<A> sums(static_cast<std::size_t>(kh * kw * (end - begin) * Cout));
      for (index_t row = 0; row < N * Ho; ++row) {
        for (index_t column = 0; column < Wo; ++column) {
          const T* d = dout + (row * Wo + column) * Cout;
          for_each_tap(row % Ho, column, [&](index_t tap, index_t y, index_t c) {
            const T* in = x + ((row / Ho * H + y) * W + c) * Cin;
            for (index_t i = begin; i < end; ++i) {
              A* sum = &sums[static_cast<std::size_t>((tap * (end - begin) + i - begin) * Cout)];
              for (index_t o = 0; o < Cout; ++o) {
                sum[o] += convert<A>(in[o / O * I + i]) * convert<A>(d[o]);
              }
            }
          });
        }
      }
      const A* sum = sums.data();
      for (index_t h = 0; h < kh; ++h) {
        for (index_t w = 0; w < kw; ++w) {
          for (index_t i = begin; i < end; ++i) {
            for (index_t o = 0; o < Cout; ++o, ++sum) {
              dweight(o, i, h, w) = accumulate ? dweight(o, i, h, w) + *sum : *sum;
            }
          }
        }
      }
    });
  }

 private:
  // tap(index of the tap, y, column of the pixel it reads) for the taps that lie in the image.
  template <class Tap>
  void for_each_tap(index_t oy, index_t ox, Tap&& tap) const {
    for (index_t h = 0; h < kh; ++h) {
      const index_t y = oy * stride - padding + h;
      if (y < 0 || y >= H) continue;
      for (index_t w = 0; w < kw; ++w) {
        const index_t c = ox * stride - padding + w;
        if (c >= 0 && c < W) tap(h * kw + w, y, c);
      }
    }
  }
  std::vector<A> gather(View<const T, 4> weight) const {
    std::vector<A> taps;
    taps.reserve(static_cast<std::size_t>(weight.count()));
    for (index_t h = 0; h < kh; ++h) {
      for (index_t w = 0; w < kw; ++w) {
        for (index_t i = 0; i < I; ++i) {
          for (index_t o = 0; o < Cout; ++o) taps.push_back(convert<A>(weight(o, i, h, w)));
        }
      }
    }
    return taps;
  }

  index_t N, H, W, Cin, Ho, Wo, Cout, I, kh, kw, O, stride, padding, groups;
};

}  // namespace mwalimu::cpu
