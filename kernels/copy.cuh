// kernels/copy: element-wise copies and fills: conversion, permutation, one value everywhere.
//
// Computes   to[i] <- convert(from[i]); to[i] <- value.
// Shapes     up to five extents, any strides of either side.
// Mapping    casts between the four real types over dense tensors: grid-stride over packs, each as
//            wide as 16 bytes of the wider type. All else: one element a thread, grid-stride over the
//            row-major index, which five divisions turn into two offsets; writes coalesce where `to`
//            is row-major.
// Moves      n (sizeof(from) + sizeof(to)) bytes; a permutation up to 32 bytes an element read.
// Roofline   2^26 floats to bfloat16 on an H200 by its data sheet: 403 MB, 84 us at 4.8 TB/s.
// Measured   not yet.
// Numerics   to the nearest, ties to even; a double passes float on its way to 16 bits, as on the
//            Cpu. Integers as static_cast.
#pragma once

#include <cstring>

#include "launch.cuh"
#include "mwalimu/core/device_copy.hpp"
#include "mwalimu/core/tensor.hpp"
#include "numeric.cuh"

namespace mwalimu {
namespace kernels {

/// Extents and two orders of memory; unused dimensions have extent 1.
struct CopyShape {
  index_t extent[Shape::kMaxRank], from_stride[Shape::kMaxRank], to_stride[Shape::kMaxRank];
  index_t count;

  CopyShape() = default;
  CopyShape(const Shape& extents, const Shape& from, const Shape& to) : count(extents.count()) {
    for (int i = 0; i < Shape::kMaxRank; ++i) {
      const int at = i - (Shape::kMaxRank - extents.rank());
      extent[i] = at < 0 ? 1 : extents[at];
      from_stride[i] = at < 0 ? 0 : from[at];
      to_stride[i] = at < 0 ? 0 : to[at];
    }
  }
  __device__ __forceinline__ void offsets(index_t index, index_t& from, index_t& to) const {
    from = to = 0;
#pragma unroll
    for (int i = Shape::kMaxRank - 1; i > 0; --i) {
      const index_t at = index % extent[i];
      index /= extent[i];
      from += at * from_stride[i];
      to += at * to_stride[i];
    }
    from += index * from_stride[0];
    to += index * to_stride[0];
  }
};

template <class From, class To, int N>
__global__ void __launch_bounds__(256)
    cast_kernel(const From* __restrict__ from, To* __restrict__ to, index_t count) {
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  const index_t first = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const index_t packs = count / N;
  const auto cast = [](From value) {
    return narrow<To>(static_cast<accumulate_t<To>>(widen(value)));
  };
  for (index_t p = first; p < packs; p += step) {
    const auto in = load_pack<N>(from + p * N);
    Pack<To, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) out[i] = cast(in[i]);
    store_pack<N>(to + p * N, out);
  }
  for (index_t i = packs * N + first; i < count; i += step) to[i] = cast(from[i]);
}

template <class Word>
__global__ void __launch_bounds__(256)
    permute_kernel(const Word* __restrict__ from, Word* __restrict__ to, CopyShape shape) {
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  for (index_t i = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < shape.count;
       i += step) {
    index_t source, target;
    shape.offsets(i, source, target);
    to[target] = from[source];
  }
}

template <class Word>
__global__ void __launch_bounds__(256) fill_kernel(Word value, Word* __restrict__ to,
                                                   CopyShape shape) {
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  for (index_t i = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < shape.count;
       i += step) {
    index_t source, target;
    shape.offsets(i, source, target);
    to[target] = value;
  }
}

/// Calls f(pointer of the right type).
template <class Void, class F>
__device__ __forceinline__ void with_type(ElementType type, Void* p, F&& f) {
  const auto as = [&]<class T>(T*) {
    using Pointer = std::conditional_t<std::is_const_v<Void>, const T*, T*>;
    f(static_cast<Pointer>(p));
  };
  switch (type) {
    case ElementType::float32: return as(static_cast<float*>(nullptr));
    case ElementType::float64: return as(static_cast<double*>(nullptr));
    case ElementType::float16: return as(static_cast<half*>(nullptr));
    case ElementType::bfloat16: return as(static_cast<bfloat16*>(nullptr));
    case ElementType::int32: return as(static_cast<std::int32_t*>(nullptr));
    case ElementType::int64: return as(static_cast<std::int64_t*>(nullptr));
    case ElementType::uint8: return as(static_cast<std::uint8_t*>(nullptr));
  }
}

// Any pair of types and of orders: for what is converted once a run, not once a step. A template so
// that it may live in a header.
template <class Place>
__global__ void __launch_bounds__(256)
    convert_kernel(ElementType from_type, const void* __restrict__ from, ElementType to_type,
                   void* __restrict__ to, CopyShape shape) {
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  for (index_t i = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < shape.count;
       i += step) {
    index_t source, target;
    shape.offsets(i, source, target);
    with_type(from_type, from, [&](const auto* values) {
      const auto value = values[source];
      with_type(to_type, to, [&](auto* out) {
        using To = std::remove_pointer_t<decltype(out)>;
        out[target] = convert<To>(value);
      });
    });
  }
}

inline std::size_t element_size(ElementType type) {
  switch (type) {
    case ElementType::float32:
    case ElementType::int32: return 4;
    case ElementType::float64:
    case ElementType::int64: return 8;
    case ElementType::float16:
    case ElementType::bfloat16: return 2;
    case ElementType::uint8: return 1;
  }
  return 0;
}

/// Calls f(word) with an integer of `size` bytes.
template <class F>
void with_word(std::size_t size, F&& f) {
  switch (size) {
    case 1: return f(std::uint8_t{});
    case 2: return f(std::uint16_t{});
    case 4: return f(std::uint32_t{});
    default: return f(std::uint64_t{});
  }
}

template <class From, class To>
void cast(Gpu on, const void* from, void* to, index_t count) {
  constexpr int N = static_cast<int>(16 / std::max(sizeof(From), sizeof(To)));
  const auto aligned = [](const void* p, std::size_t size) {
    return reinterpret_cast<std::uintptr_t>(p) % (size * N) == 0;
  };
  const bool packs = aligned(from, sizeof(From)) && aligned(to, sizeof(To));
  launch(on, "cast", packs ? cast_kernel<From, To, N> : cast_kernel<From, To, 1>,
         {.grid = grid_blocks(on, count, packs ? 256 * N : 256), .block = 256},
         static_cast<const From*>(from), static_cast<To*>(to), count);
}

/// Casts that training does in every step.
/// @return  false: not one of them.
inline bool cast_dense(Gpu on, ElementType from_type, const void* from, ElementType to_type,
                       void* to, index_t count) {
  const auto pair = [&]<class From, class To>(From, To) {
    const bool matches = from_type == element_type<From>() && to_type == element_type<To>();
    if (matches) cast<From, To>(on, from, to, count);
    return matches;
  };
  return pair(float{}, bfloat16{}) || pair(float{}, half{}) || pair(bfloat16{}, float{}) ||
         pair(half{}, float{}) || pair(float{}, double{}) || pair(double{}, float{});
}

}  // namespace kernels

template <class Place>
void copy_elements(Place on, const Shape& extents, ElementType from_type, const void* from,
                   const Shape& from_strides, ElementType to_type, void* to,
                   const Shape& to_strides) {
  const kernels::CopyShape shape(extents, from_strides, to_strides);
  if (shape.count == 0) return;
  const kernels::LaunchConfig config{.grid = kernels::grid_blocks(on, shape.count, 256),
                                     .block = 256};
  if (from_type == to_type) {
    return kernels::with_word(kernels::element_size(from_type), [&]<class Word>(Word) {
      kernels::launch(on, "copy", kernels::permute_kernel<Word>, config,
                      static_cast<const Word*>(from), static_cast<Word*>(to), shape);
    });
  }
  index_t last = 0;  // offset of the last element in memory: without gaps it is count - 1
  for (int i = 0; i < extents.rank(); ++i) last += (extents[i] - 1) * to_strides[i];
  const bool dense = from_strides == to_strides && last + 1 == shape.count;
  if (dense && kernels::cast_dense(on, from_type, from, to_type, to, shape.count)) return;
  kernels::launch(on, "convert", kernels::convert_kernel<Place>, config, from_type, from, to_type,
                  to, shape);
}

template <class Place>
void fill_elements(Place on, const Shape& extents, const void* value, std::size_t size, void* to,
                   const Shape& to_strides) {
  const kernels::CopyShape shape(extents, to_strides, to_strides);
  if (shape.count == 0) return;
  kernels::with_word(size, [&]<class Word>(Word word) {
    std::memcpy(&word, value, sizeof(Word));
    kernels::launch(on, "fill", kernels::fill_kernel<Word>,
                    {.grid = kernels::grid_blocks(on, shape.count, 256), .block = 256}, word,
                    static_cast<Word*>(to), shape);
  });
}

}  // namespace mwalimu
