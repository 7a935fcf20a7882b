// io/tensor_info: a tensor of a file, whatever the file's format.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/dtype.hpp"

namespace mwalimu::io {

/// One tensor of a file: its name, type, shape and row-major little-endian bytes. Read, `bytes`
/// point into the mapped file and may lie at any address (copy them out, never cast); to be
/// written, into memory of the caller's that outlives the call.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  /// Elements: the product of the shape, 1 for a scalar.
  std::int64_t numel() const { return static_cast<std::int64_t>(bytes.size() / dtype_size(dtype)); }

  /// Copies the elements out.
  /// @throws ValueError  the file holds another element type than T.
  template <class T>
  std::vector<T> values() const {
    require<ValueError>(dtype == dtype_of<T>, "tensor '", name, "' is ", dtype_name(dtype),
                        ", want ", dtype_name(dtype_of<T>));
    std::vector<T> out(static_cast<std::size_t>(numel()));
    if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
};

/// What a TensorInfo to be written looks like for elements in memory.
template <class T>
TensorInfo tensor_info(std::string name, std::vector<std::int64_t> shape,
                       std::span<const T> values) {
  return {std::move(name), dtype_of<T>, std::move(shape), std::as_bytes(values)};
}

namespace detail {

/// Bytes of a tensor; nothing where an extent is negative or the product passes 2^63.
inline std::optional<std::uint64_t> byte_size(std::span<const std::int64_t> shape, Dtype dtype) {
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    empty = empty || extent == 0;
  }
  if (empty) return 0;
  std::int64_t bytes = static_cast<std::int64_t>(dtype_size(dtype));
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  }
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace detail

}  // namespace mwalimu::io
