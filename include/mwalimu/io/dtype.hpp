// io/dtype: the element types that tensor files hold, known at run time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "mwalimu/core/types.hpp"

namespace mwalimu::io {

/// An element type of a file. The names are those of the safetensors format.
enum class Dtype { f16, bf16, f32, f64, i64, i32, u8, boolean };

namespace detail {
struct DtypeEntry {
  std::string_view name;
  std::size_t size;
};
inline constexpr std::array<DtypeEntry, 8> kDtypes{{{"F16", 2},
                                                    {"BF16", 2},
                                                    {"F32", 4},
                                                    {"F64", 8},
                                                    {"I64", 8},
                                                    {"I32", 4},
                                                    {"U8", 1},
                                                    {"BOOL", 1}}};
}  // namespace detail

/// Bytes an element.
constexpr std::size_t dtype_size(Dtype dtype) {
  return detail::kDtypes[static_cast<std::size_t>(dtype)].size;
}
/// "F32" and so on.
constexpr std::string_view dtype_name(Dtype dtype) {
  return detail::kDtypes[static_cast<std::size_t>(dtype)].name;
}
/// The element type of that name; nothing where it is not one of ours.
constexpr std::optional<Dtype> dtype_from_name(std::string_view name) {
  for (std::size_t i = 0; i < detail::kDtypes.size(); ++i) {
    if (detail::kDtypes[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

/// The file's element type that holds a T. Specialised beside every type that files may hold.
template <class T>
struct DtypeOf;
template <>
struct DtypeOf<half> {
  static constexpr Dtype value = Dtype::f16;
};
template <>
struct DtypeOf<bfloat16> {
  static constexpr Dtype value = Dtype::bf16;
};
template <>
struct DtypeOf<float> {
  static constexpr Dtype value = Dtype::f32;
};
template <>
struct DtypeOf<double> {
  static constexpr Dtype value = Dtype::f64;
};
template <>
struct DtypeOf<std::int64_t> {
  static constexpr Dtype value = Dtype::i64;
};
template <>
struct DtypeOf<std::int32_t> {
  static constexpr Dtype value = Dtype::i32;
};
template <>
struct DtypeOf<std::uint8_t> {
  static constexpr Dtype value = Dtype::u8;
};
template <>
struct DtypeOf<bool> {
  static constexpr Dtype value = Dtype::boolean;
};
template <class T>
inline constexpr Dtype dtype_of = DtypeOf<T>::value;

}  // namespace mwalimu::io
