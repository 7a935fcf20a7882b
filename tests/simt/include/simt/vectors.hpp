// simt/vectors: CUDA's vector types, with CUDA's alignment.
#pragma once

struct uint3 {
  unsigned x, y, z;
};

/// Extents of a grid or a block; the extents left out are 1.
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3() = default;
  constexpr dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

#define MWALIMU_SIMT_VECTORS(T, name, align2, align4)           \
  struct name##1 {                                              \
    T x;                                                        \
  };                                                            \
  struct alignas(align2) name##2 {                              \
    T x, y;                                                     \
  };                                                            \
  struct alignas(align4) name##4 {                              \
    T x, y, z, w;                                               \
  };                                                            \
  constexpr name##1 make_##name##1(T x) { return {x}; }         \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; } \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

MWALIMU_SIMT_VECTORS(signed char, char, 2, 4)
MWALIMU_SIMT_VECTORS(unsigned char, uchar, 2, 4)
MWALIMU_SIMT_VECTORS(short, short, 4, 8)
MWALIMU_SIMT_VECTORS(unsigned short, ushort, 4, 8)
MWALIMU_SIMT_VECTORS(int, int, 8, 16)
MWALIMU_SIMT_VECTORS(unsigned, uint, 8, 16)
MWALIMU_SIMT_VECTORS(float, float, 8, 16)
MWALIMU_SIMT_VECTORS(double, double, 16, 16)
MWALIMU_SIMT_VECTORS(long long, longlong, 16, 16)
MWALIMU_SIMT_VECTORS(unsigned long long, ulonglong, 16, 16)
#undef MWALIMU_SIMT_VECTORS

struct uchar3 {
  unsigned char x, y, z;
};
struct int3 {
  int x, y, z;
};
struct float3 {
  float x, y, z;
};
struct double3 {
  double x, y, z;
};
constexpr uchar3 make_uchar3(unsigned char x, unsigned char y, unsigned char z) {
  return {x, y, z};
}
constexpr int3 make_int3(int x, int y, int z) { return {x, y, z}; }
constexpr uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
constexpr float3 make_float3(float x, float y, float z) { return {x, y, z}; }
constexpr double3 make_double3(double x, double y, double z) { return {x, y, z}; }

// The built-in variables are objects, not macros, and rewritten whenever the executor goes on with
// another thread: a debugger prints them and takes them in conditions.
inline constinit thread_local uint3 threadIdx{0, 0, 0};
inline constinit thread_local uint3 blockIdx{0, 0, 0};
inline constinit thread_local dim3 blockDim{};
inline constinit thread_local dim3 gridDim{};
inline constexpr int warpSize = 32;
