// simt/math: the arithmetic that CUDA adds to <cmath>.
//
// The fast intrinsics (__expf, __logf, __fdividef, ...) are exact to a rounding here: a test's
// tolerance must allow the device's error, which is stated in the CUDA C++ Programming Guide.
#pragma once

#include <math.h>

#include <bit>
#include <chrono>
#include <cstdint>
#include <limits>

#include "simt/specifiers.hpp"

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline void __sincosf(float x, float* sine, float* cosine) {
  *sine = sinf(x);
  *cosine = cosf(x);
}
inline float sinpif(float x) { return static_cast<float>(::sin(3.14159265358979323846 * x)); }
inline float cospif(float x) { return static_cast<float>(::cos(3.14159265358979323846 * x)); }
inline void sincospif(float x, float* sine, float* cosine) {
  *sine = sinpif(x);
  *cosine = cospif(x);
}
inline float fdividef(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }

inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frsqrt_rn(float a) { return 1.0f / sqrtf(a); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return ::fma(a, b, c); }
inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }  // NaN: 0

namespace mwalimu::simt::detail {
/// A whole number as To. Beyond To's range its limits, NaN becomes 0, as on the device.
template <class To, class From>
To saturate_cast(From whole) {
  constexpr From limit = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
  if (isnan(whole)) return 0;
  if (whole >= limit) return std::numeric_limits<To>::max();
  if (whole < static_cast<From>(std::numeric_limits<To>::min())) {
    return std::numeric_limits<To>::min();
  }
  return static_cast<To>(whole);
}
}  // namespace mwalimu::simt::detail

#define MWALIMU_SIMT_CONVERSIONS(From, from, To, to)                   \
  inline To __##from##2##to##_rn(From a) {                             \
    return ::mwalimu::simt::detail::saturate_cast<To>(::nearbyint(a)); \
  }                                                                    \
  inline To __##from##2##to##_rz(From a) {                             \
    return ::mwalimu::simt::detail::saturate_cast<To>(::trunc(a));     \
  }                                                                    \
  inline To __##from##2##to##_rd(From a) {                             \
    return ::mwalimu::simt::detail::saturate_cast<To>(::floor(a));     \
  }                                                                    \
  inline To __##from##2##to##_ru(From a) {                             \
    return ::mwalimu::simt::detail::saturate_cast<To>(::ceil(a));      \
  }
MWALIMU_SIMT_CONVERSIONS(float, float, int, int)
MWALIMU_SIMT_CONVERSIONS(float, float, unsigned, uint)
MWALIMU_SIMT_CONVERSIONS(float, float, long long, ll)
MWALIMU_SIMT_CONVERSIONS(double, double, int, int)
MWALIMU_SIMT_CONVERSIONS(double, double, unsigned, uint)
MWALIMU_SIMT_CONVERSIONS(double, double, long long, ll)
#undef MWALIMU_SIMT_CONVERSIONS
inline float __int2float_rn(int a) { return static_cast<float>(a); }
inline float __uint2float_rn(unsigned a) { return static_cast<float>(a); }
inline float __ll2float_rn(long long a) { return static_cast<float>(a); }
inline float __double2float_rn(double a) { return static_cast<float>(a); }

inline int __float_as_int(float a) { return std::bit_cast<int>(a); }
inline unsigned __float_as_uint(float a) { return std::bit_cast<unsigned>(a); }
inline float __int_as_float(int a) { return std::bit_cast<float>(a); }
inline float __uint_as_float(unsigned a) { return std::bit_cast<float>(a); }
inline long long __double_as_longlong(double a) { return std::bit_cast<long long>(a); }
inline double __longlong_as_double(long long a) { return std::bit_cast<double>(a); }

inline int __popc(unsigned a) { return std::popcount(a); }
inline int __popcll(unsigned long long a) { return std::popcount(a); }
inline int __clz(int a) { return std::countl_zero(static_cast<unsigned>(a)); }
inline int __clzll(long long a) { return std::countl_zero(static_cast<unsigned long long>(a)); }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline int __ffsll(long long a) { return __builtin_ffsll(a); }
inline unsigned __brev(unsigned a) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (a >> i & 1u) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}
inline int __mulhi(int a, int b) {
  return static_cast<int>(static_cast<std::int64_t>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  const std::uint64_t a0 = a & 0xFFFFFFFFu, a1 = a >> 32, b0 = b & 0xFFFFFFFFu, b1 = b >> 32;
  const std::uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & 0xFFFFFFFFu);
  return a1 * b1 + (middle >> 32) + (other >> 32);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  shift &= 31u;
  return shift != 0 ? high << shift | low >> (32 - shift) : high;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  shift &= 31u;
  return shift != 0 ? high << (32 - shift) | low >> shift : low;
}
/// Four bytes out of the eight of (b, a), chosen by the nibbles of `selector`; a nibble's highest
/// bit asks for the byte's sign instead.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const std::uint64_t both = static_cast<std::uint64_t>(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned choice = selector >> 4 * i & 15u;
    const unsigned byte = static_cast<unsigned>(both >> 8 * (choice & 7u)) & 255u;
    const unsigned taken = (choice & 8u) == 0 ? byte : (byte & 128u) != 0 ? 255u : 0u;
    result |= taken << 8 * i;
  }
  return result;
}

#define MWALIMU_SIMT_MIN_MAX(T)                       \
  constexpr T min(T a, T b) { return b < a ? b : a; } \
  constexpr T max(T a, T b) { return a < b ? b : a; }
MWALIMU_SIMT_MIN_MAX(int)
MWALIMU_SIMT_MIN_MAX(unsigned)
MWALIMU_SIMT_MIN_MAX(long)
MWALIMU_SIMT_MIN_MAX(unsigned long)
MWALIMU_SIMT_MIN_MAX(long long)
MWALIMU_SIMT_MIN_MAX(unsigned long long)
#undef MWALIMU_SIMT_MIN_MAX
// A NaN loses against a number.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return ::fmin(a, b); }
inline double max(double a, double b) { return ::fmax(a, b); }

/// Nanoseconds, not cycles: differences are for seeding and for spinning, never for timing.
inline long long clock64() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
