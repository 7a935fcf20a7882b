// core/device_copy: element-wise copies on a CUDA device, for Tensor.
//
// Declared here, defined in kernels/copy.cuh. The element types are values: of the 49 pairs few are
// ever used in a training step, and those few have kernels of their own.
#pragma once

#include <cstddef>

#include "mwalimu/core/place.hpp"
#include "mwalimu/core/shape.hpp"
#include "mwalimu/core/types.hpp"

namespace mwalimu {

/// An element type as a value.
enum class ElementType { float32, float64, float16, bfloat16, int32, int64, uint8 };

template <Element T>
constexpr ElementType element_type() {
  if constexpr (std::is_same_v<T, float>) return ElementType::float32;
  if constexpr (std::is_same_v<T, double>) return ElementType::float64;
  if constexpr (std::is_same_v<T, half>) return ElementType::float16;
  if constexpr (std::is_same_v<T, bfloat16>) return ElementType::bfloat16;
  if constexpr (std::is_same_v<T, std::int32_t>) return ElementType::int32;
  if constexpr (std::is_same_v<T, std::int64_t>) return ElementType::int64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return ElementType::uint8;
}

/// to[i] <- from[i], converted, for every index i of `extents`; both lie on the place's device and do
/// not overlap. A template only so that it need not be defined where it is declared.
template <class Place>
void copy_elements(Place on, const Shape& extents, ElementType from_type, const void* from,
                   const Shape& from_strides, ElementType to_type, void* to,
                   const Shape& to_strides);

/// to[i] <- the `size` bytes at `value` (1, 2, 4 or 8) for every index i of `extents`.
template <class Place>
void fill_elements(Place on, const Shape& extents, const void* value, std::size_t size, void* to,
                   const Shape& to_strides);

}  // namespace mwalimu
