// io/tensor_values: the elements of a file's tensor as numbers, and in another element type.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/core/types.hpp"
#include "mwalimu/io/file.hpp"
#include "mwalimu/io/tensor_info.hpp"

namespace mwalimu::io {

/// True for the types that stand for real numbers: F16, BF16, F32, F64.
constexpr bool is_real(Dtype dtype) {
  return dtype == Dtype::f16 || dtype == Dtype::bf16 || dtype == Dtype::f32 || dtype == Dtype::f64;
}

/// Calls f(T{}) with the C++ type of a file's element type; BOOL is std::uint8_t.
template <class F>
decltype(auto) with_element_type(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f16:
      return f(half{});
    case Dtype::bf16:
      return f(bfloat16{});
    case Dtype::f32:
      return f(float{});
    case Dtype::f64:
      return f(double{});
    case Dtype::i64:
      return f(std::int64_t{});
    case Dtype::i32:
      return f(std::int32_t{});
    case Dtype::u8:
    case Dtype::boolean:
      break;
  }
  return f(std::uint8_t{});
}

/// Calls f(std::span<const double>) on the elements in order, a block at a time. 64-bit integers
/// beyond 2^53 are rounded.
template <class F>
void for_each_block(const TensorInfo& tensor, F&& f) {
  with_element_type(tensor.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr std::size_t kBlock = 1024;
    std::array<T, kBlock> stored;
    std::array<double, kBlock> values;
    for (std::size_t at = 0; at < tensor.bytes.size(); at += sizeof(T) * kBlock) {
      const std::size_t n = std::min(kBlock, (tensor.bytes.size() - at) / sizeof(T));
      std::memcpy(stored.data(), tensor.bytes.data() + at, n * sizeof(T));
      for (std::size_t i = 0; i < n; ++i) values[i] = convert<double>(stored[i]);
      f(std::span<const double>(values.data(), n));
    }
  });
}

/// A tensor's elements in another type.
struct ConvertedElements {
  std::vector<std::byte> bytes;
  std::int64_t overflowed = 0;  ///< finite numbers that became infinite
};

/// Rounds to the nearest number of the type `to`, as Tensor::to does.
/// @throws ValueError  one of the two types is not real.
inline ConvertedElements convert_elements(const TensorInfo& tensor, Dtype to) {
  require<ValueError>(is_real(tensor.dtype) && is_real(to), "tensor ",
                      detail::quoted_text(tensor.name), " is ", dtype_name(tensor.dtype),
                      ", which is not converted to ", dtype_name(to));
  ConvertedElements out;
  out.bytes.resize(static_cast<std::size_t>(tensor.numel()) * dtype_size(to));
  with_element_type(to, [&](auto zero) {
    using T = decltype(zero);
    std::byte* next = out.bytes.data();
    for_each_block(tensor, [&](std::span<const double> values) {
      for (const double value : values) {
        const T rounded = convert<T>(value);
        out.overflowed += std::isfinite(value) && !std::isfinite(convert<double>(rounded)) ? 1 : 0;
        std::memcpy(next, &rounded, sizeof(T));
        next += sizeof(T);
      }
    });
  });
  return out;
}

}  // namespace mwalimu::io
