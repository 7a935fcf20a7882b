// kernels/block_fft: a complex Fourier transform by the threads of one block, in shared memory.
//
// Stockham's form: each stage reads one array and writes the other, in an order that leaves the
// result sorted. Radices 2, 3, 4 and 5.
// Source     Van Loan 1992, Computational Frameworks for the Fast Fourier Transform, section 1.7.
#pragma once

#include "mwalimu/embedding/device_grid.hpp"
#include "numeric.cuh"
#include "simt.cuh"

namespace mwalimu::kernels {

using Complex = Pack<float, 2>;  ///< real and imaginary part

__device__ __forceinline__ Complex plus(Complex a, Complex b) {
  return {{a[0] + b[0], a[1] + b[1]}};
}
__device__ __forceinline__ Complex minus(Complex a, Complex b) {
  return {{a[0] - b[0], a[1] - b[1]}};
}
__device__ __forceinline__ Complex times(Complex a, Complex b) {
  return {{a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]}};
}
__device__ __forceinline__ Complex scaled(float s, Complex a) { return {{s * a[0], s * a[1]}}; }
/// a times -i, of an inverse transform times i.
template <bool kInverse>
__device__ __forceinline__ Complex quarter(Complex a) {
  return kInverse ? Complex{{-a[1], a[0]}} : Complex{{a[1], -a[0]}};
}

/// v <- the transform of its R values.
template <int R, bool kInverse>
__device__ __forceinline__ void butterfly(Complex (&v)[R]) {
  if constexpr (R == 2) {
    const Complex a = v[0];
    v[0] = plus(a, v[1]);
    v[1] = minus(a, v[1]);
  } else if constexpr (R == 3) {
    constexpr float kSine = 0.866025403784438647f;
    const Complex sum = plus(v[1], v[2]);
    const Complex middle = minus(v[0], scaled(0.5f, sum));
    const Complex turn = scaled(kSine, quarter<kInverse>(minus(v[1], v[2])));
    v[0] = plus(v[0], sum);
    v[1] = plus(middle, turn);
    v[2] = minus(middle, turn);
  } else if constexpr (R == 4) {
    const Complex a = plus(v[0], v[2]), b = minus(v[0], v[2]);
    const Complex c = plus(v[1], v[3]), d = quarter<kInverse>(minus(v[1], v[3]));
    v[0] = plus(a, c);
    v[1] = plus(b, d);
    v[2] = minus(a, c);
    v[3] = minus(b, d);
  } else {
    static_assert(R == 5);
    constexpr float kCos1 = 0.309016994374947424f, kCos2 = -0.809016994374947424f;
    constexpr float kSin1 = 0.951056516295153572f, kSin2 = 0.587785252292473129f;
    const Complex s1 = plus(v[1], v[4]), s2 = plus(v[2], v[3]);
    const Complex d1 = quarter<kInverse>(minus(v[1], v[4]));
    const Complex d2 = quarter<kInverse>(minus(v[2], v[3]));
    const Complex a = plus(v[0], plus(scaled(kCos1, s1), scaled(kCos2, s2)));
    const Complex b = plus(v[0], plus(scaled(kCos2, s1), scaled(kCos1, s2)));
    const Complex c = plus(scaled(kSin1, d1), scaled(kSin2, d2));
    const Complex d = minus(scaled(kSin2, d1), scaled(kSin1, d2));
    v[0] = plus(v[0], plus(s1, s2));
    v[1] = plus(a, c);
    v[2] = plus(b, d);
    v[3] = minus(b, d);
    v[4] = minus(a, c);
  }
}

/// One stage. `done` is the product of the radices before it.
template <int R, bool kInverse>
__device__ __forceinline__ void fft_stage(int length, int done, const Complex* __restrict__ twiddle,
                                          const Complex* from, Complex* to) {
  const int apart = length / R, threads = static_cast<int>(blockDim.x);
  for (int j = static_cast<int>(threadIdx.x); j < apart; j += threads) {
    const int p = j / done, q = j - p * done;
    Complex v[R];
#pragma unroll
    for (int r = 0; r < R; ++r) v[r] = from[j + r * apart];
    butterfly<R, kInverse>(v);
    to[q + done * R * p] = v[0];
#pragma unroll
    for (int r = 1; r < R; ++r) {
      Complex turn = twiddle[p * r * done];
      if (kInverse) turn[1] = -turn[1];
      to[q + done * (R * p + r)] = times(v[r], turn);
    }
  }
}

/// The transform of a, unscaled; b is of the same length, both in shared memory. All threads of a
/// one-dimensional block call it, having written a without a barrier.
/// @return  where the result lies, a or b; there was a barrier after it was written.
template <bool kInverse>
__device__ __forceinline__ Complex* block_fft(const embedding::FftPlan& plan, Complex* a,
                                              Complex* b) {
  const Complex* twiddle = reinterpret_cast<const Complex*>(plan.twiddle);
  int done = 1;
  __syncthreads();
  for (int stage = 0; stage < plan.stages; ++stage) {
    const int radix = plan.radix[stage];
    if (radix == 4) {
      fft_stage<4, kInverse>(plan.length, done, twiddle, a, b);
    } else if (radix == 2) {
      fft_stage<2, kInverse>(plan.length, done, twiddle, a, b);
    } else if (radix == 3) {
      fft_stage<3, kInverse>(plan.length, done, twiddle, a, b);
    } else {
      fft_stage<5, kInverse>(plan.length, done, twiddle, a, b);
    }
    done *= radix;
    Complex* const result = b;
    b = a;
    a = result;
    __syncthreads();
  }
  return a;
}

}  // namespace mwalimu::kernels
