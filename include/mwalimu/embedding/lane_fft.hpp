// embedding/lane_fft: discrete Fourier transforms of sixteen sequences at a time, one a lane.
//
// A two-dimensional transform is many one-dimensional ones of the same length, so a vector holds
// the same element of sixteen of them: every butterfly is whole vectors, without a shuffle, at any
// length. Lengths are products of 2, 3 and 5.
//
// Source: Stockham's self-sorting form (Van Loan 1992, "Computational Frameworks for the Fast
// Fourier Transform", section 1.7): each pass reads one buffer and writes the other, in order.
#pragma once

#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/embedding/lanes.hpp"

namespace mwalimu::embedding::detail {

/// Sixteen complex numbers: part[0] the real parts, part[1] the imaginary ones.
struct ComplexLanes {
  Lanes part[2];
};

/// The smallest even product of 2, 3 and 5 that is >= n.
inline index_t fast_length(index_t n) {
  for (index_t length = std::max<index_t>(2, n + n % 2);; length += 2) {
    index_t rest = length;
    for (const index_t radix : {2, 3, 5}) {
      while (rest % radix == 0) rest /= radix;
    }
    if (rest == 1) return length;
  }
}

/// Unscaled transforms of length n; inverse after forward multiplies by n.
class LaneFft {
 public:
  LaneFft() = default;
  /// @throws ValueError  n < 1 or a prime factor other than 2, 3 and 5.
  explicit LaneFft(index_t n) : n_(n) {
    require<ValueError>(n >= 1, "LaneFft: want a length >= 1, got ", n);
    index_t length = n;
    for (const int radix : {5, 3, 4, 2}) {
      while (length % radix == 0) {
        add_pass(radix, length);
        length /= radix;
      }
    }
    require<ValueError>(length == 1, "LaneFft: want a product of 2, 3 and 5, got ", n);
  }
  index_t length() const { return n_; }

  /// X[k] <- sum_j x[j] exp(-2 pi i jk / n). Both buffers are overwritten.
  /// @return  the one of the two buffers (n each) that holds the result.
  ComplexLanes* forward(ComplexLanes* x, ComplexLanes* scratch) const {
    return transform<0>(x, scratch);
  }
  /// x[j] <- sum_k X[k] exp(+2 pi i jk / n).
  ComplexLanes* inverse(ComplexLanes* x, ComplexLanes* scratch) const {
    return transform<1>(x, scratch);  // exchanging the parts before and after conjugates the roots
  }

 private:
  struct Pass {
    int radix;
    index_t length, root;  // of the transforms that are left, and where their roots begin
  };

  void add_pass(int radix, index_t length) {
    passes_.push_back({radix, length, static_cast<index_t>(root_.size())});
    for (index_t p = 0; p < length / radix; ++p) {
      for (int j = 1; j < radix; ++j) {
        const double angle = -2 * std::numbers::pi * static_cast<double>(p * j % length) /
                             static_cast<double>(length);
        root_.push_back(static_cast<float>(std::cos(angle)));
        root_.push_back(static_cast<float>(std::sin(angle)));
      }
    }
  }

  template <int kRe>
  ComplexLanes* transform(ComplexLanes* from, ComplexLanes* to) const {
    for (const Pass& pass : passes_) {
      switch (pass.radix) {
        case 2:
          run<kRe, 2>(pass, from, to);
          break;
        case 3:
          run<kRe, 3>(pass, from, to);
          break;
        case 4:
          run<kRe, 4>(pass, from, to);
          break;
        default:
          run<kRe, 5>(pass, from, to);
      }
      std::swap(from, to);
    }
    return from;
  }

  template <int kRe, int kRadix>
  void run(const Pass& pass, const ComplexLanes* from, ComplexLanes* to) const {
    const index_t m = pass.length / kRadix, stride = n_ / pass.length;
    const float* root = root_.data() + pass.root;
    for (index_t p = 0; p < m; ++p, root += 2 * (kRadix - 1)) {
      for (index_t q = 0; q < stride; ++q) {
        butterfly<kRe, kRadix>(from + q + stride * p, stride * m, to + q + stride * kRadix * p,
                               stride, root);
      }
    }
  }

  /// to[j step_to] <- w^j sum_k from[k step_from] exp(-2 pi i jk / radix), w^j at root[2 (j - 1)].
  template <int kRe, int kRadix>
  static void butterfly(const ComplexLanes* from, index_t step_from, ComplexLanes* to,
                        index_t step_to, const float* root) {
    constexpr int kIm = 1 - kRe;
    Lanes re[kRadix], im[kRadix];
    for (int k = 0; k < kRadix; ++k) {
      re[k] = from[k * step_from].part[kRe];
      im[k] = from[k * step_from].part[kIm];
    }
    Lanes out_re[kRadix], out_im[kRadix];
    if constexpr (kRadix == 2) {
      out_re[0] = re[0] + re[1], out_im[0] = im[0] + im[1];
      out_re[1] = re[0] - re[1], out_im[1] = im[0] - im[1];
    } else if constexpr (kRadix == 4) {
      const Lanes sr = re[0] + re[2], si = im[0] + im[2], dr = re[0] - re[2], di = im[0] - im[2];
      const Lanes tr = re[1] + re[3], ti = im[1] + im[3], er = re[1] - re[3], ei = im[1] - im[3];
      out_re[0] = sr + tr, out_im[0] = si + ti;
      out_re[1] = dr + ei, out_im[1] = di - er;
      out_re[2] = sr - tr, out_im[2] = si - ti;
      out_re[3] = dr - ei, out_im[3] = di + er;
    } else {
      // Pairs k and radix - k: sums meet cosines, differences meet sines.
      constexpr int kPairs = kRadix / 2;
      static constexpr float kCos[2][2] = {
          {kRadix == 3 ? -0.5f : 0.309016994375f, -0.809016994375f},
          {-0.809016994375f, 0.309016994375f}};
      static constexpr float kSin[2][2] = {
          {kRadix == 3 ? 0.866025403784f : 0.951056516295f, 0.587785252292f},
          {0.587785252292f, -0.951056516295f}};
      out_re[0] = re[0], out_im[0] = im[0];
      Lanes sum_re[kPairs], sum_im[kPairs], dif_re[kPairs], dif_im[kPairs];
      for (int k = 0; k < kPairs; ++k) {
        sum_re[k] = re[k + 1] + re[kRadix - 1 - k], sum_im[k] = im[k + 1] + im[kRadix - 1 - k];
        dif_re[k] = re[k + 1] - re[kRadix - 1 - k], dif_im[k] = im[k + 1] - im[kRadix - 1 - k];
        out_re[0] += sum_re[k], out_im[0] += sum_im[k];
      }
      for (int j = 0; j < kPairs; ++j) {
        Lanes even_re = re[0], even_im = im[0], odd_re = {}, odd_im = {};
        for (int k = 0; k < kPairs; ++k) {
          even_re += kCos[j][k] * sum_re[k], even_im += kCos[j][k] * sum_im[k];
          odd_re += kSin[j][k] * dif_re[k], odd_im += kSin[j][k] * dif_im[k];
        }
        out_re[j + 1] = even_re + odd_im, out_im[j + 1] = even_im - odd_re;
        out_re[kRadix - 1 - j] = even_re - odd_im, out_im[kRadix - 1 - j] = even_im + odd_re;
      }
    }
    to[0].part[kRe] = out_re[0];
    to[0].part[kIm] = out_im[0];
    for (int j = 1; j < kRadix; ++j) {
      const float c = root[2 * j - 2], s = root[2 * j - 1];
      to[j * step_to].part[kRe] = out_re[j] * c - out_im[j] * s;
      to[j * step_to].part[kIm] = out_re[j] * s + out_im[j] * c;
    }
  }

  index_t n_ = 0;
  std::vector<Pass> passes_;
  std::vector<float> root_;
};

/// Transforms of sixteen real sequences of even length n, by a complex one of half the length.
class LaneRealFft {
 public:
  LaneRealFft() = default;
  explicit LaneRealFft(index_t n) : half_(n / 2) {
    require<ValueError>(n % 2 == 0, "LaneRealFft: want an even length, got ", n);
    for (index_t k = 0; k <= n / 2; ++k) {
      const double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
      root_.push_back(static_cast<float>(std::cos(angle)));
      root_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  index_t length() const { return 2 * half_.length(); }

  /// spectrum[0 ... n / 2] <- transform of x: x[j] holds elements 2j and 2j + 1 as its parts.
  /// @param x, spectrum  n / 2 + 1 elements each; x is overwritten.
  /// @return  that of the two buffers that holds the result.
  ComplexLanes* forward(ComplexLanes* x, ComplexLanes* spectrum) const {
    const index_t half = half_.length();
    ComplexLanes* z = half_.forward(x, spectrum);
    ComplexLanes* out = z == x ? spectrum : x;
    for (index_t k = 0; k <= half; ++k) {
      const ComplexLanes &a = z[k == half ? 0 : k], &b = z[k == 0 ? 0 : half - k];
      const float c = 0.5f * root_[2 * k], s = 0.5f * root_[2 * k + 1];
      // Even elements' transform (a + b*) / 2, odd ones' (a - b*) / 2i.
      const Lanes even_re = a.part[0] + b.part[0], even_im = a.part[1] - b.part[1];
      const Lanes odd_re = a.part[1] + b.part[1], odd_im = b.part[0] - a.part[0];
      out[k].part[0] = 0.5f * even_re + (c * odd_re - s * odd_im);
      out[k].part[1] = 0.5f * even_im + (c * odd_im + s * odd_re);
    }
    return out;
  }

  /// n times the inverse of forward(); buffers as there.
  ComplexLanes* inverse(ComplexLanes* spectrum, ComplexLanes* x) const {
    const index_t half = half_.length();
    for (index_t k = 0; k < half; ++k) {
      const ComplexLanes &a = spectrum[k], &b = spectrum[half - k];
      const float c = root_[2 * k], s = root_[2 * k + 1];
      const Lanes even_re = a.part[0] + b.part[0], even_im = a.part[1] - b.part[1];
      const Lanes turned_re = a.part[0] - b.part[0], turned_im = a.part[1] + b.part[1];
      const Lanes odd_re = c * turned_re + s * turned_im, odd_im = c * turned_im - s * turned_re;
      x[k].part[0] = even_re - odd_im;
      x[k].part[1] = even_im + odd_re;
    }
    return half_.inverse(x, spectrum);
  }

 private:
  LaneFft half_;
  std::vector<float> root_;
};

}  // namespace mwalimu::embedding::detail
